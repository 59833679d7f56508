"""Gradients of the outer loss with respect to what is learned of an optimizer, from one truncation of many problems."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from amortix.meta_optim.problems import InnerProblems, Slots


@dataclass(frozen=True)
class Pool:
    """Problems in progress and what an estimator remembers of them.

    Attributes:
        slots: S of them.
        drift: ``[N, D]``, the sum of the perturbations that a problem has seen; zeros where none are used.
    """

    slots: Slots
    drift: Tensor


class AbstractEstimator(abc.ABC):
    """An outer gradient."""

    @abc.abstractmethod
    def begin(self, problems: InnerProblems, size: int) -> Pool:
        """Fresh problems, for a vector of ``size`` numbers."""

    @abc.abstractmethod
    def estimate(
        self, theta: Tensor, problems: InnerProblems, pool: Pool, generator: torch.Generator
    ) -> tuple[Tensor, float, Pool]:
        """The gradient ``[D]``, the mean outer loss, and the problems one truncation on."""


@final
class TruncatedUnroll(AbstractEstimator):
    """Backpropagation through each truncation, biased by what lies before it.

    Args:
        problems: N.
    """

    def __init__(self, problems: int):
        self.count = problems

    def begin(self, problems: InnerProblems, size: int) -> Pool:
        """One copy of each problem."""
        return Pool(problems.begin(self.count), torch.zeros(self.count, 0))

    def estimate(
        self, theta: Tensor, problems: InnerProblems, pool: Pool, generator: torch.Generator
    ) -> tuple[Tensor, float, Pool]:
        """By autograd."""
        leaf = theta.detach().requires_grad_()
        losses, slots = problems.unroll(leaf.expand(self.count, -1), pool.slots)
        (gradient,) = torch.autograd.grad(losses.mean(), leaf)
        slots = slots.detached()
        slots = problems.renew(slots, slots.finished() | problems.broken(slots), self.count)
        return gradient, float(losses.detach().mean()), Pool(slots, pool.drift)


@final
class PersistentES(AbstractEstimator):
    """Evolution strategies whose perturbations persist, in antithetic pairs: unbiased over whole horizons.

    A problem is trained twice, under theta + e and theta − e, on the same mini-batches. The difference of the losses is
    weighted by the sum of all perturbations since the problem began, so that what an early perturbation does to later
    truncations is told too.

    Args:
        problems: N pairs.
        sigma: standard deviation of the perturbations.

    References:
        Vicol, Metz and Sohl-Dickstein, Unbiased gradient estimation in unrolled computation graphs with persistent
        evolution strategies (2021), algorithm 2.
    """

    def __init__(self, problems: int, sigma: float):
        self.count, self.sigma = problems, sigma

    def begin(self, problems: InnerProblems, size: int) -> Pool:
        """Two copies of each problem."""
        return Pool(problems.begin(self.count, copies=2), torch.zeros(self.count, size))

    @torch.no_grad()
    def estimate(
        self, theta: Tensor, problems: InnerProblems, pool: Pool, generator: torch.Generator
    ) -> tuple[Tensor, float, Pool]:
        """From the losses of both sides."""
        noise = self.sigma * torch.randn(self.count, len(theta), generator=generator)
        losses, slots = problems.unroll(torch.cat([theta + noise, theta - noise]), pool.slots)
        drift = pool.drift + noise
        above, below = losses.chunk(2)
        gradient = ((above - below)[:, None] * drift).mean(0) / (2 * self.sigma**2)
        ends = slots.finished() | problems.broken(slots)
        either = ends[: self.count] | ends[self.count :]
        slots = problems.renew(slots, either.repeat(2), self.count)
        return gradient, float(losses.mean()), Pool(slots, torch.where(either[:, None], 0.0, drift))
