"""Adam as an update rule.

References:
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from amortix.contracts import AbstractUpdate
from amortix.layout import Layout

_TINY = torch.finfo(torch.float32).tiny  # below it the square root has no useful derivative


def begin(value: Tensor) -> dict[str, Tensor]:
    """Zero moments of θ ``[T, P]``, no steps."""
    return {"moment": torch.zeros_like(value), "power": torch.zeros_like(value), "steps": torch.zeros(len(value))}


def direction(
    gradient: Tensor, memory: Mapping[str, Tensor], betas: tuple[float, float], epsilon: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The moments' bias-corrected direction m̂ / (√v̂ + ε) ``[T, P]``, and the memory with this gradient."""
    first, second = betas
    moment = first * memory["moment"] + (1 - first) * gradient
    power = second * memory["power"] + (1 - second) * gradient.square()
    steps = memory["steps"] + 1
    mean, mean_square = moment / (1 - first**steps)[:, None], power / (1 - second**steps)[:, None]
    found = mean / (mean_square.clamp_min(_TINY).sqrt() + epsilon)
    return found, {"moment": moment, "power": power, "steps": steps}


@final
class Adam(AbstractUpdate):
    """θ' = θ − α m̂ / (√v̂ + ε).

    Args:
        rate: α.
        betas: decay of the two moments.
        epsilon: ε.
    """

    def __init__(self, rate: float, *, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8):
        super().__init__()
        self.rate = rate
        self.betas = betas
        self.epsilon = epsilon

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """Zero moments."""
        return begin(value)

    def forward(
        self, value: Tensor, gradient: Tensor, memory: Mapping[str, Tensor], layout: Layout
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The next θ and moments."""
        found, memory = direction(gradient, memory, self.betas, self.epsilon)
        return value - self.rate * found, memory
