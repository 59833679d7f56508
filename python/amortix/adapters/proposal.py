"""The proposal adapter: the first mini-batch proposes where a gradient adapter sets out from.

References:
    Rusu et al., "Meta-learning with latent embedding optimization", ICLR 2019; here the code is not sampled, and only
    the latent is descended, not the decoded parameters after it.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractPredictor
from amortix.encoders import RowEncoder


@final
class ProposalAdapter(AbstractAdapter[AbstractPredictor]):
    """θ⁽⁰⁾ from the mean code of a task's first mini-batch; from there on another adapter.

    Args:
        encoder: makes the codes of rows.
        size: P, of the parameters that are proposed.
        inner: the adapter, whose state's value is θ.
    """

    def __init__(self, encoder: RowEncoder, size: int, inner: AbstractAdapter[AbstractPredictor]):
        super().__init__()
        self.encoder = encoder
        self.propose = nn.Linear(encoder.width, size)
        self.inner = inner

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """That of the inner adapter."""
        return self.inner.init(tasks, features, outputs, predictor)

    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """Propose, where the task begins; then step."""
        weight = batch.weights().unsqueeze(2)
        total = weight.sum(1).clamp_min(torch.finfo(weight.dtype).tiny)
        proposed = self.propose((self.encoder(batch.x, batch.y) * weight).sum(1) / total)
        value = torch.where((state.age == 0).unsqueeze(1), proposed, state.value)
        return self.inner.step(State(value, state.age, state.memory), batch, predictor)

    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """That of the inner adapter."""
        return self.inner.predict(state, x, predictor)
