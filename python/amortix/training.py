"""Meta-training: many tasks, one step at a time, from a pool of states of all ages.

Each iteration draws slots from a pool of persistent states, feeds each the next mini-batch of its task, scores the
stepped state on fresh queries, and writes it back detached; slots that reached their random horizon start a new task.
So the cost of an iteration does not depend on the horizon, and every age is on-policy. The loss of a task is divided
by its own size, so that late, small errors weigh as much as early, large ones, unless the learner has another outer
loss. What a learner has learned of its first state gets its gradient at the slots where a task begins.

A run is a pure function of its recipe: randomness comes from (seed, iteration), and a checkpoint holds the weights,
the optimizer's moments and the pools, so that a resumed run ends in the same bits as an uninterrupted one.

References:
    Mittal et al., arXiv 2510.11471 (greedy one-step objective); Kirsch and Schmidhuber, "Meta learning
    backpropagation and improving it", 2021, for persistent pools; Smith and Topin, "Super-convergence", 2019.
"""

from __future__ import annotations

import json
import math
import shutil
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from amortix import checkpoint
from amortix.batch import Batch, State, TaskBatch, own
from amortix.data import StatePool, TaskSampler, family_from_dict
from amortix.errors import ConfigError, StateError
from amortix.evaluation import evaluate
from amortix.learner import AbstractLearner
from amortix.objectives import excess
from amortix.runs import run, under

_BROKEN = 1e4  # loss above which a state counts as a failure and is replaced
_UNSEEN = 2**40  # seed of the card's tasks; those of training are 1000 · the recipe's, and a few more


@dataclass(frozen=True)
class Recipe:
    """What a TOML recipe says; every field is required there but those with a default.

    Attributes:
        name: of the checkpoint.
        learner: arguments of `checkpoint.build`.
        families: task families, one drawn per iteration.
        iterations: optimizer steps.
        tasks: T, slots drawn per iteration.
        slots: size of each family's pool.
        points: M, queries per task.
        batch: least and largest mini-batch, log-uniform.
        horizon: least and largest age at which a slot starts anew, log-uniform.
        rate: peak learning rate of the one-cycle schedule.
        seed: of everything.
        deployed: arguments of the saved learner that differ from the trained one's: sizes, which training keeps small.
        evaluations: what the card's curves show: a family with its settings, and ``steps``, ``tasks``, ``batch``.
        limits: what the card warns of.
    """

    name: str
    learner: Mapping[str, Any]
    families: tuple[Mapping[str, Any], ...]
    iterations: int
    tasks: int = 64
    slots: int = 512
    points: int = 64
    batch: tuple[int, int] = (8, 128)
    horizon: tuple[int, int] = (1, 64)
    rate: float = 5e-3
    seed: int = 0
    deployed: Mapping[str, Any] = field(default_factory=dict)
    evaluations: tuple[Mapping[str, Any], ...] = ()
    limits: str = ""

    @classmethod
    def read(cls, source: Mapping[str, Any] | str | Path) -> Recipe:
        """From a mapping or the path of a TOML file.

        Raises:
            ConfigError: no such file, no valid TOML, or an unknown or missing field.
        """
        fields = dict(source) if isinstance(source, Mapping) else _toml(Path(source))
        for name in ("batch", "horizon", "families", "evaluations"):
            if name in fields:
                fields[name] = tuple(fields[name])
        try:
            return cls(**fields)
        except TypeError as error:
            raise ConfigError(f"the recipe does not fit: {error}") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from None


