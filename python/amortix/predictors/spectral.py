"""Spectral features: a kernel as a finite feature map whose size is a knob of deployment.

A stationary kernel is the expectation of cos(ωᵀ(x − x')) over its spectral density, so S draws of ω give features
whose inner product approaches the kernel as S grows. The densities' scales are learned across tasks; the relevance of
each column is the task's latent; the number of features may differ between training and use.

References:
    Rahimi and Recht, "Random features for large-scale kernel machines", NeurIPS 2007. The density of the Matérn kernel
    of smoothness ν is a multivariate t with 2ν degrees of freedom: Rasmussen and Williams 2006, equation 4.15.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from amortix.contracts import MAX_FEATURES, AbstractFeaturePredictor

_SEED = 20_25_10  # the frequencies are a constant of the method: the same in training, use and after loading
_BLOCK = 32  # columns that are drawn together
_DEGREES = (1, 5)  # Matérn-1/2 for edges and steps, Matérn-5/2 for what is smooth


@final
class SpectralPredictor(AbstractFeaturePredictor):
    """φ(x; ρ) = [1, x, cos(ω·(x√ρ)), sin(ω·(x√ρ))] with half of the frequencies from each density.

    Args:
        size: S, the number of spectral features; a multiple of four.
        max_features: the largest D.
    """

    frequencies: Tensor

    def __init__(self, size: int = 128, *, max_features: int = MAX_FEATURES):
        super().__init__(max_features)
        self.log_scale = nn.Parameter(torch.zeros(len(_DEGREES)))
        self.register_buffer("frequencies", torch.empty(0), persistent=False)
        self.resize(size)

    def resize(self, size: int) -> None:
        """Set the number of spectral features S, a multiple of four. States made before no longer fit."""
        per_density = size // (2 * len(_DEGREES))
        drawn = [_draw(per_density, self.max_features, degree) for degree in _DEGREES]
        self.frequencies = torch.stack(drawn)

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """Bias, columns, waves."""
        waves = self.frequencies.shape[0] * self.frequencies.shape[1] * 2
        return {"bias": (1, outputs), "columns": (features, outputs), "waves": (waves, outputs)}

    @property
    def groups(self) -> int:
        """Four: bias, columns, and one per density."""
        return 2 + len(_DEGREES)

    def group(self, features: int) -> Tensor:
        """``[1 + D + S]``."""
        densities, count, _ = self.frequencies.shape
        spectral = torch.arange(densities).repeat_interleave(count).repeat(2) + 2
        return torch.cat([torch.tensor([0] + [1] * features), spectral])

    def features(self, x: Tensor, relevance: Tensor | None = None) -> Tensor:
        """``[T, M, 1 + D + S]``; equal relevance 1/D where none is given."""
        columns = x.shape[-1]
        frequencies = self.frequencies[..., :columns] * self.log_scale.exp()[:, None, None]
        omega = frequencies.flatten(0, 1)
        if relevance is None:
            relevance = torch.full_like(x[:, 0], -torch.tensor(float(columns)).log().item())
        phase = (x * (relevance / 2).exp()[:, None]) @ omega.T
        unit = self.frequencies.shape[1] ** -0.5
        return torch.cat([torch.ones_like(x[..., :1]), x, phase.cos() * unit, phase.sin() * unit], dim=-1)


def _draw(count: int, dimensions: int, degrees: int) -> Tensor:
    """Frequencies ``[count, dimensions]`` that more of either only extends."""
    blocks = [_normals(count, _BLOCK + degrees * (not start), degrees, start) for start in range(0, dimensions, _BLOCK)]
    # The first block's last columns are those of the radius.
    radius = blocks[0][:, _BLOCK:].square().mean(1, keepdim=True).sqrt()
    normal = torch.cat([block[:, :_BLOCK] for block in blocks], dim=1)[:, :dimensions]
    return (normal / radius.clamp_min(1e-3)).float()


def _normals(count: int, width: int, degrees: int, start: int) -> Tensor:
    # One generator for each density and block of columns, one draw for each row.
    generator = torch.Generator().manual_seed(_SEED + degrees + 1_000_003 * start)
    rows = [torch.randn(width, generator=generator, dtype=torch.float64) for _ in range(count)]
    return torch.stack(rows) if rows else torch.empty(0, width, dtype=torch.float64)
