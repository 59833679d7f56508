"""Prompt tuning and prefix tuning of a frozen language model. Explicit; f is the model, the latent its prompt.

A checkpoint holds the prompt's start and names the model; the model itself is in neither state nor checkpoint.

>>> import torch
>>> from transformers import LlamaConfig, LlamaForCausalLM
>>> from amortix.batch import Batch
>>> sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
>>> frozen = FrozenModel.of(LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes)), verbalisers=[7, 8, 9])
>>> learner = tuning(frozen, SoftPrompt(), torch.randn(4, 16), Adam(0.01))
>>> x = torch.tensor([[[12.0, 31.0, 0.0], [4.0, 0.0, 0.0]]])  # two texts: token ids + 1, then padding
>>> state = learner.init(tasks=1, features=3, outputs=3)
>>> state = learner.step(state, Batch(x, torch.tensor([[0.0, 2.0]])))
>>> learner.predict(state, x).mean.shape
torch.Size([1, 2, 3])
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amortix.adapters.gradient import GradientAdapter
from amortix.contracts import MAX_FEATURES, AbstractUpdate
from amortix.errors import ConfigError
from amortix.gradients import first_order
from amortix.language.frozen import FrozenModel
from amortix.language.latents import AbstractLatent, Prefix, SoftPrompt
from amortix.language.library import causal_model
from amortix.language.predictor import PromptPredictor
from amortix.learner import AbstractLearner, Task, TaskStateLearner
from amortix.likelihoods import CrossEntropy
from amortix.methods.method import Method
from amortix.outer import QueryError
from amortix.starts import LearnedStart
from amortix.updates.adam import Adam


def tuning(
    frozen: FrozenModel,
    latent: AbstractLatent,
    start: Tensor,
    update: AbstractUpdate,
    *,
    max_features: int = MAX_FEATURES,
) -> AbstractLearner:
    """A prompt that an update moves by the gradient of each mini-batch.

    Args:
        frozen: the model, with one token for each class.
        latent: `SoftPrompt` or `Prefix`.
        start: the prompt before any data, ``[V, W]``; the one parameter of the learner.
        update: such as `Adam`.
        max_features: the most tokens of a text.
    """
    predictor = PromptPredictor(frozen, latent, start, max_features=max_features)
    adapter = GradientAdapter(LearnedStart(predictor), update, CrossEntropy(), gradient=first_order)
    return TaskStateLearner("explicit", "classification", adapter, predictor, QueryError())


def prompt_tuning(
    task: Task = "classification",
    *,
    model: str,
    verbalisers: Sequence[int],
    start: Sequence[int],
    rate: float = 0.002,
    max_features: int = MAX_FEATURES,
) -> AbstractLearner:
    """A soft prompt before a frozen language model, moved by Adam.

    Args:
        task: classification is the one that there is.
        model: see `amortix.language.library.causal_model`.
        verbalisers: the token whose logit is a class's, for each class.
        start: tokens of the words that the prompt starts as.
        rate: of Adam.
        max_features: the most tokens of a text.

    Raises:
        ConfigError: another task, or transformers is not installed.
        OSError: there is no such model.
    """
    return _of_words(SoftPrompt(), task, model, verbalisers, start, rate, max_features)


def prefix_tuning(
    task: Task = "classification",
    *,
    model: str,
    verbalisers: Sequence[int],
    start: Sequence[int],
    rate: float = 0.002,
    max_features: int = MAX_FEATURES,
) -> AbstractLearner:
    """As `prompt_tuning`, with keys and values in every layer in place of embeddings before the text."""
    return _of_words(Prefix(), task, model, verbalisers, start, rate, max_features)


def _of_words(
    latent: AbstractLatent,
    task: Task,
    model: str,
    verbalisers: Sequence[int],
    start: Sequence[int],
    rate: float,
    max_features: int,
) -> AbstractLearner:
    if task != "classification":
        raise ConfigError(f"a prompt is tuned for classification, not for {task}")
    frozen = FrozenModel.of(causal_model(model), verbalisers)
    words = latent.of_text(frozen, torch.tensor(list(start)))
    return tuning(frozen, latent, words, Adam(rate), max_features=max_features)


PROMPTS = {
    "prompt-tuning": Method(
        title="Prompt tuning",
        construct=prompt_tuning,
        amortises="where the prompt starts",
        fixes="the language model, the rule (Adam) and its rate",
        carries="a soft prompt, Adam's moments",
        sees="gradients, as constants",
        source="Lester, Al-Rfou and Constant, EMNLP 2021",
        rows="texts",
    ),
    "prefix-tuning": Method(
        title="Prefix tuning",
        construct=prefix_tuning,
        amortises="where the prefix starts",
        fixes="the language model, the rule (Adam) and its rate",
        carries="keys and values of every layer, Adam's moments",
        sees="gradients, as constants",
        source="Li and Liang, ACL 2021",
        rows="texts",
    ),
}