@final
class Workshop:
    """One family's sampler with its pool of states."""

    def __init__(self, learner: AbstractLearner, family: Mapping[str, Any], recipe: Recipe, seed: int):
        self.learner, self.points = learner, recipe.points
        self.sampler = TaskSampler(family_from_dict(family), seed=seed)
        like = self._begin(np.arange(1)).tensors()
        self.learned = {name for name, tensor in like.items() if tensor.requires_grad}
        fields = {name: (tuple(t.shape[1:]), str(t.dtype).removeprefix("torch.")) for name, t in like.items()}
        self.pool = StatePool(recipe.slots, fields, seed=seed, horizon=recipe.horizon)
        for start in range(0, recipe.slots, recipe.tasks):
            self._restart(np.arange(start, min(start + recipe.tasks, recipe.slots)))

    def draw(self, tasks: int, batch: int) -> tuple[np.ndarray, State, TaskBatch]:
        """Slots, their states, and the next mini-batch of their tasks with the queries to judge by."""
        slots = self.pool.draw(tasks)
        ids, ages = self.pool.tasks(slots), self.pool.ages(slots)
        state = self._begun(State.from_tensors(self._gather(slots)), ids, ages)
        context = Batch(*map(own, self.sampler.context(ids, ages, batch)))
        return slots, state, TaskBatch(context, *map(own, self.sampler.query(ids, self.points)))

    def store(self, slots: np.ndarray, state: State, broken: np.ndarray) -> None:
        """Write states back; slots at their horizon, or broken, start a new task."""
        self.pool.scatter_from(slots, {name: t.detach().contiguous() for name, t in state.tensors().items()})
        finished = self.pool.advance(slots)
        early = slots[broken & ~finished]
        if len(early):
            self.pool.reset(early)
        self._restart(slots[finished | broken])

    def _restart(self, slots: np.ndarray) -> None:
        if len(slots):
            fresh = self._begin(self.pool.tasks(slots)).tensors()
            self.pool.scatter_from(slots, {name: t.detach().contiguous() for name, t in fresh.items()})

    def _begin(self, ids: np.ndarray) -> State:
        sampler = self.sampler
        query = own(sampler.query(ids, self.points)[0]) if self.learner.needs_queries else None
        return self.learner.init(len(ids), sampler.features, sampler.outputs, query)

    def _begun(self, state: State, ids: np.ndarray, ages: np.ndarray) -> State:
        """The state with what is learned of it, where a task begins, as it is now and with its gradient."""
        if not self.learned or ages.all():
            return state
        first, tensors = torch.from_numpy(ages == 0), state.tensors()
        fresh = self._begin(ids).tensors()
        for name in self.learned:
            where = first.view(-1, *[1] * (tensors[name].dim() - 1))
            tensors[name] = torch.where(where, fresh[name], tensors[name])
        return State.from_tensors(tensors)

    def _gather(self, slots: np.ndarray) -> dict[str, Tensor]:
        return {name: own(array) for name, array in self.pool.gather(slots).items()}


