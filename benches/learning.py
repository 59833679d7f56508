"""How close the bundled learners come to the oracles: every row of the log's first table, a JSON object a measurement.

    python benches/learning.py --out benches/results/learning.jsonl

Tasks have a seed that no training used. A row is measured once for each regime; what the file holds is not measured
again. Steps beyond 100 are measured on an eighth of the tasks: a thousand mini-batches of a thousand tasks take hours.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from amortix import load
from amortix.data import TaskSampler, family_from_dict
from amortix.evaluation import evaluate

_SEED = 2**41
_LATE = 100  # steps beyond are measured on fewer tasks


@dataclass(frozen=True)
class Work:
    """A family, the regimes that are asked about it, and after how many mini-batches of how many rows."""

    name: str
    family: dict[str, Any]
    regimes: tuple[str, ...]
    batch: int = 32
    steps: tuple[int, ...] = (1, 5, 10, 100, 1000)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)  # of deployment, where they are not the bundled ones

    @property
    def task(self) -> str:
        """The objective."""
        return "classification" if self.family["family"] in ("logistic", "gmm") else "regression"


_MIXED = {"dim": [1, 32], "condition": [1.0, 1000.0], "noise": [0.1, 1.0], "weight_scale": [0.3, 3.0]}
_ALL, _TASK_STATES = ("parametric", "explicit", "implicit"), ("parametric", "explicit")
WORKS = [
    Work("linear, 8 columns", {"family": "linear"}, _ALL),
    Work("linear, 1 to 32 columns, condition to 1,000, noise and scale unknown", {"family": "linear", **_MIXED}, _ALL),
    Work("logistic, 8 columns", {"family": "logistic"}, _ALL, steps=(1, 5, 10, 100)),
    Work(
        "logistic, 16 columns, 3 classes, scale unknown",
        {"family": "logistic", "dim": [16, 16], "classes": [3, 3], "weight_scale": [0.3, 1.5]},
        _TASK_STATES,
        steps=(1, 5, 10, 100),
    ),
    Work(
        "gaussian process, 1 to 4 inputs, length scale and noise unknown",
        {"family": "gp", "dim": [1, 4], "length_scale": [0.5, 2.0], "noise": [0.1, 0.5]},
        ("explicit", "implicit"),
        batch=64,
        steps=(1, 5, 10, 50),
        sizes={"explicit": {"size": 1024, "sample": 1024}, "implicit": {"sample": 1024}},
    ),
]


def measure(work: Work, regime: str, tasks: int) -> Iterator[dict[str, Any]]:
    """A row for each number of steps."""
    learner = load(f"{regime}-{work.task}", **work.sizes.get(regime, {}))
    for few in (False, True):
        steps = [k for k in work.steps if (k > _LATE) is few]
        if not steps:
            continue
        count = max(1, tasks // 8) if few else tasks
        sampler, started = TaskSampler(family_from_dict(work.family), seed=_SEED), time.perf_counter()
        for row in evaluate(learner, sampler, steps=steps, tasks=count, batch=work.batch):
            seconds = round(time.perf_counter() - started, 1)
            yield {"name": work.name, **row, "tasks": count, "batch": work.batch, "seconds": seconds}


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1024)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--out", type=Path, help="file that lines are added to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    known = set()
    if asked.out and asked.out.is_file():
        known = {(one["name"], one["regime"]) for one in map(json.loads, asked.out.read_text().splitlines())}
    for work in WORKS:
        for regime in work.regimes:
            if asked.only not in work.name or (work.name, regime) in known:
                continue
            lines = [json.dumps(row) for row in measure(work, regime, asked.tasks)]
            print("\n".join(lines), flush=True)
            if asked.out:
                with asked.out.open("a") as file:
                    file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
