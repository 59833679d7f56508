"""The contracts of the learned pieces: predictor f, adapter g with its start and update, refiner r.

Implementations know these contracts and not each other; `amortix.regimes` composes them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.latent import Latent
from amortix.layout import Layout

#: Columns that learners take by default. Nothing is trained for their number: a wide table costs time and memory.
MAX_FEATURES = 256

#: Classes that learners take by default.
MAX_OUTPUTS = 10


class AbstractPredictor(nn.Module, abc.ABC):
    """f(x, θ) with the parameters θ ``[T, P]`` of every task in one flat row.

    Args:
        max_features: the largest D.
        max_outputs: the largest O.
    """

    def __init__(self, max_features: int = MAX_FEATURES, max_outputs: int = MAX_OUTPUTS):
        super().__init__()
        self.max_features = max_features
        self.max_outputs = max_outputs

    @abc.abstractmethod
    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """The blocks of θ in their order, by name. A block of a smaller f is the beginning, along every axis, of a
        larger one's."""

    @abc.abstractmethod
    def initial(self) -> Tensor:
        """θ of the largest f before anything is learned, ``[P]``; drawn from torch's generator."""

    @abc.abstractmethod
    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """Outputs ``[T, M, O]`` at ``x`` ``[T, M, D]`` with θ = ``value`` ``[T, P]``, cut by ``layout``."""

    def layout(self, features: int, outputs: int) -> Layout:
        """How θ for D columns and O outputs is cut into blocks."""
        largest = self.blocks(self.max_features, self.max_outputs)
        return Layout(self.blocks(features, outputs), largest, outputs)


class AbstractFeaturePredictor(AbstractPredictor, abc.ABC):
    """f(x, θ) = φ(x; latent)ᵀ θ: the predictors that are linear in θ, whose head has closed forms."""

    @property
    @abc.abstractmethod
    def groups(self) -> int:
        """G, the number of groups of features."""

    @abc.abstractmethod
    def group(self, features: int) -> Tensor:
        """The group of each of the Q features for D = ``features`` input columns, ``[Q]`` int64."""

    @property
    @abc.abstractmethod
    def basis(self) -> int:
        """S, the rows of a latent's basis among the features; 0 for predictors that read no latent."""

    @abc.abstractmethod
    def features(self, x: Tensor, latent: Latent | None = None) -> Tensor:
        """φ, ``[T, M, Q]``.

        Args:
            x: ``[T, M, D]``.
            latent: the task's kernel and its basis, for predictors that read them; without one their features are zero.
        """

    def initial(self) -> Tensor:
        """Zero: a head over features needs no symmetry broken."""
        return torch.zeros(self.layout(self.max_features, self.max_outputs).size)

    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """φ(x)ᵀ θ; the blocks one below the other are θ ``[Q, O]``."""
        features = self.features(x)
        return features @ value.unflatten(1, (features.shape[2], -1))


F = TypeVar("F", bound=AbstractPredictor)
"""The predictors that an adapter can adapt."""


class AbstractAdapter(nn.Module, abc.ABC, Generic[F]):
    """The learned update h of arXiv 2510.11471, equation 2, with its memory and its readout."""

    @abc.abstractmethod
    def init(self, tasks: int, features: int, outputs: int, predictor: F) -> State:
        """The state of T tasks before any data."""

    @abc.abstractmethod
    def step(self, state: State, batch: Batch, predictor: F) -> State:
        """One refinement by one mini-batch; pure."""

    @abc.abstractmethod
    def predict(self, state: State, x: Tensor, predictor: F) -> Prediction:
        """Read the state at queries ``[T, M, D]``."""


class AbstractMergingAdapter(AbstractAdapter[F], abc.ABC):
    """An adapter whose states of disjoint rows merge into the state of them all."""

    @abc.abstractmethod
    def merge(self, state: State, other: State, predictor: F) -> State:
        """The state of both states' rows; which of them comes first does not matter, up to rounding.

        Raises:
            LearnerError: what the states have inferred of their tasks' kernels differs.
        """


class AbstractStart(nn.Module, abc.ABC):
    """θ⁽⁰⁾ of every task."""

    @abc.abstractmethod
    def forward(self, layout: Layout) -> Tensor:
        """``[P]``."""


class AbstractUpdate(nn.Module, abc.ABC):
    """A rule from gradients to parameters: (θ, ∇, memory) ↦ (θ', memory'). SGD, Adam, or learned."""

    @abc.abstractmethod
    def init(self, value: Tensor) -> dict[str, Tensor]:
        """The rule's memory at θ⁽⁰⁾ ``[T, P]``, by name, ``[T, ...]`` each."""

    @abc.abstractmethod
    def forward(
        self, value: Tensor, gradient: Tensor, memory: Mapping[str, Tensor], layout: Layout
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The next θ ``[T, P]`` and memory."""


@dataclass(frozen=True)
class Head:
    """What an adapter believes of a task, read from its state: weights over features, and how sure they are.

    Attributes:
        weights: ``[T, Q, O]``.
        link: from features times weights ``[T, N, O]`` to means or probabilities.
        noise: variance of an observation around the link's output, ``[T]``.
        count: rows seen, ``[T]``.
        log_damping: log λ per group of features, ``[T, G]``.
    """

    weights: Tensor
    link: Callable[[Tensor], Tensor]
    noise: Tensor
    count: Tensor
    log_damping: Tensor


class AbstractKernelAdapter(AbstractMergingAdapter[AbstractFeaturePredictor], abc.ABC):
    """An adapter whose state holds a kernel (`amortix.latent.Latent`) beside its head."""

    @abc.abstractmethod
    def head(self, state: State, predictor: AbstractFeaturePredictor) -> Head:
        """Read the head."""


class AbstractRefiner(nn.Module, abc.ABC):
    """The learned map r of arXiv 2510.11471, equation 3: the state belongs to the queries, the data stay raw."""

    @abc.abstractmethod
    def init(self, query_x: Tensor, outputs: int, like: State | None = None) -> State:
        """The state of M queries ``[T, M, D]`` before any data; ``like`` lends a fitted state's kernel."""

    @abc.abstractmethod
    def step(self, state: State, batch: Batch) -> State:
        """One refinement by one mini-batch; pure."""

    @abc.abstractmethod
    def predict(self, state: State) -> Prediction:
        """The prediction at the state's queries."""

    @abc.abstractmethod
    def ask(self, query_x: Tensor, fitted: State) -> State:
        """The state of late queries ``[T, M, D]`` of the tasks that ``fitted`` has learned: they recall no row yet."""

    @abc.abstractmethod
    def recall(self, state: State, batch: Batch) -> State:
        """Let late queries see rows that their tasks have learned from already."""


class AbstractMergingRefiner(AbstractRefiner, abc.ABC):
    """A refiner whose states of the same queries and disjoint rows merge into the state of all the rows."""

    @abc.abstractmethod
    def merge(self, state: State, other: State) -> State:
        """The state of both states' rows.

        Raises:
            LearnerError: the states' queries or kernels differ.
        """
