"""In-context learning: a transformer reads a mini-batch and predicts each query, again from what it predicted before.

The state of a query is its raw outputs ŷ, logits of classes or of bars. At first they are zero and add nothing to the
query's token, so that one mini-batch is in-context learning as published; with more, the query's token carries ŷ on,
which is arXiv 2510.11471, equation 3. Queries see the context and themselves, never each other.

References:
    Mittal et al., arXiv 2510.11471; see `amortix.sequences` for the members.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractRefiner
from amortix.likelihoods import AbstractLikelihood
from amortix.networks import AbstractMask, TransformerBlock
from amortix.sequences import AbstractSequence


@final
class InContext(AbstractRefiner):
    """A transformer over a mini-batch and the queries.

    Args:
        sequence: makes the tokens.
        mask: what context tokens see of each other.
        likelihood: makes predictions of raw outputs.
        outputs: the largest number of raw outputs.
        width: W.
        heads: attention heads.
        layers: blocks.
    """

    def __init__(
        self,
        sequence: AbstractSequence,
        mask: AbstractMask,
        likelihood: AbstractLikelihood,
        *,
        outputs: int,
        width: int,
        heads: int,
        layers: int,
    ):
        super().__init__()
        self.sequence = sequence
        self.mask = mask
        self.likelihood = likelihood
        self.outputs = outputs
        self.carry = nn.Linear(outputs, width, bias=False)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads) for _ in range(layers)])
        self.last, self.readout = nn.LayerNorm(width), nn.Linear(width, outputs)

    def init(self, query_x: Tensor, outputs: int, like: State | None = None) -> State:
        """Raw outputs of zero; there is nothing for a likeness to lend."""
        tasks, queries, _ = query_x.shape
        value = torch.zeros(tasks, queries, self.likelihood.raw(outputs))
        return State(value, torch.zeros(tasks, dtype=torch.int64), {"query_x": query_x})

    def step(self, state: State, batch: Batch) -> State:
        """Read the batch and predict anew."""
        raw, query_x = state.value.shape[2], state.memory["query_x"]
        tokens = self.sequence(batch, query_x)
        query = tokens.query + self.carry(F.pad(state.value, (0, self.outputs - raw)))
        mask = self.mask(tokens.there, query.shape[1])
        hidden = torch.cat([tokens.context, query], dim=1)
        for block in self.blocks:
            hidden = block(hidden, mask)
        value = self.readout(self.last(hidden[:, tokens.context.shape[1] :]))[..., :raw]
        return State(value, state.age + 1, {"query_x": query_x})

    def ask(self, query_x: Tensor, fitted: State) -> State:
        """Raw outputs of zero: what was learned is in the rows alone."""
        value = torch.zeros(*query_x.shape[:2], fitted.value.shape[2])
        return State(value, torch.zeros_like(fitted.age), {"query_x": query_x})

    def recall(self, state: State, batch: Batch) -> State:
        """The same as a step."""
        return self.step(state, batch)

    def predict(self, state: State) -> Prediction:
        """What the outputs say."""
        return self.likelihood(state.value, torch.ones(len(state.value)))
