"""What several methods are composed of."""

from __future__ import annotations

from amortix.contracts import AbstractPredictor
from amortix.encoders import RowEncoder
from amortix.learner import Task
from amortix.likelihoods import AbstractLikelihood, CrossEntropy, NormalDensity, SquaredError
from amortix.predictors.convnet import ConvNetPredictor
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


def density(task: Task) -> AbstractLikelihood:
    """A mean with its deviation for regression, cross-entropy for classification."""
    return NormalDensity() if task == "regression" else CrossEntropy()


def encoder(task: Task, features: int, classes: int, width: int) -> RowEncoder:
    """A network of each row."""
    return RowEncoder(features, 1 if task == "regression" else classes, width)


def network(task: Task, hidden: tuple[int, ...], features: int, classes: int, side: int | None) -> AbstractPredictor:
    """A perceptron over columns, or convolutions over images of a given side."""
    if side is None:
        return mlp(task, hidden, features, classes)
    return ConvNetPredictor(tuple(hidden), side, 1 if task == "regression" else classes)
