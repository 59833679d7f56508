"""Runs of many iterations that stop and go on: what all trainings have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from torch import Tensor

from amortix.errors import ConfigError

_SAVE_EVERY = 60.0  # seconds between checkpoints


class Resumable(Protocol):
    """A run whose place is a folder."""

    iteration: int

    def advance(self) -> float:
        """One iteration; its loss."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that `restore` needs."""
        ...

    def restore(self, folder: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            StateError: it belongs to another recipe.
        """
        ...


R = TypeVar("R", bound=Resumable)


def run(
    begin: Callable[[], R],
    folder: Path,
    *,
    iterations: int,
    resume: bool,
    progress: Callable[[R, float], None],
    seconds: float | None,
) -> R | None:
    """Advance to the end, or for some seconds; saved every minute, at the limit and on Ctrl-C.

    Args:
        begin: makes the run; called once nothing stands in its way.
        folder: where it is saved; left to the caller at the end.
        iterations: at the end.
        resume: continue what the folder holds instead of refusing to overwrite it.
        progress: called after each iteration with the run and the loss.
        seconds: stop, ready to resume, after this time.

    Returns:
        The run, or None where time ran out before the end.

    Raises:
        ConfigError: the folder holds a run and ``resume`` is False.
        StateError: the run to resume belongs to another recipe.
    """
    found = (folder / "run.safetensors").is_file()
    if found and not resume:
        raise ConfigError(f"{folder} holds an unfinished run: continue it with --resume or remove the folder")
    one = begin()
    if found:
        one.restore(folder)
    started = saved = time.monotonic()
    try:
        while one.iteration < iterations:
            progress(one, one.advance())
            now = time.monotonic()
            if seconds is not None and now - started > seconds and one.iteration < iterations:
                one.save(folder)
                return None
            if now - saved > _SAVE_EVERY:
                one.save(folder)
                saved = now
    except KeyboardInterrupt:
        one.save(folder)
        raise
    return one


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
