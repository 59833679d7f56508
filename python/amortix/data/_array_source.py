"""Tables in memory: arrays that are lent to Rust for the length of a call, without a copy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._arrays import Floats, Integers, empty
from amortix.data._passes import ArrayPass, Kind, Pass, Plan, Rows, Selection
from amortix.errors import SourceError

#: Rows of an array that are looked at together when labels are collected.
BLOCK = 1 << 16


@dataclass(frozen=True)
class ArraySource:
    """An array ``[rows, columns]`` of any number type and memory order, with or without a ``y`` and weights beside it.

    Raises:
        SourceError: the shapes do not fit each other, or ``x`` does not hold numbers.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None = None
    weight: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 2:
            raise SourceError(f"a table must be an array [rows, columns], not of shape {list(self.x.shape)}")
        if self.x.dtype.kind not in "fiub" or not self.x.dtype.isnative or self.x.dtype.itemsize not in (1, 2, 4, 8):
            raise SourceError(f"a table cannot have dtype {self.x.dtype}: convert it with .astype(numpy.float32)")
        for name, beside in (("y", self.y), ("weight", self.weight)):
            if beside is not None and beside.shape != self.x.shape[:1]:
                raise SourceError(f"{name} must be [{len(self.x)}], one for each row of x, not {list(beside.shape)}")

    @property
    def columns(self) -> list[str]:
        """Names: the indices of the columns of ``x``, then ``y`` and ``weight`` where they are."""
        beside = [name for name, array in (("y", self.y), ("weight", self.weight)) if array is not None]
        return [str(i) for i in range(self.x.shape[1])] + beside

    @property
    def kinds(self) -> list[Kind]:
        """What each column holds, by dtype."""
        return [_kind(self.column(i).dtype) for i in range(len(self.columns))]

    @property
    def groups(self) -> list[int]:
        """One group of all rows."""
        return [len(self.x)]

    def check_feature(self, column: int) -> None:
        """Every column of ``x`` can be a feature."""

    def column(self, index: int) -> NDArray[Any]:
        """A view of a column, ``[rows]``."""
        beside = [array for array in (self.y, self.weight) if array is not None]
        return self.x[:, index] if index < self.x.shape[1] else beside[index - self.x.shape[1]]

    def distinct_labels(self, column: int, limit: int) -> list[str]:
        """Up to ``limit`` labels, sorted; whole numbers in numeric order."""
        values, found = self.column(column), set[str]()
        for start in range(0, len(values), BLOCK):
            block = values[start : start + BLOCK]
            found.update(label(v, self.columns[column], start + row) for v, row in _first_of_each(block))
            if len(found) >= limit:
                break
        return in_order(found)[:limit]

    def begin(self, selection: Selection, plan: Plan) -> Pass:
        """A pass over these rows. Any row can be reached, so that windows come in random order."""
        window = plan.window or max(1, len(self.x))
        groups = [min(window, len(self.x) - start) for start in range(0, len(self.x), window)]
        order = plan.order(groups, window=None)
        return ArrayPass(_Reader(self, selection), order, plan)


class _Reader:
    """Copies rows of the arrays into lent memory."""

    def __init__(self, source: ArraySource, selection: Selection) -> None:
        self._source, self._selection = source, selection
        self._features = np.array(selection.features, np.int64)
        labels = selection.classes
        self._index = None if labels is None else {text: i for i, text in enumerate(labels)}
        self.width = len(self._features) if selection.encoder is None else selection.encoder.width

    def empty(self, count: int) -> Rows:
        """Memory for so many rows."""
        selection = self._selection
        y = None if selection.target is None else empty("y", (count,))
        return Rows(empty("x", (count, self.width)), y, None if selection.weight is None else empty("weight", (count,)))

    def gather_into(self, rows: Integers, out: Rows) -> None:
        """Fill ``out`` with rows of the table.

        Raises:
            SourceError: a value is missing, too large, an unknown label, or a negative weight.
        """
        selection, named = self._selection, self._features
        if selection.encoder is None:
            self._copy(self._source.x, self._features, named, rows, out.x)
        else:
            selection.encoder.transform(self._source.x[rows[:, None], self._features[None]], out=out.x)
        for index, to in ((selection.target, out.y), (selection.weight, out.weight)):
            if index is None or to is None:
                continue
            values = self._source.column(index)
            if to is out.y and self._index is not None:
                self._classes(values, self._source.columns[index], rows, to, self._index)
            else:
                self._copy(values[:, None], np.zeros(1, np.int64), [index], rows, to[:, None])
        if out.weight is not None and (negative := out.weight < 0).any():
            row = int(rows[negative.argmax()])
            name = self._source.columns[selection.weight or 0]
            raise SourceError(f"weight {name!r} at row {row} is negative: weights must be at least 0")

    @staticmethod
    def _classes(values: NDArray[Any], name: str, rows: Integers, out: Floats, index: dict[str, int]) -> None:
        picked = values[rows]
        distinct = _first_of_each(picked)
        found = {value: index.get(label(value, name, int(rows[place]))) for value, place in distinct}
        for value, place in distinct:
            if found[value] is None:
                raise SourceError(
                    f"target {name!r} has the label {label(value, name, 0)!r} at row {rows[place]}, which is none of "
                    "the classes: list it among them or remove the row"
                )
        if picked.dtype.kind == "O":
            out[:] = [found[value] for value in picked]  # type: ignore[misc]
            return
        keys = np.array([value for value, _ in distinct])
        codes = np.array([found[value] for value, _ in distinct], np.float32)
        out[:] = codes[np.searchsorted(keys, picked)]

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
    """Each distinct value of a block with the first row that has it; in order, where values have one."""
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
