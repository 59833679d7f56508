"""How good predictions are on held-out rows. NumPy only.

>>> import numpy as np
>>> regression(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))["r2"]
1.0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCORE = {"regression": "r2", "classification": "accuracy"}
"""The metric that is reported as *the* score of each task; higher is better."""

SMALLEST = 1e-7
"""Probabilities are kept above this before their logarithm, as float32 can not tell 1 from 1 - 1e-8."""

Array = NDArray[np.floating]
Metrics = dict[str, float]


def regression(y: Array, mean: Array) -> Metrics:
    """``r2`` against the mean of these very rows (NaN where they do not vary) and ``rmse``; ``[M]`` each."""
    residual = float(np.mean((y.astype(np.float64) - mean) ** 2))
    spread = float(np.var(y.astype(np.float64)))
    return {"r2": 1 - residual / spread if spread > 0 else float("nan"), "rmse": residual**0.5}


def classification(y: Array, probabilities: Array) -> Metrics:
    """``accuracy`` and ``log_loss`` in nats, for class indices ``[M]`` and probabilities ``[M, O]``."""
    index = y.astype(np.int64)
    true = probabilities[np.arange(len(index)), index].astype(np.float64)
    if not np.isfinite(probabilities).all():
        return {"accuracy": float("nan"), "log_loss": float("nan")}
    hits = probabilities.argmax(axis=1) == index
    return {"accuracy": float(hits.mean()), "log_loss": float(-np.log(np.maximum(true, SMALLEST)).mean())}


def measure(task: str, y: Array, mean: Array) -> Metrics:
    """The metrics of a task: `regression` for ``mean`` ``[M]``, `classification` for ``[M, O]``."""
    return classification(y, mean) if task == "classification" else regression(y, mean)
