"""What the commands print: tables for people, JSON lines for machines, progress on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.table import Table as Grid
from rich.text import Text

from amortix.metrics import SCORE
from amortix.saving import finite

if TYPE_CHECKING:
    from amortix.track import Progress, Result


_BESIDE = 6  # tasks in one table: what 80 columns hold


def json_line(row: Mapping[str, Any]) -> str:
    """One object on one line; what is not finite becomes null."""
    return json.dumps(finite(row), ensure_ascii=False, allow_nan=False)


def result_row(result: Result, *, selected: bool) -> dict[str, Any]:
    """The machine-readable form of a result; the first six keys are stable."""
    metric = next(name for name in SCORE.values() if name in result.metrics)
    return {
        "regime": result.regime,
        "rows": result.rows,
        "seconds": round(result.seconds, 4),
        "rows_per_s": round(result.rows / max(result.seconds, 1e-9), 1),
        "metric": metric,
        "score": result.metrics[metric],
        **{name: value for name, value in result.metrics.items() if name != metric},
        "baseline": result.baseline,
        "selected": selected,
        "curve": list(result.curve),
        **({"weights": dict(result.weights)} if result.weights else {}),
    }


def result_grid(results: Sequence[Result], best: str, *, title: str) -> Grid:
    """The results for people, the selected regime marked."""
    names = list(results[0].metrics)
    grid = Grid(title=title, title_justify="left", box=SIMPLE_HEAD)
    grid.add_column("  regime or baseline", no_wrap=True)
    for name in (*names, "rows", "seconds", "rows/s"):
        grid.add_column(name, justify="right", no_wrap=True)
    for number, result in enumerate(results):
        chosen = result.regime == best
        values = [f"{result.metrics[name]:.4f}" for name in names]
        speed = f"{result.rows / max(result.seconds, 1e-9):,.0f}"
        if number and result.baseline and not results[number - 1].baseline:
            grid.add_section()
        grid.add_row(
            f"{'✓' if chosen else ' '} {result.regime}",
            *values,
            f"{result.rows:,}",
            f"{result.seconds:.2f}",
            speed,
            style="bold" if chosen else None,
        )
    return grid


_WHO = (("learner", ""), ("oracle", "oracle_"))  # and what its columns begin with


def rows_grid(rows: Sequence[Mapping[str, Any]], *, title: str) -> Grid:
    """Any rows with the same keys as a table."""
    grid = Grid(title=title, title_justify="left", box=SIMPLE_HEAD)
    for key in rows[0] if rows else ():
        justify = "right" if isinstance(rows[0][key], int | float) else "left"
        grid.add_column(key, justify=justify, no_wrap=True)
    for row in rows:
        grid.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    return grid


def evaluation_grids(rows: Sequence[Mapping[str, Any]], *, title: str) -> Iterator[Grid]:
    """What `amortix.evaluation.evaluate` returns: one table of errors, one of uncertainty."""
    sure = [name for name in rows[0] if f"oracle_{name}" in rows[0]]
    told = {"regime", "family", *sure, *(f"oracle_{name}" for name in sure)}  # these two are in the title
    risks = [{name: value for name, value in row.items() if name not in told} for row in rows]
    yield rows_grid(risks, title=f"{title}: excess risk")
    both = (
        {"of": who, "step": row["step"]} | {k: row[before + k] for k in sure} for row in rows for who, before in _WHO
    )
    yield rows_grid([one for one in both if None not in one.values()], title=f"{title}: uncertainty")


def learners_grid(cards: Sequence[Mapping[str, Any]]) -> Grid:
    """The bundled learners with what their cards tell: size, training, excess risk over the oracle's, limits."""
    grid = Grid(title="bundled learners", title_justify="left", box=SIMPLE_HEAD, caption_justify="left")
    for heading in ("learner", "weights", "trained", "excess over the oracle's", "limits"):
        grid.add_column(heading, justify="right" if heading in ("weights", "trained") else "left")
    for card in cards:
        grid.add_row(
            card["name"],
            f"{card.get('parameters', 0):,}",
            f"{card.get('seconds', 0):.0f} s",
            _ratios(card.get("curves", [])),
            card.get("limits", ""),
        )
    return grid


