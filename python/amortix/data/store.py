"""Rows kept for late queries: all of them up to a byte budget, a uniform sample of them beyond it.

>>> import numpy as np
>>> store = RowStore(3, bytes=1600, seed=0)
>>> store.extend(np.zeros((250, 3), np.float32), np.zeros(250, np.float32))
>>> len(store), store.seen, store.x.shape
(100, 250, (100, 3))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._arrays import Floats, empty, whole
from amortix.errors import StateError


class RowStore:
    """A reservoir of rows. Whether and where a row is kept is a pure function of (seed, its number).

    References:
        Vitter, "Random sampling with a reservoir", ACM TOMS 11 (1985), algorithm R.

    Args:
        features: D.
        bytes: budget; a row takes 4 (D + 1).
        seed: from 0 to 2⁶⁴ - 1.

    Attributes:
        seen: how many rows were offered.
        capacity: how many rows are kept at most.
    """

    def __init__(self, features: int, *, bytes: int, seed: int) -> None:
        self.features = whole("features", features, 1)
        self.seed = whole("seed", seed, 0, 2**64 - 1)
        self.seen = 0
        self._allocate(whole("bytes", bytes, 0) // (4 * (self.features + 1)))

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    @property
    def x(self) -> Floats:
        """The rows kept, ``[n, D]``, a read-only view."""
        return _frozen(self._x[: len(self)])

    @property
    def y(self) -> Floats:
        """Their targets, ``[n]``, a read-only view."""
        return _frozen(self._y[: len(self)])

    def extend(self, x: Floats, y: Floats) -> None:
        """Offer rows.

        Args:
            x: ``[B, D]`` float32.
            y: ``[B]`` float32.

        Raises:
            ArrayError: wrong shape, dtype or memory order.
        """
        _core.store_extend_into(x, y, self._x, self._y, seed=self.seed, seen=self.seen)
        self.seen += len(y)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of the rows, and how many were seen."""
        return {"x": self.x.copy(), "y": self.y.copy(), "seen": np.array([self.seen])}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a saved store. Where rows were already being replaced, its capacity is kept.

        Raises:
            StateError: it has other columns or does not fit the budget; nothing has changed then.
        """
        if missing := {"x", "y", "seen"} - set(state):
            raise StateError(f"the state of the row store lacks {min(missing)!r}")
        x, y, seen = state["x"], state["y"], int(state["seen"].reshape(-1)[0])
        if x.dtype != np.float32 or y.dtype != np.float32 or x.shape != (len(y), self.features):
            raise StateError(
                f"the row store's rows must be float32 [n, {self.features}], not {x.dtype} {list(x.shape)}"
            )
        if len(y) > self.capacity or seen < len(y):
            raise StateError(f"{len(y)} of {seen} rows do not fit a store of {self.capacity}: allow more bytes")
        if seen > len(y):
            self._allocate(len(y))
        self._x[: len(y)], self._y[: len(y)] = x, y
        self.seen = seen

    def _allocate(self, capacity: int) -> None:
        # Pages are used only as rows arrive: np.empty touches none.
        self._x, self._y = empty("rows", (capacity, self.features)), empty("targets", (capacity,))
        self.capacity = capacity


def _frozen(array: Floats) -> Floats:
    array.flags.writeable = False
    return array
