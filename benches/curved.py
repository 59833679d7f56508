"""Curved and stepped tasks: the bundled learners beside the best of what others fit to all the same rows.

    python benches/curved.py --out benches/results/curved.jsonl

A line is the mean excess risk (squared error to the noise-free truth) over tasks of one family after k mini-batches of
64 rows: of each learner, which has read them once, and of ridge regression with its penalty by cross-validation, of
histogram gradient boosting and a perceptron with their settings by a held-out fifth, and of an exact Gaussian process
with one length scale a column by its evidence, on 1,024 rows at most. Ratios are to the best of these four, chosen with
knowledge of the truth.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.neural_network import MLPRegressor

from amortix import load
from amortix.batch import Batch, own
from amortix.data import Mlp, TaskSampler, Tree

FAMILIES = {
    "mlp": Mlp(dim=(8, 8), noise=(0.1, 0.5), weight_scale=(0.5, 4.0)),
    "tree": Tree(dim=(8, 8), noise=(0.1, 0.5)),
}
SIZES = {"explicit": {"size": 1024, "sample": 1024}, "implicit": {"sample": 1024}}
BATCH, POINTS, MOST = 64, 128, 1024
STEPS = (1, 5, 10, 100)
_SPLIT = ShuffleSplit(1, test_size=0.2, random_state=0)

Fit = Callable[[np.ndarray, np.ndarray], Any]  # to a model with predict


def ridge(x: np.ndarray, y: np.ndarray) -> Any:
    """Penalty by leaving one out."""
    return RidgeCV(np.logspace(-2, 4, 13)).fit(x, y)


def trees(x: np.ndarray, y: np.ndarray) -> Any:
    """Rate and leaves by a held-out fifth."""
    grid = {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [7, 31], "max_iter": [100, 300]}
    return GridSearchCV(HistGradientBoostingRegressor(), grid, cv=_SPLIT).fit(x, y)


def perceptron(x: np.ndarray, y: np.ndarray) -> Any:
    """Penalty by a held-out fifth; two layers of 64, stopped early."""
    model = MLPRegressor(hidden_layer_sizes=(64, 64), early_stopping=len(x) >= 200, max_iter=300, random_state=0)
    return GridSearchCV(model, {"alpha": [1e-4, 1e-2, 1.0]}, cv=_SPLIT).fit(x, y)


def process(x: np.ndarray, y: np.ndarray) -> Any:
    """Kernel by its evidence."""
    x, y = x[:MOST], y[:MOST]
    kernel = ConstantKernel() * RBF([2.0] * x.shape[1], (0.1, 1e3)) + WhiteKernel(0.1)
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(x, y)


PEERS: dict[str, Fit] = {"ridge": ridge, "hist-gradient-boosting": trees, "perceptron": perceptron, "process": process}


def measure(name: str, tasks: int, steps: tuple[int, ...]) -> list[dict[str, object]]:
    """Mean excess risk of everyone on one family."""
    sampler, ids = TaskSampler(FAMILIES[name], seed=2**41), np.arange(tasks)
    query, _, signal = map(own, sampler.query(ids, POINTS))
    batches = [Batch(*map(own, sampler.context(ids, np.full(tasks, k), BATCH))) for k in range(max(steps))]
    found: dict[str, dict[int, np.ndarray]] = {}
    with torch.no_grad():
        for regime, sizes in SIZES.items():
            learner = load(f"{regime}-regression", **sizes)
            state = learner.init(tasks, sampler.features, 1, query if learner.needs_queries else None)
            for k, batch in enumerate(batches, 1):
                state = learner.step(state, batch)
                if k in steps:
                    mean = learner.predict(state, None if learner.needs_queries else query).mean
                    found.setdefault(regime, {})[k] = (mean - signal).square().mean((1, 2)).numpy()
    for k in steps:
        x, y = (torch.cat([getattr(b, field) for b in batches[:k]], 1).numpy() for field in ("x", "y"))
        for peer, fit in PEERS.items():
            means = np.stack([fit(x[t], y[t]).predict(query[t].numpy()) for t in range(tasks)])
            found.setdefault(peer, {})[k] = np.square(means - signal.squeeze(2).numpy()).mean(1)
    lines = []
    for k in steps:
        best = min((float(found[peer][k].mean()), peer) for peer in PEERS)
        for learner, errors in found.items():
            mean = float(errors[k].mean())
            width = 1.96 * float(errors[k].std(ddof=1)) / tasks**0.5
            line = {"family": name, "step": k, "learner": learner, "excess": mean, "low": mean - width}
            lines.append(line | {"high": mean + width, "best": best[1], "ratio": mean / best[0], "tasks": tasks})
    return lines


def main() -> None:
    """Measure both families."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--quick", action="store_true", help="two tasks, two steps")
    parser.add_argument("--out", type=Path, help="file that lines are added to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in FAMILIES:
        started = time.perf_counter()
        lines = measure(name, *((2, STEPS[:2]) if asked.quick else (asked.tasks, STEPS)))
        seconds = round(time.perf_counter() - started, 1)
        text = "\n".join(json.dumps(line | {"seconds": seconds}) for line in lines)
        print(text, flush=True)
        if asked.out:
            with asked.out.open("a") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
