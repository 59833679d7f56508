"""What a network's raw outputs say of a target: the loss of rows, and the predictive distribution."""

from __future__ import annotations

import abc
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from amortix.batch import Prediction


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
