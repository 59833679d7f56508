"""Prototypes: a class is the mean of its rows' features, and a query belongs to the nearest.

The latent z of the explicit regime is one running mean for each class, exactly mergeable. As
−‖φ(x) − z_c‖² = 2 φ(x)ᵀz_c − ‖z_c‖² − ‖φ(x)‖² and the last term is the same for all classes, the prediction is a
softmax of a linear head that is read off the means.

References:
    Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", NIPS 2017.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractFeaturePredictor
from amortix.objectives import indicators

_UNSEEN = -30.0  # logit of a class without rows, below the others'


@final
class PrototypeAdapter(AbstractAdapter[AbstractFeaturePredictor]):
    """Running means of features by class, ``[T, O, Q]``, with the weight of each class's rows."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractFeaturePredictor) -> State:
        """No rows seen."""
        size = len(predictor.group(features))
        memory = {"weight": torch.zeros(tasks, outputs)}
        return State(torch.zeros(tasks, outputs, size), torch.zeros(tasks, dtype=torch.int64), memory)

    def step(self, state: State, batch: Batch, predictor: AbstractFeaturePredictor) -> State:
        """Merge the batch's means."""
        features = predictor.features(batch.x)
        member = indicators(batch.y, state.value.shape[1]) * batch.weights().unsqueeze(2)
        added = member.sum(1)
        weight = state.memory["weight"] + added
        shift = member.mT @ features - added.unsqueeze(2) * state.value
        value = state.value + shift / weight.clamp_min(torch.finfo(weight.dtype).tiny).unsqueeze(2)
        return State(value, state.age + 1, {"weight": weight})

    def predict(self, state: State, x: Tensor, predictor: AbstractFeaturePredictor) -> Prediction:
        """Probabilities by squared distance to the means, in units of √Q."""
        features, means = predictor.features(x), state.value
        unit = self.log_scale.exp() * means.shape[2] ** -0.5
        logits = unit * (2 * features @ means.mT - means.square().sum(2).unsqueeze(1))
        known = (state.memory["weight"] > 0).unsqueeze(1)
        # A query's own ‖φ‖² only shifts all of its logits, but for those of classes that nothing is known of.
        own = unit * features.square().sum(2, keepdim=True)
        return Prediction(F.softmax(torch.where(known, logits - own, _UNSEEN), dim=-1))
