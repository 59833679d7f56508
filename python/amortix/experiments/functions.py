"""What is learned in context: linear, sparse, two-layer and tree functions of 20 inputs.

The functions of Garg et al., but that linear ones here have an intercept; errors against the function itself, divided
by its mean square, after 10, 20, 40 and 100 rows in one mini-batch. There is no noise but in the noisy linear
functions: deviation 1 on functions of variance 21. ``gpt`` is their kind of learner, a causal transformer, trained here
on the family it is tested on, at sizes and for a time that one core allows: far below the published 9.5 million
parameters and 500,000 iterations. The bundled learners have never seen these families but for linear ones.

References:
    Garg, Tsipras, Liang and Valiant, "What can transformers learn in-context?", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from amortix import checkpoint
from amortix.batch import own
from amortix.data import TaskSampler, family_from_dict
from amortix.experiments.harness import Cell, Experiment
from amortix.experiments.meta import UNSEEN, curve, trained

_ROWS = (10, 20, 40, 100)
_TWO_LAYERS = {"hidden": 100, "activation": "relu", "weight_scale": [1.0, 1.0]}
_FAMILIES: dict[str, dict[str, Any]] = {
    "linear": {"family": "linear", "dim": [20, 20], "noise": [0.0, 0.0]},
    "noisy linear": {"family": "linear", "dim": [20, 20], "noise": [1.0, 1.0]},
    "sparse": {"family": "linear", "dim": [20, 20], "noise": [0.0, 0.0], "sparsity": 0.85},
    "two layers": {"family": "mlp", "dim": [20, 20], "noise": [0.0, 0.0], **_TWO_LAYERS},
    "tree": {"family": "tree", "dim": [20, 20]},
}
_REGIMES = ("parametric", "explicit", "implicit")


def cells(quick: bool) -> Sequence[Cell]:
    """Families times learners."""
    size = {"iterations": 3, "tasks": 8} if quick else {"iterations": 150, "tasks": 64}
    rows: list[Cell] = []
    for family in list(_FAMILIES)[: 1 if quick else None]:
        rows.append({"name": f"{family}, least squares", "family": family, "kind": "least squares", **size})
        rows += [
            {"name": f"{family}, {name} (bundled)", "family": family, "kind": "bundled", "regime": name, **size}
            for name in _REGIMES
        ]
        rows.append({"name": f"{family}, gpt", "family": family, "kind": "method", "method": "gpt", **size})
    return rows


def measure(cell: Cell, seed: int) -> dict[str, float]:
    """Error over the variance of the function, by rows."""
    family, seconds = _FAMILIES[cell["family"]], 0.0
    unit = _variance(family, seed, cell["tasks"])
    if cell["kind"] == "least squares":
        return {f"{n} rows": _least_squares(family, seed, cell["tasks"], n) / unit for n in _ROWS}
    if cell["kind"] == "bundled":
        learner = checkpoint.load(f"{cell['regime']}-regression")
    else:
        config = {"method": cell["method"], "task": "regression", "features": 20}
        sizes = {"tasks": 32, "slots": 128, "points": 16, "batch": [5, 100], "horizon": [1, 1], "rate": 1e-3}
        learner, seconds = trained(config, seed, families=[family], iterations=cell["iterations"], **sizes)
    risks = [curve(learner, family, seed, steps=[1], tasks=cell["tasks"], batch=n)[1][0] for n in _ROWS]
    return {f"{n} rows": risk / unit for n, risk in zip(_ROWS, risks, strict=True)} | {"seconds of training": seconds}


def _variance(family: dict[str, Any], seed: int, tasks: int) -> float:
    _, _, signal = TaskSampler(family_from_dict(dict(family)), seed=UNSEEN + seed).query(np.arange(tasks), 64)
    return float(np.square(signal).mean())


def _least_squares(family: dict[str, Any], seed: int, tasks: int, rows: int) -> float:
    """With a column of ones, since the linear functions have one; of least norm where the rows are fewer."""
    sampler, ids = TaskSampler(family_from_dict(dict(family)), seed=UNSEEN + seed), np.arange(tasks)
    x, y = map(own, sampler.context(ids, np.zeros(tasks, np.int64), rows))
    query, _, signal = map(own, sampler.query(ids, 64))
    x, query = (torch.cat([torch.ones_like(a[..., :1]), a], 2).double() for a in (x, query))
    return float((query @ (torch.linalg.pinv(x) @ y.double().unsqueeze(2)) - signal).square().mean())


EXPERIMENT = Experiment("Error over variance, learned in context from few rows of 20 inputs", cells, measure)
