"""Weights of the regimes in their mixture: from held-out rows, as now, or from predictions made before learning.

    python benches/research/weights.py --out benches/results/research/weights.jsonl

A fifth of a table, at most 2,000 rows, is for testing; of at most ROWS others a tenth is held out and the rest learned
from in mini-batches of 128. Prequential forecasts are of the mini-batches of the second half of the stream, each before
it is learned from; the implicit regime reads all rows before it anew for these queries, under the kernel of that time.
Both sets of forecasts go through `amortix.stacking.weights`. Scores are on the test rows: R², or minus the log loss, of
the mixture under each weights, under those of both sets together, under equal ones, and of the best single regime,
chosen on the test rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "versus"))

from _real import TABLES, Real

from amortix import Adaptation, Settings, Table, metrics, stacking
from amortix.batch import Batch, State, own
from amortix.data import Stream
from amortix.learner import AbstractLearner
from amortix.model import forecast
from amortix.stacking import Forecast
from amortix.units import Units

_TEST = 2000  # the most test rows
_BATCH = 128
_NAMES = ("california_housing", "concrete", "Wage", "SaratogaHouses", "diamonds", "SLID")
_NAMES += ("adult", "credit_data", "OJ", "segment", "spambase", "HMDA")


Batches = list[tuple[Tensor, Tensor, np.ndarray]]  # x [1, B, D], targets [1, B] in units, targets as they are


@dataclass(frozen=True)
class Forecasts:
    """One regime's: of held-out rows and of test rows at the end, of the second half's mini-batches before each."""

    held: Forecast
    test: Forecast
    before: Forecast


@torch.no_grad()
def of_task_state(learner: AbstractLearner, units: Units, batches: Batches, held: Tensor, test: Tensor) -> Forecasts:
    """Of a state that can be asked anything at any time."""
    state, made = learner.init(1, held.shape[2], _outputs(learner, batches)), []
    for index, (x, target, _) in enumerate(batches):
        if index >= len(batches) // 2:
            made.append(forecast(learner, state, units, x))
        state = learner.step(state, Batch(x, target))
    return Forecasts(forecast(learner, state, units, held), forecast(learner, state, units, test), _joined(made))


@torch.no_grad()
def of_query_state(learner: AbstractLearner, units: Units, batches: Batches, held: Tensor, test: Tensor) -> Forecasts:
    """Of a state that belongs to its queries: those of a mini-batch read all rows before it anew."""
    asked, outputs, made = torch.cat([held, test], 1), _outputs(learner, batches), []
    state = learner.init(1, held.shape[2], outputs, asked)
    for index, (x, target, _) in enumerate(batches):
        if index >= len(batches) // 2:
            late = learner.init(1, held.shape[2], outputs, x, like=state)
            for rows, known, _ in batches[:index]:
                late = learner.step(late, Batch(rows, known))
            # The trend is one per task: that of the running state, which has every row once.
            own_rows = {name: t for name, t in late.memory.items() if name.startswith(("kept_", "query_"))}
            made.append(forecast(learner, State(state.value, state.age, {**state.memory, **own_rows}), units, None))
        state = learner.step(state, Batch(x, target))
    both, cut = forecast(learner, state, units, None), held.shape[1]
    return Forecasts(_rows(both, slice(None, cut)), _rows(both, slice(cut, None)), _joined(made))


def _rows(whole: Forecast, rows: slice) -> Forecast:
    return Forecast(whole.mean[rows], None if whole.variance is None else whole.variance[rows])


def _outputs(learner: AbstractLearner, batches: Batches) -> int:
    return 1 if learner.task == "regression" else 1 + int(max(y.max() for *_, y in batches))


def _joined(parts: list[Forecast]) -> Forecast:
    variances = [part.variance for part in parts if part.variance is not None]
    return Forecast(np.concatenate([part.mean for part in parts]), np.concatenate(variances) if variances else None)


def measure(table: Real, seed: int, most: int) -> dict[str, Any]:
    """Scores on the test rows by way of weighing, and the weights."""
    frame = table.frame().rename(columns={table.target: "the target"})
    order = np.random.default_rng(seed).permutation(len(frame))
    test, train = order[: len(order) // 5][:_TEST], order[len(order) // 5 :][:most]
    task = "regression" if table.task == "r" else "classification"
    opened = Table.open(frame.iloc[train], target="the target")
    truth = frame["the target"].iloc[test].to_numpy()
    if task == "classification":
        labels = np.unique(frame["the target"].to_numpy().astype(str))
        opened, truth = opened.with_classes(tuple(labels)), np.searchsorted(labels, truth.astype(str))
    run = Adaptation.start(opened, settings=Settings(batch=_BATCH, seed=seed, holdout=0.1), task=task)
    units, split = run.model("parametric").units, run.split
    batches = [(own(x.copy())[None], own(units.target(y))[None], y.copy()) for x, y in split.stream()]
    plain = Table.open(frame.iloc[test].drop(columns="the target"), columns=opened.columns)
    rows = Stream(plain, batch=len(test), shuffle=False, part="all", encoder=split.encoder)
    (asked,) = [own(x.copy())[None] for x, *_ in rows]
    found = []
    for track in run.tracks.values():
        of_state = of_query_state if track.learner.needs_queries else of_task_state
        found.append(of_state(track.learner, units, batches, own(split.held_x)[None], asked))
    held, before = [one.held for one in found], [one.before for one in found]
    targets = np.concatenate([y for *_, y in batches[len(batches) // 2 :]])
    both = [_joined([one.held, one.before]) for one in found]
    ways = {
        "held out": stacking.weights(task, split.held_y, held),
        "prequential": stacking.weights(task, targets, before),
        "both": stacking.weights(task, np.concatenate([split.held_y, targets]), both),
        "equal": np.full(len(found), 1 / len(found)),
    }

    def score(forecast: Forecast) -> float:
        told = metrics.measure(task, truth.astype(np.float64), forecast.mean)
        return told["r2"] if task == "regression" else -told["log_loss"]

    scores = {way: score(stacking.mixture([one.test for one in found], weights)) for way, weights in ways.items()}
    return {
        "name": table.name,
        "seed": seed,
        "task": task,
        "rows": split.rows,
        "held": len(split.held_y),
        **scores,
        "best regime": max(score(one.test) for one in found),
        "weights": {way: dict(zip(run.tracks, np.round(w, 3).tolist(), strict=True)) for way, w in ways.items()},
    }


def main() -> None:
    """Measure what the file lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="file that lines are added to")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = asked.out.read_text().splitlines() if asked.out and asked.out.is_file() else []
    known = {(one["name"], one["seed"]) for one in map(json.loads, lines)}
    tables = {table.name: table for table in TABLES}
    for seed in range(asked.seeds):
        for name in _NAMES:
            if (name, seed) in known:
                continue
            line = json.dumps(measure(tables[name], seed, asked.rows))
            print(line, flush=True)
            if asked.out:
                with asked.out.open("a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
