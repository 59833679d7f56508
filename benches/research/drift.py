"""What becomes of a learner whose stream drifts, or is not shuffled, with and without forgetting.

    python benches/research/drift.py --out benches/results/research/drift.jsonl
    python benches/research/drift.py --regimes --tasks 24 --length 40 --out benches/results/research/drift-regimes.jsonl

Linear tasks of 8 columns, noise .5, in mini-batches of 32. The weights are stationary; or walk, each mini-batch a step
of that share of their deviation while their law stays N(0, I); or are drawn anew once, half-way; or the rows come
sorted by their first column. Excess squared error on rows of the present task, at the last quarter of the mini-batches,
mean over tasks; rows of queries are not sorted. ``oracle`` is the Kalman filter that knows noise, step and switch: the
best that can be. ``ratio`` is to the learner that never forgets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amortix import load
from amortix.adapters.forgetting import SPANS, ForgettingAdapter
from amortix.batch import Batch
from amortix.learner import AbstractLearner, TaskStateLearner

_COLUMNS, _NOISE, _BATCH = 8, 0.5, 32


@dataclass(frozen=True)
class Stream:
    """How the weights move, and the order of rows.

    Attributes:
        name: in the table.
        step: share of the weights' deviation that is new at each mini-batch.
        switch: whether all of it is new half-way.
        ordered: whether rows come sorted by the first column.
    """

    name: str
    step: float = 0.0
    switch: bool = False
    ordered: bool = False

    def moved(self, index: int, length: int) -> float:
        """The share that is new at a mini-batch."""
        return 1.0 if self.switch and index == length // 2 else self.step


STREAMS = (
    Stream("stationary"),
    Stream("walk of .01", step=0.01),
    Stream("walk of .03", step=0.03),
    Stream("walk of .1", step=0.1),
    Stream("walk of .3", step=0.3),
    Stream("one switch", switch=True),
    Stream("sorted rows", ordered=True),
)


def drawn(stream: Stream, tasks: int, length: int, seed: int) -> Iterator[tuple[Batch, Tensor, float]]:
    """Mini-batches with the weights ``[T, D + 1]`` that made them and the share of these that is new."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(tasks, length * _BATCH, _COLUMNS, generator=generator)
    if stream.ordered:
        rows = rows.gather(1, rows[..., :1].argsort(1).expand_as(rows))
    weights = torch.randn(tasks, _COLUMNS + 1, generator=generator)
    for index in range(length):
        moved = stream.moved(index, length)
        weights = (1 - moved**2) ** 0.5 * weights + moved * torch.randn(weights.shape, generator=generator)
        x = rows[:, index * _BATCH : (index + 1) * _BATCH]
        y = _signal(x, weights) + _NOISE * torch.randn(tasks, _BATCH, generator=generator)
        yield Batch(x, y), weights, moved


def _signal(x: Tensor, weights: Tensor) -> Tensor:
    return (x @ weights[:, 1:, None]).squeeze(2) + weights[:, :1]


class Kalman:
    """The exact filter of the walk, in float64."""

    def __init__(self, tasks: int):
        self.mean = torch.zeros(tasks, _COLUMNS + 1, dtype=torch.float64)
        self.covariance = torch.eye(_COLUMNS + 1, dtype=torch.float64).expand(tasks, -1, -1)

    def see(self, batch: Batch, moved: float) -> None:
        """Move, then condition on the batch."""
        eye = torch.eye(_COLUMNS + 1, dtype=torch.float64)
        mean, prior = (1 - moved**2) ** 0.5 * self.mean, (1 - moved**2) * self.covariance + moved**2 * eye
        phi = torch.cat([torch.ones_like(batch.x[..., :1]), batch.x], -1).double()
        precision = torch.linalg.inv(prior)
        self.covariance = torch.linalg.inv(precision + phi.mT @ phi / _NOISE**2)
        information = precision @ mean.unsqueeze(2) + phi.mT @ batch.y.double().unsqueeze(2) / _NOISE**2
        self.mean = (self.covariance @ information).squeeze(2)


@torch.no_grad()
def errors(
    learners: dict[str, AbstractLearner], stream: Stream, tasks: int, length: int, seed: int
) -> dict[str, float]:
    """Mean excess error of each learner, and of the oracle, over the last quarter of the stream."""
    best, totals, late = Kalman(tasks), dict.fromkeys([*learners, "oracle"], 0.0), length - length // 4
    query = torch.randn(tasks, 64, _COLUMNS, generator=torch.Generator().manual_seed(seed + 1))
    states = {
        name: learner.init(tasks, _COLUMNS, 1, query if learner.needs_queries else None)
        for name, learner in learners.items()
    }
    for index, (batch, weights, moved) in enumerate(drawn(stream, tasks, length, seed)):
        best.see(batch, moved)
        for name, learner in learners.items():
            states[name] = learner.step(states[name], batch)
            if index >= late:
                mean = learner.predict(states[name], None if learner.needs_queries else query).mean.squeeze(2)
                totals[name] += float((mean - _signal(query, weights)).square().mean())
        if index >= late:
            totals["oracle"] += float((_signal(query, best.mean.float()) - _signal(query, weights)).square().mean())
    return {name: total / (length - late) for name, total in totals.items()}


def _regimes() -> dict[str, AbstractLearner]:
    return {regime: load(f"{regime}-regression") for regime in ("parametric", "explicit", "implicit")}


def _spans() -> dict[str, AbstractLearner]:
    plain = load("parametric-regression")
    assert isinstance(plain, TaskStateLearner)

    def made(spans: tuple[float, ...] = SPANS, **settings: float) -> AbstractLearner:
        adapter = ForgettingAdapter(plain.adapter, spans, **settings)
        return TaskStateLearner("parametric", "regression", adapter, plain.predictor)

    fixed = {f"span {span:.0f}": made((span,)) for span in (2048.0, 512.0, 128.0, 32.0)}
    return {"never forgets": plain, "bank": made(), "bank, equal prior": made(doubt=0.0), **fixed}


def main() -> None:
    """Measure every stream."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", action="store_true", help="the three bundled regimes, none of which forgets")
    parser.add_argument("--tasks", type=int, default=128)
    parser.add_argument("--length", type=int, nargs="+", default=[40, 200], help="mini-batches")
    parser.add_argument("--out", type=Path, help="file that is written")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[dict[str, Any]] = []
    for stream in STREAMS:
        for length in asked.length:
            found = errors(_regimes() if asked.regimes else _spans(), stream, asked.tasks, length, seed=2**40)
            ratio = {} if asked.regimes else {"ratio": found["bank"] / found["never forgets"]}
            lines.append({"name": stream.name, "mini-batches": length, "tasks": asked.tasks, **found, **ratio})
            print(json.dumps(lines[-1]), flush=True)
    if asked.out:
        asked.out.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
