"""Decoders: learned f whose θ is a latent of the task."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amortix.contracts import AbstractPredictor
from amortix.encoders import padded
from amortix.layout import Layout
from amortix.networks import perceptron


@final
class Decoder(AbstractPredictor):
    """A perceptron of [x, z]: the decoder of conditional neural processes (Garnelo et al. 2018).

    Args:
        latent: Z.
        width: of the hidden layers.
        max_features: the largest D.
        max_outputs: the largest number of raw outputs.
    """

    def __init__(self, latent: int, width: int, max_features: int, max_outputs: int):
        super().__init__(max_features, max_outputs)
        self.latent = latent
        self.layers = perceptron(max_features + latent, width, width, max_outputs)

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """The latent."""
        return {"latent": (self.latent,)}

    def initial(self) -> Tensor:
        """Zero."""
        return torch.zeros(self.latent)

    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """Raw outputs ``[T, M, O]``."""
        latent = value.unsqueeze(1).expand(-1, x.shape[1], -1)
        return self.layers(torch.cat([padded(x, self.max_features), latent], dim=2))[..., : layout.outputs]


@final
class AttentiveDecoder(AbstractPredictor):
    """A perceptron of [x, r(x), z]: r(x) attends from the query to rows of the context, z is their mean code.

    Keys and queries are one embedding of x. θ is the rows, their codes, which of them are there, and z.

    References:
        Kim et al., "Attentive neural processes", ICLR 2019.

    Args:
        rows: R.
        latent: Z, width of the codes.
        width: of the hidden layers.
        heads: attention heads; they divide ``width`` and ``latent``.
        max_features: the largest D.
        max_outputs: the largest number of raw outputs.
    """

    def __init__(self, rows: int, latent: int, width: int, heads: int, max_features: int, max_outputs: int):
        super().__init__(max_features, max_outputs)
        self.rows, self.latent, self.heads = rows, latent, heads
        self.embed = perceptron(max_features, width, width)
        self.layers = perceptron(max_features + 2 * latent, width, width, max_outputs)

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """Rows, codes, which are there, mean code."""
        rows, latent = self.rows, self.latent
        return {"rows": (rows, features), "codes": (rows, latent), "there": (rows,), "mean": (latent,)}

    def initial(self) -> Tensor:
        """Zero."""
        return torch.zeros(self.layout(self.max_features, self.max_outputs).size)

    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """Raw outputs ``[T, M, O]``."""
        rows, codes, there, mean = layout.split(value).values()
        query, key = self.embed(padded(x, self.max_features)), self.embed(padded(rows, self.max_features))
        # Before any row, attention is spread over codes that count for nothing.
        seen = (there > 0) | (there.sum(1, keepdim=True) == 0)
        parts = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (query, key, codes * there[..., None]))
        read = F.scaled_dot_product_attention(*parts, attn_mask=seen[:, None, None, :])
        read = read.transpose(1, 2).flatten(2)
        latent = mean.unsqueeze(1).expand(-1, x.shape[1], -1)
        return self.layers(torch.cat([padded(x, self.max_features), read, latent], dim=2))[..., : layout.outputs]


@final
class LatentPredictor(AbstractPredictor):
    """f(x, a + A·z) of another predictor's f: what moves is a latent of few dimensions.

    Args:
        inner: f.
        latent: Z.
    """

    def __init__(self, inner: AbstractPredictor, latent: int):
        super().__init__(inner.max_features, inner.max_outputs)
        self.inner = inner
        self.latent = latent
        start = inner.initial()
        self.decode = nn.Linear(latent, len(start))
        with torch.no_grad():
            self.decode.bias.copy_(start)

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """The latent."""
        return {"latent": (self.latent,)}

    def initial(self) -> Tensor:
        """Zero."""
        return torch.zeros(self.latent)

    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """The inner predictor's outputs."""
        inner = self.inner.layout(x.shape[2], layout.outputs)
        return self.inner(x, self.decode(value)[:, inner.places], inner)
