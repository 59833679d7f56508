"""The Markov form of arXiv 2510.11471 in its three regimes: the baselines of this project's own learners."""

from __future__ import annotations

from amortix.adapters.markov import MarkovAdapter, Sees
from amortix.contracts import AbstractPredictor
from amortix.learner import AbstractLearner, QueryStateLearner, Regime, Task, TaskStateLearner
from amortix.likelihoods import AbstractLikelihood
from amortix.methods.method import Method
from amortix.methods.parts import CLASSES, FEATURES, density, encoder, likelihood, mlp
from amortix.networks import Causal
from amortix.outer import NegativeLogLikelihood, QueryError
from amortix.predictors.decoders import Decoder
from amortix.refiners.in_context import InContext
from amortix.sequences import Pairs
from amortix.starts import LearnedStart


def markov_parametric(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    hidden: tuple[int, ...] = (),
    sees: Sees = "both",
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
) -> AbstractLearner:
    """θ of a fixed f, written anew from θ, observations and gradients.

    Args:
        task: the objective.
        features: the largest D.
        classes: the most classes, for classification.
        hidden: units of f's hidden layers; none for a linear f.
        sees: ``"observations"``, ``"gradients"`` or ``"both"``.
        width: of the tokens.
        heads: attention heads.
        layers: transformer blocks.
    """
    predictor = mlp(task, hidden, features, classes)
    return _task_state("parametric", task, predictor, likelihood(task), sees, (features, classes, width, heads, layers))


def markov_explicit(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    sees: Sees = "both",
    latent: int = 16,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
) -> AbstractLearner:
    """A latent z of a learned decoder. Arguments as of `markov_parametric`, with ``latent`` for its size."""
    law = likelihood(task)
    predictor = Decoder(latent, width, features, law.raw(1 if task == "regression" else classes))
    return _task_state("explicit", task, predictor, law, sees, (features, classes, width, heads, layers))


def markov_implicit(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    width: int = 64,
    heads: int = 4,
    layers: int = 3,
) -> AbstractLearner:
    """Each query's outputs, predicted anew from themselves and a mini-batch. Arguments as of `markov_parametric`."""
    law, outputs = density(task), 1 if task == "regression" else classes
    sizes = {"outputs": law.raw(outputs), "width": width, "heads": heads, "layers": layers}
    refiner = InContext(Pairs(features, outputs, width), Causal(), law, **sizes)
    outer = NegativeLogLikelihood()
    return QueryStateLearner(task, refiner, max_features=features, max_outputs=classes, outer=outer)


def _task_state(
    regime: Regime,
    task: Task,
    predictor: AbstractPredictor,
    law: AbstractLikelihood,
    sees: Sees,
    sizes: tuple[int, int, int, int, int],
) -> AbstractLearner:
    features, classes, width, heads, layers = sizes
    rows, size = encoder(task, features, classes, width), len(predictor.initial())
    adapter = MarkovAdapter(LearnedStart(predictor), rows, law, size=size, sees=sees, heads=heads, layers=layers)
    return TaskStateLearner(regime, task, adapter, predictor, QueryError())


MARKOV = {
    "markov-parametric": Method(
        title="Iterative amortised inference, parametric",
        construct=markov_parametric,
        amortises="the update and the start",
        fixes="f",
        carries="θ; which of it ever moved",
        sees="observations, gradients or both",
        source="Mittal et al., arXiv 2510.11471, equation 2",
    ),
    "markov-explicit": Method(
        title="Iterative amortised inference, explicit",
        construct=markov_explicit,
        amortises="the update, the start and the decoder",
        fixes="nothing but the architecture",
        carries="the latent; which of it ever moved",
        sees="observations, gradients or both",
        source="Mittal et al., arXiv 2510.11471, equation 2",
    ),
    "markov-implicit": Method(
        title="Iterative amortised inference, implicit",
        construct=markov_implicit,
        amortises="the predictive mapping",
        fixes="that rows stay raw",
        carries="each query's raw outputs",
        sees="observations",
        source="Mittal et al., arXiv 2510.11471, equation 3",
    ),
}
