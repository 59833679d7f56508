"""A frozen language model as f(x, θ): θ is the prompt, and nothing else of f can change."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from amortix.contracts import MAX_FEATURES, AbstractPredictor
from amortix.errors import LearnerError
from amortix.language.frozen import FrozenModel
from amortix.language.latents import AbstractLatent
from amortix.layout import Layout

_ROWS = 32  # read at a time, which bounds the memory of the model's layers


@final
class PromptPredictor(AbstractPredictor):
    """Class logits of texts behind a prompt; one block, ``prompt`` ``[V, W]``.

    Rows are texts: ``x`` holds token ids plus one as float32, and zeros behind the last token.

    Args:
        frozen: the model, with one token for each class.
        latent: what the prompt is made of.
        start: the prompt before anything is learned, ``[V, W]``.
        max_features: the most tokens of a text.

    Raises:
        LearnerError: the start does not fit the model.
    """

    def __init__(self, frozen: FrozenModel, latent: AbstractLatent, start: Tensor, *, max_features: int = MAX_FEATURES):
        super().__init__(max_features, len(frozen.verbalisers))
        width = latent.width(frozen)
        if start.ndim != 2 or start.shape[1] != width:
            raise LearnerError(f"the prompt starts at [V, {width}] for this model, not at {list(start.shape)}")
        self.frozen, self.latent, self.start = frozen, latent, start

    def blocks(self, features: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """The prompt.

        Raises:
            LearnerError: another number of classes than the model has words for.
        """
        if outputs != self.max_outputs:
            raise LearnerError(f"the task has {outputs} classes and the language model {self.max_outputs} verbalisers")
        return {"prompt": (self.start.shape[0], self.start.shape[1])}

    def initial(self) -> Tensor:
        """The start, ``[V · W]``."""
        return self.start.detach().flatten().clone()

    def forward(self, x: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """Logits of the classes, ``[T, M, O]``."""
        prompt = layout.split(value)["prompt"]
        return torch.cat([self._logits(prompt, part) for part in x.split(_ROWS, 1)], 1)

    def _logits(self, prompt: Tensor, x: Tensor) -> Tensor:
        tasks, rows, columns = x.shape
        each = prompt.repeat_interleave(rows, 0)
        return self.latent.logits(self.frozen, each, x.reshape(tasks * rows, columns)).unflatten(0, (tasks, rows))
