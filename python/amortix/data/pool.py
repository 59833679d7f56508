"""Persistent slots of (task, state, age) for training on long horizons at the cost of one step.

>>> import numpy as np
>>> pool = StatePool(4, {"value": ((2,), np.float32)}, seed=0, horizon=(1, 8))
>>> slots = pool.draw(2)
>>> pool.scatter_from("value", slots, np.ones((2, 2), np.float32))
>>> pool.advance(slots).shape
(2,)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from amortix import _core
from amortix.data._arrays import Integers, IntegersLike, empty, integers, whole
from amortix.errors import ArrayError, ConfigError, StateError


class StatePool:
    """Slots that keep a task, its age and the fields of its state between draws.

    Every slot starts with a task of its own. When a task reaches its horizon, the slot gets a task that no
    slot has had, and its fields their initial values. All is a pure function of the seed and the calls.

    Args:
        slots: how many.
        fields: shape (of one slot) and dtype, float32 or int64, by name.
        seed: from 0 to 2⁶⁴ - 1.
        horizon: (low, high): a task goes on for log-uniformly many steps.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        slots: int,
        fields: Mapping[str, tuple[tuple[int, ...], DTypeLike]],
        *,
        seed: int,
        horizon: tuple[int, int] = (1, 400),
    ) -> None:
        self.slots = whole("slots", slots, 1)
        self.seed = whole("seed", seed, 0, 2**64 - 1)
        self.horizon = (whole("horizon", horizon[0], 1), whole("horizon", horizon[1], horizon[0]))
        self.fields = {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in fields.items()}
        self._tasks, self._ages = np.arange(self.slots), np.zeros(self.slots, np.int64)
        # The next task that no slot has had, and how many draws there were.
        self._counters = np.array([self.slots, 0])
        self._values: dict[str, NDArray[Any]] = {}
        self._initial: dict[str, NDArray[Any]] = {}
        for name, (shape, dtype) in self.fields.items():
            if dtype not in (np.float32, np.int64):
                raise ConfigError(f"field {name!r} must be float32 or int64, not {dtype}")
            self._values[name] = empty(name, (self.slots, prod(shape)), dtype)
            self._values[name].fill(0)
            self._initial[name] = np.zeros(shape, dtype)

    def set_initial(self, name: str, value: NDArray[Any]) -> None:
        """What the field is set to where a slot starts anew; slots of age 0 get it now.

        Args:
            name: the field.
            value: of the field's shape and dtype.
        """
        shape, dtype = self._field(name)
        if value.shape != shape or value.dtype != dtype:
            raise ArrayError(f"{name!r} must be {dtype} {list(shape)}, not {value.dtype} {list(value.shape)}")
        self._initial[name] = value.copy()
        self._values[name][self._ages == 0] = value.ravel()

    def draw(self, n: int) -> Integers:
        """``n`` different slots at random, ``[n]``."""
        out = np.empty(whole("n", n, 0, self.slots), np.int64)
        _core.pool_draw_into(self.seed, int(self._counters[1]), self.slots, out)
        self._counters[1] += 1
        return out

    def tasks(self, slots: IntegersLike) -> Integers:
        """The task of each slot, ``[n]``."""
        return self._tasks[self._checked(slots)]

    def ages(self, slots: IntegersLike) -> Integers:
        """How many steps each slot's task has taken, ``[n]``."""
        return self._ages[self._checked(slots)]

    def gather_into(self, name: str, slots: IntegersLike, out: NDArray[Any]) -> None:
        """Copy a field of some slots to ``out``, ``[n, *shape]``.

        Raises:
            ArrayError: ``out`` has another shape, dtype or memory order, or a slot does not exist.
        """
        rows = integers("slots", slots)
        flat = self._flat(name, "out", rows, out)
        _core.pool_gather_into(self._values[name], rows, flat)

    def scatter_from(self, name: str, slots: IntegersLike, values: NDArray[Any]) -> None:
        """Copy ``values``, ``[n, *shape]``, to a field of some slots.

        Raises:
            ArrayError: ``values`` has another shape, dtype or memory order, or a slot does not exist.
        """
        rows = integers("slots", slots)
        flat = self._flat(name, "values", rows, values)
        _core.pool_scatter_into(flat, rows, self._values[name])

    def advance(self, slots: IntegersLike, steps: int = 1) -> NDArray[np.bool_]:
        """Let slots take steps.

        Args:
            slots: ``[n]``.
            steps: how many.

        Returns:
            ``[n]``, True where the task reached its horizon and the slot has started anew.
        """
        rows = integers("slots", slots)
        finished = np.zeros(rows.size, np.bool_)
        self._counters[0] = _core.pool_advance_into(
            rows,
            whole("steps", steps, 0),
            self._tasks,
            self._ages,
            finished,
            seed=self.seed,
            horizon=self.horizon,
            next_task=int(self._counters[0]),
        )
        for name, initial in self._initial.items():
            self._values[name][rows[finished]] = initial.ravel()
        return finished

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of all that changes, as arrays: what `restore` takes."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a snapshot, to the bit.

        Raises:
            StateError: it is of a pool with other slots or fields; nothing has changed then.
        """
        own = self._arrays()
        if set(arrays) != set(own):
            raise StateError(f"the snapshot and the pool differ in {sorted(set(arrays) ^ set(own))[0]!r}")
        for name, array in own.items():
            given = arrays[name]
            if given.shape != array.shape or given.dtype != array.dtype:
                raise StateError(
                    f"{name!r} of the snapshot is {given.dtype} {list(given.shape)}, "
                    f"but the pool needs {array.dtype} {list(array.shape)}"
                )
        for name, array in own.items():
            array[...] = arrays[name]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        fixed = {"tasks": self._tasks, "ages": self._ages, "counters": self._counters}
        values = {f"field.{name}": array for name, array in self._values.items()}
        return fixed | values | {f"initial.{name}": array for name, array in self._initial.items()}

    def _field(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        if name not in self.fields:
            raise ConfigError(f"the pool has no field {name!r}: it has {', '.join(self.fields)}")
        return self.fields[name]

    def _flat(self, name: str, role: str, rows: Integers, array: NDArray[Any]) -> NDArray[Any]:
        """``array`` as a view ``[n, width]``, where it is ``[n, *shape]`` without gaps."""
        shape, _ = self._field(name)
        if array.shape != (rows.size, *shape):
            raise ArrayError(f"`{role}` must have shape {[rows.size, *shape]}, but has {list(array.shape)}")
        if not array.flags.c_contiguous:
            raise ArrayError(f"`{role}` must be C-contiguous: pass numpy.ascontiguousarray({role})")
        return array.reshape(rows.size, prod(shape))

    def _checked(self, slots: IntegersLike) -> Integers:
        rows = integers("slots", slots)
        if rows.size and not 0 <= rows.min() <= rows.max() < self.slots:
            raise ArrayError(f"`slots` must be from 0 to {self.slots - 1}")
        return rows
