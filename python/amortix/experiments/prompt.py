"""Prompt tuning of a frozen language model over a stream of newsgroup posts, by the main job itself.

SmolLM2-135M-Instruct reads a prompt, the first tokens of a post and the word "Topic:"; a class is the logit of one
word. The prompt starts as the embeddings of a sentence, or as the keys and values that the sentence leaves, and
`amortix.adapt.Adaptation` streams the posts once, in mini-batches. Posts to test on are the later ones of the split by
date; adaptation sees none of them. Beside it, a logistic regression on counts of the same tokens of the same posts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from amortix.adapt import Adaptation
from amortix.batch import own
from amortix.data import Table, TableEncoder
from amortix.data.encoder import EncoderSettings
from amortix.datasets import SMOLLM2
from amortix.errors import ConfigError
from amortix.language.library import newsgroups, tokenizer
from amortix.language.tokens import rows
from amortix.language.tuning import prefix_tuning, prompt_tuning
from amortix.learner import AbstractLearner
from amortix.metrics import measure
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
TUNINGS = {"soft": prompt_tuning, "prefix": prefix_tuning}

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Sizes:
    """How much of everything: posts of each group to adapt to (some of them held out) and to test on."""

    posts: int = 104
    tests: int = 40
    tokens: int = 48
    batch: int = 8
    holdout: float = 0.08


QUICK = Sizes(posts=16, tests=8, tokens=32, batch=8, holdout=0.1)


@dataclass(frozen=True)
class Bench:
    """What all seeds share.

    Attributes:
        learner: the language model with its prompt at the sentence.
        config: what it was made from.
        tokenizer: of the model.
    """

    learner: AbstractLearner
    config: dict[str, Any]
    tokenizer: Any

    @classmethod
    def of(cls, latent: str, rate: float) -> Bench:
        """Load the language model and set the prompt to the sentence."""
        words = tokenizer()
        verbalisers = [_one_token(words, word) for word in GROUPS.values()]
        config = {"model": SMOLLM2.name, "verbalisers": verbalisers, "start": words(SENTENCE).input_ids, "rate": rate}
        construct = TUNINGS[latent]
        method = {"method": construct.__name__.replace("_", "-"), "task": "classification"}
        return cls(construct(**config), method | config, words)


def main(arguments: list[str]) -> None:
    """Run what the command line asks for; a JSON object for each seed, skipping those that ``--out`` has."""
    parser = argparse.ArgumentParser(prog="python -m amortix.experiments prompt", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few posts: about a minute")
    parser.add_argument("--latent", choices=list(TUNINGS), default="soft", help="soft prompt, or prefix in every layer")
    parser.add_argument("--rate", type=float, default=0.002, help="learning rate of Adam")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="which posts, and their order")
    parser.add_argument("--out", type=Path, help="file that results are added to, an object a line")
    parser.add_argument("--commit", help="what to note as the commit")
    asked = parser.parse_args(arguments)
    sizes = QUICK if asked.quick else Sizes()
    done = _done(asked.out)
    wanted = [(asked.latent, asked.quick, asked.rate, seed) for seed in asked.seeds]
    if all(key in done for key in wanted):
        return
    bench = Bench.of(asked.latent, asked.rate)
    for key in wanted:
        if key in done:
            continue
        seed = key[-1]
        found = run(bench, sizes, seed)
        head = {"name": f"prompt-{asked.latent}", "latent": asked.latent, "quick": asked.quick, "rate": asked.rate}
        line = json.dumps(head | {"seed": seed} | found | _provenance(head | {"seed": seed}, asked.commit))
        print(line, flush=True)
        if asked.out is not None:
            with asked.out.open("a") as file:
                file.write(line + "\n")


def run(bench: Bench, sizes: Sizes, seed: int) -> dict[str, Any]:
    """Adapt once; accuracy on the test posts before and after, and what it took."""
    started = time.perf_counter()
    fit_x, fit_y = _posts(bench.tokenizer, "train", sizes.posts, sizes.tokens, seed)
    test_x, test_y = _posts(bench.tokenizer, "test", sizes.tests, sizes.tokens, seed)
    learner, table = bench.learner, Table.open((fit_x, fit_y))
    adaptation = Adaptation.start(
        table,
        [Pretrained(learner, bench.config)],
        Settings(batch=sizes.batch, seed=seed, holdout=sizes.holdout),
        task="classification",
        encoder=TableEncoder.fit(table, EncoderSettings(scale="none")),
    )
    with torch.no_grad():
        before = learner.predict(learner.init(1, test_x.shape[1], len(GROUPS)), own(test_x)[None]).mean[0].numpy()
    adaptation.run()
    after = adaptation.model("explicit").predict(test_x).mean
    result = next(one for one in adaptation.results if one.regime == "explicit")
    state = adaptation.tracks["explicit"].state
    return {
        "before": _measure(test_y, before),
        "after": _measure(test_y, after),
        "bag_of_words": _bag_of_words(fit_x, fit_y, test_x, test_y),
        "classes": len(GROUPS),
        "fit_rows": adaptation.rows,
        "held_rows": len(adaptation.split.held_y),
        "test_rows": len(test_y),
        "batches": int(state.age),
        "batch": sizes.batch,
        "parameters": state.value.numel(),
        "step_seconds": round(result.seconds, 1),
        "seconds": round(time.perf_counter() - started, 1),
        "curve": result.curve,
    }


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


def _bag_of_words(fit_x: NDArray, fit_y: NDArray, test_x: NDArray, test_y: NDArray) -> dict[str, float] | None:
    """Multinomial logistic regression on token counts of all rows to adapt to; None without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None
    texts = [[" ".join(f"{int(i)}" for i in row if i) for row in x] for x in (fit_x, test_x)]
    counts = CountVectorizer(token_pattern=r"\d+").fit(texts[0])
    fitted = LogisticRegression(max_iter=1000).fit(counts.transform(texts[0]), fit_y)
    return _measure(test_y, fitted.predict_proba(counts.transform(texts[1])))


def _measure(classes: NDArray, shares: NDArray) -> dict[str, float]:
    return measure("classification", classes.astype(np.float64), shares.astype(np.float64))


def _done(path: Path | None) -> set[tuple[str, bool, float, int]]:
    if path is None or not path.is_file():
        return set()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(one["latent"], one["quick"], one["rate"], one["seed"]) for one in lines}


def _provenance(of: dict[str, Any], commit: str | None) -> dict[str, Any]:
    options = f"--latent {of['latent']} --rate {of['rate']} --seeds {of['seed']}" + " --quick" * of["quick"]
    return {
        "command": f"python -m amortix.experiments prompt {options}",
        "commit": commit,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
