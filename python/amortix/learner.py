"""The contract of a learner, and its two kinds.

``state = learner.init(...)``, then ``state = learner.step(state, batch)`` for every mini-batch of the stream, and
``learner.predict(state, x)`` at any time in between. A learner holds what was meta-learned; the state holds all
that the task has taught.
"""

from __future__ import annotations

import abc
from functools import reduce
from typing import Generic, Literal, final

from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.contracts import (
    MAX_FEATURES,
    MAX_OUTPUTS,
    AbstractAdapter,
    AbstractMergingAdapter,
    AbstractMergingRefiner,
    AbstractRefiner,
    F,
)
from amortix.errors import LearnerError
from amortix.merging import lend
from amortix.outer import AbstractOuterLoss, RelativeExcess

Task = Literal["regression", "classification"]
Regime = Literal["parametric", "explicit", "implicit"]


class AbstractLearner(nn.Module, abc.ABC):
    """A meta-learned update rule with its predictor: f(x, g(data)) of one regime (arXiv 2510.11471, eq. 1-3).

    Attributes:
        regime: ``"parametric"``, ``"explicit"`` or ``"implicit"``.
        task: ``"regression"`` or ``"classification"``.
        max_features: the largest D.
        max_outputs: the largest O.
        needs_queries: whether the state belongs to given query points (implicit) or to the task.
        outer: what meta-training minimises.
    """

    needs_queries: bool

    def __init__(
        self,
        regime: Regime,
        task: Task,
        *,
        max_features: int = MAX_FEATURES,
        max_outputs: int = MAX_OUTPUTS,
        outer: AbstractOuterLoss | None = None,
    ):
        super().__init__()
        self.regime = regime
        self.task = task
        self.outer = outer or RelativeExcess()
        self.max_features = max_features
        self.max_outputs = 1 if task == "regression" else max_outputs

    @abc.abstractmethod
    def init(
        self,
        tasks: int,
        features: int,
        outputs: int = 1,
        query_x: Tensor | None = None,
        like: State | None = None,
    ) -> State:
        """The state before any data.

        Args:
            tasks: T.
            features: D.
            outputs: O, 1 for regression, the number of classes otherwise.
            query_x: ``[T, M, D]``; required where `needs_queries`, refused elsewhere.
            like: a fitted state of the same tasks, whose kernel and sample the new state shares: for shards that
                `merge` is to join.

        Raises:
            LearnerError: more features or outputs than the learner takes, or queries missing or in excess.
        """

    @abc.abstractmethod
    def step(self, state: State, batch: Batch) -> State:
        """One refinement by one mini-batch. Pure: nothing is written into ``state``."""

    @abc.abstractmethod
    def predict(self, state: State, x: Tensor | None = None) -> Prediction:
        """Predict at ``x`` ``[T, M, D]`` from a task state, or at the state's own queries when ``x`` is None.

        Raises:
            LearnerError: ``x`` missing for a task state, or given to a query state.
        """

    @abc.abstractmethod
    def ask(self, query_x: Tensor, fitted: State) -> State:
        """The state of late queries ``[T, M, D]``: what ``fitted`` has learned of its tasks, and no rows yet.

        `recall` lets them see rows that ``fitted`` has learned from, in any order, before `predict`.

        Raises:
            LearnerError: the learner's states belong to their tasks and answer any query.
        """

    @abc.abstractmethod
    def recall(self, state: State, batch: Batch) -> State:
        """Let late queries see rows; what was learned from them is not learned again. Pure.

        Raises:
            LearnerError: as `ask`.
        """

    @abc.abstractmethod
    def merge(self, state: State, *others: State) -> State:
        """The state of the rows of all the states, which have seen disjoint rows of the same tasks.

        Where a kernel is inferred, shards begin by ``init(like=first)``, with a state that has seen the first rows, and
        are merged with it: the first rows count once. After merging no kernel is inferred anew.

        Raises:
            LearnerError: the learner's states do not merge, or these have kernels or queries apart.
        """

    def _check(self, features: int, outputs: int) -> None:
        if not 1 <= features <= self.max_features:
            raise LearnerError(
                f"the learner takes 1 to {self.max_features} columns, not {features}: drop or combine some"
            )
        least = 1 if self.task == "regression" else 2
        if not least <= outputs <= self.max_outputs:
            what = "outputs" if self.task == "regression" else "classes"
            raise LearnerError(f"the {self.task} learner takes {least} to {self.max_outputs} {what}, not {outputs}")


