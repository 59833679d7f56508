"""Where a table's columns come from: a file that Rust reads, or arrays lent to Rust batch by batch."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._arrays import Floats, Integers
from amortix.errors import FormatError, SourceError

Kind = Literal["numeric", "integer", "boolean", "label", "other"]

#: Rows of an array that are looked at together when labels are collected.
BLOCK = 1 << 16


class Reader(Protocol):
    """Copies rows of one group into lent memory."""

    def gather_into(self, group: int, rows: Integers, x: Floats, y: Floats | None) -> None:
        """Fill ``x`` ``[n, D]`` and, where there is a target, ``y`` ``[n]`` with rows of a group."""


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

    def reader(self, features: list[int], target: int | None, classes: list[str] | None) -> Reader:
        """A reader of these columns."""
        ...


def open_file(path: Path) -> Source:
    """Open a file by its extension.

    Raises:
        SourceError: it does not exist or cannot be read.
        FormatError: it is damaged or of an unknown kind.
    """
    if path.suffix.lower() not in (".npy", ".npz"):
        return _core.Table.open(path)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays = [loaded] if isinstance(loaded, np.ndarray) else _members(loaded)
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist") from error
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path} is damaged, truncated or holds objects instead of numbers: {error}") from error
    if not 1 <= len(arrays) <= 2:
        raise SourceError(f"{path} must hold one array [rows, columns], or two named x and y")
    return ArraySource(*arrays)


def _members(archive: Any) -> list[NDArray[Any]]:
    names = list(archive)
    if {"x", "y"} <= set(names):
        names = ["x", "y"]
    return [archive[name] for name in names] if len(names) == 1 or names == ["x", "y"] else []


@dataclass(frozen=True)
class ArraySource:
    """An array ``[rows, columns]`` of any number type and memory order, with or without a ``y`` beside it.

    Raises:
        SourceError: the shapes do not fit each other, or ``x`` does not hold numbers.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 2:
            raise SourceError(f"a table must be an array [rows, columns], not of shape {list(self.x.shape)}")
        if self.x.dtype.kind not in "fiub" or not self.x.dtype.isnative or self.x.dtype.itemsize not in (1, 2, 4, 8):
            raise SourceError(f"a table cannot have dtype {self.x.dtype}: convert it with .astype(numpy.float32)")
        if self.x.dtype == np.float16:
            raise SourceError("a table cannot have dtype float16: convert it with .astype(numpy.float32)")
        if self.y is not None and self.y.shape != self.x.shape[:1]:
            raise SourceError(f"y must be [{len(self.x)}], one for each row of x, not {list(self.y.shape)}")

    @property
    def columns(self) -> list[str]:
        """Names: the indices of the columns of ``x``, and ``y``."""
        return [str(i) for i in range(self.x.shape[1])] + ([] if self.y is None else ["y"])

    @property
    def kinds(self) -> list[Kind]:
        """What each column holds, by dtype."""
        kinds: list[Kind] = [_kind(self.x.dtype)] * self.x.shape[1]
        return kinds if self.y is None else [*kinds, _kind(self.y.dtype)]

    @property
    def groups(self) -> list[int]:
        """One group of all rows."""
        return [len(self.x)]

    def check_feature(self, column: int) -> None:
        """Every column of ``x`` can be a feature."""

    def column(self, index: int) -> NDArray[Any]:
        """A view of a column, ``[rows]``."""
        return self.y if self.y is not None and index == self.x.shape[1] else self.x[:, index]

    def distinct_labels(self, column: int, limit: int) -> list[str]:
        """Up to ``limit`` labels, sorted; whole numbers in numeric order."""
        values, found = self.column(column), set[str]()
        for start in range(0, len(values), BLOCK):
            block = values[start : start + BLOCK]
            found.update(label(v, self.columns[column], start + row) for v, row in _first_of_each(block))
            if len(found) >= limit:
                break
        return in_order(found)[:limit]

    def reader(self, features: list[int], target: int | None, classes: list[str] | None) -> Reader:
        """A reader of these columns."""
        return _ArrayReader(self, features, target, classes)


class _ArrayReader:
    def __init__(self, source: ArraySource, features: list[int], target: int | None, classes: list[str] | None) -> None:
        self._source, self._target = source, target
        self._features = np.array(features, np.int64)
        self._index = None if classes is None else {text: i for i, text in enumerate(classes)}

    def gather_into(self, group: int, rows: Integers, x: Floats, y: Floats | None) -> None:
        self._copy(self._source.x, self._features, self._features, rows, x)
        if y is None or self._target is None:
            return
        values, name = self._source.column(self._target), self._source.columns[self._target]
        if self._index is None:
            self._copy(values[:, None], np.zeros(1, np.int64), [self._target], rows, y[:, None])
            return
        for i, row in enumerate(rows.tolist()):
            text = label(values[row], name, row)
            if text not in self._index:
                raise SourceError(
                    f"target {name!r} has the label {text!r} at row {row}, which is none of the classes: "
                    "list it among them or remove the row"
                )
            y[i] = self._index[text]

    def _copy(
        self,
        array: NDArray[Any],
        columns: Integers,
        named: Sequence[int] | Integers,
        rows: Integers,
        out: Floats,
    ) -> None:
        unfit = _core.gather_into(array, columns, rows, out)
        if unfit is None:
            return
        row, place = unfit
        name = self._source.columns[int(named[place])]
        value = array[row, columns[place]]
        if math.isinf(value) or not math.isnan(value):
            raise SourceError(
                f"column {name!r} is {value} at row {row}, which is no finite float32: "
                f"replace it or drop the column with --drop {name}"
            )
        if len(array) > 1 and np.isnan(array[:, columns[place]]).all():
            raise SourceError(f"column {name!r} has no value at all: drop it with --drop {name}")
        raise SourceError(
            f"column {name!r} is missing (NaN) at row {row}: fill it in, remove the row, "
            f"or drop the column with --drop {name}"
        )


def _kind(dtype: np.dtype[Any]) -> Kind:
    if dtype.kind in "iu":
        return "integer"
    if dtype.kind == "f":
        return "numeric"
    if dtype.kind == "b":
        return "boolean"
    return "label" if dtype.kind in "USO" else "other"


def _first_of_each(block: NDArray[Any]) -> list[tuple[Any, int]]:
    """Each distinct value of a block with the first row that has it."""
    if block.dtype.kind == "O":
        seen: dict[Any, int] = {}
        for row, value in enumerate(block):
            seen.setdefault(value, row)
        return list(seen.items())
    values, rows = np.unique(block, return_index=True)
    return list(zip(values, rows.tolist(), strict=True))


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels sorted; whole numbers in numeric order."""
    found = list(labels)
    whole = all(text.removeprefix("-").isdecimal() for text in found)
    return sorted(found, key=int if whole else None)


def label(value: Any, column: str, row: int) -> str:
    """The text of a label: whole numbers without a fraction, booleans in lower case, as in files.

    Raises:
        SourceError: there is no label at this row.
    """
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        raise SourceError(f"column {column!r} is missing (empty or NaN) at row {row}: fill it in or remove the row")
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)
