"""The attentive adapter: the mean code of all rows, and the codes of the first ones for queries to attend to.

Codes are made anew from the rows whenever they are read, so that none is stale. Beyond its R rows the context grows no
more, but the mean code goes on.

References:
    Kim et al., "Attentive neural processes", ICLR 2019; its deterministic path.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractPredictor
from amortix.encoders import RowEncoder, running_mean
from amortix.likelihoods import AbstractLikelihood
from amortix.sample import Sample


@final
class AttentiveAdapter(AbstractAdapter[AbstractPredictor]):
    """A bounded context of first rows beside a running mean code.

    Args:
        encoder: makes the codes.
        likelihood: makes predictions of f's raw outputs.
        rows: R.
    """

    def __init__(self, encoder: RowEncoder, likelihood: AbstractLikelihood, rows: int):
        super().__init__()
        self.encoder = encoder
        self.likelihood = likelihood
        self.rows = rows

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """A code of zeros, no rows."""
        memory = {"seen": torch.zeros(tasks, outputs)} | Sample.zeros(tasks, self.rows, features).memory()
        return State(torch.zeros(tasks, self.encoder.width), torch.zeros(tasks, dtype=torch.int64), memory)

    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """Merge the batch's codes into the mean, and keep rows while there is room."""
        seen, weight = state.memory["seen"], batch.weights()
        sample, _ = Sample.from_memory(state.memory).extend(batch)
        value = running_mean(state.value, seen.sum(1), self.encoder(batch.x, batch.y), weight)
        seen = seen + self.likelihood.counts(batch.y, weight, seen.shape[1])
        return State(value, state.age + 1, {"seen": seen} | sample.memory())

    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """f(x, θ) with θ = kept rows, their codes, which are kept, the mean code."""
        seen, sample = state.memory["seen"], Sample.from_memory(state.memory)
        layout = predictor.layout(x.shape[2], self.likelihood.raw(seen.shape[1]))
        codes = self.encoder(sample.x, sample.y)
        parts = (sample.x, codes, (sample.weight > 0).to(codes.dtype), state.value)
        value = torch.cat([part.flatten(1) for part in parts], dim=1)
        return self.likelihood(predictor(x, value, layout), torch.ones_like(seen[:, 0]))
