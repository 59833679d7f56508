"""One pass over a table's rows, piece by piece, in which summaries see its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._sources import ArraySource, Source, label
from amortix.errors import SourceError

#: Rows of an array that are lent to Rust together.
BLOCK = 8192

Weights: TypeAlias = NDArray[np.float64] | None


@dataclass(frozen=True)
class Seeing:
    """Columns of a source, the target last where it is one of them, and the summaries that see them.

    Attributes:
        source: where they come from.
        columns: their indices there.
        weight: the index of the column of weights, or None.
        inner: one summary for each column.
    """

    source: Source
    columns: Sequence[int]
    weight: int | None
    inner: _core.Summaries

    def read(self, index: int, count: int) -> Iterator[tuple[int, int]]:
        """See one of ``count`` shards; rows seen so far and rows of the shard, after each piece.

        Raises:
            SourceError: a number cannot be summarised, or a weight is none; its column and row are named.
        """
        source = self.source
        if isinstance(source, ArraySource):
            sizes = [min(BLOCK, len(source.x) - start) for start in range(0, len(source.x), BLOCK)]
        else:
            sizes = source.groups
        pieces = range(index, len(sizes), count)
        done, total = 0, sum(sizes[piece] for piece in pieces)
        for piece in pieces:
            if isinstance(source, ArraySource):
                self._see_rows(source, slice(piece * BLOCK, piece * BLOCK + BLOCK))
            elif isinstance(source, _core.Table):
                self._check(self.inner.see_group(source, piece, list(self.columns), self.weight), 0)
            done += sizes[piece]
            yield done, total

    def _see_rows(self, source: ArraySource, rows: slice) -> None:
        width = source.x.shape[1]
        weights: Weights = None
        if self.weight is not None:
            weights = np.ascontiguousarray(source.column(self.weight)[rows], np.float64)
        inside = [column for column in self.columns if column < width]
        self._check(self.inner.see_array(0, inside, source.x[rows], weights), rows.start)
        if len(inside) < len(self.columns):
            self._see_beside(source.column(self.columns[-1])[rows], rows.start, weights)

    def _see_beside(self, y: NDArray[Any], start: int, weights: Weights) -> None:
        """The array beside ``x``. Numbers go to Rust; texts and objects, which Python names, are counted here."""
        place, name = len(self.columns) - 1, self.source.columns[self.columns[-1]]
        if y.dtype.kind not in "bUSO":
            self._check(self.inner.see_array(place, [0], y[:, None], weights), start)
            return
        if y.dtype.kind == "O":
            counts = Counter(label(value, name, start + row) for row, value in enumerate(y))
        else:
            values, times = np.unique(y, return_counts=True)
            counts = {label(v, name, start): n for v, n in zip(values, times.tolist(), strict=True)}
        self.inner.see_counts(place, list(counts), list(counts.values()))

    def _check(self, found: tuple[int, int, float] | None, start: int) -> None:
        if found is None:
            return
        place, row, value = found
        names, row = self.source.columns, start + row
        if place == len(self.columns):
            name = names[self.weight or 0]
            raise SourceError(f"weight {name!r} is {value:g} at row {row}, but must be 0 or a positive number")
        name = names[self.columns[place]]
        raise SourceError(
            f"column {name!r} is {value:g} at row {row}, beyond what can be squared and summed (±1e140): "
            f"replace it or drop the column with --drop {name}"
        )
