"""What the best learner would do with all the rows so far: the yardstick of `amortix.evaluation`.

An oracle knows the family, the task's noise and its `TaskSampler.parameters`, not the task. Those of the linear family
and of mixtures are exact (the posterior mean under the true prior); of Gaussian processes the best prediction that is
linear in the targets; of the logistic family the mode of the posterior on all rows; of the sinusoid least squares on
its two basis functions. A family without one has none, and its ratios are not reported.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amortix.batch import Batch, Prediction
from amortix.data import Gmm, Gp, Linear, Logistic, Sampler, Sinusoid, TaskSampler

_NEWTON_STEPS = 25
_MOST_ROWS = 8192  # of a Gaussian process: half a gigabyte of covariances
_JITTER = 1e-9  # share of the variance that keeps noise-free covariances, and what is predicted of them, positive

#: Covariance of unit variance by the distance in length scales.
_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "rbf": lambda r: (-r.square() / 2).exp(),
    "matern12": lambda r: (-r).exp(),
    "matern32": lambda r: (1 + math.sqrt(3) * r) * (-math.sqrt(3) * r).exp(),
    "matern52": lambda r: (1 + math.sqrt(5) * r + 5 / 3 * r.square()) * (-math.sqrt(5) * r).exp(),
}


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
        noise: standard deviation, ``[T]``.
        features: from ``[T, B, D]`` to ``[T, B, Q]``.
    """

    def __init__(self, damping: Tensor, noise: Tensor, features: Callable[[Tensor], Tensor]):
        self.damping, self.noise, self.features = damping.double(), noise.double(), features
        self.second: Tensor | None = None
        self.cross: Tensor | None = None

    def see(self, batch: Batch) -> None:
        """Add the batch's moments."""
        phi = self.features(batch.x.double())
        second, cross = phi.mT @ phi, phi.mT @ batch.y.double().unsqueeze(2)
        self.second = second if self.second is None else self.second + second
        self.cross = cross if self.cross is None else self.cross + cross

    def predict(self, x: Tensor) -> Prediction:
        """The posterior predictive."""
        assert self.second is not None, "an oracle predicts after it has seen a batch"
        assert self.cross is not None
        factor = torch.linalg.cholesky(
            self.second + torch.diag_embed(self.damping[:, None].expand_as(self.cross[..., 0]))
        )
        phi = self.features(x.double())
        leverage = torch.linalg.solve_triangular(factor, phi.mT, upper=False).square().sum(1)
        variance = self.noise.square().clamp_min(_JITTER)[:, None] * (1 + leverage)
        return Prediction((phi @ torch.cholesky_solve(self.cross, factor)).float(), variance.unsqueeze(2).float())


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


