"""One walk over a table's rows: mini-batches in the order of a stream, each with the place after it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._arrays import Floats, Integers, empty

#: Bytes of rows that are gathered from an array at once: enough to keep all cores busy, few enough for their caches.
AT_ONCE = 1 << 20


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


class Cursor(NamedTuple):
    """A place in a stream: groups finished in this epoch, rows looked at in the current one, batches after that."""

    epoch: int = 0
    ordinal: int = 0
    offset: int = 0
    skip: int = 0


START = Cursor()


class Rows(NamedTuple):
    """A mini-batch: x ``[B, D]``, y ``[B]`` or None, weight ``[B]`` or None."""

    x: Floats
    y: Floats | None
    weight: Floats | None

    def part(self, start: int, stop: int) -> Rows:
        """Views of some of its rows."""
        return Rows(*(None if array is None else array[start:stop] for array in self))  # type: ignore[arg-type]


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

    def next(self) -> tuple[Rows, Cursor]:
        """The next mini-batch and the place after it; empty at the end of an epoch."""
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
        self._ready: deque[Rows] = deque()
        # Where the batches that are ready begin, how many of them were taken, and the place after them all.
        self._start, self._taken = plan.cursor._replace(skip=0), 0
        self._after = self._start
        for _ in range(plan.cursor.skip):
            self.next()

    def next(self) -> tuple[Rows, Cursor]:
        """The next mini-batch and the place after it; empty at the end of an epoch."""
        if not self._ready:
            self._gather()
        if not self._ready:
            self._start = self._after = Cursor(self._start.epoch + 1)
            return self._reader.empty(0), self._start
        batch = self._ready.popleft()
        self._taken += 1
        if not self._ready:
            self._start, self._taken = self._after, 0
        return batch, self._start._replace(skip=self._taken)

    def _gather(self) -> None:
        epoch, ordinal, offset, _ = self._start
        count, *place = self._order.fill_table(epoch, ordinal, offset, self._rows)
        self._after = Cursor(epoch, *place)
        whole = self._reader.empty(count)
        self._reader.gather_into(self._rows[:count], whole)
        self._ready.extend(whole.part(start, start + self._batch) for start in range(0, count, self._batch))


class FilePass:
    """Takes mini-batches from an engine that decodes ahead; each has memory of its own."""

    def __init__(self, engine: _core.Engine, plan: Plan) -> None:
        self._engine, self._size = engine, plan.size

    def next(self) -> tuple[Rows, Cursor]:
        """The next mini-batch and the place after it; empty at the end of an epoch."""
        width, target, weight = self._engine.shape
        rows = Rows(
            empty("x", (self._size, width)),
            empty("y", (self._size,)) if target else None,
            empty("weight", (self._size,)) if weight else None,
        )
        count, *place = self._engine.next_into(*rows)
        return rows.part(0, count), Cursor(*place)
