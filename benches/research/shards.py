"""What is lost by adapting in shards: excess risk of four shards merged, beside one stream of the same rows.

    python benches/research/shards.py --out benches/results/research/shards.jsonl

A state sees the first eight mini-batches of 32 rows, which fill the sample of a kernel; four shards see EACH
mini-batches apiece, with its kernel and its sample where the regime infers a kernel, or where the name says so; all
five are merged. One stream sees the same rows.
``ratio`` is of mean excess risks, ``low`` to ``high`` its 95 % interval by 2,000 bootstrap draws of the tasks, each
with both of its errors. Tasks have a seed that no training used.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amortix import load
from amortix.batch import Batch, State, own
from amortix.data import TaskSampler, family_from_dict
from amortix.learner import AbstractLearner
from amortix.objectives import excess

_SEED, _FIRST, _SHARDS, _BATCH = 2**41, 8, 4, 32
_FAMILIES = {
    "linear": {"family": "linear"},
    "logistic": {"family": "logistic"},
    "gp": {"family": "gp", "dim": [1, 4], "length_scale": [0.5, 2.0], "noise": [0.1, 0.5]},
}
_ALONE, _SHARED = "parametric", "parametric, one sample"
_WAYS = {
    "linear": (_ALONE, "explicit", "implicit"),
    "logistic": (_ALONE, _SHARED, "explicit", "implicit"),
    "gp": ("explicit", "implicit"),
}


@torch.no_grad()
def risks(learner: AbstractLearner, sampler: TaskSampler, tasks: int, each: int, *, lend: bool) -> np.ndarray:
    """Excess risk of every task, merged and in one stream: ``[2, T]``."""
    ids = np.arange(tasks)
    query_x, _, signal = map(own, sampler.query(ids, 64))

    def run(steps: range, like: State | None = None) -> State:
        asked = query_x if learner.needs_queries else None
        state = learner.init(tasks, sampler.features, sampler.outputs, asked, like=like)
        for step in steps:
            state = learner.step(state, Batch(*map(own, sampler.context(ids, np.full(tasks, step), _BATCH))))
        return state

    begun = run(range(_FIRST))
    lent = begun if lend else None
    starts = [_FIRST + shard * each for shard in range(_SHARDS)]
    merged = learner.merge(begun, *(run(range(start, start + each), lent) for start in starts))
    whole = run(range(_FIRST + _SHARDS * each))
    predictions = (learner.predict(state, None if learner.needs_queries else query_x) for state in (merged, whole))
    return np.stack([excess(p, signal, classes=bool(sampler.classes)).mean(1).double().numpy() for p in predictions])


def measure(family: str, way: str, tasks: int, each: int) -> dict[str, Any]:
    """A row of the table."""
    sampler = TaskSampler(family_from_dict(_FAMILIES[family]), seed=_SEED)
    learner = load(f"{way.split(',')[0]}-{'classification' if sampler.classes else 'regression'}")
    found = risks(learner, sampler, tasks, each, lend=way != _ALONE)
    draws = np.random.default_rng(0).integers(0, tasks, (2000, tasks))
    merged, whole = found[:, draws].mean(2)
    low, high = np.quantile(merged / whole, [0.025, 0.975])
    own_means = found.mean(1)
    return {
        "name": f"{family}, {way}",
        "mini-batches": _FIRST + _SHARDS * each,
        "tasks": tasks,
        "merged": float(own_means[0]),
        "one stream": float(own_means[1]),
        "ratio": float(own_means[0] / own_means[1]),
        "low": float(low),
        "high": float(high),
    }


def main() -> None:
    """Measure what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--each", type=int, nargs="+", default=[4, 24], help="mini-batches of a shard")
    parser.add_argument("--out", type=Path, help="file that lines are added to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = asked.out.read_text().splitlines() if asked.out and asked.out.is_file() else []
    known = {(one["name"], one["mini-batches"]) for one in map(json.loads, lines)}
    for family, ways in _WAYS.items():
        for way in ways:
            for each in asked.each:
                if (f"{family}, {way}", _FIRST + _SHARDS * each) in known:
                    continue
                line = json.dumps(measure(family, way, asked.tasks, each))
                print(line, flush=True)
                if asked.out:
                    with asked.out.open("a") as file:
                        file.write(line + "\n")


if __name__ == "__main__":
    main()