@final
class GpOracle(AbstractOracle):
    """Gaussian process regression with the true kernel, length scale, amplitude and noise, in float64 on all rows.

    The tasks are sums of finitely many waves of their own frequencies. Their values have the kernel's covariance on
    average over tasks, so this is the best prediction that is linear in the targets; knowing the frequencies would
    help. Costs grow with the cube of the rows: beyond 8,192 of them the prediction is NaN.

    Args:
        kernel: as in `amortix.data.Gp`.
        length: ``[T]``.
        amplitude: ``[T]``.
        noise: standard deviation, ``[T]``.
    """

    def __init__(self, kernel: str, length: Tensor, amplitude: Tensor, noise: Tensor):
        self.kernel = _KERNELS[kernel]
        self.length, self.amplitude, self.noise = length.double(), amplitude.double(), noise.double()
        self.batches: list[Batch] = []

    def see(self, batch: Batch) -> None:
        """Keep the rows."""
        self.batches.append(batch)

    def predict(self, x: Tensor) -> Prediction:
        """The posterior predictive."""
        if sum(b.x.shape[1] for b in self.batches) > _MOST_ROWS:
            unknown = torch.full((*x.shape[:2], 1), math.nan)
            return Prediction(unknown, unknown)
        seen, y = (torch.cat(parts, 1).double() for parts in zip(*((b.x, b.y) for b in self.batches), strict=True))
        # One task at a time: the covariances of all would not fit in memory.
        each = [self._one(task, seen[task], y[task], x[task].double()) for task in range(len(x))]
        mean, variance = (torch.stack(parts).float() for parts in zip(*each, strict=True))
        return Prediction(mean, variance)

    def _one(self, task: int, seen: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        ratio = (self.noise[task] / self.amplitude[task]).square() + _JITTER
        covariance = self._correlation(task, seen, seen)
        covariance.diagonal().add_(ratio)
        factor, across = torch.linalg.cholesky(covariance), self._correlation(task, seen, x)
        half = torch.linalg.solve_triangular(factor, torch.cat([across, y.unsqueeze(1)], 1), upper=False)
        known = half[:, :-1]
        variance = self.amplitude[task].square() * (1 - known.square().sum(0) + ratio)
        return known.mT @ half[:, -1:], variance.unsqueeze(1)

    def _correlation(self, task: int, a: Tensor, b: Tensor) -> Tensor:
        # Differences are squared one by one: expanding the square would lose the distances of near rows.
        distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
        return self.kernel(distance / self.length[task])


@final
class MixtureOracle(AbstractOracle):
    """The posterior predictive of a Gaussian mixture with means m ~ N(0, s² I) and components drawn alike.

    Of n rows of a class with sum S the mean is N(m, τ I), τ = 1 / (1/s² + n/v), m = τ S / v; a row of it is
    N(m, (v + τ) I), and the classes are weighed by these densities.

    Args:
        variance: v, ``[T]``.
        scale: s, ``[T]``.
        dims: columns of each task, ``[T]``; columns beyond are zero.
        classes: of each task, ``[T]``.
        outputs: O.
    """

    def __init__(self, variance: Tensor, scale: Tensor, dims: Tensor, classes: Tensor, outputs: int):
        self.variance, self.scale = variance.double()[:, None], scale.double()[:, None]
        self.dims, self.classes = dims[:, None], classes
        self.outputs = outputs
        self.counts = torch.zeros(len(classes), outputs, dtype=torch.float64)
        self.sums: Tensor | None = None

    def see(self, batch: Batch) -> None:
        """Add the rows of each class."""
        member = F.one_hot(batch.y.long(), self.outputs).double()
        self.counts = self.counts + member.sum(1)
        sums = member.mT @ batch.x.double()
        self.sums = sums if self.sums is None else self.sums + sums

    def predict(self, x: Tensor) -> Prediction:
        """Probabilities of the classes."""
        assert self.sums is not None, "an oracle predicts after it has seen a batch"
        spread = 1 / (self.scale**-2 + self.counts / self.variance)
        means = (spread / self.variance).unsqueeze(2) * self.sums
        total = (self.variance + spread).unsqueeze(1)
        square = (x.double().unsqueeze(2) - means.unsqueeze(1)).square().sum(3)
        logits = -square / (2 * total) - self.dims.unsqueeze(2) / 2 * total.log()
        absent = torch.arange(self.outputs) >= self.classes[:, None, None]
        return Prediction(F.softmax(logits.masked_fill(absent, -math.inf), -1).float())


def oracle(sampler: Sampler, tasks: np.ndarray) -> AbstractOracle | None:
    """The oracle of a sampler's family for the given tasks, or None where the family has none."""
    if not isinstance(sampler, TaskSampler):
        return None
    family = sampler.family
    noise = torch.from_numpy(sampler.noise(tasks)) if not sampler.classes else None
    if isinstance(family, Linear) and noise is not None:
        scale = torch.from_numpy(sampler.parameters(tasks))[:, 0]
        return RidgeOracle((noise / scale).square() + 1e-9, noise, _with_bias)
    if isinstance(family, Sinusoid) and noise is not None:
        return RidgeOracle(noise.square() + 1e-9, noise, lambda x: torch.cat([x.sin(), x.cos()], -1))
    if isinstance(family, Logistic):
        return SoftmaxOracle(torch.from_numpy(sampler.parameters(tasks))[:, 0] ** -2.0, sampler.outputs)
    if isinstance(family, Gp) and noise is not None:
        length, amplitude = torch.from_numpy(sampler.parameters(tasks)).T
        return GpOracle(family.kernel, length, amplitude, noise)
    # Queries of another scale are no rows of the mixture, and tell of its means.
    if isinstance(family, Gmm) and family.query_scale == 1:
        variance, scale = torch.from_numpy(sampler.parameters(tasks)).T
        dims, classes = torch.from_numpy(sampler.dims(tasks)), torch.from_numpy(sampler.n_classes(tasks))
        return MixtureOracle(variance, scale, dims, classes, sampler.outputs)
    return None


def _with_bias(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x[..., :1]), x], dim=-1)
