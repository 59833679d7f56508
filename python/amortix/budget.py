"""What of a learner goes into a saved model, and how many bytes are left there for rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amortix.batch import State
from amortix.data.encoder import TableEncoder
from amortix.data.store import RowStore
from amortix.data.table import Table
from amortix.errors import ConfigError, LearnerError
from amortix.learner import AbstractLearner
from amortix.plan import Settings

FEWEST_STORED = 256
"""A budget that leaves room for fewer stored rows is refused."""

RESERVE = 64 * 1024
"""Bytes of a saved model set aside for its JSON and the headers of its files."""


def check_classes(table: Table, learners: Sequence[AbstractLearner]) -> None:
    """Refuse a target that has more classes than a learner takes, with `LearnerError`."""
    classes = len(table.classes or ())
    for learner in learners:
        if classes > learner.max_outputs:
            raise LearnerError(
                f"target {table.target!r} has {classes} classes and the {learner.regime} learner takes at "
                f"most {learner.max_outputs}: merge some, or use --task regression if they are numbers"
            )


def check_width(table: Table, encoder: TableEncoder, learners: Sequence[AbstractLearner]) -> None:
    """Refuse a table that has more encoded columns than a learner takes, with `LearnerError`."""
    for learner in learners:
        if encoder.width > learner.max_features:
            raise LearnerError(
                f"the table's {len(table.columns)} feature columns become {encoder.width:,} encoded "
                f"ones{_widest(encoder)}, and the {learner.regime} learner takes at most {learner.max_features}: "
                "drop some by --drop NAME"
            )


def _widest(encoder: TableEncoder) -> str:
    """The column that becomes the most, where it becomes many."""
    name, width = max(((field.column, len(field.names())) for field in encoder.fields), key=lambda one: one[1])
    return f" ({width} of them from {name!r})" if width > 1 else ""


def initial(learner: AbstractLearner, held: Tensor, outputs: int) -> State:
    """The state before any data, for the held-out queries ``[1, M, D]`` where the learner needs queries."""
    with torch.no_grad():
        return learner.init(1, held.shape[2], outputs, query_x=held if learner.needs_queries else None)


def compact(learner: AbstractLearner, state: State, features: int) -> State:
    """What a saved model needs of a state: of a learner with queries, what new queries start from."""
    if not learner.needs_queries:
        return state
    with torch.no_grad():
        return learner.ask(torch.zeros(1, 1, features), state)


def new_store(
    learners: Sequence[AbstractLearner], encoder: TableEncoder, settings: Settings, outputs: int
) -> RowStore | None:
    """The row store that the budget allows, None where no learner needs queries.

    Raises:
        ConfigError: the budget is smaller than a model of all learners without rows, or with a few where it needs them.
    """
    row, stores = RowStore.row_bytes(encoder.width), any(learner.needs_queries for learner in learners)
    fixed = RESERVE + len(encoder.to_json()) + sum(_bytes(learner, encoder.width, outputs) for learner in learners)
    least = fixed + FEWEST_STORED * row * stores
    if settings.budget < least:
        raise ConfigError(
            f"a budget of {settings.budget:,} bytes is too small for a model of "
            f"{' and '.join(learner.regime for learner in learners)}: it takes at least {least:,}"
        )
    return RowStore(encoder.width, bytes=settings.budget - fixed, seed=settings.seed) if stores else None


def _bytes(learner: AbstractLearner, features: int, outputs: int) -> int:
    """Bytes of a saved learner and its state without rows. A state's tensors keep their shapes, so the first tells."""
    state = initial(learner, torch.zeros(1, 1, features), outputs)
    tensors = [*state.tensors().values(), *learner.state_dict().values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
