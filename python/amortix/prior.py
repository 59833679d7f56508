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

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amortix.moments import Moments

_LOG_BOUND = 14.0  # |log λ| is kept below this: λ in about 1e-6 .. 1e6
_FLOORS = (1e-5, 1e-3)  # damping relative to the diagonal that float32 moments can bear; the second if the first fails
_HALF_LIVES = (8.0, 64.0, 512.0)  # rows at which the bounded functions of n pass one half


@dataclass(frozen=True)
class Posterior:
    """A Gaussian over the Q parameters of each of R right-hand sides.

    Attributes:
        mean: ``[T, Q, R]``.
        factor: lower Cholesky factor of C + diag(λ)/n, ``[T, Q, Q]``.
        noise: variance of the residuals, ``[T]``.
        count: n, ``[T]``.
        log_damping: log λ per group, ``[T, G]``.
    """

    mean: Tensor
    factor: Tensor
    noise: Tensor
    count: Tensor
    log_damping: Tensor

    def leverage(self, features: Tensor) -> Tensor:
        """φᵀMφ for features ``[T, M, Q]``: the parameters' share of the predictive variance, in units of noise."""
        half = torch.linalg.solve_triangular(self.factor, features.transpose(1, 2), upper=False)
        return half.square().sum(1) / self.count.clamp_min(1.0)[:, None]


class EvidencePrior(nn.Module):
    """Infers one damping per group of parameters from the moments.

    Args:
        groups: G, how many groups of parameters share a prior variance.
        refinements: how often λ is refined on each call.
        noise: a known variance of the targets' noise, or None to infer it from the residuals.
        width: hidden units of the network.
    """

    def __init__(self, groups: int, *, refinements: int = 4, noise: float | None = None, width: int = 32):
        super().__init__()
        self.refinements = refinements
        self.noise = noise
        self.start = nn.Parameter(torch.zeros(groups))
        self.gain = nn.Parameter(torch.zeros(groups))
        inputs = 6 + len(_HALF_LIVES) + groups
        self.embed = nn.Sequential(nn.Linear(inputs, width), nn.SiLU())
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1))
        # The untrained prior is the fixed-point iteration itself: the network starts silent.
        nn.init.zeros_(self.head[2].weight)
        nn.init.zeros_(self.head[2].bias)

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
        target, used = _fixed_point(moments, group, posterior)
        count = moments.count[:, None]
        size = torch.bincount(group, minlength=len(self.start)).to(count.dtype)
        innovation = (target - log_damping).clamp(-4.0, 4.0)
        explained = 1 - posterior.noise / moments.power.clamp_min(1e-12)
        shared = [explained.clamp(-1.0, 1.0)[:, None]] + [count / (count + h) for h in _HALF_LIVES]
        own = [log_damping / 4, innovation / 4, used / size, torch.log1p(used) / 4, size / (size + count)]
        token = torch.cat(
            [
                torch.stack([f.expand_as(log_damping) for f in (*own, *shared)], dim=2),
                torch.eye(len(size), dtype=count.dtype).expand(len(count), -1, -1),
            ],
            dim=2,
        )
        hidden = self.embed(token)
        pooled = hidden.mean(1, keepdim=True).expand_as(hidden)
        free = self.head(torch.cat([hidden, pooled], dim=2)).squeeze(2)
        moved = log_damping + torch.sigmoid(self.gain + 2.0) * innovation + free.clamp(-4.0, 4.0)
        return moved.clamp(-_LOG_BOUND, _LOG_BOUND)


def solve(moments: Moments, group: Tensor, log_damping: Tensor, noise: float | None) -> Posterior:
    """The Gaussian posterior under given dampings.

    Args:
        moments: of Q features.
        group: ``[Q]``.
        log_damping: log λ, ``[T, G]``.
        noise: the known noise variance, or None to estimate it from the residuals.
    """
    count = moments.count.clamp_min(1e-6)
    diagonal = moments.second.diagonal(dim1=1, dim2=2)
    damping = log_damping.exp()[:, group] / count[:, None]
    factor = _factor(moments.second, damping, diagonal)
    mean = torch.cholesky_solve(moments.cross, factor)
    if noise is not None:
        variance = torch.full_like(count, noise)
    else:
        fit = moments.power - (mean * (2 * moments.cross - moments.second @ mean)).sum((1, 2))
        used = len(group) - (damping * _inverse_diagonal(factor)).sum(1)
        free = (count - used).clamp_min(0.05 * count)
        sides = mean.shape[2]
        least = 1e-6 * moments.power + 1e-12
        variance = torch.maximum(fit, least) * count / (free * sides)
    return Posterior(mean, factor, variance, moments.count, log_damping)


def _factor(second: Tensor, damping: Tensor, diagonal: Tensor) -> Tensor:
    """Cholesky factor of C + damping, with a floor relative to each diagonal entry: rounding is relative to it too."""
    first, second_floor = _FLOORS
    factor, failed = torch.linalg.cholesky_ex(second + torch.diag_embed(damping + first * diagonal))
    if bool(failed.any()):
        safe, _ = torch.linalg.cholesky_ex(second + torch.diag_embed(damping + second_floor * diagonal))
        factor = torch.where((failed > 0)[:, None, None], safe, factor)
    return factor


def _inverse_diagonal(factor: Tensor) -> Tensor:
    """The diagonal of (L Lᵀ)⁻¹, ``[T, Q]``."""
    return torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1)


def _fixed_point(moments: Moments, group: Tensor, posterior: Posterior) -> tuple[Tensor, Tensor]:
    """Where MacKay's iteration would put log λ, and the effective number of parameters: both ``[T, G]``."""
    groups = posterior.log_damping.shape[1]
    count = moments.count.clamp_min(1e-6)
    damping = posterior.log_damping.exp()[:, group] / count[:, None]
    dof = (1 - damping * _inverse_diagonal(posterior.factor)).clamp(0.0, 1.0)
    energy = posterior.mean.square().mean(2)
    zeros = torch.zeros(len(count), groups, dtype=dof.dtype)
    used = zeros.index_add(1, group, dof)
    energy = zeros.index_add(1, group, energy)
    target = posterior.noise.log()[:, None] + (used + 1e-4).log() - (energy + 1e-12).log()
    return target.clamp(-_LOG_BOUND, _LOG_BOUND), used
