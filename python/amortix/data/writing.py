"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A new file with the suffix of ``path``, which takes its place at the end or vanishes on any error.

    Raises:
        OSError: it could not be written; the message says what failed and that nothing was left half-written.
    """
    path = path.absolute()
    fresh = path.with_name(f".{path.stem}.new{path.suffix}")
    try:
        with saying(path):
            yield fresh
            sync(fresh)
            fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def saying(path: Path) -> Iterator[None]:
    """Let an error of the system say which path could not be written and that nothing is half-written."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        advice = "nothing was left half-written, free space or choose another place"
        raise OSError(error.errno, f"cannot write {path}: {reason}; {advice}") from error


def sync(path: Path) -> None:
    """Force a file or directory to the disk, so that a full disk is noticed here and not after a crash."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
