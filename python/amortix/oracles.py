"""What the best learner would do with all the rows so far: the yardstick of `amortix.evaluation`.

An oracle knows the family and the task's noise, not the task. Those of the linear family are exact (the posterior mean
under the true prior); of the logistic family the mode of the posterior on all rows; of the sinusoid least squares on
its two basis functions. A family without one has none, and its ratios are not reported.
"""

from __future__ import annotations

import abc
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amortix.batch import Batch, Prediction
from amortix.data import Linear, Logistic, Sinusoid, TaskSampler

_NEWTON_STEPS = 25


class AbstractOracle(abc.ABC):
    """Sees every mini-batch and predicts from all of them together."""

    @abc.abstractmethod
    def see(self, batch: Batch) -> None:
        """Take in the next mini-batch."""

    @abc.abstractmethod
    def predict(self, x: Tensor) -> Prediction:
        """Predict at ``[T, M, D]``."""


@final
class RidgeOracle(AbstractOracle):
    """Bayesian linear regression on fixed features with the true prior and noise, in float64.

    Args:
        damping: noise variance over prior variance, ``[T]``.
        features: from ``[T, B, D]`` to ``[T, B, Q]``.
    """

    def __init__(self, damping: Tensor, features):
        self.damping, self.features = damping.double(), features
        self.second: Tensor | None = None
        self.cross: Tensor | None = None

    def see(self, batch: Batch) -> None:
        """Add the batch's moments."""
        phi = self.features(batch.x.double())
        second, cross = phi.mT @ phi, phi.mT @ batch.y.double().unsqueeze(2)
        self.second = second if self.second is None else self.second + second
        self.cross = cross if self.cross is None else self.cross + cross

    def predict(self, x: Tensor) -> Prediction:
        """The posterior mean."""
        assert self.second is not None, "an oracle predicts after it has seen a batch"
        assert self.cross is not None
        damped = self.second + torch.diag_embed(self.damping[:, None].expand(-1, self.second.shape[1]))
        return Prediction((self.features(x.double()) @ torch.linalg.solve(damped, self.cross)).float())


@final
class SoftmaxOracle(AbstractOracle):
    """Multinomial logistic regression: the posterior mode under the true prior, on all rows, by damped Newton steps.

    Args:
        precision: of the weights' prior, ``[T]``.
        classes: O.
    """

    def __init__(self, precision: Tensor, classes: int):
        self.precision, self.classes = precision.double(), classes
        self.batches: list[Batch] = []

    def see(self, batch: Batch) -> None:
        """Keep the rows."""
        self.batches.append(batch)

    def predict(self, x: Tensor) -> Prediction:
        """Probabilities at the mode."""
        phi = _with_bias(torch.cat([b.x for b in self.batches], 1).double())
        target = F.one_hot(torch.cat([b.y for b in self.batches], 1).long(), self.classes).double()
        weights = torch.zeros(phi.shape[0], phi.shape[2], self.classes, dtype=torch.float64)
        for _ in range(_NEWTON_STEPS):
            weights = self._newton(weights, phi, target)
        return Prediction(F.softmax(_with_bias(x.double()) @ weights, -1).float())

    def _newton(self, weights: Tensor, phi: Tensor, target: Tensor) -> Tensor:
        """One Newton step, halved until the objective falls."""
        tasks, size, outputs = weights.shape
        p = F.softmax(phi @ weights, -1)
        gradient = phi.mT @ (p - target) + self.precision[:, None, None] * weights
        spread = torch.diag_embed(p) - p.unsqueeze(3) * p.unsqueeze(2)
        pairs = [
            torch.stack([(phi * spread[:, :, a, b, None]).mT @ phi for b in range(outputs)], 3) for a in range(outputs)
        ]
        hessian = torch.stack(pairs, 2).reshape(tasks, size * outputs, size * outputs)
        hessian = hessian + torch.diag_embed(self.precision[:, None].expand(-1, size * outputs))
        step = torch.linalg.solve(hessian, gradient.reshape(tasks, -1, 1)).reshape(weights.shape)
        length = torch.ones(tasks, 1, 1, dtype=weights.dtype)
        best = self._objective(weights, phi, target)
        for _ in range(6):
            worse = self._objective(weights - length * step, phi, target) > best + 1e-9
            length = torch.where(worse[:, None, None], length / 2, length)
        return weights - length * step

    def _objective(self, weights: Tensor, phi: Tensor, target: Tensor) -> Tensor:
        fit = -(F.log_softmax(phi @ weights, -1) * target).sum((1, 2))
        return fit + self.precision / 2 * weights.square().sum((1, 2))


def oracle(sampler: TaskSampler, tasks: np.ndarray) -> AbstractOracle | None:
    """The oracle of a sampler's family for the given tasks, or None where the family has none."""
    family = sampler.family
    noise = torch.from_numpy(sampler.noise(tasks)) if not sampler.classes else None
    if isinstance(family, Linear) and noise is not None and family.weight_scale[0] == family.weight_scale[1]:
        return RidgeOracle(noise.square() / family.weight_scale[0] ** 2, _with_bias)
    if isinstance(family, Sinusoid) and noise is not None:
        return RidgeOracle(noise.square() + 1e-9, lambda x: torch.cat([x.sin(), x.cos()], -1))
    if isinstance(family, Logistic) and family.weight_scale[0] == family.weight_scale[1]:
        precision = torch.full((len(tasks),), family.weight_scale[0] ** -2.0)
        return SoftmaxOracle(precision, sampler.outputs)
    return None


def _with_bias(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x[..., :1]), x], dim=-1)
