"""What a prompt z is made of, and how the frozen model reads it before a text.

References:
    Lester, Al-Rfou and Constant, "The power of scale for parameter-efficient prompt tuning", 2021 (soft prompts);
    Li and Liang, "Prefix-tuning: optimizing continuous prompts for generation", 2021, without its reparametrisation.
"""

from __future__ import annotations

import abc
from typing import Any, final

import torch
from torch import Tensor

from amortix.language.frozen import FrozenModel, new_cache, token_ids


class AbstractLatent(abc.ABC):
    """A kind of prompt: V virtual tokens of W numbers each."""

    @abc.abstractmethod
    def width(self, frozen: FrozenModel) -> int:
        """W."""

    @abc.abstractmethod
    def of_text(self, frozen: FrozenModel, tokens: Tensor) -> Tensor:
        """The prompt ``[V, W]`` that does what the words do whose token ids are ``[V]``."""

    @abc.abstractmethod
    def logits(self, frozen: FrozenModel, z: Tensor, x: Tensor) -> Tensor:
        """Class logits ``[N, O]`` of rows of tokens.

        Args:
            frozen: the model.
            z: ``[N, V, W]``, the prompt of each row.
            x: ``[N, D]``, see `token_ids`. A row without tokens is read at the end of its prompt.
        """


@final
class SoftPrompt(AbstractLatent):
    """Embeddings that stand before those of the text. W is the model's width."""

    def width(self, frozen: FrozenModel) -> int:
        """See `AbstractLatent.width`."""
        return frozen.model.config.hidden_size

    def of_text(self, frozen: FrozenModel, tokens: Tensor) -> Tensor:
        """The embeddings of the words."""
        return frozen.embed(tokens).detach().clone()

    def logits(self, frozen: FrozenModel, z: Tensor, x: Tensor) -> Tensor:
        """See `AbstractLatent.logits`."""
        ids, lengths = token_ids(x)
        return frozen.logits(torch.cat([z, frozen.embed(ids)], 1), z.shape[1] + lengths - 1)


@final
class Prefix(AbstractLatent):
    """Keys and values that every layer attends to before the text.

    W holds, for each layer in turn, the keys of all its heads and then the values: layers · 2 · heads · size.
    """

    def width(self, frozen: FrozenModel) -> int:
        """See `AbstractLatent.width`."""
        heads, size = frozen.heads
        return frozen.layers * 2 * heads * size

    def of_text(self, frozen: FrozenModel, tokens: Tensor) -> Tensor:
        """The keys and values that the words leave."""
        with torch.no_grad():
            layers = [torch.stack(pair) for pair in frozen.keys_and_values(tokens)]
        return torch.stack(layers).permute(3, 0, 1, 2, 4).reshape(len(tokens), -1).clone()

    def logits(self, frozen: FrozenModel, z: Tensor, x: Tensor) -> Tensor:
        """See `AbstractLatent.logits`; keys and values alone give no logits, so an empty row reads token 0."""
        ids, lengths = token_ids(x)
        return frozen.logits(frozen.embed(ids), (lengths - 1).clamp(min=0), self._cache(frozen, z))

    def _cache(self, frozen: FrozenModel, z: Tensor) -> Any:
        heads, size = frozen.heads
        layers = z.reshape(*z.shape[:2], frozen.layers, 2, heads, size).permute(2, 3, 0, 4, 1, 5)
        cache = new_cache()
        for index, (keys, values) in enumerate(layers):
            cache.update(keys, values, index)
        return cache
