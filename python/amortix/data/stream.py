"""Mini-batches of a table in an order that is a pure function of (seed, epoch, position).

>>> import numpy as np
>>> from amortix.data.table import Table
>>> stream = Stream(Table.open((np.ones((5, 2)), np.zeros(5))), batch=2)
>>> [x.shape for x, y in stream]
[(2, 2), (2, 2), (1, 2)]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from amortix import _core
from amortix.data._arrays import Floats, empty, whole
from amortix.data._sources import Reader
from amortix.data.table import Table
from amortix.errors import StateError

Part = Literal["fit", "held", "all"]


class _Cursor(NamedTuple):
    """A place in the stream: groups finished in this epoch, and rows looked at in the current group."""

    epoch: int = 0
    ordinal: int = 0
    offset: int = 0


class Stream:
    """Iterates over (x ``[B, D]``, y ``[B]`` or None), float32, freshly allocated for each batch.

    Arrays are shuffled as a whole; files by groups, and within each group. Which rows are held out depends on
    the row number alone, so that streams of other seeds, epochs or orders never mix the parts. Each ``for``
    starts at the beginning, except the first one after `load_state_dict`, which goes on from there.

    Args:
        table: where rows come from.
        batch: B; the last batch of an epoch may be smaller.
        seed: of the order, from 0 to 2⁶⁴ - 1.
        shuffle: False for the table's own order.
        shard: (index, count): every row is in exactly one of ``count`` shards.
        holdout: share of the rows that are held out.
        part: ``"fit"`` for the rows that are not, ``"held"`` for those that are, ``"all"`` for both.
        epochs: passes over the table.
        drop_last: leave out the smaller last batch of an epoch.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        table: Table,
        *,
        batch: int = 512,
        seed: int = 0,
        shuffle: bool = True,
        shard: tuple[int, int] = (0, 1),
        holdout: float = 0.0,
        part: Part = "fit",
        epochs: int = 1,
        drop_last: bool = False,
    ) -> None:
        self.table = table
        self.epochs = whole("epochs", epochs, 0)
        self.drop_last = drop_last
        index, count = (whole("shard", number, 0) for number in shard)
        self.batch = whole("batch", batch, 1)
        order: dict[str, Any] = {
            "seed": whole("seed", seed, 0, 2**64 - 1),
            "shuffle": bool(shuffle),
            "shard": (index, count),
            "holdout": float(holdout),
            "part": part,
        }
        self._order = _core.Order(np.array(table.groups, np.int64), **order)
        # As JSON gives them back, so that a state can be compared.
        self._settings = order | {"shard": [index, count], "batch": self.batch}
        self._cursor = _Cursor()
        self._resume = False
        self._rows: int | None = None

    @property
    def rows(self) -> int:
        """Rows of one epoch, in this shard and part; counted at the first use."""
        if self._rows is None:
            self._rows = self._order.count()
        return self._rows

    def __iter__(self) -> Iterator[tuple[Floats, Floats | None]]:
        cursor = self._cursor if self._resume else _Cursor()
        self._cursor, self._resume = cursor, False
        reader = self.table.reader()
        while cursor.epoch < self.epochs:
            x, y, cursor = self._next(reader, cursor)
            self._cursor = cursor
            if len(x) == self.batch or (len(x) and not self.drop_last):
                yield x, y

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch that was delivered, with what it holds for; fit for JSON."""
        epoch, ordinal, offset = self._cursor
        return {
            "epoch": epoch,
            "position": [ordinal, offset],
            "fingerprint": self.table.fingerprint,
            "settings": dict(self._settings),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next ``for`` go on where ``state`` was taken.

        Raises:
            StateError: the state is of another table or of other settings; nothing has changed then.
        """
        own = self.state_dict()
        if not set(own) <= set(state):
            raise StateError(f"the state of the stream lacks {sorted(set(own) - set(state))[0]!r}")
        if state["fingerprint"] != own["fingerprint"]:
            raise StateError("the state belongs to another table: its columns, target or sizes differ")
        for name, value in own["settings"].items():
            if (saved := state["settings"].get(name)) != value:
                raise StateError(f"the state was saved with {name}={saved!r}, but this stream has {name}={value!r}")
        try:
            ordinal, offset = state["position"]
            cursor = _Cursor(*(whole("position", number, 0) for number in (state["epoch"], ordinal, offset)))
        except (TypeError, ValueError) as error:
            raise StateError(f"the stream's position cannot be read: {error}") from error
        self._cursor, self._resume = cursor, True

    def _next(self, reader: Reader, at: _Cursor) -> tuple[Floats, Floats | None, _Cursor]:
        """The next batch, empty only at the end of an epoch, and the place after it."""
        size = max(1, min(self.batch, self.table.rows))
        x = empty("x", (size, len(self.table.columns)))
        y = None if self.table.target is None else empty("y", (size,))
        rows, filled = np.empty(size, np.int64), 0
        while filled < size:
            found = self._order.fill(at.epoch, at.ordinal, at.offset, rows[filled:])
            if found is None:
                at = _Cursor(at.epoch + 1)
                break
            count, group, ordinal, offset = found
            part = slice(filled, filled + count)
            if count:
                reader.gather_into(group, rows[part], x[part], None if y is None else y[part])
            filled, at = filled + count, _Cursor(at.epoch, ordinal, offset)
        return x[:filled], None if y is None else y[:filled], at