def families_grid(rows: Sequence[Mapping[str, Any]]) -> Grid:
    """The families of tasks with their settings as ``--set`` takes them, from `amortix.preview.families`."""
    grid = Grid(title="families of tasks, at their defaults", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("family", "columns", "target", "oracle"):
        grid.add_column(heading, justify="right" if heading == "columns" else "left", no_wrap=True)
    grid.add_column("law, and settings for --set")
    for number, row in enumerate(rows):
        classes = setting(row["classes"])
        settings = " ".join(f"{name}={setting(value)}" for name, value in row["settings"].items())
        target = f"{classes} classes" if max(row["classes"]) else "number"
        oracle = "yes" if row["oracle"] else "–"
        if number:
            grid.add_row()
        law = Text.assemble(row["law"] + "\n", (settings, "dim"))
        grid.add_row(row["family"], setting(row["columns"]), target, oracle, law)
    return grid


def setting(value: Any) -> str:
    """A setting as ``--set`` takes it: ``0.1,1`` for a range, one number where its ends are equal."""
    if isinstance(value, tuple | list):
        return ",".join(dict.fromkeys(setting(end) for end in value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def tasks_grids(rows: Sequence[Mapping[str, Any]], *, title: str) -> Iterator[Grid]:
    """Tasks side by side, a line for each fact that `amortix.preview.describe` tells; a few tasks to a table."""
    for start in range(0, len(rows), _BESIDE):
        shown = rows[start : start + _BESIDE]
        grid = Grid(title=None if start else title, title_justify="left", box=SIMPLE_HEAD)
        grid.add_column("task", no_wrap=True)
        for row in shown:
            grid.add_column(str(row["task"]), justify="right", no_wrap=True)
        for name in [name for name in rows[0] if name not in ("task", "rows", "shares")]:
            grid.add_row(name.replace("_", " "), *(_fact(name, row[name]) for row in shown))
        for name, end in (("rarest", min), ("commonest", max)) if "shares" in rows[0] else ():
            grid.add_row(f"{name} class", *(f"{end(row['shares']):.2f}" for row in shown))
        yield grid


def _fact(name: str, value: Any) -> str:
    """A number of a task; small ones matter where they are noise or error."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2g}" if name in ("noise", "oracle") else f"{value:.2f}"


def _ratios(curves: Sequence[Mapping[str, Any]]) -> str:
    """The first curve that has an oracle: ``linear 1.03 at k = 1, 1.00 at 1,000``."""
    for curve in curves:
        known = [row for row in curve["results"] if row["ratio"] is not None]
        if known:
            first, last = known[0], known[-1]
            start = f"{curve['family']} {first['ratio']:.2f} at k = {first['step']}"
            return f"{start}, {last['ratio']:.2f} at {last['step']:,}"
    return ""


@contextmanager
def adapt_bar(total: int, done: int, *, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr with rows, rows/s, batches and the latest held-out scores; or nothing."""
    console = Console(stderr=True)
    # The bar takes what the text leaves, so that the text is whole on a narrow terminal too.
    columns = (BarColumn(bar_width=None), TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True)))
    hidden = not (shown and console.is_terminal)
    with Bar(*columns, console=console, disable=hidden, transient=True, expand=True) as bar:
        line = bar.add_task("", total=total, completed=done, text=f"{done:,}/{total:,} rows")

        def update(progress: Progress) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            speed = (progress.rows - done) / seconds if seconds else 0.0
            counts = f"{progress.rows:,}/{total:,} rows · {speed:,.0f}/s · batch {progress.batches:,}"
            bar.update(line, completed=progress.rows, text=f"{counts} · {_latest(progress.metrics)}")

        yield update


def _latest(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The latest scores, regimes in three letters: ``r2 par 0.61 exp 0.79 imp 0.85``."""
    name = next((name for found in metrics.values() for name in SCORE.values() if name in found), "")
    return " ".join([name, *(f"{regime[:3]} {found[name]:.3f}" for regime, found in metrics.items())])


@contextmanager
def counting_bar(what: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr fed with (done, total); or nothing."""
    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as bar:
        line = bar.add_task("", total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)


@contextmanager
def training_bar(*, shown: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A progress bar on stderr fed with what a training reports after each iteration; or nothing."""
    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    clock = TimeRemainingColumn()
    with Bar(*columns, clock, console=console, disable=not (shown and console.is_terminal)) as bar:
        line = bar.add_task("", total=None, text="")

        def update(row: Mapping[str, Any]) -> None:
            text = "  ".join(f"{name} {row[name]:.4g}" for name in ("loss", "best", "failures") if name in row)
            bar.update(line, completed=row["iteration"], total=row["iterations"], text=text)

        yield update


def shown_training(train: Callable[..., Path | None], *, lines: bool) -> bool:
    """Run a training under its bar, or with JSON lines; False where the time ran out before the end.

    Args:
        train: takes ``progress`` and returns the path of what it wrote, or None where time ran out.
        lines: one JSON object at most a second instead of the bar.
    """
    pause = Pause(1.0)
    with training_bar(shown=not lines) as shown:

        def progress(row: dict[str, Any]) -> None:
            if lines and (pause.over() or row["iteration"] == row["iterations"]):
                print(json_line(row), flush=True)
            shown(row)

        path = train(progress=progress)
    if path is not None and not lines:
        print(f"wrote {path}")
    return path is not None


class Pause:
    """At most once per so many seconds: `over` says whether it is time again."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._last = float("-inf")

    def over(self) -> bool:
        """Whether the pause since the last True is over."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
