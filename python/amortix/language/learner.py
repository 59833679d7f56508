"""Prompt tuning as a learner: the task's state is the prompt, a mini-batch is one step of its update.

>>> import torch
>>> from transformers import LlamaConfig, LlamaForCausalLM
>>> sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
>>> frozen = FrozenModel.of(LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes)), verbalisers=[7, 8, 9])
>>> learner = PromptLearner(frozen, SoftPrompt(), Adam(0.01), torch.randn(4, 16))
>>> x = torch.tensor([[[12.0, 31.0, 0.0], [4.0, 0.0, 0.0]]])  # two texts: token ids + 1, then padding
>>> state = learner.init(tasks=1, features=3, outputs=3)
>>> state = learner.step(state, Batch(x, torch.tensor([[0.0, 2.0]])))
>>> learner.predict(state, x).mean.shape
torch.Size([1, 2, 3])
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.contracts import MAX_FEATURES
from amortix.errors import LearnerError
from amortix.language.frozen import FrozenModel
from amortix.language.latents import AbstractLatent, Prefix, SoftPrompt
from amortix.language.updates import AbstractUpdate, Adam, Descent
from amortix.learner import AbstractLearner

__all__ = ["Adam", "Descent", "FrozenModel", "Prefix", "PromptLearner", "SoftPrompt"]

_ROWS = 32  # predicted at a time, which bounds the memory of the model's layers


@final
class PromptLearner(AbstractLearner):
    """A frozen language model f(x, z) whose latent z is tuned by gradients: the explicit regime, amortised in z alone.

    The state's value is z ``[T, V, W]``, its memory that of the update. A step takes one mini-batch: the gradient of
    the weighted mean cross-entropy of each task's classes, by the softmax over the verbalisers alone.

    Rows of a `Batch` are texts: ``x`` holds token ids plus one as float32, and zeros behind the last token.

    Where z starts is the one parameter; training it through `step` is first-order, as in FOMAML, since the
    gradient inside a step is taken for a constant.

    Attributes:
        initial: z before any data, ``[V, W]``.
    """

    needs_queries = False

    def __init__(
        self,
        frozen: FrozenModel,
        latent: AbstractLatent,
        update: AbstractUpdate,
        initial: Tensor,
        *,
        max_features: int = MAX_FEATURES,
    ):
        super().__init__("explicit", "classification", max_features=max_features, max_outputs=len(frozen.verbalisers))
        width = latent.width(frozen)
        if initial.ndim != 2 or initial.shape[1] != width:
            raise LearnerError(f"the prompt starts at [V, {width}] for this model, not at {list(initial.shape)}")
        self.frozen, self.latent, self.update = frozen, latent, update
        self.initial = nn.Parameter(initial.clone())

    def init(
        self,
        tasks: int,
        features: int,
        outputs: int = 1,
        query_x: Tensor | None = None,
        like: State | None = None,
    ) -> State:
        """See `AbstractLearner.init`; a task has one class for each verbaliser."""
        self._check(features, outputs)
        if outputs != self.max_outputs:
            raise LearnerError(f"the task has {outputs} classes and the language model {self.max_outputs} verbalisers")
        if query_x is not None or like is not None:
            raise LearnerError("a prompt knows no queries: give them to predict")
        value = self.initial.expand(tasks, -1, -1).clone()
        age = torch.zeros(tasks, dtype=torch.int64, device=value.device)
        return State(value, age, self.update.init(value.detach()))

    def step(self, state: State, batch: Batch) -> State:
        """See `AbstractLearner.step`."""
        gradient, _ = self.gradient(state, batch)
        change, memory = self.update.step(gradient, state.memory, state.age)
        return State(state.value + change, state.age + 1, memory)

    def gradient(self, state: State, batch: Batch) -> tuple[Tensor, Tensor]:
        """The gradient of a mini-batch's loss by z, ``[T, V, W]``, and the loss ``[T]``; constants both."""
        with torch.enable_grad():
            z = state.value.detach().requires_grad_()
            missed = -self._logits(z, batch.x).log_softmax(2).gather(2, batch.y.long()[..., None]).squeeze(2)
            weight = batch.weights()
            losses = (weight * missed).sum(1) / weight.sum(1).clamp(min=torch.finfo(weight.dtype).tiny)
            (gradient,) = torch.autograd.grad(losses.sum(), z)
        return gradient, losses.detach()

    def predict(self, state: State, x: Tensor | None = None) -> Prediction:
        """See `AbstractLearner.predict`."""
        if x is None:
            raise LearnerError("a prompt needs the texts to predict: predict(state, x)")
        parts = [self._logits(state.value, part) for part in x.split(_ROWS, 1)]
        return Prediction(torch.cat(parts, 1).softmax(2))

    def _logits(self, z: Tensor, x: Tensor) -> Tensor:
        """``[T, N, O]`` at texts ``[T, N, D]``."""
        tasks, rows, columns = x.shape
        each = z.repeat_interleave(rows, 0)
        return self.latent.logits(self.frozen, each, x.reshape(tasks * rows, columns)).unflatten(0, (tasks, rows))
