"""The three regimes of f(x, g(data)), each a short composition of the same parts.

- `parametric`: f fixed, g learned. The task state is θ, the parameters of f.
- `explicit`: f and g learned. Between them a latent: the kernel that modulates f's features, and the head over them.
- `implicit`: f learned, g a sub-sampling. The state belongs to the query: its prediction and the rows it retains.

An untrained learner already works: its priors are the evidence approximation. Training teaches it the early steps.
"""

from __future__ import annotations

from amortix.adapters.conjugate import ConjugateAdapter, KernelAdapter
from amortix.adapters.newton import NewtonAdapter
from amortix.learner import AbstractLearner, QueryStateLearner, Task, TaskStateLearner
from amortix.objectives import Gaussian, Indicator
from amortix.predictors.linear import LinearPredictor
from amortix.predictors.spectral import SpectralPredictor
from amortix.prior import EvidencePrior
from amortix.refiners.retained import RetainedContext

_TREND = 64  # spectral features that tell the implicit regime how far from linear a task is


def parametric(task: Task = "regression", *, sample: int = 512) -> AbstractLearner:
    """Linear or softmax-linear f with a learned update of its parameters.

    Args:
        task: the objective.
        sample: first rows that a softmax linearises anew at every step; of no use to regression.
    """
    predictor = LinearPredictor()
    if task == "regression":
        adapter = ConjugateAdapter(EvidencePrior(predictor.groups), Gaussian())
    else:
        adapter = NewtonAdapter(EvidencePrior(predictor.groups, noise=1.0), sample=sample)
    return TaskStateLearner("parametric", task, adapter, predictor)


def explicit(task: Task = "regression", *, size: int = 128, sample: int = 128, ascent: int = 20) -> AbstractLearner:
    """Spectral features under a latent kernel, with a conjugate head.

    Args:
        task: the objective.
        size: S, spectral features; more fit finer structure at O(S²) per row, and need no other training.
        sample: rows that the kernel is inferred from.
        ascent: steps of that inference.
    """
    predictor = SpectralPredictor(size)
    prior = EvidencePrior(predictor.groups)
    adapter = KernelAdapter(prior, _readout(task), sample=sample, ascent=ascent)
    return TaskStateLearner("explicit", task, adapter, predictor)


def implicit(task: Task = "regression", *, rows: int = 64, sample: int = 128, ascent: int = 20) -> AbstractLearner:
    """A retained context per query, read by a gated local Gaussian process.

    Args:
        task: the objective.
        rows: K, rows that each query retains.
        sample: rows that the kernel is inferred from.
        ascent: steps of that inference.
    """
    predictor = SpectralPredictor(_TREND)
    adapter = KernelAdapter(EvidencePrior(predictor.groups), _readout(task), sample=sample, ascent=ascent)
    return QueryStateLearner(task, RetainedContext(adapter, predictor, _readout(task), rows=rows))


def _readout(task: Task) -> Gaussian | Indicator:
    return Gaussian() if task == "regression" else Indicator()
