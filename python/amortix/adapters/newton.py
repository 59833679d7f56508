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

from dataclasses import dataclass
from functools import partial
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractFeaturePredictor, AbstractKernelAdapter, Head
from amortix.latent import Latent
from amortix.merging import merged_latent
from amortix.moments import Moments
from amortix.objectives import indicators
from amortix.prior import EvidencePrior, solve


@final
class NewtonAdapter(AbstractKernelAdapter):
    """Sequential Newton refinement of softmax parameters ``[T, P, O]`` under an amortised prior.

    Args:
        prior: infers the damping; its noise is one, as the curvature of a log-likelihood has the noise in it.
        sample: R, first rows that are kept, linearised anew, and that a kernel is inferred from.
        ascent: steps of that inference at each doubling of the rows; 0 for a predictor without a latent.
        refinements: refinements of a mini-batch by the age of the state; the last holds from then on.
    """

    def __init__(
        self,
        prior: EvidencePrior,
        *,
        sample: int = 512,
        ascent: int = 0,
        refinements: tuple[int, ...] = (6, 4, 3, 2, 2, 2, 2, 1),
    ):
        super().__init__()
        self.prior = prior
        self.sample = sample
        self.ascent = ascent
        self.refinements = refinements

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractFeaturePredictor) -> State:
        """θ = 0: equal probabilities."""
        size = len(predictor.group(features))
        latent = Latent.begin(tasks, self.sample, features, predictor.basis)
        memory = Moments.zeros(tasks, size * outputs, 1).memory() | latent.memory()
        memory["damping"] = self.prior.begin(tasks).detach()
        return State(torch.zeros(tasks, size, outputs), torch.zeros(tasks, dtype=torch.int64), memory)

    def step(self, state: State, batch: Batch, predictor: AbstractFeaturePredictor) -> State:
        """Refine θ by one mini-batch."""
        tail, value, damping = Moments.from_memory(state.memory), state.value, state.memory["damping"]
        sides = partial(_centred, outputs=value.shape[2])
        latent, beyond, _ = Latent.from_memory(state.memory).extend(batch, sides, self.ascent)
        sample = latent.sample
        # While the sample has room it holds every row, the tail is empty, and a new kernel makes nothing stale.
        kept = _Rows(predictor.features(sample.x, latent), sample.y, sample.weight)
        fresh = _Rows(predictor.features(batch.x, latent), batch.y, beyond)
        group = predictor.group(batch.x.shape[2]).repeat_interleave(value.shape[2])
        merged, counts = tail, torch.tensor(self.refinements)[state.age.clamp_max(len(self.refinements) - 1)]
        # Tasks of few refinements join late, so that the last is every task's last.
        for left in range(int(counts.max()), 0, -1):
            # Greedy training: the gradient is that of the last refinement, from where the others have led.
            with torch.set_grad_enabled(torch.is_grad_enabled() and left == 1):
                merged = tail.merge(_linearise(value, fresh))
                moments = merged.merge(_linearise(value, kept))
                active = (counts >= left)[:, None]
                damping = torch.where(active, self.prior.refine(moments, group, damping), damping)
                goal = solve(moments, group, damping, self.prior.noise).mean.reshape(value.shape)
                length = _length(value, goal, tail, (kept, fresh), damping[:, group]) * active.unsqueeze(2)
                value = value + length * (goal - value)
        memory = merged.memory() | latent.memory() | {"damping": damping}
        return State(value, state.age + 1, memory)

    def head(self, state: State, predictor: AbstractFeaturePredictor) -> Head:
        """θ with the softmax; the noise is the mean squared residual of the class indicators on the first rows."""
        latent = Latent.from_memory(state.memory)
        sample = latent.sample
        probability = F.softmax(predictor.features(sample.x, latent) @ state.value, dim=-1)
        wrong = (indicators(sample.y, state.value.shape[2]) - probability).square().mean(2)
        seen = sample.weight.sum(1)
        noise = ((wrong * sample.weight).sum(1) + 0.1) / (seen + 1.0)
        return Head(
            state.value,
            partial(F.softmax, dim=-1),
            noise,
            seen + state.memory["count"],
            state.memory["damping"],
        )

    def predict(self, state: State, x: Tensor, predictor: AbstractFeaturePredictor) -> Prediction:
        """Class probabilities at θ."""
        features = predictor.features(x, Latent.from_memory(state.memory))
        return Prediction(F.softmax(features @ state.value, dim=-1))

    def merge(self, state: State, other: State, predictor: AbstractFeaturePredictor) -> State:
        """Merge what is linearised, keep the rows of both samples, and refine θ from between both.

        The samples, which every step linearises anew, count once where they are the same. Which state is merged first
        matters no more than the last refinement moves θ.
        """
        tails = [Moments.from_memory(one.memory) for one in (state, other)]
        memory = tails[0].merge(tails[1]).memory() | merged_latent(state, other)
        memory["damping"] = (state.memory["damping"] + other.memory["damping"]) / 2
        between = State((state.value + other.value) / 2, torch.zeros_like(state.age), memory)
        # A step by no rows: as many refinements as at the first mini-batch.
        x, y = memory["sample_x"][:, :1], memory["sample_y"][:, :1]
        nothing = Batch(x, y, torch.zeros_like(y))
        settled = self.step(between, nothing, predictor)
        return State(settled.value, state.age + other.age, settled.memory)


