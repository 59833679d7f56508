"""What of a learner goes into a saved model, and how many bytes are left there for rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amortix.batch import State
from amortix.data.store import RowStore
from amortix.data.table import Table
from amortix.errors import ConfigError, LearnerError
from amortix.learner import AbstractLearner
from amortix.plan import Settings
from amortix.scores import NormalScores

FEWEST_STORED = 256
"""A budget that leaves room for fewer stored rows is refused."""

RESERVE = 64 * 1024
"""Bytes of a saved model set aside for its JSON and the headers of its files."""


def check_limits(table: Table, learners: Sequence[AbstractLearner]) -> None:
    """Refuse a table that is wider, or has more classes, than a learner takes, with `LearnerError`."""
    features, classes = len(table.columns), len(table.classes or ())
    for learner in learners:
        if features > learner.max_features:
            raise LearnerError(
                f"the table has {features} feature columns and the {learner.regime} learner takes at most "
                f"{learner.max_features}: drop some by --drop NAME"
            )
        if classes > learner.max_outputs:
            raise LearnerError(
                f"target {table.target!r} has {classes} classes and the {learner.regime} learner takes at "
                f"most {learner.max_outputs}: merge some, or use --task regression if they are numbers"
            )


def initial(learner: AbstractLearner, held: Tensor, outputs: int) -> State:
    """The state before any data, for the held-out queries ``[1, M, D]`` where the learner needs queries."""
    with torch.no_grad():
        return learner.init(1, held.shape[2], outputs, query_x=held if learner.needs_queries else None)


def compact(learner: AbstractLearner, state: State, features: int, outputs: int) -> State:
    """What a saved model needs of a state: of a learner with queries, what new queries start from."""
    if not learner.needs_queries:
        return state
    with torch.no_grad():
        return learner.init(1, features, outputs, query_x=torch.zeros(1, 1, features), like=state)


def new_store(
    learners: Sequence[AbstractLearner], encoder: NormalScores, settings: Settings, outputs: int
) -> RowStore | None:
    """The row store that the budget allows, None where no learner needs queries.

    Raises:
        ConfigError: the budget is smaller than a model without rows, or than one with a few.
    """
    row = RowStore.row_bytes(encoder.features)
    store = None
    for learner in learners:
        rest = settings.budget - _fixed(learner, encoder, outputs)
        least = FEWEST_STORED * row if learner.needs_queries else 0
        if rest < least:
            raise ConfigError(
                f"a budget of {settings.budget:,} bytes is too small for the {learner.regime} model: "
                f"it takes at least {settings.budget - rest + least:,}"
            )
        if learner.needs_queries:
            store = RowStore(encoder.features, bytes=rest, seed=settings.seed)
    return store


def _fixed(learner: AbstractLearner, encoder: NormalScores, outputs: int) -> int:
    """Bytes of a saved model without its rows. A state's tensors keep their shapes, so the first tells."""
    state = initial(learner, torch.zeros(1, 1, encoder.features), outputs)
    tensors = [*state.tensors().values(), *learner.state_dict().values()]
    arrays = sum(array.nbytes for array in encoder.tensors().values())
    return RESERVE + arrays + sum(tensor.numel() * tensor.element_size() for tensor in tensors)
