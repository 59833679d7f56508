"""Learned optimizers, and plain empirical risk minimisation by fixed ones. Parametric; f is a perceptron, fixed."""

from __future__ import annotations

from typing import Literal

from amortix.adapters.gradient import GradientAdapter
from amortix.contracts import AbstractUpdate
from amortix.gradients import first_order
from amortix.learner import AbstractLearner, Task, TaskStateLearner
from amortix.methods.method import Method
from amortix.methods.parts import CLASSES, FEATURES, likelihood, mlp
from amortix.starts import FixedStart
from amortix.updates.adam import Adam
from amortix.updates.descent import Descent, FixedRate
from amortix.updates.learned import Attention, LearnedUpdate, Perceptron, Recurrent


def l2l(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    hidden: tuple[int, ...] = (),
    rate: float = 0.1,
    steps: int = 1,
    width: int = 20,
) -> AbstractLearner:
    """Learning to learn by gradient descent: a recurrent network for each parameter.

    Args:
        task: the objective.
        features: the largest D.
        classes: the most classes, for classification.
        hidden: units of f's hidden layers; none for a linear f.
        rate: what the network's output is multiplied by.
        steps: inner steps on each mini-batch.
        width: the network's hidden units.
    """
    return _learner(task, features, classes, hidden, LearnedUpdate(Recurrent(width), rate), steps)


def mlp_optimizer(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    hidden: tuple[int, ...] = (),
    rate: float = 0.1,
    steps: int = 1,
    width: int = 32,
) -> AbstractLearner:
    """A perceptron for each parameter. Arguments as of `l2l`."""
    return _learner(task, features, classes, hidden, LearnedUpdate(Perceptron(width), rate), steps)


def transformer_optimizer(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    hidden: tuple[int, ...] = (),
    rate: float = 0.1,
    steps: int = 1,
    width: int = 32,
    heads: int = 4,
    layers: int = 2,
) -> AbstractLearner:
    """A transformer over all parameters. Arguments as of `l2l`, with ``heads`` and ``layers`` of the transformer."""
    return _learner(task, features, classes, hidden, LearnedUpdate(Attention(width, heads, layers), rate), steps)


def erm(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    hidden: tuple[int, ...] = (),
    rate: float = 0.1,
    steps: int = 1,
    rule: Literal["adam", "sgd"] = "adam",
) -> AbstractLearner:
    """Empirical risk minimisation from a fixed start, where nothing is learned across tasks. Arguments as of `l2l`."""
    update = Adam(rate) if rule == "adam" else Descent(FixedRate(rate))
    return _learner(task, features, classes, hidden, update, steps)


def _learner(
    task: Task, features: int, classes: int, hidden: tuple[int, ...], update: AbstractUpdate, steps: int
) -> AbstractLearner:
    predictor = mlp(task, hidden, features, classes)
    adapter = GradientAdapter(FixedStart(predictor), update, likelihood(task), gradient=first_order, steps=steps)
    return TaskStateLearner("parametric", task, adapter, predictor)


OPTIMIZERS = {
    "l2l": Method(
        title="L2L",
        construct=l2l,
        amortises="the update, a recurrent network for each parameter",
        fixes="f and the start",
        carries="θ, Adam's moments, the network's memory",
        sees="gradients, as constants",
        source="Andrychowicz et al., NeurIPS 2016",
    ),
    "mlp-optimizer": Method(
        title="Learned optimizer, perceptron",
        construct=mlp_optimizer,
        amortises="the update, a perceptron for each parameter",
        fixes="f and the start",
        carries="θ, Adam's moments",
        sees="gradients, as constants",
        source="Metz et al., ICML 2019",
    ),
    "transformer-optimizer": Method(
        title="Learned optimizer, transformer",
        construct=transformer_optimizer,
        amortises="the update, a transformer over parameters",
        fixes="f and the start",
        carries="θ, Adam's moments",
        sees="gradients, as constants",
        source="Jain et al., NeurIPS 2023",
    ),
    "erm": Method(
        title="Empirical risk minimisation",
        construct=erm,
        amortises="nothing",
        fixes="f, the start, the rule and its rate",
        carries="θ, Adam's moments",
        sees="gradients",
        source="Kingma and Ba, ICLR 2015; Robbins and Monro, 1951",
    ),
}
