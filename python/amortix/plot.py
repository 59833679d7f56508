"""The learning curve as a picture: error against rows seen, one line per regime, baselines as levels.

Needs matplotlib (the extra ``plot``), which is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amortix.data.writing import replacing_file
from amortix.errors import ConfigError
from amortix.track import Result

COLOURS = {"parametric": "#0072b2", "explicit": "#d55e00", "implicit": "#009e73"}
"""One colour per regime, told apart by colour-blind readers (Okabe and Ito's set)."""

MARKS = {"parametric": "o", "explicit": "s", "implicit": "^"}
BLIND = ("mean", "majority")
"""Baselines that look at no column: far above the rest, they would press it together."""

SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Refuse, before any work is done, a picture that could not be drawn: `ConfigError`."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError("--plot needs matplotlib: pip install 'amortix[plot]'") from None
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"cannot draw {path}: name a file that ends in {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"cannot draw {path}: there is no directory {path.parent}")


def plot_curves(results: Sequence[Result], path: Path, *, title: str) -> None:
    """Draw 1 − R² or 1 − accuracy on the held-out rows and write it, whole or not at all.

    Args:
        results: of an adaptation: regimes with curves; mixture and baselines as levels; those in `BLIND` are left out.
        path: ends in .png, .svg or .pdf.
        title: above the picture.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [result for result in results if result.regime not in BLIND]
    metric = "r2" if "r2" in results[0].metrics else "accuracy"
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for result in shown:
        if result.curve:
            _line(axes, result, metric)
        else:
            _level(axes, result, metric)
    axes.set(xscale="log", xlabel="rows seen, one pass", title=title)
    axes.set_ylabel("1 − R² on held-out rows" if metric == "r2" else "error rate on held-out rows")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _ticks(axes, [point["rows"] for result in shown for point in result.curve])
    axes.set_ylim(*_window(shown, metric))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    with replacing_file(path) as fresh:
        figure.savefig(fresh, dpi=150)


def _line(axes, result: Result, metric: str) -> None:
    rows = [point["rows"] for point in result.curve]
    error = [1 - point[metric] for point in result.curve]
    axes.plot(
        rows,
        error,
        color=COLOURS.get(result.regime, "black"),
        marker=MARKS.get(result.regime, "."),
        markersize=5,
        linewidth=2,
        label=f"{result.regime}  {1 - result.metrics[metric]:.3f}",
    )


def _level(axes, result: Result, metric: str) -> None:
    error = 1 - result.metrics[metric]
    style = {"ridge": "--", "logistic": "--", "hist-gradient-boosting": ":"}.get(result.regime, "-.")
    axes.axhline(error, color="#666666", linestyle=style, linewidth=1.5, label=f"{result.regime}  {error:.3f}")


def _ticks(axes, rows: Sequence[float]) -> None:
    """Plain numbers, 512 · 1k · 10k, in the place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not rows:
        return
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v < 1000 else f"{v / 1000:g}k"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _window(results: Sequence[Result], metric: str) -> tuple[float, float]:
    """From a little under the lowest to a little over the highest level or curve; a wild start is cut off."""
    ends = [1 - result.metrics[metric] for result in results]
    starts = [1 - result.curve[len(result.curve) // 8][metric] for result in results if result.curve]
    lowest = [1 - max(point[metric] for point in result.curve) for result in results if result.curve]
    finite = [value for value in (*ends, *starts, *lowest) if value == value and value < 10] or [0.0, 1.0]
    margin = 0.1 * (max(finite) - min(finite)) or 0.1
    return max(0.0, min(finite) - margin), max(finite) + margin
