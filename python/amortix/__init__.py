"""amortix: pretrain once across tasks; adapt to a new dataset of any size in a handful of passes over mini-batches.

The public names load on first use, so that ``import amortix`` needs no torch and takes milliseconds.

>>> import amortix
>>> amortix.bundled()[0]
'explicit-classification'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from amortix._core import __version__

if TYPE_CHECKING:
    from amortix.adapt import Adaptation
    from amortix.batch import Batch, Prediction, State, TaskBatch
    from amortix.checkpoint import bundled, load
    from amortix.data import RowStore, StatePool, Stream, Table, TaskSampler
    from amortix.errors import AmortixError
    from amortix.evaluation import evaluate
    from amortix.loader import StreamDataset
    from amortix.model import AdaptedModel
    from amortix.plan import Settings
    from amortix.regimes import explicit, implicit, parametric
    from amortix.training import train

_HOMES = {
    "Adaptation": "adapt",
    "AdaptedModel": "model",
    "AmortixError": "errors",
    "Batch": "batch",
    "Prediction": "batch",
    "RowStore": "data",
    "Settings": "plan",
    "State": "batch",
    "StatePool": "data",
    "Stream": "data",
    "StreamDataset": "loader",
    "Table": "data",
    "TaskBatch": "batch",
    "TaskSampler": "data",
    "bundled": "checkpoint",
    "evaluate": "evaluation",
    "explicit": "regimes",
    "implicit": "regimes",
    "load": "checkpoint",
    "parametric": "regimes",
    "train": "training",
}

__all__ = [
    "Adaptation",
    "AdaptedModel",
    "AmortixError",
    "Batch",
    "Prediction",
    "RowStore",
    "Settings",
    "State",
    "StatePool",
    "Stream",
    "StreamDataset",
    "Table",
    "TaskBatch",
    "TaskSampler",
    "__version__",
    "bundled",
    "evaluate",
    "explicit",
    "implicit",
    "load",
    "parametric",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'amortix' has no attribute {name!r}")
    return getattr(importlib.import_module(f"amortix.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
