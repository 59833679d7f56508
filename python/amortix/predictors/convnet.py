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


@final
class ConvNetPredictor(AbstractPredictor):
    """Blocks of convolution 3 × 3, normalisation of groups of channels, rectification and pooling 2 × 2; a linear head.

    Blocks ``body.<layer>.<part>`` and ``head.<part>``; a convolution's weight is ``[out, in, 3, 3]``; the shift that
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
            found |= {f"{name}.weight": (after, before, 3, 3), f"{name}.scale": (after,), f"{name}.shift": (after,)}
        return found | {"head.weight": (self.size, outputs), "head.bias": (outputs,)}

    def initial(self) -> Tensor:
        """Weights of variance 2 / fan-in, 1 / fan-in in the head (He et al. 2015); scales one, the others zero."""
        drawn = []
        for name, shape in self.blocks(self.max_features, self.max_outputs).items():
            if name.endswith("weight"):
                variance = 1 / shape[0] if name.startswith("head") else 2 / prod(shape[1:])
                drawn.append(variance**0.5 * torch.randn(prod(shape)))
            else:
                drawn.append(torch.full(shape, float(name.endswith("scale"))))
        return torch.cat(drawn)

    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """Images ``[T, M, side²]`` through each task's convolutions, and through the other layers of all together."""
        *body, head, bias = layout.split(value).values()
        x = x.unflatten(2, (1, self.side, self.side))
        for weight, scale, shift in zip(body[::3], body[1::3], body[2::3], strict=True):
            x = torch.relu(_pooled(_normalised(_convolved(x, weight), scale, shift)))
        return torch.baddbmm(bias.unsqueeze(1), x.flatten(2), head)


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    """Images ``[T, M, in, H, W]`` with the ``weight`` of their task, ``[T, out, in, 3, 3]``.

    Task by task: differentiated twice, one convolution in groups took 1.2 to 2.6 times as long, and products of
    matrices over copied patches 4.5 to 5.2 times, at 28 and 14 pixels a side and 64 channels.
    """
    return torch.stack([F.conv2d(images, own, padding=1) for images, own in zip(x, weight, strict=True)])


def _normalised(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Groups of channels of each image to mean zero and variance one, then scaled and shifted by task."""
    normal = F.group_norm(x.flatten(0, 1), _GROUPS).view_as(x)
    return torch.addcmul(shift[:, None, :, None, None], normal, scale[:, None, :, None, None])


def _pooled(x: Tensor) -> Tensor:
    """The largest of every 2 × 2 places; before the rectification, where four times fewer are left to rectify."""
    return F.max_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])
