"""Excess risk and uncertainty by rows: a learner on a task family, beside the family's oracle on all the same rows."""

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
from amortix.uncertainty import measures, summary

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
        same rows and the ``ratio`` of the two; then what `amortix.uncertainty.summary` says of noisy targets at the
        queries, ``log_score`` and either ``coverage_50`` and so on or ``calibration_error``, and the same of the oracle
        with ``oracle_`` before each. What is the oracle's is None where the family has none.

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
    return [
        {"regime": learner.regime, "family": sampler.family.name, "step": k, "rows": k * batch}
        | _summary(*(_joined([chunk[k][side] for chunk in chunks]) for side in (0, 1)))
        for k in wanted
    ]


_Measured = dict[str, np.ndarray]  # of each task, [T, ...] by name


@torch.no_grad()
def _run(
    learner: AbstractLearner,
    sampler: Sampler,
    ids: np.ndarray,
    steps: Sequence[int],
    batch: int,
    points: int,
) -> dict[int, tuple[_Measured, _Measured]]:
    """By step, what the learner's predictions at each task's queries are worth, and the oracle's; {} without one."""
    query_x, query_y, signal = map(own, sampler.query(ids, points))
    state = learner.init(len(ids), sampler.features, sampler.outputs, query_x if learner.needs_queries else None)
    best, found = oracle(sampler, ids), {}

    def judge(prediction: Prediction) -> _Measured:
        risk = excess(prediction, signal, classes=bool(sampler.classes)).mean(1)
        return {"excess": risk.double().numpy()} | measures(prediction, query_y)

    for step in range(1, steps[-1] + 1):
        context = Batch(*map(own, sampler.context(ids, np.full(len(ids), step - 1), batch)))
        state = learner.step(state, context)
        if best:
            best.see(context)
        if step in steps:
            prediction = learner.predict(state, None if learner.needs_queries else query_x)
            found[step] = judge(prediction), judge(best.predict(query_x)) if best else {}
    return found


def _joined(parts: Sequence[_Measured]) -> _Measured:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _summary(learner: _Measured, best: _Measured) -> dict[str, Any]:
    excess, own = learner.pop("excess"), summary(learner)
    error = 1.96 * float(excess.std(ddof=1)) / math.sqrt(len(excess)) if len(excess) > 1 else math.inf
    mean, reference = float(excess.mean()), float(best.pop("excess").mean()) if best else math.nan
    known = math.isfinite(reference)  # a process's oracle has its limit of rows
    theirs = summary(best) if known else dict.fromkeys(own)
    return {
        "excess": mean,
        "low": mean - error,
        "high": mean + error,
        "oracle": reference if known else None,
        "ratio": mean / reference if known and reference else None,
        **own,
        **{f"oracle_{name}": value for name, value in theirs.items()},
    }
