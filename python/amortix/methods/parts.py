"""What several methods are composed of."""

from __future__ import annotations

from amortix.learner import Task
from amortix.likelihoods import AbstractLikelihood, CrossEntropy, SquaredError
from amortix.predictors.mlp import MlpPredictor

FEATURES = 32
"""Columns that a method's networks take by default; their first layers are as wide."""

CLASSES = 10
"""Classes that a method's networks take by default."""


def likelihood(task: Task) -> AbstractLikelihood:
    """Squared error for regression, cross-entropy for classification."""
    return SquaredError() if task == "regression" else CrossEntropy()


def mlp(task: Task, hidden: tuple[int, ...], features: int, classes: int) -> MlpPredictor:
    """A perceptron with an output for each class, or one."""
    return MlpPredictor(tuple(hidden), features, 1 if task == "regression" else classes)
