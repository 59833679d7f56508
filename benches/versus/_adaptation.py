"""A whole pass of the bundled parametric learner beside scikit-learn's `partial_fit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _table import Row, paired

import amortix
from amortix.batch import Batch
from amortix.data import Stream, Table

_COLUMNS, _BATCH = 16, 512


def adaptation(quick: bool) -> list[Row]:
    """Mini-batches of 512 rows from memory, in order, into a state; at the end a prediction for ten rows."""
    rows = 2_048 if quick else 1_000_000
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, _COLUMNS)).astype(np.float32)
    signal = x @ random.normal(size=_COLUMNS) + random.normal(size=rows)
    works = []
    for task, y in (("regression", signal.astype(np.float32)), ("classification", (signal > 0).astype(np.int64))):
        works.append(
            paired(
                f"parametric learner, {task}, {rows:,} rows x {_COLUMNS}",
                _ours(task, x, y),
                _partial_fit(task, x, y),
                amount=rows / 1e6,
                unit="M rows/s",
                peer_name="SGD partial_fit",
                asked=0.5,
                repeats=3,
            )
        )
    return works


def _batches(x: np.ndarray, y: np.ndarray) -> Any:
    return Stream(Table.open((x, y)), batch=_BATCH, shuffle=False)


def _ours(task: str, x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    learner, outputs = amortix.load(f"parametric-{task}"), 1 if task == "regression" else 2
    query = torch.from_numpy(x[None, :10])

    @torch.no_grad()
    def run() -> object:
        state = learner.init(1, _COLUMNS, outputs)
        for rows, targets in _batches(x, y):
            batch = Batch(torch.from_numpy(rows)[None], torch.from_numpy(targets)[None].float())
            state = learner.step(state, batch)
        return learner.predict(state, query)

    return run


def _partial_fit(task: str, x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    def run() -> object:
        model = SGDRegressor() if task == "regression" else SGDClassifier(loss="log_loss")
        known = {} if task == "regression" else {"classes": np.arange(2)}
        for rows, targets in _batches(x, y):
            model.partial_fit(rows, targets, **known)
        return model.predict(x[:10])

    return run
