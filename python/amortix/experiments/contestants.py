"""Ways to use a learner, or a fit of all rows, on a stream: each sees mini-batches and predicts the same queries.

The oracles of `amortix.oracles` are contestants too.
"""

from __future__ import annotations

from typing import Protocol, final

import torch
from torch import Tensor

from amortix.batch import Batch, Prediction, State
from amortix.learner import AbstractLearner


class Contestant(Protocol):
    """Sees every mini-batch of T tasks and predicts at any time."""

    def see(self, batch: Batch) -> None:
        """Take in the next mini-batch."""
        ...

    def predict(self, x: Tensor) -> Prediction:
        """Predict at ``[T, M, D]``."""
        ...


@final
class Streamed:
    """A learner that refines its state by every mini-batch, and keeps no row.

    Args:
        learner: any.
        query_x: ``[T, M, D]``, what will be asked: a query state belongs to it.
        outputs: O.
    """

    def __init__(self, learner: AbstractLearner, query_x: Tensor, outputs: int):
        self.learner = learner
        self.state = _begin(learner, query_x, outputs)

    def see(self, batch: Batch) -> None:
        """One step."""
        self.state = self.learner.step(self.state, batch)

    def predict(self, x: Tensor) -> Prediction:
        """Of the state."""
        return _ask(self.learner, self.state, x)


@final
class OnFirst:
    """One step on the first mini-batch, all later ones unseen. Arguments as of `Streamed`."""

    def __init__(self, learner: AbstractLearner, query_x: Tensor, outputs: int):
        self.learner, self.outputs = learner, outputs
        self.first: Batch | None = None

    def see(self, batch: Batch) -> None:
        """Keep the first."""
        self.first = self.first or batch

    def predict(self, x: Tensor) -> Prediction:
        """In one shot."""
        assert self.first is not None, "a contestant predicts after it has seen a batch"
        return _one_shot(self.learner, self.first, x, self.outputs)


@final
class OnSample:
    """One step on rows drawn from all rows so far, as many as a learner takes at once.

    Args:
        learner: any.
        outputs: O.
        rows: how many at most; None for all of them.
        seed: of the draw.
    """

    def __init__(self, learner: AbstractLearner, outputs: int, rows: int | None, seed: int = 0):
        self.learner, self.outputs, self.rows, self.seed = learner, outputs, rows, seed
        self.batches: list[Batch] = []

    def see(self, batch: Batch) -> None:
        """Keep the rows."""
        self.batches.append(batch)

    def predict(self, x: Tensor) -> Prediction:
        """In one shot."""
        rows, y = torch.cat([b.x for b in self.batches], 1), torch.cat([b.y for b in self.batches], 1)
        order = torch.randperm(y.shape[1], generator=torch.Generator().manual_seed(self.seed))[: self.rows]
        return _one_shot(self.learner, Batch(rows[:, order], y[:, order]), x, self.outputs)


@final
class Averaged:
    """The mean of the predictions that a learner makes of each mini-batch alone. Arguments as of `Streamed`."""

    def __init__(self, learner: AbstractLearner, query_x: Tensor, outputs: int):
        self.learner, self.query_x, self.outputs = learner, query_x, outputs
        self.total, self.count = torch.zeros(*query_x.shape[:2], outputs), 0

    def see(self, batch: Batch) -> None:
        """Add its prediction in one shot."""
        self.total = self.total + _one_shot(self.learner, batch, self.query_x, self.outputs).mean
        self.count += 1

    def predict(self, x: Tensor) -> Prediction:
        """The mean at the queries that it was made for."""
        return Prediction(self.total / self.count)


def _begin(learner: AbstractLearner, query_x: Tensor, outputs: int) -> State:
    tasks, _, features = query_x.shape
    return learner.init(tasks, features, outputs, query_x if learner.needs_queries else None)


def _ask(learner: AbstractLearner, state: State, x: Tensor) -> Prediction:
    return learner.predict(state, None if learner.needs_queries else x)


def _one_shot(learner: AbstractLearner, batch: Batch, x: Tensor, outputs: int) -> Prediction:
    return _ask(learner, learner.step(_begin(learner, x, outputs), batch), x)
