"""What `amortix optim` does, once its arguments are read. Imports PyTorch."""

from __future__ import annotations

import sys
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console

from amortix import loss_plot, report
from amortix.errors import ConfigError
from amortix.meta_optim import comparison, trainer
from amortix.meta_optim.tasks import build_task
from amortix.plot import check_plot

TASKS: dict[str, dict[str, Any]] = {
    "perceptron": {"kind": "perceptron", "hidden": [64, 64], "batch": 32},
    "logistic": {"kind": "logistic", "batch": 32},
    "convnet": {"kind": "convnet", "channels": [8, 16], "batch": 32},
    "transformer": {"kind": "transformer", "width": 32, "length": 16, "batch": 8, "blocks": 2, "half": 1},
    "regression": {"kind": "regression", "features": 8, "hidden": [64, 64], "batch": 32},
}
"""What `amortix optim compare --task` takes; sizes that meta-training has not met."""

_SHOWN = ("optimizer", "rate", "schedule", "loss", "seconds", "loss_at")  # what 80 columns hold; --json has all


def train(recipe: str, out: Path, *, resume: bool, seconds: float | None, json: bool) -> bool:
    """Run `amortix optim train`; False where the time ran out before the end."""
    return report.shown_training(
        partial(trainer.train, _recipe(recipe), out=out, resume=resume, seconds=seconds), lines=json
    )


def compare(task: str, weights: list[str], *, steps: int, seeds: int, plot: Path | None, json: bool) -> None:
    """Run `amortix optim compare`."""
    if plot is not None:
        check_plot(plot)
    if task not in TASKS:
        raise ConfigError(f"no task {task!r}: choose from {', '.join(TASKS)}")
    optimizers = [*(comparison.learned(name) for name in weights), comparison.adamw(), comparison.sgd()]
    try:
        optimizers.append(comparison.schedule_free())
    except ConfigError as error:
        print(f"amortix: left out: {error}", file=sys.stderr)
    with report.counting_bar("optimizers", shown=not json) as progress:
        results = comparison.compare(build_task(TASKS[task]), optimizers, steps, seeds, progress)
    rows = comparison.result_rows(results)
    if json:
        for row in rows:
            print(report.json_line({"task": task} | row))
    else:
        shown = [{name: row[name] for name in _SHOWN} for row in rows]
        Console().print(report.rows_grid(shown, title=f"{task}, {steps:,} steps, means of {seeds} trainings"))
        print("loss_at: after the seconds that the quickest one took")
    if plot is not None:
        loss_plot.plot_losses(results, plot, title=f"{task}: loss by optimizer, each at its best rate and schedule")


def _recipe(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    folder = Path(str(resources.files("amortix").joinpath("recipes", "optimizers")))
    bundled = {file.stem: file for file in sorted(folder.glob("*.toml"))}
    if name not in bundled:
        raise ConfigError(f"no recipe {name!r}: give a .toml file or one of {', '.join(bundled)}")
    return bundled[name]
