"""The multilayer perceptron whose weights are the task's: f(x, θ) of MAML's regression and of learned optimizers."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import final

import torch
from torch import Tensor

from amortix.contracts import AbstractPredictor
from amortix.layout import Layout


@final
class MlpPredictor(AbstractPredictor):
    """Hidden layers of rectified units, then a linear head; blocks ``body.<layer>.<part>`` and ``head.<part>``.

    Args:
        hidden: units of each hidden layer.
        max_features: the largest D.
        max_outputs: the largest O.
    """

    def __init__(self, hidden: tuple[int, ...], max_features: int, max_outputs: int):
        super().__init__(max_features, max_outputs)
        self.hidden = hidden

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """Weight and bias of each layer."""
        found: dict[str, tuple[int, ...]] = {}
        for layer, (before, after) in enumerate(pairwise((features, *self.hidden, outputs))):
            name = f"body.{layer}" if layer < len(self.hidden) else "head"
            found |= {f"{name}.weight": (before, after), f"{name}.bias": (after,)}
        return found

    def initial(self) -> Tensor:
        """Weights of variance 2 / fan-in, 1 / fan-in in the head (He et al. 2015); zero biases."""
        drawn = []
        for name, shape in self.blocks(self.max_features, self.max_outputs).items():
            gain = 1.0 if name.startswith("head") else 2.0
            scale = (gain / shape[0]) ** 0.5 if name.endswith("weight") else 0.0
            drawn.append(scale * torch.randn(prod(shape)))
        return torch.cat(drawn)

    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """All tasks' layers as batched matrix products."""
        parts = list(layout.split(value).values())
        for weight, bias in zip(parts[:-2:2], parts[1:-2:2], strict=True):
            x = torch.relu(torch.baddbmm(bias.unsqueeze(1), x, weight))
        return torch.baddbmm(parts[-1].unsqueeze(1), x, parts[-2])
