"""Running moments of a predictor's features: the curvature memory of the two-term update.

For features φ (the per-example Jacobian of a predictor that is linear in its parameters) the memory holds, as means
over all rows seen, C = E[φφᵀ], b = E[φyᵀ] and the power E[y²], with their count n. They are sums in disguise: two
memories of two shards merge exactly, in any order, and nothing in them goes stale.

References:
    Recursive least squares and the online Gauss-Newton method; e.g. Bottou, Curtis and Nocedal, "Optimization methods
    for large-scale machine learning", SIAM Review 2018, section 6.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Weighted means over the rows seen by each of T tasks, with Q features and R right-hand sides.

    Attributes:
        count: total weight n, ``[T]``.
        second: C, ``[T, Q, Q]``.
        cross: b, ``[T, Q, R]``.
        power: mean of y² summed over the right-hand sides, ``[T]``.
    """

    count: Tensor
    second: Tensor
    cross: Tensor
    power: Tensor

    @classmethod
    def zeros(cls, tasks: int, features: int, sides: int) -> Moments:
        """The memory before any row."""
        return cls(
            torch.zeros(tasks),
            torch.zeros(tasks, features, features),
            torch.zeros(tasks, features, sides),
            torch.zeros(tasks),
        )

    @classmethod
    def from_memory(cls, memory: Mapping[str, Tensor]) -> Moments:
        """Read the memory of a `State`."""
        return cls(memory["count"], memory["second"], memory["cross"], memory["power"])

    def memory(self) -> dict[str, Tensor]:
        """The four tensors by name, as a `State` carries them."""
        return {"count": self.count, "second": self.second, "cross": self.cross, "power": self.power}

    def merge(self, other: Moments) -> Moments:
        """The memory of both sets of rows together; exact up to rounding, commutative and associative."""
        total = self.count + other.count
        share = torch.where(total > 0, other.count / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)
        pairs = zip(self.memory().values(), other.memory().values(), strict=True)
        next(pairs)
        second, cross, power = (a + (b - a) * share.view(-1, *[1] * (a.dim() - 1)) for a, b in pairs)
        return Moments(total, second, cross, power)


def of_rows(features: Tensor, y: Tensor, weight: Tensor) -> Moments:
    """The moments of one mini-batch.

    Args:
        features: φ, ``[T, B, Q]``.
        y: targets, ``[T, B, R]``.
        weight: ``[T, B]``, non-negative.
    """
    count = weight.sum(1)
    scale = (weight / count.clamp_min(torch.finfo(count.dtype).tiny)[:, None]).unsqueeze(2)
    weighted = features * scale
    return Moments(
        count,
        weighted.transpose(1, 2) @ features,
        weighted.transpose(1, 2) @ y,
        (scale * y.square()).sum((1, 2)),
    )
