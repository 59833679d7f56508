"""Episodes of few-shot learning: N classes, K rows of each to learn from and Q others to be asked about.

>>> import numpy as np
>>> x, labels = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 4
>>> sampler = EpisodeSampler(x, labels, ways=3, shots=1, queries=2, seed=0)
>>> batch = sampler.draw(0, 5)
>>> batch.support_x.shape, batch.query_x.shape, batch.support_y[0].tolist()
((5, 3, 2), (5, 6, 2), [0.0, 1.0, 2.0])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._arrays import Floats, Integers, empty, integers, whole
from amortix.errors import ArrayError, ConfigError

#: Rows ``[rows, ...]`` in memory or mapped, or a function from row numbers ``[n]`` to rows ``[n, ...]``.
Source: TypeAlias = NDArray[Any] | Callable[[Integers], NDArray[Any]]


@dataclass(frozen=True)
class Episodes:
    """T episodes. Rows are in the order of the classes: the first K (or Q) are of class 0, and so on.

    Attributes:
        support_x: rows to learn from, ``[T, N·K, D]`` float32.
        support_y: their classes in the episode, ``[T, N·K]`` float32, whole numbers from 0 to N - 1.
        query_x: rows to be asked about, ``[T, N·Q, D]``.
        query_y: their classes, ``[T, N·Q]``.
        classes: which class of the sampler each class of the episode is, ``[T, N]``: places in `EpisodeSampler.labels`.
    """

    support_x: Floats
    support_y: Floats
    query_x: Floats
    query_y: Floats
    classes: Integers


@dataclass(frozen=True)
class _InMemory:
    """uint8 or float32 rows ``[rows, D]`` without gaps: read on all cores."""

    rows: NDArray[Any]

    def gather(self, rows: Integers, scale: float, out: Floats | None) -> Floats:
        to = _room((len(rows), self.rows.shape[1]), out)
        _core.episode_gather_into(self.rows, rows, scale, to)
        return to


@dataclass(frozen=True)
class _Elsewhere:
    """Rows that NumPy, or a function of the user's, has to read."""

    read: Callable[[Integers], NDArray[Any]]

    def gather(self, rows: Integers, scale: float, out: Floats | None) -> Floats:
        found = np.asarray(self.read(rows))
        if found.shape[:1] != rows.shape:
            raise ArrayError(f"the source gathered {list(found.shape)} where {len(rows)} rows were asked for")
        single = found.reshape(len(rows), prod(found.shape[1:])).astype(np.float32, copy=False)
        return np.multiply(single, np.float32(scale), out=_room(single.shape, out))


