"""Persistent slots of (task, state, age) for training on long horizons at the cost of one step.

>>> import numpy as np
>>> pool = StatePool(4, {"value": ((2,), np.float32)}, seed=0, horizon=(1, 8))
>>> slots = pool.draw(2)
>>> pool.scatter_from(slots, {"value": np.ones((2, 2), np.float32)})
>>> pool.gather(slots)["value"].tolist()
[[1.0, 1.0], [1.0, 1.0]]
>>> pool.advance(slots).shape
(2,)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from amortix import _core
from amortix.data._arrays import Integers, IntegersLike, Memory, empty, integers, memory, whole
from amortix.data._files import read_arrays, write_arrays
from amortix.errors import AmortixError, ArrayError, ConfigError, FormatError, StateError


@final
@dataclass(frozen=True)
class Uniform:
    """Every slot is equally likely."""

    def draw_into(self, seed: int, draw: int, ages: Integers, out: Integers) -> None:
        """Fill ``out`` with different slots, a pure function of the arguments."""
        _core.pool_draw_into(seed, draw, len(ages), out)


@final
@dataclass(frozen=True)
class ByAge:
    """Each octave of age (0, 1, 2-3, 4-7, 8-15 …) gives equally many slots, as far as it has them.

    What an octave lacks is shared out among the others. So old states, of which a pool with log-uniform horizons
    has few, are seen as often as young ones.
    """

    def draw_into(self, seed: int, draw: int, ages: Integers, out: Integers) -> None:
        """Fill ``out`` with different slots, a pure function of the arguments."""
        _core.pool_draw_by_age_into(seed, draw, ages, out)


_POLICIES = {"uniform": Uniform(), "by age": ByAge()}


class StatePool:
    """Slots that keep a task, its age and the fields of its state between draws.

    Every slot starts with a task of its own. When a task reaches its horizon, the slot gets a task that no
    slot has had, and its fields their initial values. All is a pure function of the seed and the calls.

    Memory that is passed in may be NumPy's or that of a torch tensor on the CPU, pinned or not.

    Args:
        slots: how many.
        fields: shape (of one slot) and dtype, float32 or int64, by name.
        seed: from 0 to 2⁶⁴ - 1.
        horizon: (low, high): a task goes on for log-uniformly many steps, equal ends fix them; None: until `reset`.
        policy: which slots are drawn, `Uniform` or `ByAge`.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        slots: int,
        fields: Mapping[str, tuple[tuple[int, ...], DTypeLike]],
        *,
        seed: int,
        horizon: tuple[int, int] | None = (1, 400),
        policy: Uniform | ByAge = _POLICIES["uniform"],
    ) -> None:
        self.slots = whole("slots", slots, 1)
        self.seed = whole("seed", seed, 0, 2**64 - 1)
        self.horizon = None if horizon is None else _range(horizon)
        if policy not in _POLICIES.values():
            raise ConfigError(f"`policy` must be Uniform() or ByAge(), not {policy!r}")
        self.policy = policy
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

    def set_initial(self, name: str, value: Memory) -> None:
        """What the field is set to where a slot starts anew; slots of age 0 get it now.

        Args:
            name: the field.
            value: of the field's shape and dtype.
        """
        shape, dtype = self._field(name)
        array = memory(name, value)
        if array.shape != shape or array.dtype != dtype:
            raise ArrayError(f"{name!r} must be {dtype} {list(shape)}, not {array.dtype} {list(array.shape)}")
        self._initial[name] = array.copy()
        self._values[name][self._ages == 0] = array.ravel()

    def draw(self, n: int) -> Integers:
        """``n`` different slots at random by the policy, ``[n]``."""
        out = np.empty(whole("n", n, 0, self.slots), np.int64)
        self.policy.draw_into(self.seed, int(self._counters[1]), self._ages, out)
        self._counters[1] += 1
        return out

    def tasks(self, slots: IntegersLike) -> Integers:
        """The task of each slot, ``[n]``."""
        return self._tasks[self._checked(slots)]

    def ages(self, slots: IntegersLike) -> Integers:
        """How many steps each slot's task has taken, ``[n]``."""
        return self._ages[self._checked(slots)]

    def gather(self, slots: IntegersLike, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """Fields of some slots, ``[n, *shape]`` by name; all fields by default.

        Raises:
            ArrayError: a slot does not exist.
            ConfigError: a field does not exist.
        """
        rows = integers("slots", slots)
        out = {}
        for name in self.fields if names is None else names:
            shape, dtype = self._field(name)
            out[name] = empty(name, (rows.size, *shape), dtype)
        self.gather_into(rows, out)
        return out

    def gather_into(self, slots: IntegersLike, out: Mapping[str, Memory]) -> None:
        """Copy fields of some slots to the memory in ``out``, ``[n, *shape]`` by name.

        Raises:
            ArrayError: memory has another shape, dtype or order, or a slot does not exist.
            ConfigError: a field does not exist.
        """
        rows = integers("slots", slots)
        arrays = [self._bytes(name, "out", rows, array) for name, array in out.items()]
        _core.pool_gather_into([self._values[name].view(np.uint8) for name in out], rows, arrays)

    def scatter_from(self, slots: IntegersLike, values: Mapping[str, Memory]) -> None:
        """Copy values, ``[n, *shape]`` by name, to fields of some slots; of a slot given twice the later row stays.

        Raises:
            ArrayError: values have another shape, dtype or memory order, or a slot does not exist.
            ConfigError: a field does not exist.
        """
        rows = integers("slots", slots)
        arrays = [self._bytes(name, "values", rows, array) for name, array in values.items()]
        _core.pool_scatter_into(arrays, rows, [self._values[name].view(np.uint8) for name in values])

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
        self._start(rows[finished])
        return finished

    def reset(self, slots: IntegersLike) -> None:
        """Give slots fresh tasks of age 0 and their fields the initial values, whatever the horizon.

        Raises:
            ArrayError: a slot does not exist.
        """
        rows = integers("slots", slots)
        self._counters[0] = _core.pool_reset_into(rows, self._tasks, self._ages, next_task=int(self._counters[0]))
        self._start(rows)

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

    def save(self, path: str | Path) -> None:
        """Write the pool to a safetensors file, whole or not at all.

        Raises:
            OSError: the disk is full or the place cannot be written.
        """
        settings = {
            "slots": self.slots,
            "fields": {name: [list(shape), dtype.name] for name, (shape, dtype) in self.fields.items()},
            "seed": self.seed,
            "horizon": self.horizon,
            "policy": next(name for name, policy in _POLICIES.items() if policy == self.policy),
        }
        write_arrays(path, "state pool", settings, self._arrays())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The pool that `save` wrote, to the bit.

        Raises:
            FormatError: the file is missing, damaged or holds something else.
        """
        settings, arrays = read_arrays(path, "state pool")
        try:
            fields = {name: (tuple(shape), dtype) for name, (shape, dtype) in settings.pop("fields").items()}
            slots, policy = settings.pop("slots"), _POLICIES[settings.pop("policy")]
            horizon = settings.pop("horizon")
            pool = cls(slots, fields, policy=policy, horizon=horizon and (horizon[0], horizon[1]), **settings)
            pool.restore(arrays)
        except (AmortixError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{path} is damaged: its parts do not fit each other ({error})") from None
        return pool

    def _start(self, rows: Integers) -> None:
        for name, initial in self._initial.items():
            self._values[name][rows] = initial.ravel()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        fixed = {"tasks": self._tasks, "ages": self._ages, "counters": self._counters}
        values = {f"field.{name}": array for name, array in self._values.items()}
        return fixed | values | {f"initial.{name}": array for name, array in self._initial.items()}

    def _field(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        if name not in self.fields:
            raise ConfigError(f"the pool has no field {name!r}: it has {', '.join(self.fields)}")
        return self.fields[name]

    def _bytes(self, name: str, role: str, rows: Integers, given: Memory) -> NDArray[np.uint8]:
        """``given`` as a view of its bytes ``[n, width]``, where it is ``[n, *shape]`` without gaps."""
        shape, dtype = self._field(name)
        array = memory(role, given)
        if array.shape != (rows.size, *shape) or array.dtype != dtype:
            raise ArrayError(
                f"`{role}` of {name!r} must be {dtype} {[rows.size, *shape]}, not {array.dtype} {list(array.shape)}"
            )
        if not array.flags.c_contiguous:
            raise ArrayError(f"`{role}` of {name!r} must be C-contiguous: pass numpy.ascontiguousarray of it")
        return array.reshape(rows.size, prod(shape)).view(np.uint8)

    def _checked(self, slots: IntegersLike) -> Integers:
        rows = integers("slots", slots)
        if rows.size and not 0 <= rows.min() <= rows.max() < self.slots:
            raise ArrayError(f"`slots` must be from 0 to {self.slots - 1}")
        return rows


def _range(horizon: tuple[int, int]) -> tuple[int, int]:
    low, high = horizon
    return whole("horizon", low, 1), whole("horizon", high, low)
