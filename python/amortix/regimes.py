"""The three regimes of f(x, g(data)), each a short composition of the same parts.

- `parametric`: f fixed, g learned. The task state is θ, the parameters of f.
- `explicit`: f and g learned. Between them a latent: the kernel that modulates f's features, and the head over them.
- `implicit`: f learned, g a sub-sampling. The state belongs to the query: its prediction and the rows it retains.

An untrained learner already works: its priors are the evidence approximation. Training teaches it the early steps.
"""

from __future__ import annotations

from amortix.adapters.conjugate import ConjugateAdapter, KernelAdapter
from amortix.adapters.newton import NewtonAdapter
from amortix.contracts import AbstractKernelAdapter
from amortix.learner import AbstractLearner, QueryStateLearner, Task, TaskStateLearner
from amortix.objectives import Gaussian, Indicator
from amortix.predictors.inducing import InducingPredictor
from amortix.predictors.linear import LinearPredictor
from amortix.prior import EvidencePrior
from amortix.refiners.retained import RetainedContext

# Where log λ begins for bias, columns and basis: the basis is out until the evidence lets it in.
_LINEAR = (0.0, 0.0)
_KERNEL = (0.0, 0.0, 8.0)


def parametric(task: Task = "regression", *, sample: int = 512) -> AbstractLearner:
    """Linear or softmax-linear f with a learned update of its parameters.

    Args:
        task: the objective.
        sample: first rows that a softmax linearises anew at every step; of no use to regression.
    """
    predictor = LinearPredictor()
    if task == "regression":
        adapter = ConjugateAdapter(EvidencePrior(_LINEAR))
    else:
        adapter = NewtonAdapter(EvidencePrior(_LINEAR, noise=1.0), sample=sample)
    return TaskStateLearner("parametric", task, adapter, predictor)


def explicit(task: Task = "regression", *, size: int = 128, sample: int = 128, ascent: int = 20) -> AbstractLearner:
    """Covariances with inducing rows under a latent kernel, with a head over them.

    Args:
        task: the objective.
        size: S, inducing rows, R at most; more fit finer structure, and need no other training. A row costs O(S²) for
            regression and O(S²·O²) for classification.
        sample: R, rows that the kernel is inferred from.
        ascent: steps of that inference.
    """
    predictor = InducingPredictor(min(size, sample))
    return TaskStateLearner("explicit", task, _adapter(task, sample, ascent), predictor)


def implicit(
    task: Task = "regression", *, rows: int = 64, size: int = 64, sample: int = 128, ascent: int = 20
) -> AbstractLearner:
    """A retained context per query, read by a local Gaussian process beside a trend, weighed by learned gates.

    Args:
        task: the objective.
        rows: K, rows that each query retains.
        size: S, inducing rows of the trend, R at most; they tell how far from linear a task is.
        sample: R, rows that the kernel is inferred from.
        ascent: steps of that inference.
    """
    predictor = InducingPredictor(min(size, sample))
    readout = Gaussian() if task == "regression" else Indicator()
    refiner = RetainedContext(_adapter(task, sample, ascent), predictor, readout, rows=rows)
    return QueryStateLearner(task, refiner)


def _adapter(task: Task, sample: int, ascent: int) -> AbstractKernelAdapter:
    if task == "classification":
        return NewtonAdapter(EvidencePrior(_KERNEL, noise=1.0), sample=sample, ascent=ascent)
    return KernelAdapter(EvidencePrior(_KERNEL, refinements=6), sample=sample, ascent=ascent)
