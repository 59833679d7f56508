"""Few-shot classification by learned features: prototypical networks. Explicit; the latent is a mean for each class."""

from __future__ import annotations

from amortix.adapters.prototypes import PrototypeAdapter
from amortix.errors import ConfigError
from amortix.learner import AbstractLearner, Task, TaskStateLearner
from amortix.methods.method import Method
from amortix.outer import QueryError
from amortix.predictors.convolutional import ConvolutionalPredictor


def prototypes(
    task: Task = "classification", *, side: int = 28, width: int = 64, depth: int = 4, classes: int = 20
) -> AbstractLearner:
    """Prototypical networks over images.

    Args:
        task: classification.
        side: height and width of the images; a row has side² columns.
        width: channels.
        depth: blocks of the network.
        classes: the most classes of a task.

    Raises:
        ConfigError: asked for regression.
    """
    if task != "classification":
        raise ConfigError("prototypes are for classification: choose another method for regression")
    predictor = ConvolutionalPredictor(side, width, depth, classes)
    return TaskStateLearner("explicit", task, PrototypeAdapter(), predictor, QueryError())


FEW_SHOT = {
    "prototypes": Method(
        title="Prototypical networks",
        construct=prototypes,
        amortises="features of images",
        fixes="the rule (mean of each class) and the distance",
        carries="the mean of each class's features and its weight",
        sees="features of the rows, and their classes",
        source="Snell, Swersky and Zemel, NIPS 2017",
        rows="images",
    ),
}
