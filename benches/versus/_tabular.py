"""Tabular tasks beside the priors that TabICL was pretrained on.

Both sides hand out whole new tables, float32, of as many rows, as many columns at most, and numbers as targets; both
may use every core. The tables are not of one distribution. TabICL's causal models are dense networks with a wider
choice of activations, or extra-trees fitted to noise, or, as "graph_scm", graphs of random functions; four tables of
a group share settings, and constant columns are taken out. Ours are sparse graphs whose trees are drawn, not fitted,
and which bring their own ties, copies, outliers and irrelevant columns. The rates say what a table costs, and nothing
of how good a model becomes that is trained on it.
"""

from __future__ import annotations

import itertools
import os
import sys
from importlib.metadata import version

import numpy as np
from _table import Row, paired

from amortix.data import Tabular, TaskSampler

_COLUMNS = (3, 20)
_PRIORS = ("mlp_scm", "tree_scm", "graph_scm")


def tabular(quick: bool) -> list[Row]:
    """New tables for regression of 3 to 20 columns, beside each of TabICL's priors; nothing where it is missing."""
    try:
        from tabicl.prior import PriorDataset
    except ImportError as error:
        print(f"tabular: left out, for tabicl cannot be imported ({error})", file=sys.stderr)
        return []
    rows, ours, theirs = (128, 64, 4) if quick else (1024, 1024, 64)
    sampler = TaskSampler(Tabular(dim=_COLUMNS), seed=0)
    memory = sampler.context(np.zeros(ours, np.int64), np.zeros(ours, np.int64), rows)
    first = itertools.count(0, ours)

    def draw() -> None:
        start = next(first)
        sampler.context(np.arange(start, start + ours), np.zeros(ours, np.int64), rows, out=memory)

    def row(prior: str) -> Row:
        peer = PriorDataset(
            regression=True,
            batch_size=theirs,
            min_features=_COLUMNS[0],
            max_features=_COLUMNS[1],
            max_seq_len=rows,
            prior_type=prior,
            n_jobs=os.cpu_count() or 1,
        )
        return paired(
            f"new tables of {rows:,} rows",
            draw,
            peer.get_batch,
            amount=ours,
            peer_amount=theirs,
            unit="tables/s",
            peer_name=f"tabicl {version('tabicl')} {prior}",
            asked=10,
            repeats=3,
        )

    return [row(prior) for prior in _PRIORS]
