"""A task's kernel as finitely many features: its covariances with a few of the task's first rows.

With Z the inducing rows, κ the local part of the kernel and L Lᵀ = κ(Z, Z), the features are

    φ(x) = √(σ²/ν) · L⁻¹ κ(Z, x),        φ(x)·φ(x') ≈ κ(x, x') / ν,

equal where x or x' is one of Z. σ² is the variance of κ and ν that of the noise, so a head with ridge penalty one is
the Gaussian process that the kernel stands for. While Z holds every row so far, the head is that process exactly.

References:
    Smola and Schölkopf, "Sparse greedy matrix approximation", ICML 2000 (subset of regressors); Quiñonero-Candela and
    Rasmussen, "A unifying view of sparse approximate Gaussian process regression", JMLR 2005, sections 3 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amortix.kernel import Kernel
from amortix.sample import Sample

_JITTER = 1e-4  # of unit variance: what float32 needs to factorise smooth kernels
_BOUND = 8.0  # of the logarithm of σ²/ν


@dataclass(frozen=True)
class Basis:
    """S inducing rows of each of T tasks.

    Attributes:
        rows: Z, ``[T, S, D]``, zeros where the task has fewer.
        whitening: √(σ²/ν) · L⁻ᵀ, ``[T, S, S]``, zero in the columns and rows of what is not there.
    """

    rows: Tensor
    whitening: Tensor

    @classmethod
    def empty(cls, tasks: int, size: int, features: int) -> Basis:
        """No rows: all features are zero."""
        return cls(torch.zeros(tasks, size, features), torch.zeros(tasks, size, size))

    @classmethod
    def of(cls, sample: Sample, kernel: Kernel, size: int) -> Basis:
        """The first S = ``size`` rows of a sample, whitened under the kernel."""
        first = sample.first(size)
        rows, there = first.x, first.weight > 0
        both = there[:, :, None] & there[:, None, :]
        unit = torch.eye(size, dtype=rows.dtype, device=rows.device)
        among = torch.where(both, kernel.correlation(rows, rows), 0.0)
        factor = torch.linalg.cholesky(among + torch.where(there, _JITTER, 1.0)[:, :, None] * unit)
        inverse = torch.linalg.solve_triangular(factor, unit.expand_as(factor), upper=False)
        scale = torch.where(both, _ratio(kernel).sqrt()[:, None, None], 0.0)
        return cls(rows, scale * inverse.mT)

    @classmethod
    def from_memory(cls, memory: Mapping[str, Tensor]) -> Basis:
        """Read the memory of a `State`."""
        return cls(memory["basis_rows"], memory["basis_whitening"])

    def memory(self) -> dict[str, Tensor]:
        """The tensors by name, as a `State` carries them."""
        return {"basis_rows": self.rows, "basis_whitening": self.whitening}

    def where(self, tasks: Tensor, other: Basis) -> Basis:
        """This basis with the tasks under the mask ``[T]`` replaced by those of ``other`` (only those tasks)."""
        rows, whitening = self.rows.clone(), self.whitening.clone()
        rows[tasks], whitening[tasks] = other.rows, other.whitening
        return Basis(rows, whitening)

    def features(self, x: Tensor, kernel: Kernel) -> Tensor:
        """φ, ``[T, M, S]``, at x ``[T, M, D]``."""
        return kernel.correlation(x, self.rows) @ self.whitening

    def beyond(self, features: Tensor, kernel: Kernel) -> Tensor:
        """Variance of κ that φ ``[T, M, S]`` lacks, over the noise's, ``[T, M]``."""
        return (_ratio(kernel)[:, None] - features.square().sum(2)).clamp_min(0.0)


def _ratio(kernel: Kernel) -> Tensor:
    """σ²/ν, ``[T]``."""
    return (kernel.variance - kernel.noise).clamp(-_BOUND, _BOUND).exp()
