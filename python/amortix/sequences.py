"""Contexts and queries as token sequences: how in-context learners differ before their transformer.

Rows of weight zero are moved to the end and seen by no one; rows of any other weight count alike.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from amortix.batch import Batch
from amortix.encoders import padded, sides


@dataclass(frozen=True)
class Tokens:
    """Embedded tokens.

    Attributes:
        context: ``[T, L, W]``.
        there: which context tokens are no padding, ``[T, L]`` bool.
        query: ``[T, M, W]``.
    """

    context: Tensor
    there: Tensor
    query: Tensor


class AbstractSequence(nn.Module, abc.ABC):
    """From rows and queries to tokens."""

    @abc.abstractmethod
    def forward(self, batch: Batch, query_x: Tensor) -> Tokens:
        """Tokens of a mini-batch ``[T, B]`` and of queries ``[T, M, D]``."""


@final
class Pairs(AbstractSequence):
    """A token a row, e(x) + e(y); a query is e(x). No positions: a set.

    References:
        Müller et al., "Transformers can do Bayesian inference", ICLR 2022.
    """

    def __init__(self, features: int, classes: int, width: int):
        super().__init__()
        self.features, self.classes = features, classes
        self.embed_x, self.embed_y = nn.Linear(features, width), nn.Linear(classes, width)

    def forward(self, batch: Batch, query_x: Tensor) -> Tokens:
        """L = B."""
        batch, there = _ordered(batch)
        context = self.embed_x(padded(batch.x, self.features)) + self.embed_y(sides(batch.y, self.classes))
        return Tokens(context, there, self.embed_x(padded(query_x, self.features)))


@final
class Interleaved(AbstractSequence):
    """x₁, y₁, x₂, y₂, …, with learned positions; a query comes after them. Later positions share the last one's.

    References:
        Garg, Tsipras, Liang and Valiant, "What can transformers learn in-context?", NeurIPS 2022.
    """

    def __init__(self, features: int, classes: int, width: int, positions: int):
        super().__init__()
        self.features, self.classes = features, classes
        self.embed_x, self.embed_y = nn.Linear(features, width), nn.Linear(classes, width)
        self.position = nn.Embedding(positions, width)

    def forward(self, batch: Batch, query_x: Tensor) -> Tokens:
        """L = 2·B."""
        batch, there = _ordered(batch)
        rows = self.embed_x(padded(batch.x, self.features)), self.embed_y(sides(batch.y, self.classes))
        context = torch.stack(rows, dim=2).flatten(1, 2)
        context = context + self.position(_clamped(torch.arange(context.shape[1]), self.position))
        after = self.position(_clamped(2 * there.sum(1), self.position)).unsqueeze(1)
        return Tokens(context, there.repeat_interleave(2, 1), self.embed_x(padded(query_x, self.features)) + after)


@final
class Shifted(AbstractSequence):
    """A token a row, of x and the y before it, with learned positions; a query has the last y.

    References:
        Kirsch, Harrison, Sohl-Dickstein and Metz, "General-purpose in-context learning by meta-learning transformers",
        2022.
    """

    def __init__(self, features: int, classes: int, width: int, positions: int):
        super().__init__()
        self.features, self.classes = features, classes
        self.embed = nn.Linear(features + classes, width)
        self.position = nn.Embedding(positions, width)

    def forward(self, batch: Batch, query_x: Tensor) -> Tokens:
        """L = B."""
        batch, there = _ordered(batch)
        side = sides(batch.y, self.classes)
        before = torch.cat([torch.zeros_like(side[:, :1]), side], dim=1)
        count = there.sum(1)
        last = before.gather(1, count.view(-1, 1, 1).expand(-1, 1, before.shape[2])).expand(-1, query_x.shape[1], -1)
        context = self.embed(torch.cat([padded(batch.x, self.features), before[:, :-1]], dim=2))
        context = context + self.position(_clamped(torch.arange(context.shape[1]), self.position))
        query = self.embed(torch.cat([padded(query_x, self.features), last], dim=2))
        return Tokens(context, there, query + self.position(_clamped(count, self.position)).unsqueeze(1))


def _ordered(batch: Batch) -> tuple[Batch, Tensor]:
    there = batch.weights() > 0
    order = there.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    x = batch.x.gather(1, order.unsqueeze(2).expand_as(batch.x))
    return Batch(x, batch.y.gather(1, order)), there.gather(1, order)


def _clamped(place: Tensor, table: nn.Embedding) -> Tensor:
    return place.clamp_max(table.num_embeddings - 1)
