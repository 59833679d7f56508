"""The table of all methods, as `docs/methods.md` has it: ``python -m amortix.methods.table > docs/methods.md``."""

from __future__ import annotations

import torch

from amortix.methods import METHODS
from amortix.methods.method import Method

_HEAD = """# Methods

Each is one choice of f and g of [arXiv 2510.11471](https://arxiv.org/abs/2510.11471), composed in a few lines of
`amortix.methods` and built by name: `{"method": "maml", "task": "regression"}` in a recipe, or for
`amortix.checkpoint.build`. All go through the same training, evaluation, adaptation and files, for regression and for
classification. This page is written by `python -m amortix.methods.table`.

"""
_COLUMNS = ("name", "method", "regime", "learned across tasks", "fixed", "carried", "in tensors", "seen", "source")


def markdown() -> str:
    """The page."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(name, method) for name, method in METHODS.items())]
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(name: str, method: Method) -> tuple[str, ...]:
    learner = method.construct("regression", features=2)
    state = learner.init(1, 2, 1, torch.zeros(1, 1, 2) if learner.needs_queries else None)
    tensors = ", ".join(f"`{key.removeprefix('memory.')}`" for key in state.tensors() if key != "age")
    facts = (method.amortises, method.fixes, method.carries, tensors, method.sees, method.source)
    return (f"`{name}`", method.title, learner.regime, *facts)


if __name__ == "__main__":
    print(markdown(), end="")
