"""Prompt tuning of a frozen language model over a stream of newsgroup posts, by the main job itself.

SmolLM2-135M-Instruct reads a prompt, the first tokens of a post and the word "Topic:"; a class is the logit of one
word. The prompt starts as the embeddings of a sentence, or as the keys and values that the sentence leaves, and
`amortix.adapt.Adaptation` streams the posts once, in mini-batches. Posts to test on are the later ones of the split by
date; adaptation sees none of them. Beside it, a logistic regression on counts of the same tokens of the same posts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amortix import checkpoint, metrics
from amortix.adapt import Adaptation
from amortix.batch import own
from amortix.data import Table, TableEncoder
from amortix.data.encoder import EncoderSettings
from amortix.datasets import SMOLLM2
from amortix.errors import ConfigError
from amortix.experiments.harness import Cell, Experiment
from amortix.experiments.meta import Clock
from amortix.language.library import newsgroups, tokenizer
from amortix.language.tokens import rows
from amortix.learner import AbstractLearner
from amortix.plan import Settings
from amortix.pretrained import Pretrained

GROUPS = {
    "rec.autos": " cars",
    "rec.sport.hockey": " hockey",
    "sci.med": " medicine",
    "sci.space": " space",
    "comp.graphics": " graphics",
}
"""The newsgroups, and the word whose logit is the class's."""

SENTENCE = "The following is a post about cars, hockey, medicine, space or graphics.\n"
ENDING = " Topic:"
METHOD = {"soft": "prompt-tuning", "prefix": "prefix-tuning"}

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def cells(quick: bool) -> Sequence[Cell]:
    """A soft prompt and a prefix; posts of each group to adapt to (some of them held out) and to test on."""
    full = {"posts": 104, "tests": 40, "tokens": 48, "batch": 8, "holdout": 0.08}
    size = {"posts": 16, "tests": 8, "tokens": 32, "batch": 8, "holdout": 0.1} if quick else full
    return [{"name": f"prompt-{latent}", "latent": latent, "rate": 0.002, **size} for latent in ("soft", "prefix")]


def measure(cell: Cell, seed: int) -> dict[str, float]:
    """Adapt once; accuracy and log-loss on the test posts before and after, and what it took."""
    clock, words = Clock(), _tokenizer()
    fit_x, fit_y = _posts(words, "train", cell["posts"], cell["tokens"], seed)
    test_x, test_y = _posts(words, "test", cell["tests"], cell["tokens"], seed)
    (learner, config), table = _learner(cell["latent"], cell["rate"]), Table.open((fit_x, fit_y))
    adaptation = Adaptation.start(
        table,
        [Pretrained(learner, config)],
        Settings(batch=cell["batch"], seed=seed, holdout=cell["holdout"]),
        task="classification",
        encoder=TableEncoder.fit(table, EncoderSettings(scale="none")),
    )
    with torch.no_grad():
        before = learner.predict(learner.init(1, test_x.shape[1], len(GROUPS)), own(test_x)[None]).mean[0].numpy()
    adaptation.run()
    after = adaptation.model("explicit").predict(test_x).mean
    shares = {"before": before, "after": after, "of word counts": _bag_of_words(fit_x, fit_y, test_x)}
    found = {when: _scores(test_y, share) for when, share in shares.items() if share is not None}
    return {
        **{f"accuracy {when}": scores["accuracy"] for when, scores in found.items()},
        **{f"log-loss {when}": scores["log_loss"] for when, scores in found.items()},
        "mini-batches": int(adaptation.tracks["explicit"].state.age),
        "seconds in steps": adaptation.tracks["explicit"].seconds,
        "seconds": clock(),
    }


@cache
def _tokenizer() -> Any:
    return tokenizer()


@cache
def _learner(latent: str, rate: float) -> tuple[AbstractLearner, dict[str, Any]]:
    """The language model with its prompt at the sentence, and what it was made from."""
    words = _tokenizer()
    verbalisers = [_one_token(words, word) for word in GROUPS.values()]
    settings = {"model": SMOLLM2.name, "verbalisers": verbalisers, "start": words(SENTENCE).input_ids, "rate": rate}
    config = {"method": METHOD[latent], "task": "classification", **settings}
    return checkpoint.build(config), config


def _posts(tokenizer: Any, part: str, count: int, tokens: int, seed: int) -> Rows:
    """``count`` posts of each group, drawn by the seed: their first tokens and the ending, and their class."""
    random = np.random.default_rng(seed)
    ending = tokenizer(ENDING).input_ids
    texts, classes = [], []
    for place, posts in enumerate(newsgroups(part, tuple(GROUPS)).values()):
        for chosen in random.choice(len(posts), count, replace=False):
            texts.append(tokenizer(posts[chosen]).input_ids[:tokens] + ending)
            classes.append(place)
    return rows(texts, tokens + len(ending)), np.array(classes)


def _one_token(tokenizer: Any, word: str) -> int:
    ids = tokenizer(word).input_ids
    if len(ids) != 1:
        raise ConfigError(f"the tokenizer splits {word!r} into {len(ids)} tokens: choose a word that is one")
    return ids[0]


def _bag_of_words(fit_x: NDArray, fit_y: NDArray, test_x: NDArray) -> NDArray | None:
    """Multinomial logistic regression on token counts of all rows to adapt to; None without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None
    texts = [[" ".join(f"{int(i)}" for i in row if i) for row in x] for x in (fit_x, test_x)]
    counts = CountVectorizer(token_pattern=r"\d+").fit(texts[0])
    fitted = LogisticRegression(max_iter=1000).fit(counts.transform(texts[0]), fit_y)
    return fitted.predict_proba(counts.transform(texts[1]))


def _scores(classes: NDArray, shares: NDArray) -> dict[str, float]:
    return metrics.measure("classification", classes.astype(np.float64), shares.astype(np.float64))


EXPERIMENT = Experiment("A frozen language model on newsgroup posts, before and after its prompt", cells, measure)
