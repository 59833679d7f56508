"""The convolutional network whose weights are the task's: f(x, θ) of MAML's few-shot images."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from amortix.contracts import AbstractPredictor
from amortix.layout import Layout

_GROUPS = 4
_EPSILON = 1e-5


@final
class ConvNetPredictor(AbstractPredictor):
    """Blocks of convolution 3 × 3, normalisation of groups of channels, rectification and pooling 2 × 2; a linear head.

    Blocks ``body.<layer>.<part>`` and ``head.<part>``; a convolution's weight is ``[3, 3, in, out]``; the shift that
    follows it is its bias. An image is a row of pixels. Channels are normalised within each image:
    normalising over a batch, as in the published network, would let queries see each other.

    Args:
        hidden: channels of each block, multiples of four.
        side: height and width of the images.
        max_outputs: the largest O.

    References:
        Finn, Abbeel and Levine, "Model-agnostic meta-learning", ICML 2017; Wu and He, "Group normalization", ECCV 2018.
    """

    def __init__(self, hidden: tuple[int, ...], side: int, max_outputs: int):
        super().__init__(side * side, max_outputs)
        self.hidden = hidden
        self.side = side
        self.size = hidden[-1] * (side // 2 ** len(hidden)) ** 2

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """Weight, scale and shift of each layer; weight and bias of the head."""
        found: dict[str, tuple[int, ...]] = {}
        for layer, (before, after) in enumerate(pairwise((1, *self.hidden))):
            name = f"body.{layer}"
            found |= {f"{name}.weight": (3, 3, before, after), f"{name}.scale": (after,), f"{name}.shift": (after,)}
        return found | {"head.weight": (self.size, outputs), "head.bias": (outputs,)}

    def initial(self) -> Tensor:
        """Weights of variance 2 / fan-in, 1 / fan-in in the head (He et al. 2015); scales one, the others zero."""
        drawn = []
        for name, shape in self.blocks(self.max_features, self.max_outputs).items():
            if name.endswith("weight"):
                gain = 1.0 if name.startswith("head") else 2.0
                drawn.append((gain / prod(shape[:-1])) ** 0.5 * torch.randn(prod(shape)))
            else:
                drawn.append(torch.full(shape, float(name.endswith("scale"))))
        return torch.cat(drawn)

    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """Images ``[T, M, side²]`` through all tasks' layers, as batched matrix products over patches."""
        *body, head, bias = layout.split(value).values()
        x = x.unflatten(2, (self.side, self.side, 1))
        for weight, scale, shift in zip(body[::3], body[1::3], body[2::3], strict=True):
            x = torch.relu(_pooled(_normalised(_convolved(x, weight), scale, shift)))
        return torch.baddbmm(bias.unsqueeze(1), x.flatten(2), head)


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    """Images ``[T, M, H, W, in]`` with their task's ``weight`` ``[T, 3, 3, in, out]``, zeros around them.

    A grouped convolution is differentiated twice group by group; products of matrices are not.
    """
    height, width = x.shape[2:4]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    shifted = [padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    patches = torch.cat(shifted, 4)
    return torch.bmm(patches.flatten(1, 3).contiguous(), weight.flatten(1, 3)).view(*x.shape[:4], -1)


def _normalised(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Groups of channels of each image to mean zero and variance one, then scaled and shifted by task."""
    grouped = x.unflatten(4, (_GROUPS, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 5), correction=0, keepdim=True)
    factor = (variance + _EPSILON).rsqrt() * scale.view(len(x), 1, 1, 1, _GROUPS, -1)
    offset = shift.view(len(x), 1, 1, 1, _GROUPS, -1) - mean * factor
    return torch.addcmul(offset, grouped, factor).flatten(4)


def _pooled(x: Tensor) -> Tensor:
    """The largest of every 2 × 2 places; before the rectification, where four times fewer are left to rectify."""
    images = x.flatten(0, 1).permute(0, 3, 1, 2)
    return F.max_pool2d(images, 2).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
