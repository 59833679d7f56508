"""Meta-training by a recipe: pools of inner problems, an outer gradient, Adam, and the best iterate on other tasks.

A run is a pure function of its recipe. A checkpoint holds the vector, Adam's moments and every pool, so that a resumed
run ends in the same bits as an uninterrupted one.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from amortix.data.writing import replacing_file
from amortix.errors import ConfigError, StateError
from amortix.learned_rule import save_rule
from amortix.meta_optim.estimators import AbstractEstimator, PersistentES, Pool, TruncatedUnroll
from amortix.meta_optim.parametrisation import AbstractParametrisation, build_parametrisation
from amortix.meta_optim.problems import InnerProblems
from amortix.meta_optim.recipe import Recipe
from amortix.meta_optim.tasks import build_task
from amortix.runs import run, under

_UNSEEN = 10**6
_JUDGED = 8


@final
class Trainer:
    """A recipe in progress: `advance` takes one iteration, `save` and `restore` keep and continue it."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.parametrisation = build_parametrisation(recipe.rule)
        self.estimator = _estimator(recipe)
        self.theta = _start(recipe, self.parametrisation)
        self.optimizer = torch.optim.Adam([self.theta], lr=recipe.rate, betas=(0.9, 0.98))
        self.problems = [self._problems(task, i) for i, task in enumerate(recipe.tasks)]
        self.judges = [self._problems(task, _UNSEEN + i) for i, task in enumerate(recipe.validation)]
        self.iteration, self.seconds = 0, 0.0
        self._lengthen()
        self.pools = [self.estimator.begin(one, len(self.theta)) for one in self.problems]
        self.best, self.lowest = self.theta.clone(), self.judge()
        self.first = self.lowest

    def advance(self) -> float:
        """One iteration; returns its mean outer loss."""
        started = time.perf_counter()
        recipe = self.recipe
        random = np.random.default_rng([recipe.seed, self.iteration])
        which = int(random.integers(len(self.problems)))
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        self._lengthen()
        gradient, loss, self.pools[which] = self.estimator.estimate(
            self.theta, self.problems[which], self.pools[which], generator
        )
        # One problem that explodes must not outweigh the rest.
        self.theta.grad = gradient / max(1.0, float(gradient.norm()))
        self.optimizer.param_groups[0]["lr"] = recipe.rate * _falling(self.iteration / recipe.iterations)
        self.optimizer.step()
        self.iteration += 1
        if self.iteration % recipe.every == 0 or self.iteration == recipe.iterations:
            value = self.judge()
            if value < self.lowest:
                self.best, self.lowest = self.theta.clone(), value
        self.seconds += time.perf_counter() - started
        return loss

    @torch.no_grad()
    def judge(self) -> float:
        """The mean outer loss of the vector over whole horizons of the validation tasks, on seeds of their own."""
        values = []
        for problems in self.judges:
            slots = problems.begin(_JUDGED)
            longest = int(slots.horizon.max())
            thetas, total = self.theta.expand(_JUDGED, -1), torch.zeros(_JUDGED)
            for _ in range(longest // problems.truncation):
                within = ~slots.finished()
                losses, slots = problems.unroll(thetas, slots)
                total += torch.where(within, losses * problems.truncation / slots.horizon, 0.0)
            values.append(float(total.mean()))
        return sum(values) / len(values)

    def save(self, folder: Path) -> None:
        """Write the run's whole state under ``folder``, the old one or this one whatever comes between."""
        tensors = {"theta": self.theta, "best": self.best}
        for name, value in self.optimizer.state_dict()["state"].get(0, {}).items():
            tensors[f"adam.{name}"] = value
        for i, pool in enumerate(self.pools):
            tensors[f"pool.{i}.drift"] = pool.drift
            tensors |= {f"pool.{i}.slots.{name}": one for name, one in pool.slots.tensors().items()}
        progress = {name: getattr(self, name) for name in _PROGRESS}
        head = {"progress": json.dumps(progress), "recipe": self.recipe.fingerprint()}
        folder.mkdir(parents=True, exist_ok=True)
        with replacing_file(folder / "run.safetensors") as fresh:
            save_file({name: one.detach().clone() for name, one in tensors.items()}, fresh, head)

    def restore(self, folder: Path) -> None:
        """Continue from what `save` wrote.

        Raises:
            StateError: the run belongs to another recipe.
        """
        path = folder / "run.safetensors"
        with safe_open(path, "pt") as file:
            head, tensors = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if head.get("recipe") != self.recipe.fingerprint():
            raise StateError(f"{path} was written by another recipe: give its own, or start anew without --resume")
        self.theta.copy_(tensors["theta"])
        self.best = tensors["best"]
        if moments := under("adam.", tensors):
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": {0: moments}, "param_groups": groups})
        for i, pool in enumerate(self.pools):
            slots = pool.slots.filled(under(f"pool.{i}.slots.", tensors))
            self.pools[i] = Pool(slots, tensors[f"pool.{i}.drift"])
        for name, value in json.loads(head["progress"]).items():
            setattr(self, name, value)

    def _problems(self, task: Mapping[str, Any], place: int) -> InnerProblems:
        recipe = self.recipe
        return InnerProblems(
            build_task(task),
            self.parametrisation,
            truncation=recipe.truncation,
            horizon=recipe.horizon,
            cosine=recipe.cosine,
            seed=1000 * recipe.seed + place,
        )

    def _lengthen(self) -> None:
        """The curriculum: problems that begin now have at most this horizon."""
        low, high = self.recipe.horizon
        done = self.iteration / self.recipe.iterations
        share = min(1.0, done / self.recipe.growth) if self.recipe.growth else 1.0
        for problems in self.problems:
            problems.horizon = low, round(low * (high / low) ** share)


_PROGRESS = ("iteration", "seconds", "lowest", "first")


def train(
    recipe: Mapping[str, Any] | str | Path,
    *,
    out: Path,
    resume: bool = False,
    progress: Callable[[dict[str, Any]], None] | None = None,
    seconds: float | None = None,
) -> Path | None:
    """Run a recipe to its end, or for some seconds.

    Args:
        recipe: a mapping or the path of a TOML file; see `Recipe`.
        out: folder for ``NAME.safetensors``, its card ``NAME.json``, and ``NAME.run/`` while in progress.
        resume: continue the run found under ``out`` instead of refusing to overwrite it.
        progress: called after each iteration with ``iteration``, ``iterations``, ``loss``, ``best`` and ``seconds``.
        seconds: stop, ready to resume, after this time.

    Returns:
        The path of the weights, or None where time ran out before the end.

    Raises:
        ConfigError: the recipe is wrong, or ``out`` holds a run and ``resume`` is False.
        StateError: the run to resume belongs to another recipe.
    """
    plan = Recipe.read(recipe)
    folder = out / f"{plan.name}.run"

    def told(trainer: Trainer, loss: float) -> None:
        if progress:
            progress(_row(trainer, loss))

    trainer = run(
        lambda: Trainer(plan), folder, iterations=plan.iterations, resume=resume, progress=told, seconds=seconds
    )
    if trainer is None:
        return None
    path = publish(trainer, out)
    shutil.rmtree(folder, ignore_errors=True)
    return path


def publish(trainer: Trainer, out: Path) -> Path:
    """Write the best rule so far as NAME.safetensors and its card as NAME.json."""
    plan = trainer.recipe
    path = out / f"{plan.name}.safetensors"
    out.mkdir(parents=True, exist_ok=True)
    save_rule(path, trainer.parametrisation.rule(trainer.best))
    card = {
        "name": plan.name,
        "rule": dict(plan.rule),
        "learned": len(trainer.theta),
        "iterations": trainer.iteration,
        "seconds": round(trainer.seconds, 1),
        "validation": {"start": trainer.first, "end": trainer.lowest},
        "limits": plan.limits,
    }
    with replacing_file(path.with_suffix(".json")) as fresh:
        fresh.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return path


def _row(trainer: Trainer, loss: float) -> dict[str, Any]:
    return {
        "iteration": trainer.iteration,
        "iterations": trainer.recipe.iterations,
        "loss": loss,
        "best": trainer.lowest,
        "seconds": trainer.seconds,
    }


def _start(recipe: Recipe, parametrisation: AbstractParametrisation) -> Tensor:
    own, given = parametrisation.start(), torch.tensor(recipe.start)
    if len(given) > len(own):
        raise ConfigError(f"start has {len(given)} numbers; this rule has {len(own)}")
    own[: len(given)] = given
    return own


def _estimator(recipe: Recipe) -> AbstractEstimator:
    if recipe.estimator == "es":
        return PersistentES(recipe.problems, recipe.sigma)
    return TruncatedUnroll(recipe.problems)


def _falling(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))
