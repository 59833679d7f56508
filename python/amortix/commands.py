"""What the commands of `amortix.cli` do, once their arguments are read. Imports PyTorch."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from amortix import checkpoint, report, saving
from amortix.adapt import AUTO, Adaptation
from amortix.data.encoder import TableEncoder
from amortix.data.table import Table
from amortix.errors import ConfigError, StateError
from amortix.forecasts import check_out, write_forecasts
from amortix.model import AdaptedModel
from amortix.plan import Settings, Task
from amortix.pretrained import REGIMES, Pretrained

_TASKS: dict[str, Task | None] = {
    "auto": None,
    "regression": "regression",
    "classification": "classification",
}


@dataclass(frozen=True)
class AdaptRequest:
    """The options of `amortix adapt`; see its help."""

    table: Path | None
    target: str | None
    drop: tuple[str, ...]
    task: str
    regime: str
    learners: tuple[Path, ...]
    batch: int
    seed: int
    holdout: float
    budget: int
    baselines: bool
    save: Path | None
    resume: Path | None
    plot: Path | None
    json: bool


def adapt(request: AdaptRequest, stop: Callable[[], bool]) -> bool:
    """Run `amortix adapt`; False where it was interrupted."""
    from amortix import plot

    if request.save is not None:
        saving.check_target(request.save)
    if request.plot is not None:
        plot.check_plot(request.plot)
    adaptation = _begin(request)
    if request.resume is not None and adaptation.split.settings.offline:
        request = replace(request, regime="all", baselines=True)  # what the interrupted call asked to compare
    with report.adapt_bar(adaptation.split.rows, adaptation.rows, shown=not request.json) as progress:
        finished = adaptation.run(progress, stop)
    if finished:
        # First what was found: a disk that fills while saving must not lose it.
        _show(adaptation, request)
    if request.save is not None:
        (adaptation.model(_kept(adaptation, request)) if finished else adaptation).save(request.save)
    if not finished:
        _say(_interrupted(adaptation, request.save))
        return False
    if request.save is not None and not request.json:
        size = sum(file.stat().st_size for file in request.save.iterdir())
        print(f"saved the {_kept(adaptation, request)} model to {request.save} ({size / 1e6:.1f} MB)")
    if request.plot is not None:
        plot.plot_curves(adaptation.results, request.plot, title=_title(adaptation))
    return True


def _begin(request: AdaptRequest) -> Adaptation:
    if request.resume is not None:
        table = None if request.table is None else _same_table(request.resume, request.table)
        return Adaptation.resume(request.resume, table)
    assert request.table is not None, "the command line asks for a table"
    table = Table.open(request.table, target=request.target, drop=request.drop)
    settings = Settings(
        batch=request.batch,
        seed=request.seed,
        holdout=request.holdout,
        budget=request.budget,
        offline=request.baselines,
    )
    with report.counting_bar("rows read", shown=not request.json) as reading:
        return Adaptation.start(table, _learners(request), settings, task=_TASKS[request.task], reading=reading)


def _same_table(directory: Path, source: Path) -> Table:
    """The table at a new place, opened as the interrupted adaptation had it."""
    meta = saving.read_meta(directory)
    if meta.get("kind") != "adaptation":
        raise StateError(f"{directory} holds a finished model: there is nothing to resume")
    return Table.open(source, target=meta["target"], drop=meta["drop"])


def _learners(request: AdaptRequest) -> Sequence[str | Pretrained]:
    given = {one.learner.regime: one for one in map(Pretrained.load, request.learners)}
    if len(given) < len(request.learners):
        raise ConfigError("--learner: two files of the same regime; give one per regime")
    wanted = (request.regime,) if request.regime in REGIMES else REGIMES
    return [given.get(regime, regime) for regime in wanted]


def _interrupted(adaptation: Adaptation, save: Path | None) -> str:
    seen = f"interrupted after {adaptation.rows:,} of {adaptation.split.rows:,} rows"
    if save is None:
        return f"{seen}; nothing was kept, for no --save DIR was given"
    return f"{seen}; go on by: amortix adapt --resume {save}"


def _title(adaptation: Adaptation) -> str:
    table = adaptation.split.table
    name = Path(table.source).name if table.source else "table"
    return f"{name}: {table.target}, {len(adaptation.split.held_y):,} rows held out"


def _kept(adaptation: Adaptation, request: AdaptRequest) -> str:
    """What is saved: the mixture, unless one regime was asked for, or the best one."""
    return AUTO if len(adaptation.tracks) > 1 and request.regime != "best" else adaptation.best


def _show(adaptation: Adaptation, request: AdaptRequest) -> None:
    kept = _kept(adaptation, request)
    for note in adaptation.notes:
        _say(note)
    if request.json:
        chosen = [r for r in adaptation.results if request.regime == "all" or r.baseline or r.regime == kept]
        for result in chosen:
            if request.baselines or not result.baseline:
                print(report.json_line(report.result_row(result, selected=result.regime == kept)))
        return
    shown = [r for r in adaptation.results if request.baselines or not r.baseline]
    Console().print(report.result_grid(shown, kept, title=_title(adaptation)))
    if kept == AUTO:
        weights = next(result.weights for result in adaptation.results if result.regime == AUTO)
        parts = ", ".join(f"{weight:.2f} {regime}" for regime, weight in weights.items() if weight)
        print(f"✓ {AUTO}: a mixture of {parts}; the weights were found on the held-out rows")
    elif len(adaptation.tracks) > 1:
        print(f"✓ {kept}: best on the held-out rows, which also made the choice")


def predict(directory: Path, source: Path, out: Path, *, json: bool) -> None:
    """Run `amortix predict`."""
    check_out(out)
    started = time.perf_counter()
    model = AdaptedModel.load(directory)
    table = Table.open(source, columns=model.columns)
    write_forecasts(out, model, model.predict_chunks(table), table.rows)
    seconds = time.perf_counter() - started
    if json:
        print(report.json_line({"out": str(out), "rows": table.rows, "seconds": round(seconds, 4)}))
    else:
        print(f"wrote {table.rows:,} predictions to {out} in {seconds:.1f} s")


def evaluate(
    family: Mapping[str, Any],
    regime: str | None,
    learner: Path | None,
    *,
    batch: int,
    steps: Sequence[int],
    tasks: int,
    points: int,
    seed: int,
    json: bool,
) -> None:
    """Run `amortix evaluate`."""
    from amortix import evaluation
    from amortix.data import TaskSampler, family_from_dict

    sampler = TaskSampler(family_from_dict(dict(family)), seed=seed)
    task = "classification" if sampler.classes else "regression"
    if learner is None and regime not in REGIMES:
        raise ConfigError(f"no regime {regime!r}: choose from {', '.join(REGIMES)}")
    chosen = checkpoint.load(learner if learner is not None else f"{regime}-{task}")
    if regime is not None and chosen.regime != regime:
        raise ConfigError(f"{learner} is of the {chosen.regime} regime, not {regime}")
    with report.counting_bar("tasks", shown=not json) as progress:
        rows = evaluation.evaluate(
            chosen, sampler, steps=steps, tasks=tasks, batch=batch, points=points, progress=progress
        )
    if json:
        for row in rows:
            print(report.json_line(row))
    else:
        for grid in report.evaluation_grids(rows, title=f"{chosen.regime} on {family['family']}, {tasks:,} tasks"):
            Console().print(grid)


def train(recipe: str, out: Path, *, resume: bool, seconds: float | None, json: bool) -> bool:
    """Run `amortix train`; False where the time ran out before the end."""
    from amortix import training

    return report.shown_training(
        partial(training.train, _recipe(recipe), out=out, resume=resume, seconds=seconds), lines=json
    )


def _recipe(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    bundled = _bundled_recipes()
    if name not in bundled:
        raise ConfigError(f"no recipe {name!r}: give a .toml file or one of {', '.join(bundled)}")
    return bundled[name]


def _bundled_recipes() -> dict[str, Path]:
    from importlib import resources

    folder = Path(str(resources.files("amortix").joinpath("recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def list_tasks(*, json: bool) -> None:
    """Run `amortix tasks list`."""
    from amortix import preview

    rows = preview.families()
    if json:
        for row in rows:
            print(report.json_line(row))
    else:
        Console().print(report.families_grid(rows))


def preview_tasks(
    settings: Mapping[str, Any], *, seed: int, tasks: int, rows: int, plot: Path | None, json: bool
) -> None:
    """Run `amortix tasks preview`."""
    import numpy as np

    from amortix import plot as curves
    from amortix import preview, task_plot
    from amortix.data import TaskSampler, family_from_dict

    if plot is not None:
        curves.check_plot(plot)
    sampler = TaskSampler(family_from_dict(settings), seed=seed)
    ids = np.arange(tasks)
    found = preview.describe(sampler, ids, rows)
    if json:
        for row in found:
            print(report.json_line(row))
    else:
        for grid in report.tasks_grids(found, title=f"{sampler.family.name}, {rows:,} rows of each task"):
            Console().print(grid)
    if plot is not None:
        task_plot.plot_tasks(sampler, ids, rows, plot)


def info(directory: Path | None, *, json: bool) -> None:
    """Run `amortix info`."""
    rows = list(_installation() if directory is None else _description(directory))
    if json:
        for row in rows:
            print(report.json_line(row))
        return
    for key, value in rows[0].items():
        print(f"{key}: {value}")
    print()
    if directory is None:
        Console().print(report.learners_grid(rows[1:]))
    else:
        Console().print(report.rows_grid(rows[1:], title="held-out rows"))


def _installation() -> Iterator[dict[str, Any]]:
    import torch

    packages = {name: _version(name) for name in ("amortix", "torch", "numpy", "safetensors")}
    optional = {name: _version(name) for name in ("cupy-cuda13x", "matplotlib", "scikit-learn")}
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield {
        **packages,
        **optional,
        "python": platform.python_version(),
        "platform": sys.platform,
        "threads": torch.get_num_threads(),
        "cuda": ", ".join(devices) or None,
    }
    for name in checkpoint.bundled():
        yield {"name": name, "bytes": checkpoint.locate(name).stat().st_size, **checkpoint.card(name)}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _description(directory: Path) -> Iterator[dict[str, Any]]:
    meta = saving.read_meta(directory)
    size = sum(file.stat().st_size for file in directory.iterdir())
    inner = meta.pop("info", {})
    results = inner.pop("results", [])
    encoder = TableEncoder.from_json(meta.pop("encoder"))
    meta["encoded"] = len(encoder.columns)
    yield {**meta, **inner, "bytes": size}
    for result in results:
        yield {key: result[key] for key in ("regime", "baseline", "rows", "seconds")} | result["metrics"]


def _say(message: str) -> None:
    print(f"amortix: {message}", file=sys.stderr)
