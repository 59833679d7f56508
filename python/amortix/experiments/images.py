"""Images behind random projections: trained on tasks of MNIST, tested on new ones of MNIST and of Fashion-MNIST.

A task projects 784 pixels on 100 numbers by a matrix of its own and has its own order of the ten classes, so that a
learner can only learn to learn. Rows come in mini-batches of 100; queries show images that no context shows. The
bundled learners were trained on neither set; the others are trained on MNIST here, as long as one core allows.

References:
    Kirsch, Harrison, Sohl-Dickstein and Metz, "General-purpose in-context learning by meta-learning transformers",
    2022.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amortix import checkpoint
from amortix.batch import Batch, TaskBatch, own
from amortix.data import ImageTasks, read_idx
from amortix.datasets import cache_folder
from amortix.errors import SourceError
from amortix.experiments.harness import Cell, Experiment
from amortix.experiments.meta import UNSEEN, descend
from amortix.learner import AbstractLearner

_SETS = {"mnist": "AMORTIX_MNIST", "fashion-mnist": "AMORTIX_FASHION_MNIST"}
_METHODS = ("gpicl", "attentive-np", "cnp")
_REGIMES = ("parametric", "implicit")
_BATCH, _DIM, _CLASSES, _POINTS, _TASKS = 100, 100, 10, 50, 8
_STEPS = (1, 5, 10)
_AGES = 5  # mini-batches that training goes through at most


def folder(name: str) -> Path:
    """Where a set's idx files are: its variable, such as ``$AMORTIX_MNIST``, or the cache of data sets."""
    return Path(os.environ.get(_SETS[name]) or cache_folder() / name)


def cells(quick: bool) -> Sequence[Cell]:
    """Learners, each tested on both sets."""
    size = {"iterations": 2, "tasks": 4} if quick else {"iterations": 200, "tasks": 64}
    bundled = [{"name": f"{name} (bundled)", "regime": name, "tasks": size["tasks"]} for name in _REGIMES]
    return [*bundled, *({"name": name, "method": name, **size} for name in _METHODS)]


def measure(cell: Cell, seed: int) -> dict[str, float]:
    """Accuracy after each number of mini-batches, on both sets."""
    seconds = 0.0
    if "regime" in cell:
        learner = checkpoint.load(f"{cell['regime']}-classification")
    else:
        torch.manual_seed(seed)
        config = {"method": cell["method"], "task": "classification", "features": _DIM, "classes": _CLASSES}
        learner = checkpoint.build(config)
        sampler = _tasks("mnist", seed)
        seconds = descend(learner, lambda i: _loss(learner, sampler, seed, i), iterations=cell["iterations"], rate=1e-3)
    found = {}
    for name in _SETS:
        for k, accuracy in _accuracy(learner, name, cell["tasks"], seed).items():
            found[f"{name}, k = {k}"] = accuracy
    return found | {"seconds of training": seconds}


def _loss(learner: AbstractLearner, sampler: ImageTasks, seed: int, iteration: int) -> Tensor:
    """Greedy: one step with gradient from wherever a random number of steps without has led."""
    ids = np.arange(iteration * _TASKS, (iteration + 1) * _TASKS)
    age = int(np.random.default_rng([seed, iteration]).integers(_AGES))
    query = tuple(map(own, sampler.query(ids, _POINTS)))
    *earlier, context = _stream(sampler, ids, age + 1)
    state = learner.init(len(ids), _DIM, _CLASSES, query[0] if learner.needs_queries else None)
    with torch.no_grad():
        for batch in earlier:
            state = learner.step(state, batch)
    after = learner.step(state, context)
    prediction = learner.predict(after, None if learner.needs_queries else query[0])
    return learner.outer(state, after, prediction, TaskBatch(context, *query)).mean()


@torch.no_grad()
def _accuracy(learner: AbstractLearner, name: str, tasks: int, seed: int) -> dict[int, float]:
    sampler = _tasks(name, UNSEEN + seed)
    right: dict[int, list[float]] = {k: [] for k in _STEPS}
    for start in range(0, tasks, _TASKS):
        ids = np.arange(start, min(start + _TASKS, tasks))
        query_x, query_y, _ = map(own, sampler.query(ids, _POINTS))
        state = learner.init(len(ids), _DIM, _CLASSES, query_x if learner.needs_queries else None)
        for step, batch in enumerate(_stream(sampler, ids, max(_STEPS)), 1):
            state = learner.step(state, batch)
            if step in _STEPS:
                guess = learner.predict(state, None if learner.needs_queries else query_x).mean.argmax(2)
                right[step].append(float((guess == query_y).float().mean()))
    return {k: float(np.mean(values)) for k, values in right.items()}


def _stream(sampler: ImageTasks, ids: np.ndarray, batches: int) -> list[Batch]:
    """Mini-batches of each task. Drawn as one, since every call makes the tasks' projections anew."""
    x, y = map(own, sampler.context(ids, np.zeros_like(ids), batches * _BATCH))
    return [Batch(a.contiguous(), b.contiguous()) for a, b in zip(x.split(_BATCH, 1), y.split(_BATCH, 1), strict=True)]


def _tasks(name: str, seed: int) -> ImageTasks:
    images, labels = _set(name)
    return ImageTasks(images, labels, seed=seed, dim=_DIM)


@cache
def _set(name: str) -> tuple[np.ndarray, np.ndarray]:
    paths = [folder(name) / f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    if missing := [path for path in paths if not path.is_file()]:
        raise SourceError(f"{missing[0].name} of {name} is missing: set {_SETS[name]} to the folder of its idx files")
    images, labels = map(read_idx, paths)
    return images, labels.astype(np.int64)


EXPERIMENT = Experiment("Accuracy on images behind random projections, trained on MNIST", cells, measure)
