"""The command line: adapt, predict, evaluate, train, info. Results to stdout, progress and errors to stderr.

Every foreseen failure is one sentence on stderr and exit status 1; a wrong call is status 2; an interrupted
adaptation or training is status 130. Nothing that needs PyTorch is imported before a command runs.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from amortix.errors import AmortixError, ConfigError

app = typer.Typer(
    name="amortix",
    help="Adapt a pre-trained learner to a table of any size in one pass over its mini-batches.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


P = ParamSpec("P")
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines, one object per result.")]


def one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """Turn foreseen failures of a command into one sentence on stderr and exit status 1."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except AmortixError as error:
            fail(str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror or error}")
        except MemoryError:
            fail("out of memory: use a smaller --batch, or write the table in smaller row groups")

    return wrapped


def fail(message: str) -> None:
    """Print one sentence to stderr and exit with status 1."""
    typer.echo("amortix: " + " ".join(message.split()), err=True)
    raise typer.Exit(1)


def parse_bytes(text: str) -> int:
    """``64MB``, ``1.5 GiB`` or ``100000`` as a number of bytes."""
    units = {"": 1, "b": 1}
    for power, letter in enumerate("kmg", start=1):
        units |= {f"{letter}b": 1000**power, letter: 1024**power, f"{letter}ib": 1024**power}
    compact = text.replace(" ", "").replace("_", "").lower()
    number = compact.rstrip("bkmgi")
    try:
        size = int(float(number) * units[compact[len(number) :]])
    except (ValueError, KeyError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no size: write 64MB, 1.5GiB or a number of bytes") from None
    if size <= 0:
        raise typer.BadParameter("a size must be positive")
    return size


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
    family: Annotated[str, typer.Option(help="linear, logistic, sinusoid, gp, mlp, tree, gmm or causal.")],
    regime: Annotated[str | None, typer.Option(help="Its bundled learner, trained for the family's task.")] = None,
    learner: Annotated[Path | None, typer.Option(help="Weights to evaluate in the place of the bundled ones.")] = None,
    dim: Annotated[int | None, typer.Option(help="Columns of every task.", min=1)] = None,
    classes: Annotated[int | None, typer.Option(help="Classes of every task.", min=2)] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting of the family, such as noise=0.1,1; repeatable."),
    ] = None,
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
    arguments: dict[str, Any] = {"family": family}
    arguments |= {"dim": (dim, dim)} if dim else {}
    arguments |= {"classes": (classes, classes)} if classes else {}
    arguments |= dict(parse_setting(text) for text in setting or ())
    commands.evaluate(
        arguments,
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

    again = f"amortix: stopped; go on by: amortix train {recipe} --out {out} --resume"
    try:
        if not commands.train(recipe, out, resume=resume, seconds=seconds, json=json):
            typer.echo(again, err=True)
    except KeyboardInterrupt:
        typer.echo(again, err=True)
        raise typer.Exit(130) from None


@app.command()
@one_sentence
def info(
    model: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A saved model to describe.")] = None,
    json: Json = False,
) -> None:
    """Describe this installation with its bundled learners, or a saved model."""
    from amortix import commands

    commands.info(model, json=json)


def parse_steps(text: str) -> list[int]:
    """``1,10,100`` as increasing positive integers."""
    try:
        steps = sorted({int(part) for part in text.split(",")})
    except ValueError:
        steps = []
    if not steps or steps[0] < 1:
        raise typer.BadParameter(f"{text!r}: write the steps as 1,10,100")
    return steps


def parse_setting(text: str) -> tuple[str, Any]:
    """``noise=0.1,1`` as a name and a number, a pair of numbers, or a word such as that of ``kernel=matern32``."""
    name, _, value = text.partition("=")
    try:
        numbers = [int(part) if part.lstrip("-").isdigit() else float(part) for part in value.split(",")]
    except ValueError:
        if value.isidentifier():
            return name.strip(), value
        raise ConfigError(f"--set {text!r}: write NAME=NUMBER, NAME=LOW,HIGH or NAME=WORD") from None
    return name.strip(), tuple(numbers) if len(numbers) > 1 else numbers[0]


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