class EpisodeSampler:
    """Draws episodes; episode ``e`` is a pure function of (seed, e), the labels and the settings.

    Args:
        source: rows ``[rows, ...]``, whose further axes become D; or a function that gathers rows.
        labels: ``[rows]``, whole numbers or text.
        ways: N.
        shots: K.
        queries: Q; no row is both shown and asked about.
        seed: from 0 to 2⁶⁴ - 1.
        classes: labels that episodes may have, such as those of held-out alphabets; all by default.
        scale: what every number is multiplied by, such as 1/255.

    Attributes:
        labels: the labels that occur, ascending.

    Raises:
        ConfigError: a setting is out of range, there are too few classes, or one has too few rows.
        ArrayError: rows and labels do not fit each other.
    """

    def __init__(
        self,
        source: Source,
        labels: NDArray[Any] | Sequence[int] | Sequence[str],
        *,
        ways: int,
        shots: int,
        queries: int,
        seed: int,
        classes: NDArray[Any] | Sequence[int] | Sequence[str] | None = None,
        scale: float = 1.0,
    ) -> None:
        self.ways, self.shots = whole("ways", ways, 1), whole("shots", shots, 1)
        self.queries, self.seed = whole("queries", queries, 1), whole("seed", seed, 0, 2**64 - 1)
        self.scale = float(scale)
        given = np.asarray(labels)
        if not callable(source) and (source.ndim < 1 or given.shape != source.shape[:1]):
            raise ArrayError(f"`labels` must be one for each row of {list(source.shape)}, not {list(given.shape)}")
        self._source = _opened(source)
        self.labels, self._offsets, self._rows = _index(given)
        self._eligible = self._places(self.labels if classes is None else np.asarray(classes))
        self._check_sizes()

    def draw(self, first: int, episodes: int, *, out: Episodes | None = None) -> Episodes:
        """Episodes ``first`` to ``first + episodes - 1``.

        Args:
            first: number of the first.
            episodes: T.
            out: memory to write into, as of an earlier draw of as many; new memory costs more than what fills it.

        Raises:
            ArrayError: the source gathered rows of another shape, or ``out`` does not fit.
        """
        n = whole("episodes", episodes, 0)
        shown = empty("rows", (n, self.ways, self.shots), np.int64)
        asked = empty("rows", (n, self.ways, self.queries), np.int64)
        classes = empty("classes", (n, self.ways), np.int64) if out is None else out.classes
        index = (self._offsets, self._rows, self._eligible)
        _core.episode_draw_into(*index, classes, shown, asked, seed=self.seed, first=whole("first", first, 0))
        support_x = self._gather(shown, None if out is None else _flat("support_x", out.support_x, shown))
        query_x = self._gather(asked, None if out is None else _flat("query_x", out.query_x, asked))
        if out is not None:
            return out
        return Episodes(support_x, self._targets(n, self.shots), query_x, self._targets(n, self.queries), classes)

    def _targets(self, n: int, each: int) -> Floats:
        return np.tile(np.repeat(np.arange(self.ways, dtype=np.float32), each), (n, 1))

    def _gather(self, rows: Integers, out: Floats | None) -> Floats:
        """Rows of the numbers ``[T, N, each]`` as ``[T, N · each, D]``, in the memory of ``out`` where it is given."""
        x = self._source.gather(rows.reshape(-1), self.scale, out)
        return x.reshape(rows.shape[0], self.ways * rows.shape[2], x.shape[1])

    def _places(self, classes: NDArray[Any]) -> Integers:
        """Where the labels asked for lie among those that occur."""
        missing = np.setdiff1d(classes, self.labels)
        if missing.size:
            raise ConfigError(f"`classes` holds {missing[0]!s}, which is the label of no row")
        places = integers("classes", np.searchsorted(self.labels, np.unique(classes)))
        if len(places) < self.ways:
            raise ConfigError(f"{len(places)} classes cannot make episodes of {self.ways} ways: give more or ask fewer")
        return places

    def _check_sizes(self) -> None:
        sizes, needed = np.diff(self._offsets)[self._eligible], self.shots + self.queries
        if (sizes < needed).any():
            small = np.flatnonzero(sizes < needed)
            names = ", ".join(f"{self.labels[self._eligible[i]]} ({sizes[i]})" for i in small[:3])
            more = f" and {len(small) - 3} more" if len(small) > 3 else ""
            raise ConfigError(
                f"{self.shots} shots and {self.queries} queries need {needed} rows of each class, which these do not "
                f"have: {names}{more}; leave them out by `classes`"
            )


def _index(labels: NDArray[Any]) -> tuple[NDArray[Any], Integers, Integers]:
    """The labels that occur, where the rows of each begin, and the rows by label."""
    if labels.dtype.kind in "iu":
        return _core.episode_index(integers("labels", labels))
    if labels.ndim != 1 or labels.dtype.kind not in "US":
        raise ArrayError(f"`labels` must be whole numbers or text [rows], not {labels.dtype} {list(labels.shape)}")
    found, codes = np.unique(labels, return_inverse=True)
    _, offsets, rows = _core.episode_index(codes.astype(np.int64, copy=False))
    return found, offsets, rows


def _opened(source: Source) -> _InMemory | _Elsewhere:
    if callable(source):
        return _Elsewhere(source)
    if source.dtype in (np.uint8, np.float32) and source.flags.c_contiguous:
        return _InMemory(source.reshape(len(source), prod(source.shape[1:])))
    return _Elsewhere(source.__getitem__)


def _flat(name: str, out: Floats, rows: Integers) -> Floats:
    """``[T, N · each, D]`` without gaps as ``[T · N · each, D]``."""
    if out.ndim != 3 or out.shape[:2] != (rows.shape[0], rows.shape[1] * rows.shape[2]) or not out.flags.c_contiguous:
        raise ArrayError(f"`{name}` of out, {list(out.shape)}, is not of a draw of {rows.shape[0]} such episodes")
    return out.reshape(rows.size, out.shape[2])


def _room(shape: tuple[int, ...], out: Floats | None) -> Floats:
    if out is None:
        return empty("x", shape)
    if out.shape != shape or out.dtype != np.float32:
        raise ArrayError(f"rows of out must be float32 [{shape[1]}], not {out.dtype} [{out.shape[1]}]")
    return out
