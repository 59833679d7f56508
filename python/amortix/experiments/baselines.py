"""The bundled learners beside simpler ways, at equal rows and at equal time.

Three families; mini-batches of 32 rows, of 64 for Gaussian processes, tasks that no training used. The closed form
knows noise and prior (kernel). MAP does not: ridge with a penalty of one, a softmax under a prior of unit variance, a
Gaussian process of unit length scale and amplitude and noise .3, on all rows. Gradient descent from scratch starts at a
fixed θ, Adam on all rows so far, SGD in one pass; of several rates and numbers of steps the best at each column is
shown, chosen on the truth, so it is a bound. A PFN trained on one mini-batch of 4 to 128 rows of tasks of the family is
read in one shot: on the first mini-batch, on 128 rows drawn from all, on each mini-batch with the predictions averaged.
The Markov form is trained on streams of the family. The bundled learners were trained on other families too.

At equal time each stream goes on until the seconds of its process are spent that the first bundled learner of its
family took for 20 mini-batches and the prediction; drawing of rows is not counted, and the clock is looked at after 1,
5, 20, 50, 100 and 200 mini-batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortix import checkpoint
from amortix.batch import Batch, own
from amortix.data import TaskSampler, family_from_dict
from amortix.experiments.contestants import Averaged, Contestant, OnFirst, OnSample, Streamed
from amortix.experiments.harness import Cell, Experiment
from amortix.experiments.meta import UNSEEN, trained
from amortix.learner import AbstractLearner
from amortix.objectives import excess
from amortix.oracles import GpOracle, RidgeOracle, SoftmaxOracle, oracle

_ROWS = (1, 5, 20)  # mini-batches, for the columns at equal rows
_LONGER = (50, 100, 200)  # where the clock is looked at beyond
_SHOT = 128  # the largest context that a PFN is trained on
_RATES = (0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class _Work:
    """A family and who is asked about it; the first of the regimes gives everyone's time.

    ``hidden`` are units of what SGD and Adam fit, ``lengths`` the steps of Adam.
    """

    family: dict[str, Any]
    batch: int
    regimes: tuple[str, ...]
    markov: tuple[str, ...]
    hidden: tuple[int, ...] = ()
    lengths: tuple[int, ...] = (10, 100, 300)

    @property
    def task(self) -> str:
        return "classification" if self.family["family"] == "logistic" else "regression"


_ALL, _MARKOV = ("parametric", "explicit", "implicit"), ("markov-parametric", "markov-implicit")
_GP = {"family": "gp", "dim": [1, 4], "length_scale": [0.5, 2.0], "noise": [0.1, 0.5]}
_WORKS = {
    "linear": _Work({"family": "linear", "dim": [8, 8]}, 32, _ALL, _MARKOV),
    "logistic": _Work({"family": "logistic", "dim": [8, 8]}, 32, _ALL, _MARKOV),
    "gp": _Work(_GP, 64, ("implicit", "explicit"), ("markov-explicit", "markov-implicit"), (32, 32), (10, 100)),
}
_CLOSED = ("closed form", "MAP on all rows", "Adam on all rows", "SGD in one pass")
_SHOTS = ("PFN on the first mini-batch", "PFN on 128 of all rows", "PFN on each mini-batch, averaged")


def cells(quick: bool) -> Sequence[Cell]:
    """Families times ways."""
    size = {"iterations": 2, "tasks": 4} if quick else {"iterations": 1500, "tasks": 64}
    return [
        {"name": f"{family}, {way}", "family": family, "way": way, **size}
        for family, work in list(_WORKS.items())[: 1 if quick else None]
        for way in (*(f"{name} (bundled)" for name in work.regimes), *_CLOSED, *_SHOTS, *work.markov)
    ]


def measure(cell: Cell, seed: int) -> dict[str, float]:
    """Excess risk after each number of mini-batches and at equal time, with the mini-batches read by then."""
    work, way = _WORKS[cell["family"]], cell["way"]
    tasks = _Tasks(work, seed, cell["tasks"])
    makers = list(_makers(way, work, tasks, seed, cell["iterations"]))
    budget = tasks.seconds(lambda: Streamed(_bundled(work.regimes[0], work), tasks.query_x, tasks.outputs))
    if way == f"{work.regimes[0]} (bundled)":  # its own time is equal by definition, however it scatters
        curves, budget = [tasks.curve(make, 0.0) for make in makers], math.inf
    else:
        curves = [tasks.curve(make, budget) for make in makers]
    found = {f"k = {k}": min(curve[k][0] for curve in curves) for k in _ROWS}
    in_time = [(risk, k) for curve in curves for k, (risk, spent) in curve.items() if spent <= budget]
    if in_time:
        risk, k = min(in_time)
        found |= {"equal time": risk, "mini-batches then": k}
    return found


class _Tasks:
    """Unseen tasks of a family with their queries."""

    def __init__(self, work: _Work, seed: int, tasks: int):
        self.work, self.ids = work, np.arange(tasks)
        self.sampler = TaskSampler(family_from_dict(work.family), seed=UNSEEN + seed)
        self.query_x, _, self.signal = map(own, self.sampler.query(self.ids, 64))
        self.outputs = self.sampler.outputs

    def batch(self, index: int) -> Batch:
        return Batch(*map(own, self.sampler.context(self.ids, np.full(len(self.ids), index), self.work.batch)))

    @torch.no_grad()
    def curve(self, make: Callable[[], Contestant], budget: float) -> dict[int, tuple[float, float]]:
        """Mean excess risk and seconds of the process, the prediction's with them, by mini-batches."""
        started = time.process_time()
        contestant = make()
        spent, found, last = time.process_time() - started, {}, 0
        for k in (*_ROWS, *_LONGER):
            for batch in [self.batch(index) for index in range(last, k)]:
                started = time.process_time()
                contestant.see(batch)
                spent += time.process_time() - started
            started = time.process_time()
            prediction = contestant.predict(self.query_x)
            asked, last = time.process_time() - started, k
            risk = excess(prediction, self.signal, classes=self.work.task == "classification")
            found[k] = (float(risk.mean()), spent + asked)
            if k >= max(_ROWS) and spent + asked > budget:
                break
        return found

    def seconds(self, make: Callable[[], Contestant]) -> float:
        """What 20 mini-batches and a prediction take; the first of three runs warms up."""
        return sorted(self.curve(make, 0.0)[max(_ROWS)][1] for _ in range(3))[1]


