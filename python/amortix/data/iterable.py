"""Mini-batches of one size from any iterable of pieces of rows, such as a generator or a reader of record batches.

>>> import numpy as np
>>> pieces = [(np.ones((3, 2)), np.zeros(3)), (np.ones((2, 2)), np.zeros(2))]
>>> [x.shape for x, y in IterableStream(pieces, batch=2)]
[(2, 2), (2, 2), (1, 2)]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from amortix import _core
from amortix.data._arrays import Floats, whole
from amortix.errors import SourceError, StateError


class IterableStream:
    """Iterates over (x ``[B, D]``, y ``[B]``) or (x, y, weight ``[B]``), float32, as pieces have two or three parts.

    Pieces may be of any length; they are converted to float32, and values must be finite. With a window, rows are
    shuffled within each window: the order is a pure function of (seed, number of the window, its length).

    Args:
        pieces: an iterable of (X, y) or (X, y, weight) with X ``[n, D]``. To resume it must start anew with every
            ``for``, as a list or a data set does and a generator does not.
        batch: B; the last batch may be smaller.
        window: rows that are shuffled together and held in memory; None for the order in which they come.
        seed: of the order, from 0 to 2⁶⁴ - 1.
    """

    def __init__(
        self, pieces: Iterable[tuple[Any, ...]], *, batch: int = 512, window: int | None = None, seed: int = 0
    ) -> None:
        self.pieces, self.batch = pieces, whole("batch", batch, 1)
        self.window = None if window is None else whole("window", window, 1)
        self.seed = whole("seed", seed, 0, 2**64 - 1)
        self._delivered = self._skip = 0

    def __iter__(self) -> Iterator[tuple[Floats, ...]]:
        skip, self._skip = self._skip, 0
        self._delivered = 0
        for rows in _cut(self._windows(), self.batch):
            self._delivered += len(rows[0])
            if self._delivered > skip:
                yield rows

    def state_dict(self) -> dict[str, Any]:
        """How many rows were delivered; fit for JSON."""
        return {"rows": self._delivered, "batch": self.batch, "window": self.window, "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next ``for`` go on where ``state`` was taken: it reads the pieces again and leaves those rows out.

        Raises:
            StateError: the state is of other settings.
        """
        own = self.state_dict()
        for name in ("batch", "window", "seed"):
            if state.get(name) != own[name]:
                raise StateError(f"the state was saved with {name}={state.get(name)!r}, but this is {own[name]!r}")
        self._skip = whole("rows", state.get("rows", -1), 0)

    def _windows(self) -> Iterator[tuple[Floats, ...]]:
        pieces = (_checked(number, piece) for number, piece in enumerate(self.pieces))
        if self.window is None:
            yield from pieces
            return
        for number, rows in enumerate(_cut(pieces, self.window)):
            size = len(rows[0])
            settings: dict[str, Any] = {"shard": (0, 1), "holdout": 0.0, "part": "all", "window": None}
            order = _core.Order(np.array([size], np.int64), seed=self.seed, shuffle=True, **settings)
            places = np.empty(size, np.int64)
            order.fill_table(number, 0, 0, places)
            yield tuple(part[places] for part in rows)


def _checked(number: int, piece: Any) -> tuple[Floats, ...]:
    if not isinstance(piece, tuple | list) or len(piece) not in (2, 3):
        raise SourceError(f"piece {number} must be (X, y) or (X, y, weight), not {type(piece).__name__}")
    parts = tuple(np.ascontiguousarray(part, np.float32) for part in piece)
    if parts[0].ndim != 2 or any(part.shape != parts[0].shape[:1] for part in parts[1:]):
        shapes = [list(part.shape) for part in parts]
        raise SourceError(f"piece {number} must have X [n, D] and one number a row beside it, not {shapes}")
    if not all(np.isfinite(part).all() for part in parts):
        raise SourceError(f"piece {number} has a value that is missing or no finite float32: fill it in first")
    return parts


def _cut(pieces: Iterable[tuple[Floats, ...]], size: int) -> Iterator[tuple[Floats, ...]]:
    """The same rows in pieces of ``size``; the last may be smaller."""
    held: list[tuple[Floats, ...]] = []
    count = 0
    for piece in pieces:
        if held and [part.shape[1:] for part in piece] != [part.shape[1:] for part in held[0]]:
            raise SourceError("the pieces have different numbers of columns, or some have weights and some not")
        held.append(piece)
        count += len(piece[0])
        if count < size:
            continue
        rows = tuple(np.concatenate(parts) for parts in zip(*held, strict=True))
        whole_ones = count - count % size
        for start in range(0, whole_ones, size):
            yield tuple(part[start : start + size] for part in rows)
        held, count = [tuple(part[whole_ones:] for part in rows)], count - whole_ones
    if count:
        yield tuple(np.concatenate(parts) for parts in zip(*held, strict=True))
