"""In-context learning: the context stays raw, f is a transformer. Implicit."""

from __future__ import annotations

from amortix.learner import AbstractLearner, QueryStateLearner, Task
from amortix.likelihoods import AbstractLikelihood, Bars, CrossEntropy
from amortix.methods.method import Method
from amortix.methods.parts import CLASSES, FEATURES, likelihood
from amortix.networks import AbstractMask, Causal, Everyone
from amortix.outer import AbstractOuterLoss, NegativeLogLikelihood, QueryError
from amortix.refiners.in_context import InContext
from amortix.sequences import AbstractSequence, Interleaved, Pairs, Shifted


def gpt(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    width: int = 64,
    heads: int = 4,
    layers: int = 3,
    positions: int = 257,
) -> AbstractLearner:
    """A causal transformer over x₁, y₁, x₂, y₂, … that predicts what follows an x.

    Args:
        task: the objective.
        features: the largest D.
        classes: the most classes, for classification.
        width: of the tokens.
        heads: attention heads.
        layers: transformer blocks.
        positions: of tokens, two to a row and one for a query; later ones share the last.
    """
    sequence = Interleaved(features, _sides(task, classes), width, positions)
    sizes = (width, heads, layers)
    return _learner(task, features, classes, sequence, Causal(), likelihood(task), sizes, QueryError())


def gpicl(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    width: int = 64,
    heads: int = 4,
    layers: int = 3,
    positions: int = 129,
) -> AbstractLearner:
    """A causal transformer over tokens of x and the label before it. Arguments as of `gpt`, one position to a row."""
    sequence = Shifted(features, _sides(task, classes), width, positions)
    sizes = (width, heads, layers)
    return _learner(task, features, classes, sequence, Causal(), likelihood(task), sizes, QueryError())


def pfn(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    width: int = 64,
    heads: int = 4,
    layers: int = 3,
    bars: int = 100,
    reach: float = 8.0,
) -> AbstractLearner:
    """A prior-data fitted network: a transformer over a set, trained by the likelihood of queries.

    Args:
        task: the objective.
        features: the largest D.
        classes: the most classes, for classification.
        width: of the tokens.
        heads: attention heads.
        layers: transformer blocks.
        bars: of the density of a number.
        reach: targets beyond ± this are in the tails.
    """
    law = Bars(bars, reach) if task == "regression" else CrossEntropy()
    sequence = Pairs(features, _sides(task, classes), width)
    sizes = (width, heads, layers)
    return _learner(task, features, classes, sequence, Everyone(), law, sizes, NegativeLogLikelihood())


def _sides(task: Task, classes: int) -> int:
    return 1 if task == "regression" else classes


def _learner(
    task: Task,
    features: int,
    classes: int,
    sequence: AbstractSequence,
    mask: AbstractMask,
    law: AbstractLikelihood,
    sizes: tuple[int, int, int],
    outer: AbstractOuterLoss,
) -> AbstractLearner:
    width, heads, layers = sizes
    outputs = law.raw(_sides(task, classes))
    refiner = InContext(sequence, mask, law, outputs=outputs, width=width, heads=heads, layers=layers)
    return QueryStateLearner(task, refiner, max_features=features, max_outputs=classes, outer=outer)


IN_CONTEXT = {
    "gpt": Method(
        title="In-context learning, GPT-style",
        construct=gpt,
        amortises="the predictive mapping",
        fixes="that rows stay raw",
        carries="each query's raw outputs",
        sees="observations in their order, causally",
        source="Garg, Tsipras, Liang and Valiant, NeurIPS 2022",
    ),
    "gpicl": Method(
        title="GPICL",
        construct=gpicl,
        amortises="the predictive mapping",
        fixes="that rows stay raw",
        carries="each query's raw outputs",
        sees="observations in their order, causally",
        source="Kirsch et al., arXiv 2212.04458",
    ),
    "pfn": Method(
        title="PFN",
        construct=pfn,
        amortises="the predictive mapping",
        fixes="that rows stay raw",
        carries="each query's raw outputs",
        sees="observations as a set",
        source="Müller et al., ICLR 2022",
    ),
}
