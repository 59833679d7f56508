"""The Newton adapter: the two-term update for a softmax, linearised again at every mini-batch.

The state's value is θ itself; its memory the running means of the curvature H = E[JᵀΣJ] with Σ = diag p − ppᵀ, and of
the information η = E[Hθ − ∇], each taken at the θ of its time. A mini-batch is refined a few times: with its curvature
and gradient at the present θ merged into the memory,

    θ ← (n·H + λ)⁻¹ n·η  =  θ_before + amortised pull of the prior, fading as 1/n  −  M·n_B·∇ at the present θ.

What was linearised at a poor early θ would stay wrong in the memory, at the same 1/n as the statistical error. So the
first rows are kept as rows and linearised anew at every refinement; only what comes after them enters the memory.
More refinements at young ages, when a mini-batch moves θ far; one suffices once the memory dominates.

References:
    Mittal et al., arXiv 2510.11471; the iterated extended Kalman filter (Bell and Cathey 1993), of which this is the
    information form; MacKay, "The evidence framework applied to classification networks", 1992.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractPredictor
from amortix.moments import Moments
from amortix.prior import EvidencePrior, solve
from amortix.sample import Sample


@final
class NewtonAdapter(AbstractAdapter):
    """Sequential Newton refinement of softmax parameters ``[T, P, O]`` under an amortised prior.

    Args:
        prior: infers the damping; its noise is one, as the curvature of a log-likelihood has the noise in it.
        sample: R, first rows that are kept and linearised anew.
        refinements: refinements of a mini-batch by the age of the state; the last holds from then on.
    """

    def __init__(
        self, prior: EvidencePrior, *, sample: int = 512, refinements: tuple[int, ...] = (6, 4, 3, 2, 2, 2, 2, 1)
    ):
        super().__init__()
        self.prior = prior
        self.sample = sample
        self.refinements = refinements

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """θ = 0: equal probabilities."""
        size = len(predictor.group(features))
        tail = Moments.zeros(tasks, size * outputs, 1).memory()
        memory = tail | Sample.zeros(tasks, self.sample, features).memory()
        memory["damping"] = self.prior.begin(tasks).detach()
        return State(torch.zeros(tasks, size, outputs), torch.zeros(tasks, dtype=torch.int64), memory)

    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """Refine θ by one mini-batch."""
        tail, value, damping = Moments.from_memory(state.memory), state.value, state.memory["damping"]
        sample, beyond = Sample.from_memory(state.memory).extend(batch)
        kept = Batch(sample.x, sample.y, sample.weight)
        batch = Batch(batch.x, batch.y, beyond)
        kept_features, features = predictor.features(kept.x), predictor.features(batch.x)
        group = predictor.group(batch.x.shape[2]).repeat_interleave(value.shape[2])
        youngest = int(state.age.min())
        merged = tail
        for _ in range(self.refinements[min(youngest, len(self.refinements) - 1)]):
            merged = tail.merge(_linearise(value, features, batch))
            moments = merged.merge(_linearise(value, kept_features, kept))
            damping = self.prior.refine(moments, group, damping)
            value = solve(moments, group, damping, self.prior.noise).mean.reshape(value.shape)
        return State(value, state.age + 1, merged.memory() | sample.memory() | {"damping": damping})

    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """Class probabilities at θ."""
        return Prediction(F.softmax(predictor.features(x) @ state.value, dim=-1))


def _linearise(value: Tensor, features: Tensor, batch: Batch) -> Moments:
    """Curvature and information of the softmax loss of a batch at θ, as `Moments` over the P·O parameters."""
    tasks, size, outputs = value.shape
    weight = batch.weights()
    count = weight.sum(1)
    scale = (weight / count.clamp_min(torch.finfo(count.dtype).tiny)[:, None]).unsqueeze(2)
    probability = F.softmax(features @ value, dim=-1)
    spread = torch.diag_embed(probability) - probability.unsqueeze(3) * probability.unsqueeze(2)
    # [T, B, O, O] × φφᵀ, one pair of classes at a time as a matrix product over the rows.
    weighted = (scale * spread.flatten(2)).transpose(1, 2).unsqueeze(3) * features.unsqueeze(1)
    blocks = weighted.transpose(2, 3) @ features.unsqueeze(1)
    second = blocks.view(tasks, outputs, outputs, size, size).permute(0, 3, 1, 4, 2)
    second = second.reshape(tasks, size * outputs, size * outputs)
    target = F.one_hot(batch.y.long(), outputs).to(value.dtype)
    gradient = features.transpose(1, 2) @ (scale * (probability - target))
    flat = value.reshape(tasks, -1, 1)
    return Moments(count, second, second @ flat - gradient.reshape(tasks, -1, 1), torch.ones_like(count))

