"""What a network's raw outputs say of a target: the loss of rows, and the predictive distribution."""

from __future__ import annotations

import abc
import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amortix.batch import Batch, Prediction


class AbstractLikelihood(nn.Module, abc.ABC):
    """From raw outputs ``[T, M, R]`` to losses and predictions."""

    @abc.abstractmethod
    def raw(self, outputs: int) -> int:
        """R, raw outputs for O outputs."""

    @abc.abstractmethod
    def counts(self, y: Tensor, weight: Tensor, outputs: int) -> Tensor:
        """Weight of the rows of each output, ``[T, O]``; for regression, of all rows."""

    @abc.abstractmethod
    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        """The loss of every row, ``[T, B]``, for targets ``[T, B]``."""

    def mean_loss(self, raw: Tensor, batch: Batch) -> Tensor:
        """The weighted mean loss of each task's mini-batch, ``[T]``, for raw outputs ``[T, B, R]``."""
        weight = batch.weights()
        share = weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
        return (self.loss(raw, batch.y) * share).sum(1)

    @abc.abstractmethod
    def forward(self, raw: Tensor, noise: Tensor) -> Prediction:
        """The prediction; ``noise`` ``[T]`` is the mean loss of earlier rows, for what has no variance of its own."""


@final
class SquaredError(AbstractLikelihood):
    """Regression to a mean; the variance is the mean squared error of earlier rows, each taken before it was seen."""

    def raw(self, outputs: int) -> int:
        """O."""
        return outputs

    def counts(self, y: Tensor, weight: Tensor, outputs: int) -> Tensor:
        """``[T, 1]``."""
        return weight.sum(1, keepdim=True)

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        """(ŷ − y)²."""
        return (raw.squeeze(2) - y).square()

    def forward(self, raw: Tensor, noise: Tensor) -> Prediction:
        """Mean and variance, ``[T, M, 1]`` each."""
        return Prediction(raw, noise[:, None, None].expand_as(raw))


@final
class NormalDensity(AbstractLikelihood):
    """Regression to a mean and a standard deviation of at least a tenth, as conditional neural processes have it."""

    def raw(self, outputs: int) -> int:
        """2·O."""
        return 2 * outputs

    def counts(self, y: Tensor, weight: Tensor, outputs: int) -> Tensor:
        """``[T, 1]``."""
        return weight.sum(1, keepdim=True)

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        """−log density, nats."""
        return -_normal(raw).log_likelihood(y)

    def forward(self, raw: Tensor, noise: Tensor) -> Prediction:
        """Mean and variance, ``[T, M, 1]`` each."""
        return _normal(raw)


@final
class Bars(AbstractLikelihood):
    """Regression to a density of equal bars over [−reach, reach], with half-normal tails: that of PFNs.

    References:
        Müller et al., "Transformers can do Bayesian inference", ICLR 2022, section 3, "Riemann distribution".

    Args:
        bars: how many.
        reach: where the outermost bars, which the tails replace, begin to end.
    """

    edges: Tensor

    def __init__(self, bars: int, reach: float):
        super().__init__()
        self.bars = bars
        self.reach = reach
        self.register_buffer("edges", torch.linspace(-reach, reach, bars + 1), persistent=False)

    def raw(self, outputs: int) -> int:
        """One logit a bar."""
        return self.bars * outputs

    def counts(self, y: Tensor, weight: Tensor, outputs: int) -> Tensor:
        """``[T, 1]``."""
        return weight.sum(1, keepdim=True)

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        """−log density, nats."""
        return -self._log_density(raw, y)

    def forward(self, raw: Tensor, noise: Tensor) -> Prediction:
        """Mean and variance of the density, and the density."""
        width, inner = 2 * self.reach / self.bars, (self.edges[1:] + self.edges[:-1]) / 2
        # A half-normal of scale s has mean s·√(2/π) beyond its edge and second moment s².
        away = width * (2 / math.pi) ** 0.5
        centres = torch.cat([self.edges[1:2] - away, inner[1:-1], self.edges[-2:-1] + away])
        spread = torch.full_like(centres, width**2 / 12)
        spread[[0, -1]] = width**2 * (1 - 2 / math.pi)
        share = raw.softmax(2)
        mean = share @ centres
        variance = share @ (spread + centres.square()) - mean.square()
        return Prediction(mean.unsqueeze(2), variance.unsqueeze(2), lambda y: self._log_density(raw, y))

    def _log_density(self, raw: Tensor, y: Tensor) -> Tensor:
        width = 2 * self.reach / self.bars
        place = torch.bucketize(y, self.edges[1:-1], right=True)
        beyond = torch.where(place == 0, self.edges[1] - y, y - self.edges[-2]) / width
        tail = math.log(2 / width) - beyond.square() / 2 - math.log(2 * math.pi) / 2
        flat = torch.full_like(y, -math.log(width))
        inside = torch.where((place == 0) | (place == self.bars - 1), tail, flat)
        return raw.log_softmax(2).gather(2, place.unsqueeze(2)).squeeze(2) + inside


def _normal(raw: Tensor) -> Prediction:
    mean, spread = raw.chunk(2, dim=2)
    return Prediction(mean, (0.1 + 0.9 * F.softplus(spread)).square())


@final
class CrossEntropy(AbstractLikelihood):
    """Classification by logits."""

    def raw(self, outputs: int) -> int:
        """O."""
        return outputs

    def counts(self, y: Tensor, weight: Tensor, outputs: int) -> Tensor:
        """``[T, O]``."""
        return (F.one_hot(y.long(), outputs) * weight.unsqueeze(2)).sum(1)

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        """−log p(y), nats."""
        return F.cross_entropy(raw.transpose(1, 2), y.long(), reduction="none")

    def forward(self, raw: Tensor, noise: Tensor) -> Prediction:
        """Class probabilities, ``[T, M, O]``."""
        return Prediction(F.softmax(raw, dim=-1))