def _makers(way: str, work: _Work, tasks: _Tasks, seed: int, iterations: int) -> Iterator[Callable[[], Contestant]]:
    query_x, outputs = tasks.query_x, tasks.outputs
    if way.endswith(" (bundled)"):
        learner = _bundled(way.removesuffix(" (bundled)"), work)
        yield lambda: Streamed(learner, query_x, outputs)
    elif way == "closed form":
        yield lambda: _known(tasks)
    elif way == "MAP on all rows":
        yield lambda: _map(tasks)
    elif way == "Adam on all rows":
        for rate, steps in ((rate, steps) for rate in _RATES for steps in work.lengths):
            scratch = _scratch(work, tasks, "adam", rate, steps)
            yield lambda scratch=scratch: OnSample(scratch, outputs, None)
    elif way == "SGD in one pass":
        for rate, steps in ((rate, steps) for rate in _RATES for steps in (1, 5)):
            scratch = _scratch(work, tasks, "sgd", rate, steps)
            yield lambda scratch=scratch: Streamed(scratch, query_x, outputs)
    elif way.startswith("markov"):
        learner = _trained(way, work, tasks, seed, iterations=iterations, batch=[work.batch] * 2, horizon=[1, 40])
        yield lambda: Streamed(learner, query_x, outputs)
    else:
        learner = _trained("pfn", work, tasks, seed, iterations=iterations, batch=[4, _SHOT], horizon=[1, 1])
        yield {
            _SHOTS[0]: lambda: OnFirst(learner, query_x, outputs),
            _SHOTS[1]: lambda: OnSample(learner, outputs, _SHOT),
            _SHOTS[2]: lambda: Averaged(learner, query_x, outputs),
        }[way]


def _bundled(regime: str, work: _Work) -> AbstractLearner:
    return checkpoint.load(f"{regime}-{work.task}")


def _config(method: str, work: _Work, tasks: _Tasks) -> dict[str, Any]:
    return {"method": method, "task": work.task, "features": tasks.sampler.features, "classes": max(2, tasks.outputs)}


def _scratch(work: _Work, tasks: _Tasks, rule: str, rate: float, steps: int) -> AbstractLearner:
    fixed = {"hidden": work.hidden, "rule": rule, "rate": rate, "steps": steps}
    torch.manual_seed(0)
    return checkpoint.build(_config("erm", work, tasks) | fixed).requires_grad_(False)


_LEARNERS: dict[str, AbstractLearner] = {}


def _trained(method: str, work: _Work, tasks: _Tasks, seed: int, **settings: Any) -> AbstractLearner:
    key = repr((method, work, seed, settings))
    if key not in _LEARNERS:
        sizes = {"tasks": 32, "slots": 128, "points": 32, "rate": 2e-3}
        _LEARNERS[key], _ = trained(_config(method, work, tasks), seed, families=[work.family], **sizes, **settings)
    return _LEARNERS[key]


def _known(tasks: _Tasks) -> Contestant:
    best = oracle(tasks.sampler, tasks.ids)
    assert best is not None, "every family here has an oracle"
    return best


def _map(tasks: _Tasks) -> Contestant:
    ones = torch.ones(len(tasks.ids))
    if tasks.work.task == "classification":
        return SoftmaxOracle(ones, tasks.outputs)
    if tasks.work.family["family"] == "gp":
        return GpOracle("rbf", ones, ones, 0.3 * ones)
    return RidgeOracle(ones, ones, _with_bias)


def _with_bias(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x[..., :1]), x], -1)


EXPERIMENT = Experiment("Excess risk at equal rows, and at equal time", cells, measure)
