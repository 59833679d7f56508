"""The conjugate adapter: moments of the features, and a head solved in closed form under an amortised prior.

The state is the solution in natural parameters: its value is b = E[φyᵀ], its memory C = E[φφᵀ]. Reading it solves
(C + λ/n) θ = b, which is the two-term update in one formula. From the solution θ of the rows so far, a mini-batch of
n_B rows with mean gradient ∇ leads to

    θ' = θ  +  M·(λ − λ')θ  −  M·n_B·∇,      M = (n'·C' + λ')⁻¹:

the first term is what the amortised prior proposes and fades as 1/n; the second is the preconditioned gradient, whose
gain n_B/n' anneals as Robbins and Monro require. Steps cost O(B·Q²) and no solve; the solve happens when asked.

References:
    Mittal et al., arXiv 2510.11471 (iterative amortized inference); Robbins and Monro 1951; recursive least squares.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractFeaturePredictor, AbstractKernelAdapter, AbstractMergingAdapter, Head
from amortix.latent import Latent
from amortix.merging import merged_latent
from amortix.moments import Moments, of_rows
from amortix.prior import EvidencePrior, Posterior


def _state(moments: Moments, age: Tensor, **memory: Tensor) -> State:
    parts = moments.memory()
    return State(parts.pop("cross"), age, parts | memory)


def _moments(state: State) -> Moments:
    return Moments.from_memory({**state.memory, "cross": state.value})


@final
class ConjugateAdapter(AbstractMergingAdapter[AbstractFeaturePredictor]):
    """Running moments and a conjugate head, for a predictor without a latent.

    Args:
        prior: infers the damping.
    """

    def __init__(self, prior: EvidencePrior):
        super().__init__()
        self.prior = prior

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractFeaturePredictor) -> State:
        """Zero moments."""
        size = len(predictor.group(features))
        return _state(Moments.zeros(tasks, size, outputs), torch.zeros(tasks, dtype=torch.int64))

    def step(self, state: State, batch: Batch, predictor: AbstractFeaturePredictor) -> State:
        """Merge the batch's moments."""
        new = of_rows(predictor.features(batch.x), _sides(batch.y), batch.weights())
        return _state(_moments(state).merge(new), state.age + 1)

    def predict(self, state: State, x: Tensor, predictor: AbstractFeaturePredictor) -> Prediction:
        """Solve for the head and apply it."""
        features = predictor.features(x)
        return _read(self.prior(_moments(state), predictor.group(x.shape[2])), features, torch.zeros(()))

    def merge(self, state: State, other: State, predictor: AbstractFeaturePredictor) -> State:
        """Merge the moments: exact up to rounding."""
        return _state(_moments(state).merge(_moments(other)), state.age + other.age)


@final
class KernelAdapter(AbstractKernelAdapter):
    """Moments of features that a latent gives: a kernel and a basis of it, inferred from the first rows.

    Until the sample of first rows is full, the latent is inferred anew at every doubling of the rows and the moments
    are computed again from the sample, which holds every row so far; then the latent stays, so no moment is stale.

    Args:
        prior: infers the damping.
        sample: R, rows that the latent is inferred from.
        ascent: steps on the sample's log evidence at each inference.
    """

    def __init__(self, prior: EvidencePrior, *, sample: int = 512, ascent: int = 20):
        super().__init__()
        self.prior = prior
        self.sample = sample
        self.ascent = ascent

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractFeaturePredictor) -> State:
        """Zero moments, an empty sample, the wide kernel."""
        moments = Moments.zeros(tasks, len(predictor.group(features)), outputs)
        latent = Latent.begin(tasks, self.sample, features, predictor.basis)
        return _state(moments, torch.zeros(tasks, dtype=torch.int64), **latent.memory())

    def step(self, state: State, batch: Batch, predictor: AbstractFeaturePredictor) -> State:
        """Merge the batch's moments; where the latent was inferred anew, all moments so far."""
        moments = _moments(state)
        latent, beyond, refit = Latent.from_memory(state.memory).extend(batch, _sides, self.ascent)
        weight = batch.weights()
        if bool(refit.any()):
            chosen = latent.select(refit)
            sample = chosen.sample
            redone = of_rows(predictor.features(sample.x, chosen), _sides(sample.y), sample.weight)
            moments = _replace(moments, refit, redone)
            weight = torch.where(refit[:, None], beyond, weight)
        features = predictor.features(batch.x, latent)
        moments = moments.merge(of_rows(features, _sides(batch.y), weight))
        return _state(moments, state.age + 1, **latent.memory())

    def head(self, state: State, predictor: AbstractFeaturePredictor) -> Head:
        """Solve for the head."""
        group = predictor.group(state.memory["sample_x"].shape[2])
        posterior = self.prior(_moments(state), group)
        return Head(posterior.mean, lambda f: f, posterior.noise, posterior.moments.count, posterior.log_damping)

    def predict(self, state: State, x: Tensor, predictor: AbstractFeaturePredictor) -> Prediction:
        """Solve for the head and apply it to the features under the task's latent."""
        latent = Latent.from_memory(state.memory)
        features = predictor.features(x, latent)
        posterior = self.prior(_moments(state), predictor.group(x.shape[2]))
        # What the process varies beyond its basis: its prior variance less that of the features.
        beyond = latent.beyond(features[..., features.shape[2] - predictor.basis :])
        scale = posterior.noise / posterior.log_damping[:, -1].exp()
        return _read(posterior, features, scale[:, None] * beyond)

    def merge(self, state: State, other: State, predictor: AbstractFeaturePredictor) -> State:
        """Merge the moments under the one kernel of both: exact up to rounding."""
        latent = merged_latent(state, other)
        return _state(_moments(state).merge(_moments(other)), state.age + other.age, **latent)


def _sides(y: Tensor) -> Tensor:
    return y.unsqueeze(2)


def _read(posterior: Posterior, features: Tensor, beyond: Tensor) -> Prediction:
    """The posterior at features ``[T, M, Q]`` with the variance ``[T, M]`` that lies beyond them."""
    noise = posterior.noise[:, None]
    return Prediction(features @ posterior.mean, (noise * posterior.leverage(features) + beyond + noise).unsqueeze(2))


def _replace(moments: Moments, tasks: Tensor, new: Moments) -> Moments:
    replaced = []
    for old, fresh in zip(moments.memory().values(), new.memory().values(), strict=True):
        kept = old.detach().clone()
        kept = kept.index_put((tasks,), fresh)
        replaced.append(kept)
    return Moments(*replaced)
