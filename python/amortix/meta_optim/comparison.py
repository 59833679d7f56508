"""Optimizers side by side on one inner task: loss against steps and seconds, the peers tuned over a grid of rates.

Peers get the best of the grid and of two schedules, by their loss on seeds that are not shown; a learned optimizer has
no rate to tune and runs under both schedules too. All see the same first parameters and mini-batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amortix.errors import ConfigError
from amortix.meta_optim.tasks import AbstractInnerTask
from amortix.optim import LearnedOptimizer

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SCHEDULES = ("constant", "cosine")
_JUDGED, _POINTS = 16, 50
_UNSEEN = 10**9


@dataclass(frozen=True)
class Optimizer:
    """A way to make an optimizer.

    Attributes:
        name: as printed.
        make: from parameters and a rate.
        rates: to choose from.
        schedules: to choose from: constant, or cosine, which falls to zero.
    """

    name: str
    make: Callable[[list[Tensor], float], Any]
    rates: tuple[float, ...]
    schedules: tuple[str, ...] = SCHEDULES


@dataclass(frozen=True)
class Curve:
    """One training.

    Attributes:
        steps, seconds, losses: at each point; losses on mini-batches that are the same for all, in nats or squares.
        final: the last of the losses, infinite where it is not finite.
    """

    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def final(self) -> float:
        """The last loss."""
        return self.losses[-1] if math.isfinite(self.losses[-1]) else math.inf


def learned(weights: str, name: str | None = None) -> Optimizer:
    """A learned optimizer at the rate it was trained with."""
    return Optimizer(name or weights, lambda params, lr: LearnedOptimizer(params, weights, lr=lr), (1.0,))


def adamw(rates: Sequence[float] | None = None) -> Optimizer:
    """`torch.optim.AdamW`, fused, without weight decay, as the loss is that of training."""
    make = lambda params, lr: torch.optim.AdamW(params, lr=lr, weight_decay=0.0, fused=True)  # noqa: E731
    return Optimizer("AdamW", make, tuple(rates or RATES))


def sgd(rates: Sequence[float] | None = None) -> Optimizer:
    """`torch.optim.SGD` with momentum 0.9; rates are ten times those of Adam."""
    make = lambda params, lr: torch.optim.SGD(params, lr=10 * lr, momentum=0.9, fused=True)  # noqa: E731
    return Optimizer("SGD, momentum .9", make, tuple(rates or RATES))


def schedule_free(rates: Sequence[float] | None = None) -> Optimizer:
    """Schedule-free AdamW (Defazio et al., 2024).

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError:
        raise ConfigError("schedule-free AdamW comes with: pip install schedulefree") from None
    make = lambda params, lr: AdamWScheduleFree(params, lr=lr, warmup_steps=10)  # noqa: E731
    return Optimizer("schedule-free AdamW", make, tuple(rates or RATES), ("constant",))


def run(
    task: AbstractInnerTask, optimizer: Optimizer, rate: float, schedule: str, steps: int, seed: int, points: int = 1
) -> Curve:
    """Train once.

    Args:
        task: the task.
        optimizer: of which the rate and the schedule are chosen.
        rate: multiplies its steps.
        schedule: constant or cosine.
        steps: mini-batches.
        seed: of first parameters and mini-batches.
        points: how often the loss is measured, at equal distances; the time it takes is not counted.
    """
    number = torch.tensor(seed)
    parameters = [one.requires_grad_() for one in task.init(number)]
    made = optimizer.make(parameters, rate)
    falling = torch.optim.lr_scheduler.LambdaLR(made, lambda t: _share(schedule, t / steps))
    marks = {round(steps * (i + 1) / points) for i in range(points)}
    seen: list[tuple[int, float, float]] = []
    _mode(made, "train")
    seconds, started = 0.0, time.perf_counter()
    for step in range(steps):
        made.zero_grad()
        task.loss(parameters, number, torch.tensor(step)).backward()
        made.step()
        falling.step()
        if step + 1 in marks:
            seconds += time.perf_counter() - started
            _mode(made, "eval")
            seen.append((step + 1, seconds, judged(task, parameters, number)))
            _mode(made, "train")
            started = time.perf_counter()
    return Curve(*(tuple(column) for column in zip(*seen, strict=True)))


@torch.no_grad()
def judged(task: AbstractInnerTask, parameters: list[Tensor], seed: Tensor) -> float:
    """The mean loss on mini-batches that no training reaches."""
    return sum(float(task.loss(parameters, seed, torch.tensor(_UNSEEN + i))) for i in range(_JUDGED)) / _JUDGED


def tune(task: AbstractInnerTask, optimizer: Optimizer, steps: int, seeds: Sequence[int]) -> tuple[float, str, float]:
    """The rate and the schedule of the least mean loss at the end, and that loss."""
    choices = []
    for schedule in optimizer.schedules:
        for rate in optimizer.rates:
            finals = [run(task, optimizer, rate, schedule, steps, seed).final for seed in seeds]
            choices.append((sum(finals) / len(finals), rate, schedule))
    loss, rate, schedule = min(choices)
    return rate, schedule, loss


def _share(schedule: str, done: float) -> float:
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _mode(optimizer: Any, name: str) -> None:
    """Schedule-free optimizers keep two sets of parameters and swap them."""
    if hasattr(optimizer, name):
        getattr(optimizer, name)()


@dataclass(frozen=True)
class Result:
    """An optimizer's trainings on the seeds that are shown, at its chosen rate and schedule.

    Attributes:
        name, rate, schedule: of the optimizer.
        curves: one per seed.
    """

    name: str
    rate: float
    schedule: str
    curves: tuple[Curve, ...]

    def mean(self, seconds: float = math.inf) -> float:
        """The mean of the last losses, or of the last ones that were measured within so many seconds."""
        ends = []
        for curve in self.curves:
            within = [loss for at, loss in zip(curve.seconds, curve.losses, strict=True) if at <= seconds]
            ends.append(within[-1] if within else curve.losses[0])
        return sum(ends) / len(ends)

    def seconds(self) -> float:
        """The mean time of a training."""
        return sum(curve.seconds[-1] for curve in self.curves) / len(self.curves)


def compare(
    task: AbstractInnerTask,
    optimizers: Sequence[Optimizer],
    steps: int,
    seeds: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result]:
    """Tune each optimizer on a seed of its own, then train it on ``seeds`` others.

    Args:
        task: the task.
        optimizers: what is compared.
        steps: mini-batches of a training.
        seeds: how many are shown.
        progress: called with what is done and how much there is to do, in optimizers.
    """
    results = []
    for place, optimizer in enumerate(optimizers):
        rate, schedule, _ = tune(task, optimizer, steps, [_UNSEEN])
        curves = [run(task, optimizer, rate, schedule, steps, seed, min(_POINTS, steps)) for seed in range(seeds)]
        results.append(Result(optimizer.name, rate, schedule, tuple(curves)))
        progress(place + 1, len(optimizers))
    return results


def result_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A row of numbers for each optimizer; ``loss_at`` is after the seconds of the quickest one's whole training."""
    quickest = min(result.seconds() for result in results)
    return [
        {
            "optimizer": result.name,
            "rate": result.rate,
            "schedule": result.schedule,
            "steps": result.curves[0].steps[-1],
            "seeds": len(result.curves),
            "loss": result.mean(),
            "least": min(curve.final for curve in result.curves),
            "largest": max(curve.final for curve in result.curves),
            "seconds": result.seconds(),
            "loss_at": result.mean(quickest),
        }
        for result in results
    ]