@final
class TaskStateLearner(AbstractLearner, Generic[F]):
    """A state per task: adapter g and predictor f (parametric and explicit regimes)."""

    needs_queries = False

    def __init__(
        self,
        regime: Regime,
        task: Task,
        adapter: AbstractAdapter[F],
        predictor: F,
        outer: AbstractOuterLoss | None = None,
    ):
        sizes = {"max_features": predictor.max_features, "max_outputs": predictor.max_outputs}
        super().__init__(regime, task, **sizes, outer=outer)
        self.adapter = adapter
        self.predictor = predictor

    def init(
        self,
        tasks: int,
        features: int,
        outputs: int = 1,
        query_x: Tensor | None = None,
        like: State | None = None,
    ) -> State:
        """See `AbstractLearner.init`; a task state takes no queries."""
        self._check(features, outputs)
        if query_x is not None:
            raise LearnerError(f"the {self.regime} learner's state knows no queries: give them to predict")
        fresh = self.adapter.init(tasks, features, outputs, self.predictor)
        return fresh if like is None else lend(like, fresh)

    def step(self, state: State, batch: Batch) -> State:
        """See `AbstractLearner.step`."""
        return self.adapter.step(state, batch, self.predictor)

    def predict(self, state: State, x: Tensor | None = None) -> Prediction:
        """See `AbstractLearner.predict`."""
        if x is None:
            raise LearnerError(f"the {self.regime} learner needs the points to predict: predict(state, x)")
        return self.adapter.predict(state, x, self.predictor)

    def ask(self, query_x: Tensor, fitted: State) -> State:
        """Refused: see `AbstractLearner.ask`."""
        raise LearnerError(f"the {self.regime} learner's state answers any query: predict(state, x)")

    def recall(self, state: State, batch: Batch) -> State:
        """Refused: see `AbstractLearner.recall`."""
        raise LearnerError(f"the {self.regime} learner's state recalls no rows: step(state, batch)")

    def merge(self, state: State, *others: State) -> State:
        """See `AbstractLearner.merge`."""
        adapter = self.adapter
        if not isinstance(adapter, AbstractMergingAdapter):
            raise LearnerError(f"states of {type(adapter).__name__} do not merge: adapt to one stream")
        return reduce(lambda one, other: adapter.merge(one, other, self.predictor), others, state)


@final
class QueryStateLearner(AbstractLearner):
    """A state per query: refiner r (implicit regime)."""

    needs_queries = True

    def __init__(
        self,
        task: Task,
        refiner: AbstractRefiner,
        *,
        max_features: int = MAX_FEATURES,
        max_outputs: int = MAX_OUTPUTS,
        outer: AbstractOuterLoss | None = None,
    ):
        super().__init__("implicit", task, max_features=max_features, max_outputs=max_outputs, outer=outer)
        self.refiner = refiner

    def init(
        self,
        tasks: int,
        features: int,
        outputs: int = 1,
        query_x: Tensor | None = None,
        like: State | None = None,
    ) -> State:
        """See `AbstractLearner.init`."""
        self._check(features, outputs)
        if query_x is None or query_x.shape[::2] != (tasks, features):
            raise LearnerError(
                f"the implicit learner's state belongs to its queries: init(query_x=[{tasks}, M, {features}])"
            )
        return self.refiner.init(query_x, outputs, like)

    def step(self, state: State, batch: Batch) -> State:
        """See `AbstractLearner.step`."""
        return self.refiner.step(state, batch)

    def ask(self, query_x: Tensor, fitted: State) -> State:
        """See `AbstractLearner.ask`."""
        return self.refiner.ask(query_x, fitted)

    def recall(self, state: State, batch: Batch) -> State:
        """See `AbstractLearner.recall`."""
        return self.refiner.recall(state, batch)

    def predict(self, state: State, x: Tensor | None = None) -> Prediction:
        """See `AbstractLearner.predict`."""
        if x is not None:
            raise LearnerError("an implicit state predicts its own queries: predict(state); for others, init with them")
        return self.refiner.predict(state)

    def merge(self, state: State, *others: State) -> State:
        """See `AbstractLearner.merge`."""
        refiner = self.refiner
        if not isinstance(refiner, AbstractMergingRefiner):
            raise LearnerError(f"states of {type(refiner).__name__} do not merge: adapt to one stream")
        return reduce(refiner.merge, others, state)
