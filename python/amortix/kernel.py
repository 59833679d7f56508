"""A task's kernel from its first rows: one relevance per column, the amplitudes, the noise.

With s = Σ ρ_d (x_d − x'_d)² the kernel is linear·(1 + x·x') + κ(s) + noise·δ, and its local part κ has a rough and a
smooth term, signal₀·exp(−√s) + signal₁·exp(−stretch·s/2). The parameters climb the log marginal likelihood of a bounded
sample of rows by a few steps of Adam from a wide start (every column equally relevant, distances of typical rows about
one).

References:
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2.2, 4.2 and 5.4 (automatic
    relevance determination); Kingma and Ba, "Adam", ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amortix.ops import log_evidence
from amortix.ops.local_solve import covariance

_RATE = 0.4  # Adam's step size for the logarithms
_ROUGH, _SMOOTH, _STRETCH = -1.0, -2.0, 1.5  # the start of the local part, in logarithms: a little that is smooth
_BOUND = 10.0
_NAMES = ("relevance", "signal", "stretch", "linear", "noise")


@dataclass(frozen=True)
class Kernel:
    """The logarithms of a kernel's parameters for each of T tasks.

    Attributes:
        relevance: log ρ, ``[T, D]``.
        signal: log variance of the rough and of the smooth local part, ``[T, 2]``.
        stretch: log factor of the squared distance in the smooth part, ``[T]``.
        linear: log variance of the linear part, ``[T]``.
        noise: log variance of the noise, ``[T]``.
    """

    relevance: Tensor
    signal: Tensor
    stretch: Tensor
    linear: Tensor
    noise: Tensor

    @classmethod
    def wide(cls, x: Tensor, weight: Tensor) -> Kernel:
        """The start: equal relevance over the columns that vary, for x ``[T, R, D]`` and weight ``[T, R]``."""
        used = ((x * weight.unsqueeze(2)).abs().amax(1) > 0).sum(1).clamp_min(1)
        start = -used.to(x.dtype).log()
        ones = torch.ones_like(start)
        signal = torch.stack([_ROUGH * ones, _SMOOTH * ones], 1)
        return cls(start[:, None].expand(-1, x.shape[2]).contiguous(), signal, _STRETCH * ones, -1 * ones, -1 * ones)

    @classmethod
    def from_memory(cls, memory: Mapping[str, Tensor]) -> Kernel:
        """Read the memory of a `State`."""
        return cls(*(memory[f"kernel_{name}"] for name in _NAMES))

    def memory(self) -> dict[str, Tensor]:
        """The tensors by name, as a `State` carries them."""
        return {f"kernel_{name}": getattr(self, name) for name in _NAMES}

    def select(self, tasks: Tensor) -> Kernel:
        """The kernels of some of the tasks, by a mask."""
        return Kernel(*(tensor[tasks] for tensor in self.memory().values()))

    @property
    def variance(self) -> Tensor:
        """log variance of the whole local part, ``[T]``."""
        return self.signal.logsumexp(1)

    def correlation(self, a: Tensor, b: Tensor) -> Tensor:
        """The local part over its variance, ``[T, A, B]``, of ``a [T, A, D]`` and ``b [T, B, D]``."""
        signal = (self.signal - self.variance[:, None]).exp()
        return covariance(a, b, self.relevance.exp(), signal, self.stretch.exp())

    def where(self, tasks: Tensor, other: Kernel) -> Kernel:
        """This kernel with the tasks under the mask ``[T]`` replaced by those of ``other`` (only those tasks)."""
        replaced = []
        for mine, theirs in zip(self.memory().values(), other.memory().values(), strict=True):
            new = mine.clone()
            new[tasks] = theirs
            replaced.append(new)
        return Kernel(*replaced)


def fit(x: Tensor, y: Tensor, weight: Tensor, *, ascent: int) -> Kernel:
    """Fit the kernel to rows by ``ascent`` steps on their log marginal likelihood.

    Args:
        x: ``[T, R, D]``.
        y: ``[T, R, O]``, about zero mean; one-hot for classification.
        weight: ``[T, R]``; rows of weight zero are left out.
        ascent: number of steps.
    """
    kernel = Kernel.wide(x, weight)
    leaves = [t.clone().requires_grad_() for t in kernel.memory().values()]
    power = (y.square().mean(2) * weight).sum(1) / weight.sum(1).clamp_min(1.0)
    unit = power.clamp_min(1e-12).sqrt()[:, None, None]
    optimizer = torch.optim.Adam(leaves, lr=_RATE, betas=(0.8, 0.95))
    with torch.enable_grad():
        for _ in range(ascent):
            optimizer.zero_grad(set_to_none=True)
            evidence = log_evidence(x, y / unit, weight, *leaves)
            (-evidence / weight.sum(1).clamp_min(1.0)).sum().backward()
            optimizer.step()
    found = [t.detach().clamp(-_BOUND, _BOUND) for t in leaves]
    scale = 2 * unit.reshape(-1).log()
    relevance, signal, stretch, linear, noise = found
    return Kernel(relevance, signal + scale[:, None], stretch, linear + scale, noise + scale)
