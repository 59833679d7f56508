"""Networks that several learned pieces are made of."""

from __future__ import annotations

import abc
from itertools import pairwise
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def perceptron(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with SiLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


@final
class TransformerBlock(nn.Module):
    """Self-attention and a perceptron of four times the width, normalised before each, as in GPT-2.

    Args:
        width: W.
        heads: attention heads; they divide W.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The next layer's tokens.

        Args:
            tokens: ``[T, L, W]``.
            mask: which token (row) may see which (column), ``[T, L, L]`` bool; every token sees one or more.
        """
        parts = self.project(self.before(tokens)).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask.unsqueeze(1))
        tokens = tokens + self.merge(seen.transpose(1, 2).flatten(2))
        return tokens + self.narrow(F.gelu(self.widen(self.between(tokens))))


def visible(keys: Tensor) -> Tensor:
    """A mask ``[T, L, L]`` by which every token sees itself and those of ``keys`` ``[T, L]`` bool."""
    return keys.unsqueeze(1) | torch.eye(keys.shape[1], dtype=torch.bool)


class AbstractMask(nn.Module, abc.ABC):
    """What the tokens of a context see of each other; queries, which follow them, see all of it and themselves."""

    @abc.abstractmethod
    def among(self, length: int) -> Tensor:
        """Which context token (row) may see which (column), ``[L, L]`` bool."""

    def forward(self, there: Tensor, queries: int) -> Tensor:
        """The mask ``[T, L + M, L + M]`` of context tokens ``there`` ``[T, L]`` bool and M queries."""
        keys = F.pad(there, (0, queries))
        allowed = F.pad(self.among(there.shape[1]), (0, queries, 0, queries), value=True)
        return visible(keys) & (allowed | torch.eye(len(allowed), dtype=torch.bool))


@final
class Causal(AbstractMask):
    """Only earlier ones, so that the tokens of a prefix are those of the mini-batch that ends there."""

    def among(self, length: int) -> Tensor:
        """Lower triangle."""
        return torch.ones(length, length, dtype=torch.bool).tril()


@final
class Everyone(AbstractMask):
    """All: without positions, the order of the context does not matter."""

    def among(self, length: int) -> Tensor:
        """Ones."""
        return torch.ones(length, length, dtype=torch.bool)