@final
class Trainer:
    """A recipe in progress: `advance` takes one iteration, `save` and `restore` keep and continue it."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        torch.manual_seed(recipe.seed)
        self.learner = checkpoint.build(recipe.learner)
        everything = {"params": list(self.learner.parameters())}  # in a group, since there may be none
        self.optimizer = torch.optim.AdamW([everything], lr=recipe.rate, weight_decay=1e-4)
        seeds = range(1000 * recipe.seed, 1000 * recipe.seed + len(recipe.families))
        pairs = zip(recipe.families, seeds, strict=True)
        self.workshops = [Workshop(self.learner, family, recipe, seed) for family, seed in pairs]
        self.classes = self.learner.task == "classification"
        self.iteration = 0
        self.failures = 0
        self.seconds = 0.0

    def advance(self) -> float:
        """One iteration; returns the mean excess risk over its tasks."""
        started = time.perf_counter()
        recipe = self.recipe
        random = np.random.default_rng([recipe.seed, self.iteration])
        workshop = self.workshops[random.integers(len(self.workshops))]
        batch = round(math.exp(random.uniform(math.log(recipe.batch[0]), math.log(recipe.batch[1]))))
        slots, before, data = workshop.draw(recipe.tasks, batch)
        after, risk, loss = self._try(before, data)
        broken = ~(torch.isfinite(risk) & (risk < _BROKEN))
        if bool(broken.any()):
            # What is not finite would spoil the gradient of all: once more without it.
            keep = ~broken
            _, risk, loss = self._try(before.map(lambda t: t[keep]), _select(data, keep))
        if loss.requires_grad and len(risk):
            for group in self.optimizer.param_groups:
                group["lr"] = recipe.rate * one_cycle(self.iteration / recipe.iterations)
            self.optimizer.zero_grad(set_to_none=True)
            loss.mean().backward()
            torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0, error_if_nonfinite=True)
            self.optimizer.step()
        self.failures += int(broken.sum())
        workshop.store(slots, after, broken.numpy())
        self.iteration += 1
        self.seconds += time.perf_counter() - started
        return float(risk.detach().mean()) if len(risk) else math.nan

    def _try(self, before: State, data: TaskBatch) -> tuple[State, Tensor, Tensor]:
        """The stepped state, its excess risk and its outer loss, ``[T]`` each."""
        after = self.learner.step(before, data.context)
        prediction = self.learner.predict(after, None if self.learner.needs_queries else data.query_x)
        risk = excess(prediction, data.signal, classes=self.classes).mean(1)
        return after, risk, self.learner.outer(before, after, prediction, data)

    def save(self, folder: Path) -> None:
        """Write the run's whole state under ``folder``, so that an interruption leaves the last one or this one."""
        tensors = {f"learner.{k}": v.detach().contiguous() for k, v in self.learner.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        for index, workshop in enumerate(self.workshops):
            tensors |= {f"pool.{index}.{k}": torch.from_numpy(v) for k, v in workshop.pool.snapshot().items()}
        progress = {"iteration": self.iteration, "failures": self.failures, "seconds": self.seconds}
        metadata = {"progress": json.dumps(progress), "recipe": _fingerprint(self.recipe)}
        checkpoint.write_atomically(folder / "run.safetensors", save(tensors, metadata))

    def restore(self, folder: Path) -> None:
        """Continue from what `save` wrote.

        Raises:
            StateError: the run under ``folder`` belongs to another recipe.
        """
        path = folder / "run.safetensors"
        with checkpoint.opened(path) as file:
            metadata = file.metadata() or {}
        if metadata.get("recipe") != _fingerprint(self.recipe):
            raise StateError(f"{path} was written by another recipe: give its own, or start anew without --resume")
        tensors = load_file(path)
        self.learner.load_state_dict(under("learner.", tensors))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under("optimizer.", tensors).items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        for index, workshop in enumerate(self.workshops):
            workshop.pool.restore({k: v.numpy() for k, v in under(f"pool.{index}.", tensors).items()})
        for name, value in json.loads(metadata["progress"]).items():
            setattr(self, name, value)


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
        progress: called after each iteration with ``iteration``, ``iterations``, ``loss``, ``seconds``, ``failures``.
        seconds: stop (resumable) after this time.

    Returns:
        The path of the trained weights, or None where time ran out before the end.

    Raises:
        ConfigError: the recipe is wrong, or ``out`` holds a run and ``resume`` is False.
        StateError: the run to resume belongs to another recipe.
    """
    plan = Recipe.read(recipe)
    folder = out / f"{plan.name}.run"

    def told(trainer: Trainer, loss: float) -> None:
        if progress:
            progress(
                {
                    "iteration": trainer.iteration,
                    "iterations": plan.iterations,
                    "loss": loss,
                    "seconds": trainer.seconds,
                    "failures": trainer.failures,
                }
            )

    trainer = run(
        lambda: Trainer(plan), folder, iterations=plan.iterations, resume=resume, progress=told, seconds=seconds
    )
    if trainer is None:
        return None
    path = out / f"{plan.name}.safetensors"
    _publish(trainer, path)
    shutil.rmtree(folder, ignore_errors=True)
    return path


def _publish(trainer: Trainer, path: Path) -> None:
    """Write the trained learner at its deployed sizes, and its card with curves measured on unseen tasks."""
    plan = trainer.recipe
    config = {**plan.learner, **plan.deployed}
    learner = checkpoint.build(config)
    learner.load_state_dict(trainer.learner.state_dict())
    card = {
        "name": plan.name,
        "learner": config,
        "trained": dict(plan.learner),
        "parameters": checkpoint.parameters(learner),
        "families": [dict(f) for f in plan.families],
        "iterations": plan.iterations,
        "seconds": round(trainer.seconds, 1),
        "failures": trainer.failures,
        "limits": plan.limits,
        "curves": [_curve(learner, dict(wanted)) for wanted in plan.evaluations],
    }
    checkpoint.save_learner(learner, config, path, card)


def _curve(learner: AbstractLearner, wanted: dict[str, Any]) -> dict[str, Any]:
    sizes = {name: wanted.pop(name) for name in ("steps", "tasks", "batch")}
    sampler = TaskSampler(family_from_dict(wanted), seed=_UNSEEN)
    return {**wanted, **sizes, "results": evaluate(learner, sampler, **sizes)}


def one_cycle(done: float) -> float:
    """The learning rate's share of its peak when a share ``done`` in 0 .. 1 of the run is over."""
    warm = 0.1
    if done < warm:
        return 0.04 + 0.96 * done / warm
    return 1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))


def _select(data: TaskBatch, tasks: Tensor) -> TaskBatch:
    context = Batch(data.context.x[tasks], data.context.y[tasks])
    return TaskBatch(context, data.query_x[tasks], data.query_y[tasks], data.signal[tasks])


def _fingerprint(recipe: Recipe) -> str:
    return json.dumps(recipe.__dict__, sort_keys=True, default=list)
