"""The contracts of the three learned pieces: predictor f, adapter g, refiner r.

Implementations know these contracts and not each other; `amortix.regimes` composes them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State

#: Columns that learners take by default. Nothing is trained for their number: a wide table costs time and memory.
MAX_FEATURES = 256


class AbstractPredictor(nn.Module, abc.ABC):
    """f(x, θ) = φ(x; latent)ᵀ θ."""

    @property
    @abc.abstractmethod
    def groups(self) -> int:
        """G, the number of groups of features."""

    @abc.abstractmethod
    def group(self, features: int) -> Tensor:
        """The group of each of the P features for D = ``features`` input columns, ``[P]`` int64."""

    @abc.abstractmethod
    def features(self, x: Tensor, relevance: Tensor | None = None) -> Tensor:
        """φ, ``[T, M, P]``.

        Args:
            x: ``[T, M, D]``.
            relevance: the latent of the kernel, log ρ ``[T, D]``, for predictors that take one.
        """


class AbstractAdapter(nn.Module, abc.ABC):
    """The learned update h of arXiv 2510.11471, equation 2, with its memory and its readout."""

    @abc.abstractmethod
    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """The state of T tasks before any data."""

    @abc.abstractmethod
    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """One refinement by one mini-batch; pure."""

    @abc.abstractmethod
    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """Read the state at queries ``[T, M, D]``."""


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


class AbstractKernelAdapter(AbstractAdapter, abc.ABC):
    """An adapter whose state holds a kernel (`amortix.relevance.Latent`) beside its head."""

    @abc.abstractmethod
    def head(self, state: State, predictor: AbstractPredictor) -> Head:
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
