"""The posterior adapter: every row contributes a Gaussian site, and the sites multiply.

A row (x, y) contributes precision s·φφᵀ and information s·t·φ, with its weight s and its pseudo-target t from a network
that sees the row alone. Sums of natural parameters do not depend on order and merge exactly. Untrained, s = 1/σ² and
t = y: Bayesian linear regression.

References:
    Bishop, "Pattern recognition and machine learning", 2006, section 3.3; amortised sites as in Johnson et al.,
    "Composing graphical models with neural networks", NeurIPS 2016.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractFeaturePredictor
from amortix.encoders import RowEncoder, sides


@final
class PosteriorAdapter(AbstractAdapter[AbstractFeaturePredictor]):
    """A Gaussian posterior over the head of a feature predictor, in natural parameters.

    Args:
        encoder: makes the codes that sites are read from.
        groups: G, groups of features, each with its own prior precision.
    """

    def __init__(self, encoder: RowEncoder, groups: int):
        super().__init__()
        self.encoder = encoder
        self.site = nn.Linear(encoder.width, 1 + encoder.classes)
        nn.init.zeros_(self.site.weight)
        nn.init.zeros_(self.site.bias)
        self.log_precision = nn.Parameter(torch.zeros(groups))
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.log_sharpness = nn.Parameter(torch.zeros(()))

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractFeaturePredictor) -> State:
        """No sites."""
        size = len(predictor.group(features))
        memory = {"precision": torch.zeros(tasks, size, size)}
        return State(torch.zeros(tasks, size, outputs), torch.zeros(tasks, dtype=torch.int64), memory)

    def step(self, state: State, batch: Batch, predictor: AbstractFeaturePredictor) -> State:
        """Add the rows' sites."""
        outputs, features = state.value.shape[2], predictor.features(batch.x)
        read = self.site(self.encoder(batch.x, batch.y))
        weight = batch.weights() * (2 * read[..., 0].tanh() - self.log_noise).exp()
        target = _centred(batch.y, outputs) + read[..., 1 : 1 + outputs]
        scaled = features * weight.unsqueeze(2)
        memory = {"precision": state.memory["precision"] + scaled.mT @ features}
        return State(state.value + scaled.mT @ target, state.age + 1, memory)

    def predict(self, state: State, x: Tensor, predictor: AbstractFeaturePredictor) -> Prediction:
        """The posterior predictive; of classes, at the posterior mean."""
        features = predictor.features(x)
        prior = torch.diag(self.log_precision.exp()[predictor.group(x.shape[2])])
        factor = torch.linalg.cholesky(state.memory["precision"] + prior)
        mean = features @ torch.cholesky_solve(state.value, factor)
        if self.encoder.classes > 1:
            return Prediction(F.softmax(mean * self.log_sharpness.exp(), dim=2))
        spread = torch.linalg.solve_triangular(factor, features.mT, upper=False).square().sum(1)
        return Prediction(mean, (spread + self.log_noise.exp()).unsqueeze(2))


def _centred(y: Tensor, outputs: int) -> Tensor:
    return sides(y, outputs) - (1.0 / outputs if outputs > 1 else 0.0)
