"""Parameters from a context in one pass: hypernetwork, amortised estimator, Gaussian posterior. Parametric."""

from __future__ import annotations

from amortix.adapters.encoder import EncoderAdapter, GeneratedWeights
from amortix.adapters.posterior import PosteriorAdapter
from amortix.learner import AbstractLearner, Task, TaskStateLearner
from amortix.methods.method import Method
from amortix.methods.parts import CLASSES, FEATURES, encoder, likelihood, mlp
from amortix.outer import NegativeLogLikelihood, QueryError
from amortix.predictors.linear import LinearPredictor


def hypernetwork(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    hidden: tuple[int, ...] = (32,),
    width: int = 64,
) -> AbstractLearner:
    """A set network that generates the weights of a perceptron.

    Args:
        task: the objective.
        features: the largest D.
        classes: the most classes, for classification.
        hidden: units of f's hidden layers; none for a linear f.
        width: of the set network.
    """
    predictor = mlp(task, hidden, features, classes)
    reading = GeneratedWeights(predictor, width)
    adapter = EncoderAdapter(encoder(task, features, classes, width), reading, likelihood(task))
    return TaskStateLearner("parametric", task, adapter, predictor, QueryError())


def estimator(
    task: Task = "regression", *, features: int = FEATURES, classes: int = CLASSES, width: int = 64
) -> AbstractLearner:
    """An amortised point estimate of linear parameters: `hypernetwork` without hidden layers."""
    return hypernetwork(task, features=features, classes=classes, hidden=(), width=width)


def gaussian_posterior(
    task: Task = "regression", *, features: int = FEATURES, classes: int = CLASSES, width: int = 32
) -> AbstractLearner:
    """A Gaussian posterior of linear parameters from amortised sites. Arguments as of `hypernetwork`."""
    predictor = LinearPredictor(features, 1 if task == "regression" else classes)
    adapter = PosteriorAdapter(encoder(task, features, classes, width), predictor.groups)
    return TaskStateLearner("parametric", task, adapter, predictor, NegativeLogLikelihood())


AMORTISED = {
    "hypernetwork": Method(
        title="Hypernetwork",
        construct=hypernetwork,
        amortises="the map from a context to the weights of f",
        fixes="f",
        carries="the mean code of all rows",
        sees="observations",
        source="Ha, Dai and Le, ICLR 2017; Zaheer et al., NeurIPS 2017",
    ),
    "estimator": Method(
        title="Amortised estimator",
        construct=estimator,
        amortises="the map from a context to linear parameters",
        fixes="f, linear",
        carries="the mean code of all rows",
        sees="observations",
        source="Mittal et al., arXiv 2510.11471; Zaheer et al., NeurIPS 2017",
    ),
    "gaussian-posterior": Method(
        title="Amortised Gaussian posterior",
        construct=gaussian_posterior,
        amortises="the prior and what each row contributes",
        fixes="f, linear; that contributions multiply",
        carries="natural parameters of the posterior of θ",
        sees="observations",
        source="Johnson et al., NeurIPS 2016",
    ),
}
