"""The command line: adapt, predict, evaluate, train, info, tasks, optim. Results to stdout, the rest to stderr.

Every foreseen failure is one sentence on stderr and exit status 1; a wrong call is status 2; an interrupted
adaptation or training is status 130. Nothing that needs PyTorch is imported before a command runs.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from amortix.options import Classes, Dim, Json, Setting, family_settings, one_sentence, parse_bytes, parse_steps

app = typer.Typer(
    name="amortix",
    help="Adapt a pre-trained learner to a table of any size in one pass over its mini-batches.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
tasks_app = typer.Typer(help="Look at the families of synthetic tasks.", no_args_is_help=True)
app.add_typer(tasks_app, name="tasks")
optim_app = typer.Typer(help="Train learned optimizers, and compare them with others.", no_args_is_help=True)
app.add_typer(optim_app, name="optim")


class RegimeChoice(StrEnum):
    """What `amortix adapt --regime` takes."""

    auto = "auto"
    best = "best"
    all = "all"
    parametric = "parametric"
    explicit = "explicit"
    implicit = "implicit"


class TaskChoice(StrEnum):
    """What `amortix adapt --task` takes."""

    auto = "auto"
    regression = "regression"
    classification = "classification"


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Adapt a pre-trained learner to a table of any size in one pass over its mini-batches."""
    if show:
        from amortix import __version__

        typer.echo(f"amortix {__version__}")
        raise typer.Exit


@app.command()
@one_sentence
def adapt(
    table: Annotated[
        Path | None,
        typer.Argument(metavar="TABLE", help="Parquet, Arrow, CSV, .npy or .npz; with --resume not needed."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column to leave out; may be repeated.")] = None,
    task: Annotated[TaskChoice, typer.Option(help="What to make of the target.")] = TaskChoice.auto,
    regime: Annotated[
        RegimeChoice,
        typer.Option(help="A mixture of all three, the best of them on held-out rows, one, or all compared."),
    ] = RegimeChoice.auto,
    learner: Annotated[
        list[Path] | None,
        typer.Option(help="Weights to use in the place of a regime's bundled ones; repeatable."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Rows per mini-batch.", min=1)] = 512,
    seed: Annotated[int, typer.Option(help="Of the order of the rows.", min=0)] = 0,
    holdout: Annotated[float, typer.Option(help="Share of rows held out, 4,096 rows at most.")] = 0.2,
    budget: Annotated[str, typer.Option(help="Bytes that the saved model may take, such as 64MB.")] = "64MiB",
    with_baselines: Annotated[
        bool, typer.Option("--baselines", help="Compare with plain models too, as --regime all does.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Directory for the model, or, interrupted, to resume from.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Directory of an interrupted adaptation to go on with.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw error against rows seen: .png, .svg or .pdf.")] = None,
    json: Json = False,
) -> None:
    """Stream TABLE once through pre-trained learners; keep a model that predicts without it."""
    from amortix import commands

    if resume is None and (table is None or target is None):
        raise typer.BadParameter("give a TABLE and its --target, or --resume DIR")
    with interruptible() as stop:
        finished = commands.adapt(
            commands.AdaptRequest(
                table=table,
                target=target,
                drop=tuple(drop or ()),
                task=task.value,
                regime=regime.value,
                learners=tuple(learner or ()),
                batch=batch,
                seed=seed,
                holdout=holdout,
                budget=parse_bytes(budget),
                baselines=with_baselines or regime is RegimeChoice.all,
                save=save or resume,
                resume=resume,
                plot=plot,
                json=json,
            ),
            stop,
        )
    if not finished:
        raise typer.Exit(130)


@app.command()
@one_sentence
def predict(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="What amortix adapt --save left.")],
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Rows to predict; other columns are ignored.")],
    out: Annotated[Path, typer.Option(help="File to write: .parquet, .csv or .npy.")],
    json: Json = False,
) -> None:
    """Predict the rows of TABLE, in its order, by a saved model."""
    from amortix import commands

    commands.predict(model, table, out, json=json)


@app.command()
@one_sentence
def evaluate(
    family: Annotated[str, typer.Option(help="One of those that amortix tasks list shows.")],
    regime: Annotated[str | None, typer.Option(help="Its bundled learner, trained for the family's task.")] = None,
    learner: Annotated[Path | None, typer.Option(help="Weights to evaluate in the place of the bundled ones.")] = None,
    dim: Dim = None,
    classes: Classes = None,
    setting: Setting = None,
    batch: Annotated[int, typer.Option(help="Rows per mini-batch.", min=1)] = 32,
    steps: Annotated[str, typer.Option(help="Numbers of mini-batches to report at.")] = "1,10,100",
    tasks: Annotated[int, typer.Option(help="Number of tasks.", min=1)] = 256,
    points: Annotated[int, typer.Option(help="Query points per task.", min=1)] = 256,
    seed: Annotated[int, typer.Option(help="Of the tasks.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Measure a learner on a family of synthetic tasks against the family's oracle."""
    from amortix import commands

    if regime is None and learner is None:
        raise typer.BadParameter("give a --regime or a --learner")
    commands.evaluate(
        family_settings(family, dim, classes, setting),
        regime,
        learner,
        batch=batch,
        steps=parse_steps(steps),
        tasks=tasks,
        points=points,
        seed=seed,
        json=json,
    )


@app.command()
@one_sentence
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A .toml file, or the name of a bundled recipe.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.safetensors, its card, and the run in progress.")] = Path(),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run found in the folder.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop after this long, ready to resume.", min=0)] = None,
    json: Json = False,
) -> None:
    """Meta-train a learner by a recipe."""
    from amortix import commands

    run = partial(commands.train, recipe, out, resume=resume, seconds=seconds, json=json)
    _resumable(run, again=f"amortix train {recipe} --out {out} --resume")


@app.command()
@one_sentence
def info(
    model: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A saved model to describe.")] = None,
    json: Json = False,
) -> None:
    """Describe this installation with its bundled learners, or a saved model."""
    from amortix import commands

    commands.info(model, json=json)


@tasks_app.command("list")
@one_sentence
def list_tasks(json: Json = False) -> None:
    """List the families with what a task has, their settings with defaults, and whether an oracle is known."""
    from amortix import commands

    commands.list_tasks(json=json)


@tasks_app.command("preview")
@one_sentence
def preview_tasks(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="One of those that amortix tasks list shows.")],
    dim: Dim = None,
    classes: Classes = None,
    setting: Setting = None,
    seed: Annotated[int, typer.Option(help="Of the tasks.", min=0)] = 0,
    tasks: Annotated[int, typer.Option(help="Number of tasks.", min=1, max=60)] = 6,
    rows: Annotated[int, typer.Option(help="Rows of each task.", min=2, max=10_000)] = 400,
    plot: Annotated[Path | None, typer.Option(help="Draw each task: .png, .svg or .pdf.")] = None,
    json: Json = False,
) -> None:
    """Draw a few tasks of FAMILY and tell what they are like."""
    from amortix import commands

    settings = family_settings(family, dim, classes, setting)
    commands.preview_tasks(settings, seed=seed, tasks=tasks, rows=rows, plot=plot, json=json)


