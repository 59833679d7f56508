"""Linear functions and the covariances with inducing rows: a Gaussian process as a head over finitely many features."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from amortix.contracts import MAX_FEATURES, AbstractFeaturePredictor
from amortix.latent import Latent


@final
class InducingPredictor(AbstractFeaturePredictor):
    """φ(x; latent) = [1, x, basis(x)] with the basis of S inducing rows that the task's first rows give.

    S is a knob of deployment: nothing that is learned across tasks depends on it.

    Args:
        size: S.
        max_features: the largest D.

    References:
        See `amortix.basis`.
    """

    def __init__(self, size: int = 128, *, max_features: int = MAX_FEATURES):
        super().__init__(max_features)
        self.size = size

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """Bias, columns, basis."""
        return {"bias": (1, outputs), "columns": (features, outputs), "basis": (self.size, outputs)}

    @property
    def groups(self) -> int:
        """Three: bias, columns, basis."""
        return 3

    def group(self, features: int) -> Tensor:
        """``[1 + D + S]``."""
        return torch.tensor([0] + [1] * features + [2] * self.size)

    @property
    def basis(self) -> int:
        """S."""
        return self.size

    def features(self, x: Tensor, latent: Latent | None = None) -> Tensor:
        """``[T, M, 1 + D + S]``."""
        basis = x.new_zeros(*x.shape[:2], self.size) if latent is None else latent.features(x)
        return torch.cat([torch.ones_like(x[..., :1]), x, basis], dim=2)
