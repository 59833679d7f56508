"""A learned f of a latent that the context sets: neural processes and LEO. Explicit."""

from __future__ import annotations

from amortix.adapters.attentive import AttentiveAdapter
from amortix.adapters.encoder import CodeItself, EncoderAdapter
from amortix.adapters.gradient import GradientAdapter
from amortix.adapters.proposal import ProposalAdapter
from amortix.gradients import second_order
from amortix.learner import AbstractLearner, Task, TaskStateLearner
from amortix.methods.method import Method
from amortix.methods.parts import CLASSES, FEATURES, density, encoder, likelihood, mlp
from amortix.outer import NegativeLogLikelihood, QueryError
from amortix.predictors.decoders import AttentiveDecoder, Decoder, LatentPredictor
from amortix.starts import FixedStart
from amortix.updates.descent import Descent, FixedRate


def cnp(
    task: Task = "regression", *, features: int = FEATURES, classes: int = CLASSES, width: int = 64
) -> AbstractLearner:
    """A conditional neural process: a decoder of the query and the mean code of the context.

    Args:
        task: the objective.
        features: the largest D.
        classes: the most classes, for classification.
        width: of encoder, code and decoder.
    """
    law = density(task)
    predictor = Decoder(width, width, features, law.raw(1 if task == "regression" else classes))
    adapter = EncoderAdapter(encoder(task, features, classes, width), CodeItself(), law)
    return TaskStateLearner("explicit", task, adapter, predictor, NegativeLogLikelihood())


def attentive_np(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    width: int = 64,
    heads: int = 4,
    rows: int = 256,
) -> AbstractLearner:
    """An attentive neural process, its deterministic path. Arguments as of `cnp`.

    Args:
        task: the objective.
        features: the largest D.
        classes: the most classes, for classification.
        width: of encoder, code and decoder.
        heads: attention heads.
        rows: R, the first rows, which queries attend to; the mean code goes on beyond them.
    """
    law = density(task)
    outputs = law.raw(1 if task == "regression" else classes)
    predictor = AttentiveDecoder(rows, width, width, heads, features, outputs)
    adapter = AttentiveAdapter(encoder(task, features, classes, width), law, rows)
    return TaskStateLearner("explicit", task, adapter, predictor, NegativeLogLikelihood())


def leo(
    task: Task = "regression",
    *,
    features: int = FEATURES,
    classes: int = CLASSES,
    hidden: tuple[int, ...] = (32,),
    latent: int = 16,
    width: int = 64,
    rate: float = 0.1,
    steps: int = 5,
) -> AbstractLearner:
    """Latent embedding optimization: a proposed latent, descended through the decoder of f's weights.

    Args:
        task: the objective.
        features: the largest D.
        classes: the most classes, for classification.
        hidden: units of f's hidden layers.
        latent: Z.
        width: of the encoder.
        rate: of the inner steps.
        steps: inner steps on each mini-batch.
    """
    predictor = LatentPredictor(mlp(task, hidden, features, classes), latent)
    update = Descent(FixedRate(rate))
    inner = GradientAdapter(FixedStart(predictor), update, likelihood(task), gradient=second_order, steps=steps)
    adapter = ProposalAdapter(encoder(task, features, classes, width), latent, inner)
    return TaskStateLearner("explicit", task, adapter, predictor, QueryError())


PROCESSES = {
    "cnp": Method(
        title="Conditional neural process",
        construct=cnp,
        amortises="encoder and decoder",
        fixes="that codes are averaged",
        carries="the mean code of all rows",
        sees="observations",
        source="Garnelo et al., ICML 2018",
    ),
    "attentive-np": Method(
        title="Attentive neural process, deterministic path",
        construct=attentive_np,
        amortises="encoder, attention and decoder",
        fixes="that codes are averaged, or attended to",
        carries="the mean code of all rows; the first R rows",
        sees="observations",
        source="Kim et al., ICLR 2019",
    ),
    "leo": Method(
        title="LEO, without sampling and fine-tuning",
        construct=leo,
        amortises="the proposal of a latent, and the decoder from it to the weights of f",
        fixes="the form of f, the rule (gradient descent) and its rate",
        carries="the latent",
        sees="the first mini-batch's observations; gradients, differentiated a second time",
        source="Rusu et al., ICLR 2019",
    ),
}
