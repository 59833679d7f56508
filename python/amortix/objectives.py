"""What a learner predicts and how it is scored: targets, likelihoods and losses of regression and classification."""

from __future__ import annotations

import abc
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amortix.batch import Prediction


class AbstractReadout(nn.Module, abc.ABC):
    """From what a query reads in its retained rows to a predictive distribution."""

    @abc.abstractmethod
    def sides(self, y: Tensor, outputs: int) -> Tensor:
        """What the rows carry, ``[T, B, O]``, for targets ``[T, B]``."""

    @abc.abstractmethod
    def forward(self, mean: Tensor, uncertainty: Tensor, noise: Tensor, share: Tensor) -> Prediction:
        """The prediction.

        Args:
            mean: the trend with the local correction, ``[T, M, O]``.
            uncertainty: variance of the local correction, ``[T, M]``.
            noise: variance of an observation around the mean, ``[T, M]``.
            share: how far the local correction counts, 0 .. 1, ``[T, M]``.
        """


@final
class Gaussian(AbstractReadout):
    """Regression: the mean, and the variance of a new observation."""

    def sides(self, y: Tensor, outputs: int) -> Tensor:
        """``[T, B, 1]``."""
        return y.unsqueeze(2)

    def forward(self, mean: Tensor, uncertainty: Tensor, noise: Tensor, share: Tensor) -> Prediction:
        """Mean and variance, ``[T, M, 1]`` each."""
        return Prediction(mean, (share * uncertainty + noise).unsqueeze(2))


@final
class Indicator(AbstractReadout):
    """Classification: a local correction by least squares on class indicators, made probabilities by a calibration.

    The mean estimates P(class) + error. A smooth floor, wider where the rows are uncertain, keeps it positive and a
    power sharpens it, p ∝ (½(m + √(m² + 4e²)))^β with e² = share·(e₀² + c·uncertainty) and β = 1 + share·b. Where the
    correction does not count, the trend's probabilities pass unchanged.
    """

    def __init__(self):
        super().__init__()
        self.log_floor = nn.Parameter(torch.tensor(-3.0))
        self.log_spread = nn.Parameter(torch.tensor(-1.0))
        self.power = nn.Parameter(torch.tensor(0.3))

    def sides(self, y: Tensor, outputs: int) -> Tensor:
        """Class indicators, ``[T, B, O]``."""
        return indicators(y, outputs)

    def forward(self, mean: Tensor, uncertainty: Tensor, noise: Tensor, share: Tensor) -> Prediction:
        """Class probabilities, ``[T, M, O]``."""
        floor = share * ((2 * self.log_floor).exp() + self.log_spread.exp() * uncertainty)
        positive = (mean + (mean.square() + 4 * floor.unsqueeze(2)).clamp_min(1e-12).sqrt()) / 2
        power = 1 + share * self.power
        return Prediction(F.softmax(power.unsqueeze(2) * positive.clamp_min(1e-6).log(), dim=-1))


def indicators(y: Tensor, outputs: int) -> Tensor:
    """Class indicators ``[..., O]`` in the dtype of the class indices ``y`` ``[...]``."""
    return F.one_hot(y.long(), outputs).to(y.dtype)


def excess(prediction: Prediction, signal: Tensor, *, classes: bool) -> Tensor:
    """The expected loss above that of knowing the task, ``[T, M]``.

    Squared error to the noise-free mean, or the Kullback-Leibler divergence (nats) from the true class probabilities.

    Args:
        prediction: of O outputs.
        signal: the noise-free mean, or the true class probabilities, ``[T, M, O]``.
        classes: whether it is classification.
    """
    if not classes:
        return (prediction.mean - signal).square().sum(2)
    return (torch.special.xlogy(signal, signal) - torch.xlogy(signal, prediction.mean.clamp_min(1e-12))).sum(2)
