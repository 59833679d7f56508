"""A causal language model that no step changes, read as a classifier: the next token's logits at a few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor

PADDING = 0
"""What stands behind a row's last token; token i is the number i + 1, which float32 holds exactly up to 2²⁴."""


@final
@dataclass(frozen=True)
class FrozenModel:
    """A causal language model of the transformers library, with one token for each class.

    No module of PyTorch, so that neither a learner's parameters nor its checkpoint hold the model.

    Attributes:
        model: a causal language model, in evaluation mode, without gradients.
        verbalisers: ids of the tokens whose logits are the classes', ``[O]`` int64.
    """

    model: Any
    verbalisers: Tensor

    @classmethod
    def of(cls, model: Any, verbalisers: Sequence[int]) -> Self:
        """Freeze a model in place: evaluation mode, no gradients."""
        return cls(model.eval().requires_grad_(False), torch.tensor(list(verbalisers)))

    @property
    def layers(self) -> int:
        """Layers that attend."""
        return self.model.config.num_hidden_layers

    @property
    def heads(self) -> tuple[int, int]:
        """Heads of keys and values in a layer, and numbers in each."""
        config = self.model.config
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return getattr(config, "num_key_value_heads", None) or config.num_attention_heads, size

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings ``[..., E]`` of token ids ``[...]`` int64."""
        return self.model.get_input_embeddings()(tokens)

    def keys_and_values(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What a text leaves in every layer, ``[H, L, E]`` keys and values each, for token ids ``[L]``."""
        cache = new_cache()
        self.model(input_ids=tokens[None], cache=cache, use_cache=True)
        return [(layer.keys[0], layer.values[0]) for layer in cache.layers]

    def logits(self, embeddings: Tensor, last: Tensor, cache: Any = None) -> Tensor:
        """Logits of the classes after the position ``last`` of each row.

        Positions behind ``last`` cannot be seen from it, so padding there needs no mask.

        Args:
            embeddings: ``[N, L, E]``.
            last: ``[N]`` int64.
            cache: keys and values that stand before, for every row.

        Returns:
            ``[N, O]``.
        """
        kept, place = torch.unique(last, return_inverse=True)
        found = self.model(inputs_embeds=embeddings, cache=cache, use_cache=cache is not None, logits_to_keep=kept)
        rows = torch.arange(len(last), device=last.device)
        return found.logits[rows, place][:, self.verbalisers.to(last.device)]


def new_cache() -> Any:
    """Room for keys and values of every layer, filled by ``update(keys, values, layer)``."""
    from transformers import DynamicCache

    return DynamicCache()


def token_ids(x: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids and lengths of padded rows.

    Args:
        x: ``[N, D]`` float32, `PADDING` behind the last token of each row.

    Returns:
        ids ``[N, L]`` int64, where L is the longest row's length (at least 1), any id for padding; lengths ``[N]``.
    """
    numbers = x.round().long()
    lengths = ((numbers != PADDING) * torch.arange(1, x.shape[1] + 1, device=x.device)).amax(1)
    longest = max(int(lengths.max()), 1)
    return (numbers[:, :longest] - 1).clamp(min=0), lengths
