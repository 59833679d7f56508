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

from amortix import relevance
from amortix.batch import Batch, Prediction, State
from amortix.contracts import AbstractAdapter, AbstractKernelAdapter, AbstractPredictor
from amortix.moments import Moments, of_rows
from amortix.objectives import AbstractReadout
from amortix.prior import EvidencePrior, Posterior
from amortix.relevance import Kernel
from amortix.sample import Sample, due


def _state(moments: Moments, age: Tensor, **memory: Tensor) -> State:
    parts = moments.memory()
    return State(parts.pop("cross"), age, parts | memory)


def _moments(state: State) -> Moments:
    return Moments.from_memory({**state.memory, "cross": state.value})


@final
class ConjugateAdapter(AbstractAdapter):
    """Running moments and a conjugate head, for a predictor without a latent.

    Args:
        prior: infers the damping.
        readout: makes the head's output a prediction.
    """

    def __init__(self, prior: EvidencePrior, readout: AbstractReadout):
        super().__init__()
        self.prior = prior
        self.readout = readout

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """Zero moments."""
        size = len(predictor.group(features))
        return _state(Moments.zeros(tasks, size, outputs), torch.zeros(tasks, dtype=torch.int64))

    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """Merge the batch's moments."""
        sides = self.readout.sides(batch.y, state.value.shape[2])
        new = of_rows(predictor.features(batch.x), sides, batch.weights())
        return _state(_moments(state).merge(new), state.age + 1)

    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """Solve for the head and apply it."""
        return _read(self, _moments(state), predictor.features(x), predictor.group(x.shape[2]))


@final
class KernelAdapter(AbstractKernelAdapter):
    """Moments of features that a latent modulates: the relevance of each column, inferred from the first rows.

    Until the sample of first rows is full, the latent is inferred anew at every doubling of the rows and the moments
    are computed again from the sample, which holds every row so far; then the latent stays, so no moment is stale.

    Args:
        prior: infers the damping.
        readout: makes the head's output a prediction.
        sample: R, rows that the latent is inferred from.
        ascent: steps on the sample's log evidence at each inference.
    """

    def __init__(self, prior: EvidencePrior, readout: AbstractReadout, *, sample: int = 512, ascent: int = 20):
        super().__init__()
        self.prior = prior
        self.readout = readout
        self.sample = sample
        self.ascent = ascent

    def init(self, tasks: int, features: int, outputs: int, predictor: AbstractPredictor) -> State:
        """Zero moments, an empty sample, equal relevance."""
        moments = Moments.zeros(tasks, len(predictor.group(features)), outputs)
        sample = Sample.zeros(tasks, self.sample, features)
        kernel = Kernel.wide(torch.ones(tasks, 1, features), torch.ones(tasks, 1))
        return _state(moments, torch.zeros(tasks, dtype=torch.int64), **sample.memory(), **kernel.memory())

    def step(self, state: State, batch: Batch, predictor: AbstractPredictor) -> State:
        """Merge the batch's moments; infer the latent anew where the sample's rows have doubled."""
        outputs = state.value.shape[2]
        before, kernel, moments = Sample.from_memory(state.memory), Kernel.from_memory(state.memory), _moments(state)
        sample, beyond = before.extend(batch)
        refit = due(before.rows, sample.rows, sample.capacity)
        weight = batch.weights()
        if bool(refit.any()):
            chosen = sample.select(refit)
            sides = self.readout.sides(chosen.y, outputs)
            found = relevance.fit(chosen.x, sides, chosen.weight, ascent=self.ascent)
            kernel = kernel.where(refit, found)
            redone = of_rows(predictor.features(chosen.x, found.relevance), sides, chosen.weight)
            moments = _replace(moments, refit, redone)
            weight = torch.where(refit[:, None], beyond, weight)
        sides = self.readout.sides(batch.y, outputs)
        moments = moments.merge(of_rows(predictor.features(batch.x, kernel.relevance), sides, weight))
        return _state(moments, state.age + 1, **sample.memory(), **kernel.memory())

    def posterior(self, state: State, group: Tensor) -> Posterior:
        """Solve for the head: a Gaussian over the features' weights."""
        return self.prior(_moments(state), group)

    def predict(self, state: State, x: Tensor, predictor: AbstractPredictor) -> Prediction:
        """Solve for the head and apply it to the features under the task's latent."""
        features = predictor.features(x, Kernel.from_memory(state.memory).relevance)
        return _read(self, _moments(state), features, predictor.group(x.shape[2]))


def _read(adapter: ConjugateAdapter | KernelAdapter, moments: Moments, features: Tensor, group: Tensor) -> Prediction:
    posterior = adapter.prior(moments, group)
    noise = posterior.noise[:, None]
    return adapter.readout(features @ posterior.mean, noise * posterior.leverage(features), noise)


def _replace(moments: Moments, tasks: Tensor, new: Moments) -> Moments:
    replaced = []
    for old, fresh in zip(moments.memory().values(), new.memory().values(), strict=True):
        kept = old.detach().clone()
        kept = kept.index_put((tasks,), fresh)
        replaced.append(kept)
    return Moments(*replaced)
