"""The amortised Gaussian prior of a head: how much to believe the data, inferred in a few learned refinements.

A head that is linear in its parameters has the posterior mean M·n·b with M = (n·C + diag λ)⁻¹. What the moments
cannot know is λ, the ratio of the noise to the prior variance of each group of parameters. `EvidencePrior` starts
from a learned λ and refines it: each refinement computes where the classical fixed point of the marginal likelihood
would move it, and a small network, shared over groups and trained across tasks, decides how far to go.

With an untrained network this is the evidence approximation itself. The influence of λ fades as 1/n, so whatever the
network says, the head's fixed point is the optimum of the data: learning serves the early steps.

References:
    MacKay, "Bayesian interpolation", Neural Computation 1992 (effective parameters, equations 2.12-2.16);
    Mittal et al., "Iterative amortized inference", arXiv 2510.11471 (refinement by a learned update).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor, nn

from amortix.moments import Moments

_LOG_BOUND = 14.0  # |log λ| is kept below this: λ in about 1e-6 .. 1e6
_FLOORS = (
    1e-5,
    1e-3,
)  # damping relative to the diagonal that float32 moments can bear; the second if the first fails
_HALF_LIVES = (8.0, 64.0, 512.0)  # rows at which the bounded functions of n pass one half


@dataclass(frozen=True)
class Posterior:
    """A Gaussian over the Q parameters of each of R right-hand sides, under given dampings.

    Attributes:
        moments: what it was solved from.
        group: the group of each parameter, ``[Q]``.
        log_damping: log λ per group, ``[T, G]``.
        known_noise: the variance of the targets' noise where it is known.
        factor: lower Cholesky factor of C + diag(λ)/n, ``[T, Q, Q]``.
        mean: ``[T, Q, R]``.
    """

    moments: Moments
    group: Tensor
    log_damping: Tensor
    known_noise: float | None
    factor: Tensor
    mean: Tensor

    @cached_property
    def inverse_diagonal(self) -> Tensor:
        """Diagonal of (C + diag(λ)/n)⁻¹, ``[T, Q]``."""
        return torch.cholesky_inverse(self.factor).diagonal(dim1=-2, dim2=-1)

    @cached_property
    def effective(self) -> Tensor:
        """The share of each parameter that the data determine, 0 .. 1, ``[T, Q]`` (MacKay's γ)."""
        return (1 - _damping(self.moments, self.group, self.log_damping) * self.inverse_diagonal).clamp(0.0, 1.0)

    @cached_property
    def noise(self) -> Tensor:
        """Variance of the targets around the fit, ``[T]``, per right-hand side and degree of freedom left."""
        moments, mean = self.moments, self.mean
        if self.known_noise is not None:
            return torch.full_like(moments.count, self.known_noise)
        fit = moments.power - (mean * (2 * moments.cross - moments.second @ mean)).sum((1, 2))
        count = moments.count.clamp_min(1e-6)
        free = (count - self.effective.sum(1)).clamp_min(0.05 * count)
        least = 1e-6 * moments.power + 1e-12
        return torch.maximum(fit, least) * count / (free * mean.shape[2])

    def leverage(self, features: Tensor) -> Tensor:
        """φᵀMφ for features ``[T, M, Q]``: the parameters' share of the predictive variance, in units of noise."""
        half = torch.linalg.solve_triangular(self.factor, features.transpose(1, 2), upper=False)
        return half.square().sum(1) / self.moments.count.clamp_min(1.0)[:, None]


def solve(moments: Moments, group: Tensor, log_damping: Tensor, known_noise: float | None) -> Posterior:
    """The Gaussian posterior under given dampings; arguments as in `Posterior`."""
    damping = _damping(moments, group, log_damping)
    factor = _factor(moments.second, damping)
    mean = torch.cholesky_solve(moments.cross, factor)
    return Posterior(moments, group, log_damping, known_noise, factor, mean)


def _damping(moments: Moments, group: Tensor, log_damping: Tensor) -> Tensor:
    return log_damping.exp()[:, group] / moments.count.clamp_min(1e-6)[:, None]


def _factor(second: Tensor, damping: Tensor) -> Tensor:
    """Cholesky factor of C + damping, with a floor relative to each diagonal entry: rounding is relative to it too."""
    diagonal = second.diagonal(dim1=1, dim2=2)
    first, second_floor = _FLOORS
    factor, failed = torch.linalg.cholesky_ex(second + torch.diag_embed(damping + first * diagonal))
    if bool(failed.any()):
        safe, _ = torch.linalg.cholesky_ex(second + torch.diag_embed(damping + second_floor * diagonal))
        factor = torch.where((failed > 0)[:, None, None], safe, factor)
    return factor


@final
class EvidencePrior(nn.Module):
    """Infers one damping per group of parameters from the moments.

    Args:
        start: log λ of each of the G groups of parameters before any data; training moves it. A group that starts
            heavily damped is let in by the evidence in a step or two where it is needed. Begun from below, one that
            is not needed leaves by a slower and slower fixed point.
        refinements: how often λ is refined on each call.
        noise: a known variance of the targets' noise, or None to infer it from the residuals.
        width: hidden units of the network.
    """

    def __init__(self, start: Sequence[float], *, refinements: int = 4, noise: float | None = None, width: int = 32):
        super().__init__()
        self.refinements = refinements
        self.noise = noise
        self.start = nn.Parameter(torch.tensor(start, dtype=torch.get_default_dtype()))
        self.gain = nn.Parameter(torch.zeros(len(start)))
        inputs = 6 + len(_HALF_LIVES) + len(start)
        self.embed = nn.Sequential(nn.Linear(inputs, width), nn.SiLU())
        hidden, last = nn.Linear(2 * width, width), nn.Linear(width, 1)
        # The untrained prior is the fixed-point iteration itself: the network starts silent.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(hidden, nn.SiLU(), last)

    def begin(self, tasks: int) -> Tensor:
        """log λ before any data, ``[T, G]``."""
        return self.start.expand(tasks, -1)

    def forward(self, moments: Moments, group: Tensor) -> Posterior:
        """Infer λ from scratch and solve.

        Args:
            moments: of Q features.
            group: the group of each feature, ``[Q]`` int64 in 0 .. G-1.
        """
        log_damping = self.begin(moments.count.shape[0])
        for _ in range(self.refinements):
            log_damping = self.refine(moments, group, log_damping)
        return solve(moments, group, log_damping, self.noise)

    def refine(self, moments: Moments, group: Tensor, log_damping: Tensor) -> Tensor:
        """One refinement of log λ ``[T, G]``; returns the new one."""
        posterior = solve(moments, group, log_damping, self.noise)
        target, used = _fixed_point(posterior)
        count = moments.count[:, None]
        active = (moments.second.diagonal(dim1=1, dim2=2) > 0).to(count.dtype)  # columns of zeros are not there
        size = torch.zeros_like(log_damping).index_add(1, group, active).clamp_min(1.0)
        innovation = (target - log_damping).clamp(-4.0, 4.0)
        explained = 1 - posterior.noise / moments.power.clamp_min(1e-12)
        shared = [explained.clamp(-1.0, 1.0)[:, None]] + [count / (count + h) for h in _HALF_LIVES]
        own = [log_damping / 4, innovation / 4, used / size, torch.log1p(used) / 4, size / (size + count)]
        token = torch.cat(
            [
                torch.stack([f.expand_as(log_damping) for f in (*own, *shared)], dim=2),
                torch.eye(len(self.start)).expand(len(count), -1, -1),
            ],
            dim=2,
        )
        hidden = self.embed(token)
        pooled = hidden.mean(1, keepdim=True).expand_as(hidden)
        free = self.head(torch.cat([hidden, pooled], dim=2)).squeeze(2)
        moved = log_damping + torch.sigmoid(self.gain + 2.0) * innovation + free.clamp(-4.0, 4.0)
        return moved.clamp(-_LOG_BOUND, _LOG_BOUND)


def _fixed_point(posterior: Posterior) -> tuple[Tensor, Tensor]:
    """Where MacKay's iteration would put log λ, and the effective number of parameters: both ``[T, G]``."""
    zeros = torch.zeros_like(posterior.log_damping)
    used = zeros.index_add(1, posterior.group, posterior.effective)
    energy = zeros.index_add(1, posterior.group, posterior.mean.square().mean(2))
    target = posterior.noise.log()[:, None] + (used + 1e-4).log() - (energy + 1e-12).log()
    return target.clamp(-_LOG_BOUND, _LOG_BOUND), used
