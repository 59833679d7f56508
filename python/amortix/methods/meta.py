"""Learned initialisations: MAML, FOMAML, ANIL, Reptile, Meta-SGD. Parametric; f is a perceptron or a
convolutional network, fixed."""

from __future__ import annotations

from typing import Unpack

from amortix.adapters.gradient import GradientAdapter
from amortix.contracts import AbstractPredictor, AbstractUpdate
from amortix.gradients import Gradient, first_order, second_order
from amortix.learner import AbstractLearner, Task, TaskStateLearner
from amortix.methods.method import Method
from amortix.methods.parts import Network, likelihood, network
from amortix.outer import AbstractOuterLoss, Displacement, QueryError
from amortix.starts import LearnedStart
from amortix.updates.descent import Descent, FixedRate, LearnedRate


def maml(
    task: Task = "regression",
    *,
    rate: float = 0.01,
    steps: int = 1,
    **f: Unpack[Network],
) -> AbstractLearner:
    """Model-agnostic meta-learning: a learned start, differentiated through its inner steps.

    Args:
        task: the objective.
        rate: of the inner steps.
        steps: inner steps on each mini-batch.
        f: fields of `amortix.methods.parts.Network`; by default a perceptron of two layers of 40 units.
    """
    return _learner(task, network(task, **f), Descent(FixedRate(rate)), second_order, steps, QueryError())


def fomaml(
    task: Task = "regression",
    *,
    rate: float = 0.01,
    steps: int = 1,
    **f: Unpack[Network],
) -> AbstractLearner:
    """First-order MAML: the inner gradients are constants to the outer loss. Arguments as of `maml`."""
    return _learner(task, network(task, **f), Descent(FixedRate(rate)), first_order, steps, QueryError())


def anil(
    task: Task = "regression",
    *,
    rate: float = 0.01,
    steps: int = 1,
    **f: Unpack[Network],
) -> AbstractLearner:
    """Almost no inner loop: only the head moves in the inner steps. Arguments as of `maml`."""
    return _learner(
        task, network(task, **f), Descent(FixedRate(rate, within="head")), second_order, steps, QueryError()
    )


def reptile(
    task: Task = "regression",
    *,
    rate: float = 0.02,
    steps: int = 5,
    **f: Unpack[Network],
) -> AbstractLearner:
    """The start moves towards where the inner steps lead. Arguments as of `maml`."""
    return _learner(task, network(task, **f), Descent(FixedRate(rate)), first_order, steps, Displacement())


def meta_sgd(
    task: Task = "regression",
    *,
    rate: float = 0.01,
    steps: int = 1,
    **f: Unpack[Network],
) -> AbstractLearner:
    """A learned start and a learned rate for each parameter. Arguments as of `maml`; ``rate`` is where they begin."""
    predictor = network(task, **f)
    return _learner(task, predictor, Descent(LearnedRate(predictor, rate)), second_order, steps, QueryError())


def _learner(
    task: Task,
    predictor: AbstractPredictor,
    update: AbstractUpdate,
    gradient: Gradient,
    steps: int,
    outer: AbstractOuterLoss,
) -> AbstractLearner:
    start = LearnedStart(predictor)
    adapter = GradientAdapter(start, update, likelihood(task), gradient=gradient, steps=steps)
    return TaskStateLearner("parametric", task, adapter, predictor, outer)


META = {
    "maml": Method(
        title="MAML",
        construct=maml,
        amortises="the start θ⁽⁰⁾",
        fixes="f, the rule (gradient descent) and its rate",
        carries="θ",
        sees="gradients, differentiated a second time",
        source="Finn, Abbeel and Levine, ICML 2017",
    ),
    "fomaml": Method(
        title="First-order MAML",
        construct=fomaml,
        amortises="the start θ⁽⁰⁾",
        fixes="f, the rule (gradient descent) and its rate",
        carries="θ",
        sees="gradients, as constants",
        source="Finn, Abbeel and Levine, ICML 2017",
    ),
    "anil": Method(
        title="ANIL",
        construct=anil,
        amortises="the start θ⁽⁰⁾; its body stays as it is",
        fixes="f, the rule (gradient descent of the head) and its rate",
        carries="θ",
        sees="gradients of the head, differentiated a second time",
        source="Raghu, Raghu, Bengio and Vinyals, ICLR 2020",
    ),
    "reptile": Method(
        title="Reptile",
        construct=reptile,
        amortises="the start θ⁽⁰⁾",
        fixes="f, the rule (gradient descent) and its rate",
        carries="θ",
        sees="gradients, as constants; no queries",
        source="Nichol, Achiam and Schulman, arXiv 1803.02999",
    ),
    "meta-sgd": Method(
        title="Meta-SGD",
        construct=meta_sgd,
        amortises="the start θ⁽⁰⁾ and a rate for each parameter",
        fixes="f and the rule (gradient descent)",
        carries="θ",
        sees="gradients, differentiated a second time",
        source="Li, Zhou, Chen and Li, arXiv 1707.09835",
    ),
}
