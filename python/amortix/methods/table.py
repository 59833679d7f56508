"""The table of all methods, as `docs/methods.md` has it: ``python -m amortix.methods.table > docs/methods.md``."""

from __future__ import annotations

from typing import Any

import torch

from amortix.language.frozen import FrozenModel
from amortix.language.latents import Prefix, SoftPrompt
from amortix.learner import AbstractLearner
from amortix.methods import METHODS
from amortix.methods.method import Method
from amortix.methods.prompts import tuning
from amortix.updates.adam import Adam

_HEAD = """# Methods

Each is one choice of f and g of [arXiv 2510.11471](https://arxiv.org/abs/2510.11471), composed in a few lines of
`amortix.methods` and built by name: `{"method": "maml", "task": "regression"}` in a recipe, or for
`amortix.checkpoint.build`. All go through the same training, evaluation, adaptation and files; those on rows of numbers
for regression and for classification, the others for classification. `python -m amortix.methods.table` prints this
page, which needs `amortix[llm]`.

"""
_COLUMNS = (
    "name",
    "method",
    "regime",
    "learned across tasks",
    "fixed",
    "carried",
    "in tensors",
    "seen",
    "rows",
    "source",
)


def markdown() -> str:
    """The page."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(name, method) for name, method in METHODS.items())]
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(name: str, method: Method) -> tuple[str, ...]:
    learner = _small(name, method)
    features, outputs = (2, 1) if learner.task == "regression" else (learner.max_features, learner.max_outputs)
    state = learner.init(1, features, outputs, torch.zeros(1, 1, features) if learner.needs_queries else None)
    tensors = ", ".join(f"`{key.removeprefix('memory.')}`" for key in state.tensors() if key != "age")
    facts = (method.amortises, method.fixes, method.carries, tensors, method.sees, method.rows, method.source)
    return (f"`{name}`", method.title, learner.regime, *facts)


def _small(name: str, method: Method) -> AbstractLearner:
    """The method on the smallest rows of its kind."""
    if method.rows == "numbers":
        return method.construct("regression", features=2)
    if method.rows == "images":
        return method.construct("classification", side=16, width=4)
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    frozen = FrozenModel.of(LlamaForCausalLM(LlamaConfig(vocab_size=4, **sizes)), verbalisers=[1, 2])
    latent = SoftPrompt() if name == "prompt-tuning" else Prefix()
    return tuning(frozen, latent, latent.of_text(frozen, torch.tensor([3])), Adam(0.1))


if __name__ == "__main__":
    print(markdown(), end="")
