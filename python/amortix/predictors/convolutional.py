"""Features of images by a small convolutional network, learned across tasks; the task's own is the head over them."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from amortix.contracts import AbstractFeaturePredictor
from amortix.latent import Latent

_GROUPS = 4


@final
class ConvolutionalPredictor(AbstractFeaturePredictor):
    """Blocks of convolution 3 × 3, normalisation of groups of channels, rectification and pooling 2 × 2.

    An image is a row of pixels. Channels are normalised within each image: normalising over a batch, as in the
    published networks, would let queries see each other.

    Args:
        side: height and width of the images.
        width: channels of every block, a multiple of four.
        depth: blocks.
        max_outputs: the largest O.

    References:
        Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, "Matching networks for one shot learning", NIPS 2016;
        Wu and He, "Group normalization", ECCV 2018.
    """

    def __init__(self, side: int = 28, width: int = 64, depth: int = 4, max_outputs: int = 20):
        super().__init__(side * side, max_outputs)
        self.side = side
        self.size = width * (side // 2**depth) ** 2
        channels = [1, *[width] * depth]
        self.network = nn.Sequential(*map(_block, channels[:-1], channels[1:]), nn.Flatten())

    @property
    def groups(self) -> int:
        """One."""
        return 1

    def group(self, features: int) -> Tensor:
        """``[Q]``."""
        return torch.zeros(self.size, dtype=torch.int64)

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """A head over the features."""
        return {"head": (self.size, outputs)}

    @property
    def basis(self) -> int:
        """Zero."""
        return 0

    def features(self, x: Tensor, latent: Latent | None = None) -> Tensor:
        """``[T, M, Q]`` for images ``[T, M, side²]``."""
        images = x.reshape(-1, 1, self.side, self.side)
        return self.network(images).view(*x.shape[:2], self.size)


def _block(before: int, after: int) -> nn.Sequential:
    """Pooled before it is rectified, which gives the same numbers and has a quarter to rectify."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(_GROUPS, after), nn.MaxPool2d(2), nn.ReLU()
    )
