"""A few tasks of a family as a picture, one panel each, drawn so that the family's law can be seen.

One column: rows and the noise-free signal over it. Two: the plane of both, coloured by the target. More: classes in the
plane that tells them apart best; numbers over the column that says most of them, coloured by the next. Rows that miss a
value there are not drawn.
Needs matplotlib (the extra ``plot``), which is imported on first use only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amortix.data import Tabular, TaskSampler
from amortix.data._arrays import Floats, Integers
from amortix.data.writing import replacing_file
from amortix.plot import check_plot
from amortix.views import association, plane

CLASSES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#b8a800")
"""Colours of classes, told apart by colour-blind readers (after Okabe and Ito); more classes share them."""

SHADES = "viridis"
DOTS = {"s": 11, "linewidths": 0, "alpha": 0.8}
_ACROSS = 3  # panels in a line
_CURVE = 600  # points of a signal's curve


@dataclass(frozen=True)
class _Task:
    """Rows x ``[B, D]`` and y ``[B]`` of one task, and its signal ``[M, O]`` at ``[M, D]``."""

    number: int
    x: Floats
    y: Floats
    at: Floats
    signal: Floats
    classes: int
    levels: list[int]
    noise: float
    tabular: bool


def plot_tasks(sampler: TaskSampler, tasks: Sequence[int] | Integers, rows: int, path: Path) -> None:
    """Draw the first rows of each task and write the picture, whole or not at all.

    Args:
        sampler: of any family.
        tasks: one or more.
        rows: of each task.
        path: ends in .png, .svg or .pdf.

    Raises:
        ConfigError: matplotlib is missing, or the path has another ending or lies in no directory.
        OSError: it could not be written.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(_ACROSS, len(tasks))
    down = math.ceil(len(tasks) / across)
    figure = Figure(figsize=(3.9 * across, 3.1 * down + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, task in zip(panels, _drawn(sampler, np.asarray(tasks, np.int64), rows), strict=False):
        _panel(axes, task)
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    figure.suptitle(f"{sampler.family.name} tasks, {rows:,} rows each", x=0.01, ha="left", fontweight="bold")
    with replacing_file(path) as fresh:
        figure.savefig(fresh, dpi=150)


def _drawn(sampler: TaskSampler, ids: Integers, rows: int) -> list[_Task]:
    x, y = sampler.context(ids, np.zeros_like(ids), rows)
    at, _, signal = sampler.query(ids, _CURVE)
    dims, classes, noise = sampler.dims(ids), sampler.n_classes(ids), sampler.noise(ids)
    return [
        _Task(
            number=int(task),
            x=x[i, :, : dims[i]],
            y=y[i],
            at=at[i, :, : dims[i]],
            signal=signal[i],
            classes=int(classes[i]),
            levels=[column.levels for column in sampler.columns(int(task))],
            noise=float(noise[i]),
            tabular=isinstance(sampler.family, Tabular),
        )
        for i, task in enumerate(ids)
    ]


def _panel(axes: Any, task: _Task) -> None:
    columns = task.x.shape[1]
    if task.classes:
        (_class_strip if columns == 1 else _class_plane)(axes, task)
    elif columns <= 2:
        (_curve if columns == 1 else _map)(axes, task)
    else:
        _profile(axes, task)
    size = f"{columns} column{'s' if columns > 1 else ''}"
    beside = f"{task.classes} classes" if task.classes else f"noise {task.noise:.2g}"
    axes.set_title(f"task {task.number}: {size}, {beside}", fontsize=9, loc="left")
    axes.tick_params(labelsize=7, color="#999999")
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def _curve(axes: Any, task: _Task) -> None:
    """y over the only column, with the signal where it is a function of the column."""
    axes.scatter(_spread(task, 0), task.y, color=CLASSES[0], **DOTS)
    if not task.tabular:
        order = np.argsort(task.at[:, 0])
        axes.plot(task.at[order, 0], task.signal[order, 0], color="#222222", linewidth=1.4)
    axes.set(xlabel=_name(task, 0), ylabel="y")


def _map(axes: Any, task: _Task) -> None:
    """Both columns, coloured by the target."""
    shown = axes.scatter(_spread(task, 0), _spread(task, 1), c=task.y, cmap=SHADES, **DOTS)
    _bar(axes, shown, "y")
    axes.set(xlabel=_name(task, 0), ylabel=_name(task, 1))


def _profile(axes: Any, task: _Task) -> None:
    """y over the column that says most of it, coloured by the one that says most of the rest."""
    said, rest = association(task.x, task.y)
    first = int(said.argmax())
    after = association(task.x, rest[first])[0]
    after[first] = -1.0
    second = int(after.argmax())
    colour = task.x[:, second]
    known = colour[~np.isnan(colour)]
    low, high = np.percentile(known, [2, 98]) if len(known) else (0.0, 1.0)  # an outlier must not take all shades
    shown = axes.scatter(_spread(task, first), task.y, c=colour, cmap=SHADES, vmin=low, vmax=high, **DOTS)
    _bar(axes, shown, f"column {second}")
    axes.set(xlabel=_name(task, first), ylabel="y")


def _class_strip(axes: Any, task: _Task) -> None:
    """The rows of each class over the only column, with the probabilities of classes where they are functions of it."""
    order = np.argsort(task.at[:, 0])
    x = _spread(task, 0)
    for label in range(task.classes):
        colour = CLASSES[label % len(CLASSES)]
        mine = task.y == label
        axes.scatter(x[mine], np.full(mine.sum(), -0.06 * (label + 1)), color=colour, **DOTS)
        if not task.tabular:
            axes.plot(task.at[order, 0], task.signal[order, label], color=colour, linewidth=1.4)
    axes.set(xlabel=_name(task, 0), ylabel="probability; rows below", yticks=np.linspace(0, 1, 6))


def _class_plane(axes: Any, task: _Task) -> None:
    """Rows coloured by class: over both columns, or in the plane that tells the classes apart best."""
    if task.x.shape[1] == 2:
        across, up = _spread(task, 0), _spread(task, 1)
        names = (_name(task, 0), _name(task, 1))
    else:
        (across, up), names = plane(task.x, task.y).T, ("best direction for classes", "next direction")
    for label in range(task.classes):
        mine = task.y == label
        axes.scatter(across[mine], up[mine], color=CLASSES[label % len(CLASSES)], **DOTS)
    axes.set(xlabel=names[0], ylabel=names[1])


def _bar(axes: Any, shown: Any, label: str) -> None:
    bar = axes.figure.colorbar(shown, ax=axes, pad=0.02, aspect=30)
    bar.ax.set_title(label, fontsize=8, loc="right")
    bar.ax.tick_params(labelsize=7, color="#999999")
    bar.outline.set_visible(False)
    bar.solids.set_alpha(1)


def _spread(task: _Task, column: int) -> Floats:
    """A column; codes of a category are spread a little, so that rows do not hide each other."""
    values = task.x[:, column]
    if not task.levels[column]:
        return values
    return values + np.random.default_rng(column).uniform(-0.2, 0.2, len(values)).astype(np.float32)


def _name(task: _Task, column: int) -> str:
    levels = task.levels[column]
    return f"column {column}" + (f", {levels} categories" if levels else "")
