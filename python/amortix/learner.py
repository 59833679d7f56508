"""The contract of a learner: `init`, `step`, `predict` over an explicit state.

``state = learner.init(...)``, then ``state = learner.step(state, batch)`` for every mini-batch of the stream, and
``learner.predict(state, x)`` at any time in between. A learner holds what was meta-learned; the state holds all
that the task has taught.
"""

from __future__ import annotations

import abc
from typing import Literal

from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State

Task = Literal["regression", "classification"]


class AbstractLearner(nn.Module, abc.ABC):
    """A meta-learned update rule with its predictor: f(x, g(data)) of one regime (arXiv 2510.11471, eq. 1-3).

    Attributes:
        regime: ``"parametric"``, ``"explicit"`` or ``"implicit"``.
        task: ``"regression"`` or ``"classification"``.
    """

    regime: str
    task: Task

    @property
    @abc.abstractmethod
    def needs_queries(self) -> bool:
        """Whether the state belongs to given query points (implicit) or to the task (parametric, explicit)."""

    @abc.abstractmethod
    def init(self, tasks: int, features: int, outputs: int = 1, query_x: Tensor | None = None) -> State:
        """The state before any data.

        Args:
            tasks: T.
            features: D.
            outputs: O, 1 for regression, the number of classes otherwise.
            query_x: ``[T, M, D]``; required where `needs_queries`, refused elsewhere.
        """

    @abc.abstractmethod
    def step(self, state: State, batch: Batch) -> State:
        """One refinement by one mini-batch. Pure: nothing is written into ``state``."""

    @abc.abstractmethod
    def predict(self, state: State, x: Tensor | None = None) -> Prediction:
        """Predict at ``x`` ``[T, M, D]`` from a task state, or at the state's own queries when ``x`` is None."""
