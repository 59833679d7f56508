"""Tabular tasks beside the priors that TabICL was pretrained on.

Both sides hand out whole new tables, float32, of as many rows, as many columns at most, and numbers as targets; both
use every core: ours its threads, theirs a forked process for each core, since its own pool cannot send the settings of
two of its three priors. The tables are not of one distribution. TabICL's causal models are dense networks with a wider
choice of activations, or extra-trees fitted to noise, or, as "graph_scm", graphs of random functions; four tables of
a group share settings, and constant columns are taken out. Ours are sparse graphs whose trees are drawn, not fitted,
and which bring their own ties, copies, outliers and irrelevant columns. The rates say what a table costs, and nothing
of how good a model becomes that is trained on it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from _table import Row, paired

from amortix.data import Tabular, TaskSampler

_COLUMNS = (20, 100)
_PRIORS = ("mlp_scm", "tree_scm", "graph_scm")


class _Tables:
    """What a process of the peer's draws from; each has its own after the fork."""

    prior: Any = None

    @classmethod
    def start(cls, prior: Any) -> None:
        cls.prior = prior
        np.random.seed()  # noqa: NPY002 (what the peer draws from)
        torch.seed()

    @classmethod
    def draw(cls, tables: int) -> tuple[np.ndarray, np.ndarray]:
        x, y, *_ = cls.prior.get_batch(tables)
        return x.numpy(), y.numpy()


def tabular(quick: bool) -> list[Row]:
    """New tables for regression of 20 to 100 columns, beside each of TabICL's priors; nothing where it is missing."""
    try:
        from tabicl.prior import PriorDataset
    except ImportError as error:
        print(f"tabular: left out, for tabicl cannot be imported ({error})", file=sys.stderr)
        return []
    low, high = _COLUMNS
    rows = 128 if quick else 1024
    sizes = {"regression": True, "min_features": low, "max_features": high, "max_seq_len": rows, "n_jobs": 1}
    return [_row(prior, PriorDataset(prior_type=prior, **sizes), rows, quick) for prior in _PRIORS]


def _row(name: str, prior: Any, rows: int, quick: bool) -> Row:
    ours, each = (64, 4) if quick else (1024, 16)
    cores = os.cpu_count() or 1
    with multiprocessing.get_context("fork").Pool(cores, _Tables.start, (prior,)) as pool:
        return paired(
            f"new tables of {rows:,} rows and {_COLUMNS[0]} to {_COLUMNS[1]} columns",
            _drawing(ours, rows),
            lambda: pool.map(_Tables.draw, [each] * cores, chunksize=1),
            amount=ours,
            peer_amount=each * cores,
            unit="tables/s",
            peer_name=f"tabicl {version('tabicl')} {name}",
            asked=100,
            repeats=3,
        )


def _drawing(tables: int, rows: int) -> Callable[[], object]:
    """Draws as many tables, new ones each time."""
    sampler = TaskSampler(Tabular(dim=_COLUMNS), seed=0)
    steps = np.zeros(tables, np.int64)
    memory = sampler.context(steps, steps, rows)
    first = itertools.count(0, tables)
    return lambda: sampler.context(np.arange(tables) + next(first), steps, rows, out=memory)
