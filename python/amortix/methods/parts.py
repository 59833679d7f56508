"""What several methods are composed of."""

from __future__ import annotations

from typing import TypedDict

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


class Network(TypedDict, total=False):
    """Which network f is.

    Attributes:
        features: the largest D.
        classes: the most classes, for classification.
        hidden: units of the hidden layers, or channels of the blocks of a convolutional network.
        side: height and width of images, whose pixels are the columns; a perceptron where there is none.
    """

    features: int
    classes: int
    hidden: tuple[int, ...]
    side: int | None


def network(
    task: Task,
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    hidden: tuple[int, ...] = (40, 40),
    side: int | None = None,
) -> AbstractPredictor:
    """A perceptron over columns, or convolutions over images of a given side: the fields of `Network`."""
    if side is None:
        return mlp(task, hidden, features, classes)
    return ConvNetPredictor(tuple(hidden), side, 1 if task == "regression" else classes)
