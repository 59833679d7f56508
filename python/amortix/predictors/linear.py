"""The linear predictor: φ(x) = [1, x]. Nothing of it is learned: f is fixed (parametric regime)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from amortix.contracts import AbstractFeaturePredictor
from amortix.latent import Latent


@final
class LinearPredictor(AbstractFeaturePredictor):
    """f(x, θ) = θ₀ + xᵀθ; the bias and the columns are two groups."""

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """Bias, columns."""
        return {"bias": (1, outputs), "columns": (features, outputs)}

    @property
    def groups(self) -> int:
        """Two: bias, columns."""
        return 2

    def group(self, features: int) -> Tensor:
        """``[D + 1]``."""
        return torch.tensor([0] + [1] * features)

    @property
    def basis(self) -> int:
        """Zero."""
        return 0

    def features(self, x: Tensor, latent: Latent | None = None) -> Tensor:
        """``[T, M, D + 1]``."""
        return torch.cat([torch.ones_like(x[..., :1]), x], dim=-1)
