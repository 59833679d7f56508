"""Mini-batches of a table in an order that is a pure function of (seed, epoch, position).

>>> import numpy as np
>>> from amortix.data.table import Table
>>> stream = Stream(Table.open((np.ones((5, 2)), np.zeros(5))), batch=2)
>>> [x.shape for x, y in stream]
[(2, 2), (2, 2), (1, 2)]
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from amortix.data._arrays import whole
from amortix.data._passes import START, Cursor, MiniBatch, Pass, Plan
from amortix.data.table import Table
from amortix.errors import StateError

if TYPE_CHECKING:
    from amortix.data.encoder import TableEncoder

Part = Literal["fit", "held", "all"]
#: Raised where the same settings give another order than before: a place in one means nothing in the other.
ORDER = 2


class Stream:
    """Iterates over (x ``[B, D]``, y ``[B]`` or None), float32, and a weight ``[B]`` where the table has weights.

    Arrays are shuffled as a whole; files by groups, and within each group. With a window, files are shuffled within
    each window of a group and arrays by windows, in random order: memory and disk then see only one window at a time.
    Which rows are held out depends on the row number alone, so that streams of other seeds, epochs or orders never mix
    the parts. Each ``for`` starts at the beginning, except the first one after `load_state_dict`, which goes on
    from there. Files are decoded ahead by a thread, which ends with its ``for``. A stream may be pickled where its
    table may; a pass that is under way may not, nor does it survive a fork.

    Args:
        table: where rows come from.
        batch: B; the last batch of an epoch may be smaller.
        seed: of the order, from 0 to 2⁶⁴ - 1.
        shuffle: False for the table's own order.
        window: rows that are shuffled together; None for all rows of an array or of a group.
        shard: (index, count): every row is in exactly one of ``count`` shards, which are equal ranges of the rows.
        holdout: share of the rows that are held out.
        part: ``"fit"`` for the rows that are not, ``"held"`` for those that are, ``"all"`` for both.
        epochs: passes over the table.
        drop_last: leave out the smaller last batch of an epoch.
        encoder: turns the raw columns into x; None where all are numbers without gaps.
        memory: bytes that decoded rows of a file may take, the mini-batch aside; None for one window and a
            read-ahead of 4 MiB or one window, whichever is more.

    Raises:
        ConfigError: a setting is out of range.
        SourceError: the encoder was fitted on other columns; the first is named.
    """

    def __init__(
        self,
        table: Table,
        *,
        batch: int = 512,
        seed: int = 0,
        shuffle: bool = True,
        window: int | None = None,
        shard: tuple[int, int] = (0, 1),
        holdout: float = 0.0,
        part: Part = "fit",
        epochs: int = 1,
        drop_last: bool = False,
        encoder: TableEncoder | None = None,
        memory: int | None = None,
    ) -> None:
        if encoder is not None:
            encoder.check(table)
        self.table, self.encoder = table, encoder
        self.epochs, self.batch = whole("epochs", epochs, 0), whole("batch", batch, 1)
        self.drop_last = drop_last
        index, count = (whole("shard", number, 0) for number in shard)
        settings = {
            "seed": whole("seed", seed, 0, 2**64 - 1),
            "shuffle": bool(shuffle),
            "shard": (index, count),
            "holdout": float(holdout),
            "part": part,
        }
        self._plan = Plan(
            settings,
            None if window is None else whole("window", window, 1),
            self.batch,
            self.epochs,
            None if memory is None else whole("memory", memory, 1),
            table.rows,
        )
        self._plan.order(table.groups, None)  # Names what is out of range now, not at the first batch.
        # As JSON gives them back, so that a state can be compared.
        self._settings = settings | {"shard": [index, count], "batch": self.batch, "window": window, "order": ORDER}
        self._cursor = START
        self._resume = False
        self._rows: int | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns of x."""
        return self.table.columns if self.encoder is None else self.encoder.columns

    @property
    def shard(self) -> tuple[int, int]:
        """Which shard this is, and of how many."""
        index, count = self._settings["shard"]
        return index, count

    @property
    def rows(self) -> int:
        """Rows of one epoch, in this shard and part; counted at the first use."""
        if self._rows is None:
            self._rows = self._plan.order(self.table.groups, None).count()
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        cursor = self._cursor if self._resume else START
        self._cursor, self._resume = cursor, False
        return _Batches(self, cursor)

    def split(self, index: int, count: int, *, epochs: int | None = None) -> Stream:
        """One of ``count`` equal parts of this stream, at its beginning: a shard of the shard, with all else the same.

        Args:
            index: which part, from 0 to ``count - 1``.
            count: how many.
            epochs: passes over the part; None for as many as this stream has.

        Raises:
            ConfigError: a number is out of range.
        """
        whole("index", index, 0, whole("count", count, 1) - 1)
        same = {name: value for name, value in self._settings.items() if name not in ("shard", "order")}
        own, of = self.shard
        return Stream(
            self.table,
            shard=(own * count + index, of * count),
            epochs=self.epochs if epochs is None else epochs,
            drop_last=self.drop_last,
            encoder=self.encoder,
            memory=self._plan.memory,
            **same,
        )

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch that was delivered, with what it holds for; fit for JSON."""
        epoch, ordinal, offset, skip = self._cursor
        return {
            "epoch": epoch,
            "position": [ordinal, offset, skip],
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
            ordinal, offset, skip = state["position"]
            ordinal, offset, skip = (whole("position", number, 0) for number in (ordinal, offset, skip))
            cursor = (whole("epoch", state["epoch"], 0), ordinal, offset, skip)
        except (TypeError, ValueError) as error:
            raise StateError(f"the stream's position cannot be read: {error}") from error
        self._cursor, self._resume = cursor, True

    def begin(self, cursor: Cursor) -> Pass:
        """A pass over the table from a place on."""
        return self.table.begin(self._plan.at(cursor), self.encoder)


class _Batches:
    """Iterates over one pass; threads that share it take turns, and each batch comes once."""

    def __init__(self, stream: Stream, cursor: Cursor) -> None:
        self._stream, self._cursor = stream, cursor
        self._pass: Pass | None = None
        self._turn = threading.Lock()

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> MiniBatch:
        stream = self._stream
        with self._turn:
            while self._cursor[0] < stream.epochs:
                # Begun with the first batch, so that an iterator that nobody uses starts no thread.
                self._pass = self._pass or stream.begin(self._cursor)
                batch, self._cursor = self._pass.next()
                stream._cursor = self._cursor
                if batch is not None and not (stream.drop_last and len(batch[0]) < stream.batch):
                    return batch
            self._pass = None
            raise StopIteration
