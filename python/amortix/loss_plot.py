"""Trainings by several optimizers as a picture: loss against steps, and against seconds.

Needs matplotlib (the extra ``plot``), which is imported on first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amortix.data.writing import replacing_file
from amortix.meta_optim.comparison import Result
from amortix.plot import check_plot

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def plot_losses(results: Sequence[Result], path: Path, *, title: str) -> None:
    """Draw the mean over seeds with the range of all of them, and write it, whole or not at all.

    Args:
        results: one per optimizer.
        path: ends in .png, .svg or .pdf.
        title: above the picture.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, sharey=True)
    for place, result in enumerate(results):
        colour = _COLOURS[place % len(_COLOURS)]
        losses = np.array([curve.losses for curve in result.curves])
        seconds = np.array([curve.seconds for curve in result.curves]).mean(0)
        name = f"{result.name}, {result.rate:g}, {result.schedule}"
        for axes, x in ((left, result.curves[0].steps), (right, seconds)):
            axes.plot(x, losses.mean(0), color=colour, linewidth=2, label=name)
            axes.fill_between(x, losses.min(0), losses.max(0), color=colour, alpha=0.15, linewidth=0)
    for axes, label in ((left, "steps"), (right, "seconds of training")):
        _dress(axes, label)
    left.set_ylabel("loss")
    right.legend(frameon=False, fontsize=8)
    with replacing_file(path) as fresh:
        figure.savefig(fresh, dpi=150)


def _dress(axes: Any, label: str) -> None:
    axes.set(xlabel=label, yscale="log")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
