"""Linear regression by every method at equal rows, beside the closed form and Adam from scratch.

Tasks of 8 or 64 columns, noise .5, ten mini-batches. The closed form knows noise and prior; Adam starts at zero on each
task, takes its steps over all rows so far and is given the best of several rates and numbers of steps. Methods that
learn are trained on such tasks for equally many iterations, 300 at 8 columns and 150 at 64, but for the two
transformers over raw rows, which at 64 columns get a fifth. The three regimes are the bundled learners of this project,
which were trained on other tasks too and are not trained here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from amortix import checkpoint
from amortix.batch import own
from amortix.data import Linear, TaskSampler
from amortix.experiments.harness import Cell, Experiment
from amortix.experiments.meta import UNSEEN, curve, trained

_STEPS = (1, 2, 5, 10)
_DIMS = {8: 32, 64: 128}  # columns, rows of a mini-batch
_ITERATIONS = {8: 300, 64: 150}
_INNER = {"steps": 5, "hidden": ()}
_METHODS = {
    "maml": {**_INNER, "rate": 0.05},
    "anil": {**_INNER, "rate": 0.05},
    "reptile": {**_INNER, "rate": 0.05},
    "meta-sgd": {**_INNER, "rate": 0.05},
    "l2l": {},
    "mlp-optimizer": {},
    "transformer-optimizer": {},
    "hypernetwork": {},
    "gaussian-posterior": {},
    "cnp": {},
    "attentive-np": {},
    "leo": {"rate": 0.03},
    "markov-parametric, observations": {"method": "markov-parametric", "sees": "observations"},
    "markov-parametric, gradients": {"method": "markov-parametric", "sees": "gradients"},
    "markov-parametric, both": {"method": "markov-parametric", "sees": "both"},
    "pfn": {},
    "gpt": {},
}
_DEAR = ("pfn", "gpt")
_REGIMES = ("parametric", "explicit", "implicit")
_RATES, _LENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3), (30, 100, 300)


def cells(quick: bool) -> Sequence[Cell]:
    """Columns times methods."""
    tasks, share = (8, 60) if quick else (64, 1)
    dims = list(_DIMS)[:1] if quick else list(_DIMS)
    rows: list[Cell] = []
    for dim in dims:
        common = {"dim": dim, "tasks": tasks}
        rows += [{"name": f"{dim} columns, {name}", "kind": name, **common} for name in ("closed form", "Adam")]
        rows += [
            {"name": f"{dim} columns, {name} (bundled)", "kind": "bundled", "regime": name, **common}
            for name in _REGIMES
        ]
        rows += [
            {"name": f"{dim} columns, {name}", "kind": "method", "method": name, **settings, **common}
            | {"iterations": _ITERATIONS[dim] // (share * (5 if dim == 64 and name in _DEAR else 1))}
            for name, settings in _METHODS.items()
        ]
    return rows


def measure(cell: Cell, seed: int) -> dict[str, float]:
    """Excess squared error after each number of mini-batches."""
    dim, kind, seconds = cell["dim"], cell["kind"], 0.0
    family = {"family": "linear", "dim": [dim, dim]}
    if kind == "Adam":
        return _named(_adam(dim, cell["tasks"], seed))
    if kind in ("bundled", "closed form"):
        learner = checkpoint.load(f"{cell.get('regime', 'parametric')}-regression")
    else:
        own_settings = {k: v for k, v in cell.items() if k in ("method", "steps", "hidden", "rate", "sees")}
        config = {"task": "regression", "features": dim, **own_settings}
        sizes = {"tasks": 16, "slots": 64, "points": 32, "batch": [_DIMS[dim]] * 2, "horizon": [1, 10], "rate": 2e-3}
        learner, seconds = trained(config, seed, families=[family], iterations=cell["iterations"], **sizes)
    found = curve(learner, family, seed, steps=_STEPS, tasks=cell["tasks"], batch=_DIMS[dim])
    side = 1 if kind == "closed form" else 0
    return _named({k: both[side] for k, both in found.items()}) | {"seconds of training": seconds}


def _named(risks: dict[int, float]) -> dict[str, float]:
    return {f"k = {k}": risk for k, risk in risks.items()}


def _adam(dim: int, tasks: int, seed: int) -> dict[int, float]:
    """The best of all rates and numbers of steps at each k, chosen on the truth: a bound for Adam, not a method."""
    sampler, ids = TaskSampler(Linear(dim=(dim, dim)), seed=UNSEEN + seed), np.arange(tasks)
    query, _, signal = map(own, sampler.query(ids, 64))
    batches = [sampler.context(ids, np.full(tasks, step), _DIMS[dim]) for step in range(max(_STEPS))]
    found = {}
    for k in _STEPS:
        x, y = (torch.from_numpy(np.concatenate(parts[:k], 1)) for parts in zip(*batches, strict=True))
        found[k] = min(_descend(x, y, query, signal, rate) for rate in _RATES)
    return found


def _descend(x: Tensor, y: Tensor, query: Tensor, signal: Tensor, rate: float) -> float:
    x, query = (torch.cat([torch.ones_like(a[..., :1]), a], -1) for a in (x, query))
    weights = torch.zeros(x.shape[0], x.shape[2], 1, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=rate)
    risks = []
    for step in range(1, max(_LENGTHS) + 1):
        optimizer.zero_grad()
        (x @ weights - y.unsqueeze(2)).square().mean((1, 2)).sum().backward()
        optimizer.step()
        if step in _LENGTHS:
            risks.append(float((query @ weights.detach() - signal).square().mean()))
    return min(risks)


EXPERIMENT = Experiment("Excess error of linear regression by the number of mini-batches", cells, measure)
