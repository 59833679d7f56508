"""The Markov form: a set transformer reads state, observations and gradients, and writes the next parameters.

A token of θ takes the place of a class token: it is read for the change of θ. Observations are tokens of their own;
the gradient of the mini-batch is one more. Parameters whose gradient was never other than zero, such as those of
columns that a task lacks, are shown as zeros.

References:
    Mittal et al., arXiv 2510.11471, equation 2; the baseline of the two-term update of `amortix.adapters.conjugate`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, final

import torch
from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractPredictor, AbstractStart
from amortix.encoders import RowEncoder
from amortix.gradients import first_order
from amortix.layout import Layout
from amortix.likelihoods import AbstractLikelihood
from amortix.networks import TransformerBlock, visible

Sees: TypeAlias = Literal["observations", "gradients", "both"]


@final
class MarkovAdapter(AbstractAdapter[AbstractPredictor]):
    """θ' = θ + h(θ, B, ∇).

    Args:
        start: θ⁽⁰⁾.
        encoder: embeds rows; its width is that of the tokens.
        likelihood: whose gradients are seen.
        size: P of the largest predictor.
        sees: what h is shown of a mini-batch.
        heads: attention heads.
        layers: blocks.
    """

    def __init__(
        self,
        start: AbstractStart,
        encoder: RowEncoder,
        likelihood: AbstractLikelihood,
        *,
        size: int,
        sees: Sees,
        heads: int,
        layers: int,
    ):
        super().__init__()
        self.start, self.encoder, self.likelihood, self.sees, self.size = start, encoder, likelihood, sees, size
        width = encoder.width
        self.embed_value, self.embed_gradient = nn.Linear(size, width), nn.Linear(size, width)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads) for _ in range(layers)])
        self.last, self.readout = nn.LayerNorm(width), nn.Linear(width, size)

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """θ⁽⁰⁾."""
        value = self.start(predictor.layout(features, self.likelihood.raw(outputs))).repeat(tasks, 1)
        memory = {"seen": torch.zeros(tasks, outputs), "moved": torch.zeros(value.shape)}
        return State(value, torch.zeros(tasks, dtype=torch.int64), memory)

    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """One reading of a mini-batch."""
        outputs, weight = state.memory["seen"].shape[1], batch.weights()
        layout = predictor.layout(batch.x.shape[2], self.likelihood.raw(outputs))

        def loss(value: Tensor) -> Tensor:
            return self.likelihood.mean_loss(predictor(batch.x, value, layout), batch)

        _, gradient = first_order(loss, state.value)
        moved = torch.maximum(state.memory["moved"], (gradient != 0).to(gradient.dtype))
        tokens = [self.embed_value(self._whole(state.value * moved, layout)).unsqueeze(1)]
        there = [torch.ones_like(weight[:, :1], dtype=torch.bool)]
        if self.sees != "observations":
            tokens.append(self.embed_gradient(self._whole(gradient, layout)).unsqueeze(1))
            there.append(there[0])
        if self.sees != "gradients":
            tokens.append(self.encoder(batch.x, batch.y))
            there.append(weight > 0)
        hidden, mask = torch.cat(tokens, dim=1), visible(torch.cat(there, dim=1))
        for block in self.blocks:
            hidden = block(hidden, mask)
        change = self.readout(self.last(hidden[:, 0]))[:, layout.places]
        seen = state.memory["seen"] + self.likelihood.counts(batch.y, weight, outputs)
        return State(state.value + change, state.age + 1, {"seen": seen, "moved": moved})

    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """f(x, θ)."""
        seen = state.memory["seen"]
        layout = predictor.layout(x.shape[2], self.likelihood.raw(seen.shape[1]))
        return self.likelihood(predictor(x, state.value, layout), torch.ones_like(seen[:, 0]))

    def _whole(self, value: Tensor, layout: Layout) -> Tensor:
        """θ among the parameters of the largest predictor, zeros elsewhere."""
        return value.new_zeros(len(value), self.size).index_copy(1, layout.places, value)
