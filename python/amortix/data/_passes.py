"""One walk over a table's rows: mini-batches in the order of a stream, each with the place after it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._arrays import Floats, Integers, empty

#: Bytes of rows that are gathered from an array at once: enough to keep all cores busy, few enough for their caches.
AT_ONCE = 1 << 22
#: What a stream yields: (x, y), or (x, y, weight) where the table has weights; y is None without a target.
MiniBatch: TypeAlias = "tuple[Floats, Floats | None] | tuple[Floats, Floats | None, Floats]"
Kind = Literal["numeric", "integer", "boolean", "label", "time", "other"]


class Encoder(Protocol):
    """What streams need of a `TableEncoder`."""

    @property
    def width(self) -> int:
        """Columns of x."""
        ...

    @cached_property
    def codes(self) -> list[_core.Code]:
        """One code for each feature."""
        ...

    def transform(self, x: NDArray[Any], out: Floats | None = None) -> Floats:
        """Raw numbers ``[B, D]`` to x ``[B, width]``."""
        ...


#: A place in a stream: epoch, groups finished in it, rows looked at in the current one, batches after that.
Cursor: TypeAlias = tuple[int, int, int, int]
START: Cursor = (0, 0, 0, 0)


class Rows(NamedTuple):
    """A mini-batch: x ``[B, D]``, y ``[B]`` or None, weight ``[B]`` or None."""

    x: Floats
    y: Floats | None
    weight: Floats | None

    def part(self, start: int, stop: int) -> Rows:
        """Views of some of its rows."""
        return Rows(*(None if array is None else array[start:stop] for array in self))  # type: ignore[arg-type]

    def batches(self, size: int) -> Iterator[MiniBatch]:
        """Views of ``size`` rows each, the last of what is left."""
        x = _pieces(self.x, size)
        y = itertools.repeat(None, -(-len(self.x) // size)) if self.y is None else _pieces(self.y, size)
        if self.weight is None:
            return zip(x, y, strict=True)
        return zip(x, y, _pieces(self.weight, size), strict=True)


def _pieces(array: Floats, size: int) -> Iterator[Floats]:
    full = len(array) // size
    # Rows of an array of one more dimension: nothing cuts them out faster.
    pieces, rest = array[: full * size].reshape(full, size, *array.shape[1:]), array[full * size :]
    return itertools.chain(pieces, [rest] if len(rest) else [])


@dataclass(frozen=True)
class Selection:
    """What a stream takes from a source; columns by index.

    Attributes:
        features: in the order of x.
        target: the target, or None.
        classes: labels of the target in the order of their indices, or None for numbers.
        weight: sample weights, or None.
        encoder: what turns the features into x, or None for numbers as they are.
    """

    features: list[int]
    target: int | None
    classes: tuple[str, ...] | None
    weight: int | None
    encoder: Encoder | None


@dataclass(frozen=True)
class Plan:
    """What decides which rows come when.

    Attributes:
        settings: keywords of `_core.Order`, but for the window.
        window: rows that are shuffled together, or None.
        batch: B.
        epochs: passes over the table.
        memory: bytes that decoded rows may take, or None.
        rows: rows of the whole table.
        cursor: where to begin.
    """

    settings: dict[str, Any]
    window: int | None
    batch: int
    epochs: int
    memory: int | None
    rows: int
    cursor: Cursor = START

    @property
    def size(self) -> int:
        """The most rows that a batch can have."""
        return max(1, min(self.batch, self.rows))

    def at(self, cursor: Cursor) -> Plan:
        """The same, begun at another place."""
        return replace(self, cursor=cursor)

    def order(self, groups: list[int], window: int | None) -> _core.Order:
        """The order over groups of these sizes."""
        return _core.Order(np.array(groups, np.int64), window=window, **self.settings)


class Pass(Protocol):
    """Delivers mini-batches until the epochs end."""

    def next(self) -> tuple[MiniBatch | None, Cursor]:
        """The next mini-batch, or None at the end of an epoch, and the place after it."""
        ...


class Reader(Protocol):
    """Copies rows of a table into lent memory."""

    width: int

    def empty(self, count: int) -> Rows:
        """Memory for so many rows."""
        ...

    def gather_into(self, rows: Integers, out: Rows) -> None:
        """Fill ``out`` with rows of the table."""


class ArrayPass:
    """Gathers many mini-batches at once, each a view of that memory: one call on all cores costs less than many."""

    def __init__(self, reader: Reader, order: _core.Order, plan: Plan) -> None:
        self._reader, self._order, self._batch = reader, order, plan.size
        each = max(1, AT_ONCE // (4 * self._batch * max(1, reader.width)))
        self._rows = empty("batch", (self._batch * each,), np.int64)
        *self._place, skip = plan.cursor
        self._ready: Iterator[tuple[MiniBatch, Cursor]] = iter(())
        for _ in range(skip):
            self.next()

    def next(self) -> tuple[MiniBatch | None, Cursor]:
        """The next mini-batch, or None at the end of an epoch, and the place after it."""
        return next(self._ready, None) or self._gather()

    def _gather(self) -> tuple[MiniBatch | None, Cursor]:
        epoch, ordinal, offset = self._place
        rows, *after = self._order.fill_table(epoch, ordinal, offset, self._rows)
        if not rows:
            self._place = (epoch + 1, 0, 0)
            return None, (epoch + 1, 0, 0, 0)
        whole = self._reader.empty(rows)
        self._reader.gather_into(self._rows[:rows], whole)
        self._place = (epoch, after[0], after[1])
        places: list[Cursor] = [(epoch, ordinal, offset, skip) for skip in range(1, -(-rows // self._batch))]
        self._ready = zip(whole.batches(self._batch), [*places, (*self._place, 0)], strict=True)
        return next(self._ready)


class FilePass:
    """Takes mini-batches from an engine that decodes ahead; each has memory of its own."""

    def __init__(self, engine: _core.Engine, plan: Plan) -> None:
        self._engine, self._size = engine, plan.size

    def next(self) -> tuple[MiniBatch | None, Cursor]:
        """The next mini-batch, or None at the end of an epoch, and the place after it."""
        width, target, weight = self._engine.shape
        rows = Rows(
            empty("x", (self._size, width)),
            empty("y", (self._size,)) if target else None,
            empty("weight", (self._size,)) if weight else None,
        )
        count, epoch, ordinal, offset = self._engine.next_into(*rows)
        return next(rows.part(0, count).batches(self._size), None), (epoch, ordinal, offset, 0)