@optim_app.command("train")
@one_sentence
def train_optimizer(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A .toml file, or the name of bundled weights.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.safetensors, its card, and the run in progress.")] = Path(),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run found in the folder.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop after this long, ready to resume.", min=0)] = None,
    json: Json = False,
) -> None:
    """Meta-train a learned optimizer by a recipe."""
    from amortix import optim_commands

    run = partial(optim_commands.train, recipe, out, resume=resume, seconds=seconds, json=json)
    _resumable(run, again=f"amortix optim train {recipe} --out {out} --resume")


@optim_app.command("compare")
@one_sentence
def compare_optimizers(
    task: Annotated[str, typer.Option(help="perceptron, logistic, convnet, transformer or regression.")] = "perceptron",
    weights: Annotated[
        list[str] | None, typer.Option(help="Bundled weights, or a file; may be repeated. [default: all bundled]")
    ] = None,
    steps: Annotated[int, typer.Option(help="Mini-batches of a training.", min=1)] = 300,
    seeds: Annotated[int, typer.Option(help="Trainings of each optimizer.", min=1)] = 3,
    plot: Annotated[Path | None, typer.Option(help="Draw loss against steps and seconds: .png, .svg or .pdf.")] = None,
    json: Json = False,
) -> None:
    """Train a network by learned optimizers, AdamW, SGD and schedule-free AdamW; these at the best of seven rates."""
    from amortix import optim_commands
    from amortix.learned_rule import bundled_rules

    optim_commands.compare(task, weights or list(bundled_rules()), steps=steps, seeds=seeds, plot=plot, json=json)


def _resumable(run: Callable[[], bool], *, again: str) -> None:
    """Run what tells whether it reached its end; where it did not, or on Ctrl-C, say how to go on."""
    told = f"amortix: stopped; go on by: {again}"
    try:
        if not run():
            typer.echo(told, err=True)
    except KeyboardInterrupt:
        typer.echo(told, err=True)
        raise typer.Exit(130) from None


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """A question whether Ctrl-C was pressed; a second Ctrl-C interrupts at once."""
    pressed = False

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def main() -> None:
    """The entry point of the ``amortix`` program."""
    app()
