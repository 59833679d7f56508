"""The encoder adapter: the mean code of all rows, read as the parameters of f.

A mean over rows does not depend on their order, merges exactly over mini-batches and shards, and converges as rows
come. With a decoder for f this is the conditional neural process; with generated weights, a hypernetwork.

References:
    Zaheer et al., "Deep sets", NeurIPS 2017; Garnelo et al., "Conditional neural processes", ICML 2018.
"""

from __future__ import annotations

import abc
from typing import final

import torch
from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractPredictor
from amortix.encoders import RowEncoder, running_mean
from amortix.layout import Layout
from amortix.likelihoods import AbstractLikelihood


class AbstractReading(nn.Module, abc.ABC):
    """From a mean code to θ."""

    @abc.abstractmethod
    def forward(self, code: Tensor, layout: Layout) -> Tensor:
        """θ ``[T, P]`` from ``[T, W]``."""


@final
class CodeItself(AbstractReading):
    """The code is what f takes: a latent."""

    def forward(self, code: Tensor, layout: Layout) -> Tensor:
        """``[T, W]``."""
        return code


@final
class GeneratedWeights(AbstractReading):
    """θ = a + A·code for the largest predictor, of which a task takes its own.

    References:
        Ha, Dai and Le, "HyperNetworks", ICLR 2017.

    Args:
        predictor: f; its first parameters are a.
        width: W.
    """

    def __init__(self, predictor: AbstractPredictor, width: int):
        super().__init__()
        start = predictor.initial()
        self.linear = nn.Linear(width, len(start))
        with torch.no_grad():
            self.linear.weight.mul_(0.1)
            self.linear.bias.copy_(start)

    def forward(self, code: Tensor, layout: Layout) -> Tensor:
        """``[T, P]``."""
        return self.linear(code)[:, layout.places]


@final
class EncoderAdapter(AbstractAdapter[AbstractPredictor]):
    """A running mean of row codes.

    Args:
        encoder: makes the codes.
        reading: makes θ of their mean.
        likelihood: makes predictions of f's raw outputs.
    """

    def __init__(self, encoder: RowEncoder, reading: AbstractReading, likelihood: AbstractLikelihood):
        super().__init__()
        self.encoder = encoder
        self.reading = reading
        self.likelihood = likelihood

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """A code of zeros, no rows seen."""
        age = torch.zeros(tasks, dtype=torch.int64)
        return State(torch.zeros(tasks, self.encoder.width), age, {"seen": torch.zeros(tasks, outputs)})

    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """Merge the batch's codes into the mean."""
        seen, weight = state.memory["seen"], batch.weights()
        value = running_mean(state.value, seen.sum(1), self.encoder(batch.x, batch.y), weight)
        return State(value, state.age + 1, {"seen": seen + self.likelihood.counts(batch.y, weight, seen.shape[1])})

    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """f(x, θ) with the θ that the mean code stands for."""
        seen = state.memory["seen"]
        layout = predictor.layout(x.shape[2], self.likelihood.raw(seen.shape[1]))
        return self.likelihood(predictor(x, self.reading(state.value, layout), layout), torch.ones_like(seen[:, 0]))
