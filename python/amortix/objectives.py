"""What a learner predicts and how it is scored: targets, likelihoods and losses of regression and classification."""

from __future__ import annotations

import abc
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amortix.batch import Prediction


class AbstractReadout(nn.Module, abc.ABC):
    """From a head trained by least squares to a predictive distribution."""

    @abc.abstractmethod
    def sides(self, y: Tensor, outputs: int) -> Tensor:
        """The head's right-hand sides ``[T, B, O]`` for targets ``[T, B]``."""

    @abc.abstractmethod
    def forward(self, mean: Tensor, uncertainty: Tensor, noise: Tensor) -> Prediction:
        """The prediction.

        Args:
            mean: the head's output, ``[T, M, O]``.
            uncertainty: variance of that output, ``[T, M]``.
            noise: variance of an observation around it, ``[T, M]``.
        """


@final
class Gaussian(AbstractReadout):
    """Regression: the mean, and the variance of a new observation."""

    def sides(self, y: Tensor, outputs: int) -> Tensor:
        """``[T, B, 1]``."""
        return y.unsqueeze(2)

    def forward(self, mean: Tensor, uncertainty: Tensor, noise: Tensor) -> Prediction:
        """Mean and variance, ``[T, M, 1]`` each."""
        return Prediction(mean, (uncertainty + noise).unsqueeze(2))


@final
class Indicator(AbstractReadout):
    """Classification by least squares on class indicators, made probabilities by a learned calibration.

    The head estimates P(class) + error. A smooth floor, wider where the head is uncertain, keeps the estimate positive
    and a learned power sharpens it: p ∝ (½(m + √(m² + 4e²)))^β with e² = e₀² + c·uncertainty.
    """

    def __init__(self):
        super().__init__()
        self.log_floor = nn.Parameter(torch.tensor(-3.0))
        self.log_spread = nn.Parameter(torch.tensor(-1.0))
        self.log_power = nn.Parameter(torch.tensor(0.3))

    def sides(self, y: Tensor, outputs: int) -> Tensor:
        """Class indicators, ``[T, B, O]``."""
        return F.one_hot(y.long(), outputs).to(y.dtype)

    def forward(self, mean: Tensor, uncertainty: Tensor, noise: Tensor) -> Prediction:
        """Class probabilities, ``[T, M, O]``."""
        floor = (2 * self.log_floor).exp() + self.log_spread.exp() * uncertainty.unsqueeze(2)
        positive = (mean + (mean.square() + 4 * floor).sqrt()) / 2
        return Prediction(F.softmax(self.log_power.exp() * positive.clamp_min(1e-8).log(), dim=-1))


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
