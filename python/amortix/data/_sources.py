"""Where a table's columns come from: files and Arrow data that Rust decodes, or arrays lent to Rust batch by batch."""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._array_source import ArraySource
from amortix.data._passes import FilePass, Kind, Pass, Plan, Selection
from amortix.errors import FormatError, SourceError

#: A path, or several whose rows follow each other.
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
#: What is looked for in a directory.
ENDINGS = (".parquet", ".pq", ".arrow", ".feather", ".ipc", ".csv", ".csv.gz", ".csv.zst")


class Source(Protocol):
    """Columns in groups of rows."""

    @property
    def columns(self) -> list[str]:
        """Names."""
        ...

    @property
    def kinds(self) -> list[Kind]:
        """What each column holds."""
        ...

    @property
    def groups(self) -> list[int]:
        """Rows of each group."""
        ...

    def check_feature(self, column: int) -> None:
        """Raise `SourceError` where the column does not hold numbers."""

    def distinct_labels(self, column: int, limit: int) -> list[str]:
        """Up to ``limit`` labels, sorted."""
        ...


def begin(source: Source, selection: Selection, plan: Plan) -> Pass:
    """A pass over rows of a source."""
    if isinstance(source, ArraySource):
        return source.begin(selection, plan)
    assert isinstance(source, _core.Table)
    epoch, ordinal, offset, _ = plan.cursor
    engine = source.engine(
        plan.order(source.groups, plan.window),
        (epoch, ordinal, offset),
        features=selection.features,
        codes=None if selection.encoder is None else selection.encoder.codes,
        target=selection.target,
        classes=None if selection.classes is None else list(selection.classes),
        weight=selection.weight,
        epochs=plan.epochs,
        memory=plan.memory,
    )
    return FilePass(engine, plan)


def is_paths(source: object) -> TypeGuard[Paths]:
    """Whether this is a path or a list of paths."""
    if isinstance(source, str | os.PathLike):
        return True
    return isinstance(source, list | tuple) and bool(source) and all(isinstance(p, str | os.PathLike) for p in source)


def open_paths(paths: Paths) -> Source:
    """Open files by their extension; a directory stands for the files in it, a pattern for those that it matches.

    Folders below the directory, or in the part of the pattern that is one, tell columns where they are named
    ``key=value``.

    Raises:
        SourceError: there is no such file, it cannot be read, or it has other columns than the first.
        FormatError: it is damaged or of an unknown kind.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found = [(file, below) for path in given for file, below in _files(Path(path))]
    files = [file for file, _ in found]
    if len(files) == 1 and files[0].suffix.lower() in (".npy", ".npz"):
        return _open_arrays(files[0])
    return _core.Table.open(list(files), [below for _, below in found])


def _files(path: Path) -> list[tuple[Path, list[str]]]:
    """The files that a path stands for, in the order of their names, and the folders that it left open."""
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file() and file.name.lower().endswith(ENDINGS))
        if not inside:
            raise SourceError(f"{path} holds no table: put {', '.join(ENDINGS)} files into it")
        return [(file, _folders(file, path)) for file in inside]
    if path.exists() or not any(sign in str(path) for sign in "*?["):
        return [(path, [])]
    folder, pattern = Path(path.anchor or "."), str(path.relative_to(path.anchor)) if path.anchor else str(path)
    matched = sorted(file for file in folder.glob(pattern) if file.is_file())
    if not matched:
        raise SourceError(f"{path} matches no file")
    fixed = Path(*itertools.takewhile(lambda part: not any(sign in part for sign in "*?["), path.parts))
    return [(file, _folders(file, fixed)) for file in matched]


def _folders(file: Path, under: Path) -> list[str]:
    # A name need not be text; Rust takes text only.
    return [os.fsencode(name).decode(errors="replace") for name in file.relative_to(under).parts[:-1]]


def _open_arrays(path: Path) -> ArraySource:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays = [loaded] if isinstance(loaded, np.ndarray) else _members(loaded)
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist") from error
    except (ValueError, EOFError, OSError, KeyError, SyntaxError, TokenError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path} is damaged, truncated or holds objects instead of numbers: {error}") from error
    if not 1 <= len(arrays) <= 2:
        raise SourceError(f"{path} must hold one array [rows, columns], or two named x and y")
    return ArraySource(*arrays)


def _members(archive: Any) -> list[NDArray[Any]]:
    names = list(archive)
    if {"x", "y"} <= set(names):
        names = ["x", "y"]
    return [archive[name] for name in names] if len(names) == 1 or names == ["x", "y"] else []
