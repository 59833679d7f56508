"""Meta-training and evaluation of any learner inside an experiment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from amortix.data import TaskSampler, family_from_dict
from amortix.evaluation import evaluate
from amortix.learner import AbstractLearner
from amortix.training import Recipe, Trainer, one_cycle

UNSEEN = 2**40  # tasks to evaluate on; those of training have small seeds


def trained(learner: Mapping[str, Any], seed: int, **recipe: Any) -> tuple[AbstractLearner, float]:
    """A learner trained from a seed, and the seconds it took.

    Args:
        learner: as `amortix.checkpoint.build` takes it.
        seed: of weights and tasks.
        recipe: further fields of `Recipe`: families, iterations and others.
    """
    trainer = Trainer(Recipe.read({"name": "experiment", "learner": dict(learner), "seed": seed, **recipe}))
    while trainer.iteration < trainer.recipe.iterations:
        trainer.advance()
    return trainer.learner.eval().requires_grad_(False), trainer.seconds


def descend(learner: AbstractLearner, loss: Callable[[int], Tensor], *, iterations: int, rate: float) -> float:
    """Minimise what a source of tasks that is no family makes of each iteration; the seconds it took.

    Args:
        learner: whose parameters to change.
        loss: of the iteration with a number.
        iterations: how many.
        rate: peak of the one-cycle schedule.
    """
    clock, optimizer = Clock(), torch.optim.AdamW(learner.parameters(), lr=rate)
    for iteration in range(iterations):
        for group in optimizer.param_groups:
            group["lr"] = rate * one_cycle(iteration / iterations)
        optimizer.zero_grad(set_to_none=True)
        loss(iteration).backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
    return clock()


def curve(
    learner: AbstractLearner,
    family: Mapping[str, Any],
    seed: int,
    *,
    steps: Sequence[int],
    tasks: int,
    batch: int,
    points: int = 64,
) -> dict[int, tuple[float, float]]:
    """Mean excess risk on unseen tasks by the number of mini-batches: the learner's, and the oracle's (NaN without)."""
    sampler = TaskSampler(family_from_dict(dict(family)), seed=UNSEEN + seed)
    found = evaluate(learner, sampler, steps=steps, tasks=tasks, batch=batch, points=points)
    return {row["step"]: (row["excess"], row["oracle"] or math.nan) for row in found}


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start
