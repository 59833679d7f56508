"""Rows of a context as codes: one network for every row, which sees no other row."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amortix.networks import perceptron
from amortix.objectives import indicators


@final
class RowEncoder(nn.Module):
    """A perceptron of [x, y]; columns and classes beyond a task's own are zeros.

    Args:
        features: the largest D.
        classes: the most classes; 1 for regression.
        width: W, of the hidden layers and of the code.
        depth: layers.
    """

    def __init__(self, features: int, classes: int, width: int, depth: int = 3):
        super().__init__()
        self.features = features
        self.classes = classes
        self.width = width
        self.layers = perceptron(features + classes, *[width] * depth)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Codes ``[T, B, W]`` of rows ``[T, B, D]`` with targets ``[T, B]``."""
        return self.layers(torch.cat([padded(x, self.features), sides(y, self.classes)], dim=2))


def padded(x: Tensor, features: int) -> Tensor:
    """``x`` with zeros for the columns that it lacks, ``[T, B, features]``."""
    return F.pad(x, (0, features - x.shape[2]))


def sides(y: Tensor, classes: int) -> Tensor:
    """Targets as networks see them: ``[T, B, 1]``, or indicators ``[T, B, classes]``."""
    return y.unsqueeze(2) if classes == 1 else indicators(y, classes)


def running_mean(mean: Tensor, count: Tensor, new: Tensor, weight: Tensor) -> Tensor:
    """The mean ``[T, W]`` of ``count`` rows together with that of new ones ``[T, B, W]`` of ``weight`` ``[T, B]``."""
    total = (count + weight.sum(1)).clamp_min(torch.finfo(count.dtype).tiny)
    return mean + ((new - mean.unsqueeze(1)) * weight.unsqueeze(2)).sum(1) / total.unsqueeze(1)
