"""The sampler that draws rows of the tasks of a family.

A family is a distribution over tasks, a task is its index, and every row is a pure function of
(seed, task, step, element): batch size, order, threads and platform do not change it.

>>> from amortix.data import Linear
>>> sampler = TaskSampler(Linear(dim=(2, 2)), seed=0)
>>> x, y = sampler.context([7, 8], [0, 0], batch=3)
>>> x.shape, y.shape
((2, 3, 2), (2, 3))
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

from amortix import _core
from amortix.data._arrays import Floats, Integers, IntegersLike, empty, integers, whole
from amortix.data.families import Causal, Family
from amortix.errors import ConfigError


class Sampler(Protocol):
    """What learners need of whatever draws tasks: the calls that `TaskSampler` and `ImageTasks` share."""

    @property
    def family(self) -> Family:
        """The distribution over tasks."""
        ...

    @property
    def features(self) -> int:
        """D."""
        ...

    @property
    def outputs(self) -> int:
        """O."""
        ...

    @property
    def classes(self) -> int:
        """The most classes of a task; 0 for regression."""
        ...

    def context(self, tasks: IntegersLike, steps: IntegersLike, batch: int) -> tuple[Floats, Floats]:
        """x ``[T, B, D]`` and y ``[T, B]`` of each (task, step)."""
        ...

    def query(self, tasks: IntegersLike, points: int) -> tuple[Floats, Floats, Floats]:
        """x ``[T, M, D]``, y ``[T, M]`` and signal ``[T, M, O]``, of rows that no context shows."""
        ...


@dataclass(frozen=True)
class ColumnFacts:
    """What a task tells of one of its columns.

    Attributes:
        role: ``"feature"``, ``"redundant"`` for a copy of another column, or ``"irrelevant"``.
        levels: codes of a categorical column, from 0 to ``levels - 1``; 0 for a numeric one.
        outliers: share of its cells that are thrown far out.
        missing: share of its cells that are missing.
        depends: whether another variable of the task decides which cells are missing.
    """

    role: str
    levels: int
    outliers: float
    missing: float
    depends: bool


class TaskSampler:
    """Draws tasks of one family and rows of these tasks.

    Task and step numbers are any int64, given as arrays or sequences of whole numbers.
    Columns beyond a task's own, and probabilities of classes beyond its own, are zero.

    Args:
        family: the distribution over tasks.
        seed: from 0 to 2⁶⁴ - 1; everything drawn is a pure function of it.

    Raises:
        ConfigError: a setting of the family is out of range.
    """

    def __init__(self, family: Family, *, seed: int) -> None:
        self.family = family
        self.seed = whole("seed", seed, 0, 2**64 - 1)
        create = getattr(_core.TaskSampler, family.name)
        try:
            self._core: _core.TaskSampler = create(self.seed, **dataclasses.asdict(family))
        except (OverflowError, TypeError) as error:
            raise ConfigError(f"a setting of {family} has the wrong type or sign: {error}") from error

    @property
    def features(self) -> int:
        """D, the columns of the widest task."""
        return self._core.features

    @property
    def outputs(self) -> int:
        """O, 1 for regression, else the most classes."""
        return self._core.outputs

    @property
    def classes(self) -> int:
        """The most classes of a task; 0 for regression."""
        return self._core.classes

    def context(
        self,
        tasks: IntegersLike,
        steps: IntegersLike,
        batch: int,
        *,
        out: tuple[Floats, Floats] | None = None,
    ) -> tuple[Floats, Floats]:
        """Context rows of each (task, step); a longer batch starts with the rows of a shorter one.

        Args:
            tasks: ``[T]``.
            steps: ``[T]``.
            batch: B.
            out: memory to write into, as the result.

        Returns:
            x ``[T, B, D]`` and y ``[T, B]``, float32; for classification y is the class index.

        Raises:
            ArrayError: shapes do not fit, or ``out`` cannot be written.
        """
        ids, at = integers("tasks", tasks), integers("steps", steps)
        rows = whole("batch", batch, 0)
        x, y = out or (empty("x", (ids.size, rows, self.features)), empty("y", (ids.size, rows)))
        self._core.context_into(ids, at, x, y)
        return x, y

    def query(self, tasks: IntegersLike, points: int, *, draw: int = 0) -> tuple[Floats, Floats, Floats]:
        """Query rows of each task, disjoint from every context; their inputs are multiplied by `query_scale`.

        Args:
            tasks: ``[T]``.
            points: M.
            draw: another number gives other rows.

        Returns:
            x ``[T, M, D]``, y ``[T, M]`` and signal ``[T, M, O]``: noise-free mean or class
            probabilities.
        """
        ids, rows = integers("tasks", tasks), whole("points", points, 0)
        x, y = empty("x", (ids.size, rows, self.features)), empty("y", (ids.size, rows))
        signal = empty("signal", (ids.size, rows, self.outputs))
        self._core.query_into(ids, whole("draw", draw, -(2**63)), x, y, signal)
        return x, y, signal

    def dims(self, tasks: IntegersLike) -> Integers:
        """Columns of each task, ``[T]``."""
        return self._core.dims(integers("tasks", tasks))

    def n_classes(self, tasks: IntegersLike) -> Integers:
        """Classes of each task, ``[T]``; 0 for regression."""
        return self._core.n_classes(integers("tasks", tasks))

    def noise(self, tasks: IntegersLike) -> Floats:
        """Noise standard deviation of each task, ``[T]``; 0 for classification."""
        return self._core.noise(integers("tasks", tasks))

    def columns(self, task: int) -> list[ColumnFacts]:
        """What is known of each column of a task, in their order; of tabular tasks more than that they are numeric."""
        (columns,) = self._core.columns(integers("tasks", [task]))
        return [ColumnFacts(*column) for column in columns]

    def weights(self, tasks: IntegersLike) -> Floats:
        """Weights of each task, ``[T, 1 + D, O]``, bias first; of linear and logistic families only.

        Raises:
            ConfigError: the family's signal is not linear.
        """
        return self._core.weights(integers("tasks", tasks))

    def parameters(self, tasks: IntegersLike) -> Floats:
        """What an oracle may know of each task, ``[T, P]``.

        Scale of the weights of linear and logistic tasks; length scale and amplitude of gp tasks; variance of a
        component and scale of the means of gmm tasks; the flattened `graph` of causal tasks.

        Raises:
            ConfigError: the family tells no parameters.
        """
        return self._core.parameters(integers("tasks", tasks))

    def graph(self, tasks: IntegersLike) -> Floats:
        """The graph of each causal task, ``[T, D + 1, D + 1]``: 1 at (cause, effect), the target last.

        Raises:
            ConfigError: the family is not causal.
        """
        if not isinstance(self.family, Causal):
            raise ConfigError(f"{self.family.name} tasks have no graph: only causal tasks do")
        size = self.features + 1
        return self.parameters(tasks).reshape(-1, size, size)


def normals(seed: int, count: int, *, out: Floats | None = None) -> Floats:
    """Standard normals of a seed, ``[count]``: the generator below every family.

    A longer output starts with a shorter one. Long outputs are made by all threads.

    Args:
        seed: from 0 to 2⁶⁴ - 1.
        count: how many.
        out: memory to write into, as the result.

    Raises:
        ArrayError: ``out`` cannot be written.
    """
    seed = whole("seed", seed, 0, 2**64 - 1)
    values = empty("normals", (whole("count", count, 0),)) if out is None else out
    _core.normals_into(seed, values)
    return values
