"""Whole trainings of held-out tasks by a learned optimizer and by AdamW at its best rate, both under a cosine."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, final

from _held_out import HeldOut

from amortix.meta_optim.comparison import Optimizer, adamw, learned, run
from amortix.meta_optim.tasks import AbstractInnerTask

LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDS, TUNING = range(5), 100
_SHORT = 20


@final
class Trainings:
    """Trainings of one task, each done once: what the file of earlier ones holds is not repeated.

    Args:
        case: the task.
        quick: few steps, one rate and one seed.
        path: a JSON object a line; None keeps nothing.
    """

    def __init__(self, case: HeldOut, quick: bool, path: Path | None):
        self.case, self.quick, self.path = case, quick, path
        self.task: AbstractInnerTask | None = None
        lines = path.read_text().splitlines() if path and path.is_file() else []
        self.known = {_key(entry): entry for entry in map(json.loads, lines)}
        self.seeds = list(SEEDS)[: 1 if quick else None]
        self.steps = case.quick if quick else case.steps

    def best_adamw(self) -> float:
        """The best rate of the ladder under a cosine, on one seed that is not shown; climbs from the middle."""
        low, high = (4, 4) if self.quick else (3, 5)
        losses = {i: self._tuning(LADDER[i]) for i in range(low, high + 1)}
        while not self.quick:
            best = min(losses, key=lambda i: losses[i])
            beyond = [i for i in (best - 1, best + 1) if i not in losses and 0 <= i < len(LADDER)]
            if not beyond:
                break
            losses |= {i: self._tuning(LADDER[i]) for i in beyond}
        return LADDER[min(losses, key=lambda i: losses[i])]

    def both(self, weights: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
        """AdamW's and the learned optimizer's trainings of equal steps, in turns, and how AdamW was set."""
        rate = self.best_adamw()
        theirs, ours = [], []
        for seed in self.seeds:
            theirs.append(self.one(adamw(), rate, self.steps, seed))
            ours.append(self.one(learned(weights), 1.0, self.steps, seed))
        return theirs, ours, f"AdamW, {rate:g}, cosine"

    def equal_seconds(self, weights: str) -> list[dict[str, Any]]:
        """The learned optimizer's trainings of as many steps as AdamW takes in its seconds."""
        steps = max(1, round(self.steps * min(1.0, self.speed(weights))))
        return [self.one(learned(weights), 1.0, steps, seed) for seed in self.seeds]

    def speed(self, weights: str) -> float:
        """Steps of ours in the time of one of AdamW's, gradients included: the median of short trainings in turns."""
        about = {"task": self.case.name, "optimizer": f"{weights} beside AdamW", "rate": 1.0}
        about |= {"steps": _SHORT, "seed": TUNING}
        if _key(about) not in self.known:
            task = self.built()
            times = [
                [
                    run(task, one, one.rates[0], "cosine", _SHORT, TUNING).seconds[-1]
                    for one in (adamw(), learned(weights))
                ]
                for _ in range(2 if self.quick else 7)
            ]
            self._keep(about | {"speed": statistics.median(theirs / ours for theirs, ours in times)})
        return self.known[_key(about)]["speed"]

    def built(self) -> AbstractInnerTask:
        """The task, made when it is first needed."""
        self.task = self.task or self.case.build()
        return self.task

    def one(self, optimizer: Optimizer, rate: float, steps: int, seed: int) -> dict[str, Any]:
        """One training: what it was, its last loss and its seconds."""
        about = {"task": self.case.name, "optimizer": optimizer.name, "rate": rate}
        about |= {"steps": steps, "seed": seed}
        if _key(about) not in self.known:
            curve = run(self.built(), optimizer, rate, "cosine", steps, seed)
            self._keep(about | {"loss": curve.losses[-1], "seconds": curve.seconds[-1]})
        return self.known[_key(about)]

    def _keep(self, entry: dict[str, Any]) -> None:
        self.known[_key(entry)] = entry
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def _tuning(self, rate: float) -> float:
        loss = self.one(adamw(), rate, self.steps, TUNING)["loss"]
        return loss if loss == loss else float("inf")


def mean(trainings: list[dict[str, Any]]) -> float:
    """Of the last losses."""
    return statistics.fmean(one["loss"] for one in trainings)


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("task", "optimizer", "rate", "steps", "seed"))
