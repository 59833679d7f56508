"""Prompt tuning and prefix tuning from plain settings: a checkpoint names them, and holds no language model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from amortix.contracts import MAX_FEATURES
from amortix.errors import ConfigError
from amortix.language.frozen import FrozenModel
from amortix.language.latents import AbstractLatent, Prefix, SoftPrompt
from amortix.language.learner import PromptLearner
from amortix.language.library import causal_model
from amortix.language.updates import Adam
from amortix.learner import AbstractLearner, Task


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
    return _tuning(SoftPrompt(), task, model, verbalisers, start, rate, max_features)


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
    return _tuning(Prefix(), task, model, verbalisers, start, rate, max_features)


def _tuning(
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
    initial = latent.of_text(frozen, torch.tensor(list(start)))
    return PromptLearner(frozen, latent, Adam(rate), initial, max_features=max_features)
