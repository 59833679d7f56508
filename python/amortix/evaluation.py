"""Excess risk against rows: a learner on a task family, beside the family's oracle on all the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from amortix.batch import Batch, Prediction, own
from amortix.data import Sampler
from amortix.errors import ConfigError
from amortix.learner import AbstractLearner
from amortix.objectives import excess
from amortix.oracles import oracle

_CHUNK = 64  # tasks at a time: bounds memory; tasks do not see each other


def evaluate(
    learner: AbstractLearner,
    sampler: Sampler,
    *,
    steps: Iterable[int] = (1, 10, 100),
    tasks: int = 256,
    batch: int = 32,
    points: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Adapt to each task and measure at chosen steps.

    Args:
        learner: any learner of the sampler's objective.
        sampler: a `TaskSampler` or `ImageTasks` of tasks that the learner has not been trained on: a seed of its own.
        steps: after how many mini-batches to measure.
        tasks: how many tasks.
        batch: rows per mini-batch.
        points: queries per task; the excess risk is measured against the noise-free truth there.
        progress: called with (tasks done, tasks).

    Returns:
        One row per step: ``regime``, ``family``, ``step``, ``rows``, ``excess`` (mean over tasks; squared error, or
        Kullback-Leibler divergence in nats), its 95 % interval ``low`` .. ``high``, the ``oracle``'s excess on the
        same rows and the ``ratio`` of the two (None where the family has no oracle).

    Raises:
        ConfigError: the family's objective is not the learner's, or a size is not positive.
    """
    wanted = sorted(set(steps))
    if not wanted or wanted[0] < 1 or min(tasks, batch, points) < 1:
        raise ConfigError("steps, tasks, batch and points must be positive whole numbers")
    if bool(sampler.classes) != (learner.task == "classification"):
        raise ConfigError(
            f"the {learner.regime} learner is for {learner.task}, the family is not: choose another of either"
        )
    chunks = []
    for start in range(0, tasks, _CHUNK):
        ids = np.arange(start, min(start + _CHUNK, tasks))
        chunks.append(_run(learner, sampler, ids, wanted, batch, points))
        if progress:
            progress(int(ids[-1]) + 1, tasks)
    risks = np.concatenate(chunks, axis=2)
    return [_row(learner, sampler, k, k * batch, *risks[:, i]) for i, k in enumerate(wanted)]


@torch.no_grad()
def _run(
    learner: AbstractLearner,
    sampler: Sampler,
    ids: np.ndarray,
    steps: Sequence[int],
    batch: int,
    points: int,
) -> np.ndarray:
    """Mean excess over each task's queries: ``[2, steps, T]``, the learner's and the oracle's (NaN without one)."""
    query_x, _, signal = map(own, sampler.query(ids, points))
    state = learner.init(len(ids), sampler.features, sampler.outputs, query_x if learner.needs_queries else None)
    best = oracle(sampler, ids)
    risks = np.full((2, len(steps), len(ids)), np.nan)
    for step in range(1, steps[-1] + 1):
        batches = map(own, sampler.context(ids, np.full(len(ids), step - 1), batch))
        context = Batch(*batches)
        state = learner.step(state, context)
        if best:
            best.see(context)
        if step in steps:
            at = steps.index(step)
            prediction = learner.predict(state, None if learner.needs_queries else query_x)
            risks[0, at] = _risk(prediction, signal, sampler)
            if best:
                risks[1, at] = _risk(best.predict(query_x), signal, sampler)
    return risks


def _risk(prediction: Prediction, signal: torch.Tensor, sampler: Sampler) -> np.ndarray:
    return excess(prediction, signal, classes=bool(sampler.classes)).mean(1).double().numpy()


def _row(
    learner: AbstractLearner, sampler: Sampler, step: int, rows: int, own: np.ndarray, best: np.ndarray
) -> dict[str, Any]:
    mean, known = float(own.mean()), not np.isnan(best).any()
    error = 1.96 * float(own.std(ddof=1)) / math.sqrt(len(own)) if len(own) > 1 else math.inf
    reference = float(best.mean()) if known else None
    return {
        "regime": learner.regime,
        "family": sampler.family.name,
        "step": step,
        "rows": rows,
        "excess": mean,
        "low": mean - error,
        "high": mean + error,
        "oracle": reference,
        "ratio": mean / reference if reference else None,
    }
