"""What the commands of `amortix.cli` share: options, readers of options, foreseen failures as one sentence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ParamSpec

import typer

from amortix.errors import AmortixError, ConfigError

P = ParamSpec("P")
Dim = Annotated[int | None, typer.Option(help="Columns of every task.", min=1)]
Classes = Annotated[int | None, typer.Option(help="Classes of every task.", min=2)]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another setting of the family, such as noise=0.1,1; repeatable."),
]
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


def family_settings(
    family: str, dim: int | None, classes: int | None, settings: Sequence[str] | None
) -> Mapping[str, Any]:
    """The options of a family as `amortix.data.family_from_dict` reads them."""
    given: dict[str, Any] = {"family": family}
    given |= {"dim": (dim, dim)} if dim else {}
    given |= {"classes": (classes, classes)} if classes else {}
    return given | dict(parse_setting(text) for text in settings or ())
