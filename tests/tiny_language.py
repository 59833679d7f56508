"""A language model of two layers and random weights, which the tests of prompts share, and numbers written as words."""

import pytest
import torch

from amortix.batch import Batch
from amortix.language.frozen import FrozenModel
from amortix.language.latents import Prefix, SoftPrompt
from amortix.learner import AbstractLearner
from amortix.methods.prompts import tuning

VERBALISERS = (0, 1, 2)
BINS, COLUMNS = 8, 4
WORDS = len(VERBALISERS) + BINS * COLUMNS
LATENTS = [SoftPrompt(), Prefix()]
NAMES = ["soft", "prefix"]


def model(seed=0, spread=0.2):
    """Two layers, four heads that share two of keys and values."""
    transformers = pytest.importorskip("transformers", reason="language models need amortix[llm]")
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=spread,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config)


def frozen(seed=0):
    return FrozenModel.of(model(seed), VERBALISERS)


def learner(latent, update, seed=0, tokens=4):
    whole = frozen(seed)
    return tuning(whole, latent, torch.randn(tokens, latent.width(whole)) / 5, update)


def texts(rows, columns=7, seed=0):
    """Rows of one to ``columns`` random tokens, padded, ``[rows, columns]``, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, WORDS + 1, (rows, columns), generator=generator)
    lengths = torch.randint(1, columns + 1, (rows, 1), generator=generator)
    classes = torch.randint(0, len(VERBALISERS), (rows,), generator=generator)
    return torch.where(torch.arange(columns) < lengths, ids, 0).float(), classes.float()


def words(x):
    """Numbers ``[..., D]`` as tokens, one of eight words of its column for each; zero is padding."""
    column = torch.arange(x.shape[-1]).clamp(max=COLUMNS - 1)
    level = ((x + 2) * 2).floor().clamp(0, BINS - 1)
    return torch.where(x == 0, 0.0, 1 + len(VERBALISERS) + BINS * column + level)


class InWords(AbstractLearner):
    """A prompt learner that reads numbers in words, so that the suite for learners of numbers can try it."""

    needs_queries = False

    def __init__(self, inner):
        super().__init__("explicit", "classification")
        self.inner = inner

    def init(self, tasks, features, outputs=1, query_x=None, like=None):
        return self.inner.init(tasks, features, outputs, query_x, like)

    def step(self, state, batch):
        return self.inner.step(state, Batch(words(batch.x), batch.y, batch.weight))

    def predict(self, state, x=None):
        return self.inner.predict(state, None if x is None else words(x))

    def ask(self, query_x, fitted):
        return self.inner.ask(query_x, fitted)

    def recall(self, state, batch):
        return self.inner.recall(state, batch)

    def merge(self, state, *others):
        return self.inner.merge(state, *others)
