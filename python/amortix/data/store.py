"""Rows kept for late queries: all of them up to a byte budget, a weighted sample of them beyond it.

>>> import numpy as np
>>> store = RowStore(3, bytes=4000, seed=0)
>>> store.extend(np.zeros((250, 3), np.float32), np.zeros(250, np.float32))
>>> len(store), store.seen, store.x.shape
(100, 250, (100, 3))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from amortix import _core
from amortix.data._arrays import Floats, Integers, IntegersLike, empty, integers, whole
from amortix.data._files import read_arrays, write_arrays
from amortix.errors import AmortixError, ArrayError, ConfigError, FormatError, StateError

# Beside its columns a row takes a target and a weight (float32), its number, its key and a place in their order.
_BESIDE = 4 + 4 + 8 + 8 + 4
# From here on float16 rounds to infinity.
_TOO_LARGE = 65_520


class RowStore:
    """A reservoir of rows: those with the largest keys ln(u) / weight, u a pure function of (seed, row number).

    What is kept does not depend on the order of the rows, and stores of disjoint parts of a stream merge exactly.
    Below the budget all rows are kept, in the order in which they came.

    References:
        Efraimidis, Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97
        (2006), algorithm A-ES.

    Args:
        features: D.
        bytes: budget; a row takes `row_bytes`.
        seed: from 0 to 2⁶⁴ - 1.
        dtype: how x is stored, float32 or float16; float16 rounds.

    Attributes:
        seen: how many rows were offered.
        capacity: how many rows are kept at most.

    Raises:
        ConfigError: a setting is out of range.
        ArrayError: the budget cannot be allocated.
    """

    def __init__(self, features: int, *, bytes: int, seed: int, dtype: DTypeLike = np.float32) -> None:
        self.features = whole("features", features, 1)
        self.seed = whole("seed", seed, 0, 2**64 - 1)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float16):
            raise ConfigError(f"`dtype` must be float32 or float16, not {self.dtype}")
        self.seen = 0
        self._allocate(whole("bytes", bytes, 0) // self.row_bytes(self.features, self.dtype))

    @staticmethod
    def row_bytes(features: int, dtype: DTypeLike = np.float32) -> int:
        """What a row takes of the budget."""
        return np.dtype(dtype).itemsize * features + _BESIDE

    def __len__(self) -> int:
        return self._taken

    @property
    def x(self) -> NDArray[Any]:
        """The rows kept, ``[n, D]`` as stored, a read-only view."""
        return self._view(self._x)

    @property
    def y(self) -> Floats:
        """Their targets, ``[n]``, a read-only view."""
        return self._view(self._y)

    @property
    def weight(self) -> Floats:
        """Their weights, ``[n]``, a read-only view."""
        return self._view(self._weight)

    @property
    def rows(self) -> Integers:
        """Their numbers, ``[n]``, a read-only view."""
        return self._view(self._rows)

    @property
    def keys(self) -> NDArray[np.float64]:
        """Their keys, ``[n]``, a read-only view: the rows with the largest are kept."""
        return self._view(self._keys)

    def extend(
        self, x: NDArray[Any], y: Floats, *, weight: Floats | None = None, rows: IntegersLike | None = None
    ) -> None:
        """Offer rows.

        Args:
            x: ``[B, D]`` float32, or of the store's dtype.
            y: ``[B]`` float32.
            weight: ``[B]`` float32, 0 or more; 1 by default. A row of weight 0 is kept only while there is room.
            rows: ``[B]``, the row numbers, which differ; by default they go on from `seen`.

        Raises:
            ArrayError: wrong shape, dtype or values; nothing has changed then.
        """
        numbers = np.arange(self.seen, self.seen + len(y)) if rows is None else integers("rows", rows)
        weight = np.ones(len(y), np.float32) if weight is None else weight
        self._check(x, y, weight, numbers)
        places, before = np.empty(len(y), np.int64), self._taken
        own = {"keys": self._keys, "kept_rows": self._rows, "kept_weights": self._weight, "heap": self._heap}
        self._taken = _core.store_offer_into(numbers, weight, places, seed=self.seed, taken=before, **own)
        if self._taken == before + len(y):
            self._x[before : self._taken], self._y[before : self._taken] = x, y
        else:
            kept = np.flatnonzero(places >= 0)
            self._x[places[kept]], self._y[places[kept]] = x[kept], y[kept]
        self.seen += len(y)

    def scan(self, batch: int) -> Iterator[tuple[Floats, Floats, Floats]]:
        """The rows kept, at most ``batch`` at a time: x ``[b, D]``, y ``[b]`` and weight ``[b]``, float32.

        All are read-only; x is a copy only where it is stored as float16.
        """
        size = whole("batch", batch, 1)
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.x[part].astype(np.float32, copy=False), self.y[part], self.weight[part]

    def merge(self, other: RowStore) -> None:
        """Take in the rows of a store over another part of the stream, with row numbers of its own.

        The outcome is, up to the order of the rows, that of one store that was offered all of them.

        Raises:
            StateError: the stores have other columns or seeds, or the other has dropped rows that this one has
                room for; nothing has changed then.
        """
        if (self.features, self.seed) != (other.features, other.seed):
            raise StateError("only row stores with the same number of columns and the same seed can be merged")
        if other.seen > len(other) and other.capacity < self.capacity:
            raise StateError(
                f"a store that kept {other.capacity} rows of {other.seen} cannot be merged into one with room for "
                f"{self.capacity}: merge the other way round, or give both the same budget"
            )
        if np.isin(other.rows, self.rows).any():
            raise StateError("the stores share row numbers: pass `rows` to extend, other ones for each part")
        seen = self.seen + other.seen
        x = other.x if other.dtype == self.dtype else other.x.astype(np.float32)
        self.extend(x, other.y, weight=other.weight, rows=other.rows)
        self.seen = seen

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of the rows with their weights and numbers, how many were seen, and the seed."""
        arrays = {"x": self.x, "y": self.y, "weight": self.weight, "rows": self.rows}
        single = {"seen": np.array([self.seen]), "seed": np.array([self.seed], np.uint64)}
        return {name: array.copy() for name, array in arrays.items()} | single

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a saved store, with its seed. Where rows were already being dropped, its capacity is kept.

        Raises:
            StateError: it has other columns or another dtype, does not fit the budget, or was saved beyond its
                budget by a release that kept no row numbers; nothing has changed then.
        """
        x, y, seen = self._fit(state)
        if seen > len(y):
            self._allocate(len(y))
        n = self._taken = len(y)
        self._x[:n], self._y[:n] = x, y
        self._weight[:n] = state.get("weight", 1)
        self._rows[:n] = state.get("rows", np.arange(n))
        self.seed, self.seen = int(state.get("seed", [self.seed])[0]), seen
        own = {"keys": self._keys, "kept_rows": self._rows, "kept_weights": self._weight, "heap": self._heap}
        _core.store_adopt_into(seed=self.seed, taken=n, **own)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, NDArray[Any]], features: int) -> Self:
        """A store of ``features`` columns with room for the saved rows and no more.

        Raises:
            StateError: as for `load_state_dict`.
        """
        if missing := {"x", "y", "seen"} - set(state):
            raise StateError(f"the state of the row store lacks {min(missing)!r}")
        dtype = np.float16 if state["x"].dtype == np.float16 else np.float32
        store = cls(features, bytes=len(state["y"]) * cls.row_bytes(features, dtype), seed=0, dtype=dtype)
        store.load_state_dict(state)
        return store

    def save(self, path: str | Path) -> None:
        """Write the store to a safetensors file, whole or not at all.

        Raises:
            OSError: the disk is full or the place cannot be written.
        """
        settings = {"features": self.features, "capacity": self.capacity, "dtype": self.dtype.name}
        write_arrays(path, "row store", settings, self.state_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The store that `save` wrote, which goes on as if never saved.

        Raises:
            FormatError: the file is missing, damaged or holds something else.
        """
        settings, arrays = read_arrays(path, "row store")
        try:
            row = cls.row_bytes(settings["features"], settings["dtype"])
            size = whole("capacity", settings["capacity"], 0) * row
            store = cls(settings["features"], bytes=size, seed=0, dtype=settings["dtype"])
            store.load_state_dict(arrays)
        except (AmortixError, KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{path} is damaged: its parts do not fit each other ({error})") from None
        return store

    def _allocate(self, capacity: int) -> None:
        # Pages are used only as rows arrive: np.empty touches none.
        self._x, self._y = empty("rows", (capacity, self.features), self.dtype), empty("targets", (capacity,))
        if capacity >= 2**32:
            raise ConfigError(f"`bytes` leaves room for {capacity} rows, but a store keeps fewer than 2³²")
        self._weight, self._rows = empty("weights", (capacity,)), empty("numbers", (capacity,), np.int64)
        self._keys, self._heap = empty("keys", (capacity,), np.float64), empty("order", (capacity,), np.uint32)
        self.capacity, self._taken = capacity, 0

    def _check(self, x: NDArray[Any], y: Floats, weight: Floats, rows: Integers) -> None:
        for name, array, dtypes in (
            ("x", x, {np.dtype(np.float32), self.dtype}),
            ("y", y, {np.dtype(np.float32)}),
            ("weight", weight, {np.dtype(np.float32)}),
        ):
            if not isinstance(array, np.ndarray) or array.dtype not in dtypes:
                raise ArrayError(f"`{name}` must be a float32 array: convert it with numpy.asarray({name}, 'float32')")
        size = len(x) if x.ndim == 2 else -1
        for name, shape, expected in (
            ("x", x.shape, (size, self.features)),
            ("y", y.shape, (size,)),
            ("weight", weight.shape, (size,)),
            ("rows", rows.shape, (size,)),
        ):
            if shape != expected:
                raise ArrayError(f"`{name}` has shape {list(shape)}: x must be [B, {self.features}], the others [B]")
        if self.dtype == np.float16 and x.dtype != self.dtype and (np.abs(x) >= _TOO_LARGE).any():
            raise ArrayError(f"x holds numbers of {_TOO_LARGE:,} or more, too large for float16: scale its columns")

    def _fit(self, state: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], Floats, int]:
        if missing := {"x", "y", "seen"} - set(state):
            raise StateError(f"the state of the row store lacks {min(missing)!r}")
        x, y, seen = state["x"], state["y"], int(state["seen"].reshape(-1)[0])
        if x.dtype != self.dtype or y.dtype != np.float32 or x.shape != (len(y), self.features):
            raise StateError(
                f"the row store's rows must be {self.dtype} [n, {self.features}], not {x.dtype} {list(x.shape)}"
            )
        if len(y) > self.capacity or seen < len(y):
            raise StateError(f"{len(y)} of {seen} rows do not fit a store of {self.capacity}: allow more bytes")
        if seen > len(y) and "rows" not in state:
            raise StateError(
                "the row store was saved beyond its budget by an earlier release: adapt to the table again"
            )
        for name, dtype in (("weight", np.float32), ("rows", np.int64)):
            if name in state and (state[name].shape != y.shape or state[name].dtype != dtype):
                raise StateError(f"{name!r} of the row store must be {np.dtype(dtype)} {list(y.shape)}")
        if not ((weight := state.get("weight", np.ones(0))) >= 0).all() or not np.isfinite(weight).all():
            raise StateError("a weight of the row store is negative or not finite")
        return x, y, seen

    def _view(self, array: NDArray[Any]) -> NDArray[Any]:
        view = array[: self._taken]
        view.flags.writeable = False
        return view