@dataclass(frozen=True)
class _Rows:
    """Features ``[T, B, P]``, class indices and weights ``[T, B]``."""

    features: Tensor
    y: Tensor
    weight: Tensor


def _centred(y: Tensor, outputs: int) -> Tensor:
    return indicators(y, outputs) - 1.0 / outputs


def _objective(value: Tensor, tail: Moments, rows: tuple[_Rows, ...], log_damping: Tensor) -> Tensor:
    """What θ minimises: loss of the rows at hand, the quadratic memory of all others, the prior. ``[T]``."""
    flat = value.flatten(1).unsqueeze(2)
    memory = tail.count * (flat * (tail.second @ flat / 2 - tail.cross)).sum((1, 2))
    prior = (log_damping.exp() * flat.squeeze(2).square()).sum(1) / 2
    fit = [
        (F.log_softmax(r.features @ value, -1).gather(2, r.y.long().unsqueeze(2)).squeeze(2) * r.weight).sum(1)
        for r in rows
    ]
    return memory + prior - sum(fit[1:], fit[0])


@torch.no_grad()
def _length(value: Tensor, goal: Tensor, tail: Moments, rows: tuple[_Rows, ...], log_damping: Tensor) -> Tensor:
    """How far to go from θ to the goal, halved while the objective would rise: 1, 1/2, 1/4 or 1/16. ``[T, 1, 1]``."""
    before = _objective(value, tail, rows, log_damping)
    slack = 1e-4 * before.abs() + 1e-4
    length = torch.ones_like(before)
    for shorter in (0.5, 0.25, 0.0625):
        trial = value + length[:, None, None] * (goal - value)
        worse = ~(_objective(trial, tail, rows, log_damping) <= before + slack)
        if not bool(worse.any()):
            break
        length = torch.where(worse, shorter, length)
    return length[:, None, None]


def _linearise(value: Tensor, rows: _Rows) -> Moments:
    """Curvature and information of the softmax loss of rows at θ, as `Moments` over the P·O parameters."""
    tasks, size, outputs = value.shape
    features, count = rows.features, rows.weight.sum(1)
    scale = (rows.weight / count.clamp_min(torch.finfo(count.dtype).tiny)[:, None]).unsqueeze(2)
    probability = F.softmax(features @ value, dim=-1)
    spread = torch.diag_embed(probability) - probability.unsqueeze(3) * probability.unsqueeze(2)
    # φφᵀ × [T, B, O, O] as one matrix product over the rows.
    weighted = (scale * spread.flatten(2)).unsqueeze(3) * features.unsqueeze(2)
    blocks = features.transpose(1, 2) @ weighted.flatten(2)
    second = blocks.view(tasks, size, outputs, outputs, size).transpose(3, 4)
    second = second.reshape(tasks, size * outputs, size * outputs)
    gradient = features.transpose(1, 2) @ (scale * (probability - indicators(rows.y, outputs)))
    flat = value.reshape(tasks, -1, 1)
    return Moments(count, second, second @ flat - gradient.reshape(tasks, -1, 1), torch.ones_like(count))
