"""What several methods are composed of."""

from __future__ import annotations

from amortix.contracts import AbstractPredictor
from amortix.learner import Task
from amortix.likelihoods import AbstractLikelihood, CrossEntropy, SquaredError
from amortix.predictors.convnet import ConvNetPredictor
from amortix.predictors.mlp import MlpPredictor

FEATURES = 32
"""Columns that a method's networks take by default; their first layers are as wide."""

CLASSES = 10
"""Classes that a method's networks take by default."""


def likelihood(task: Task) -> AbstractLikelihood:
    """Squared error for regression, cross-entropy for classification."""
    return SquaredError() if task == "regression" else CrossEntropy()


def network(task: Task, hidden: tuple[int, ...], features: int, classes: int, side: int | None) -> AbstractPredictor:
    """An output for each class, or one: a perceptron over columns, or convolutions over images of a given side."""
    outputs = 1 if task == "regression" else classes
    if side is None:
        return MlpPredictor(tuple(hidden), features, outputs)
    return ConvNetPredictor(tuple(hidden), side, outputs)
