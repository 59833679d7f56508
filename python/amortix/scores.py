"""From a table's raw columns to what learners expect: normal scores in, standardised targets out. NumPy only.

>>> import numpy as np
>>> x = np.exp(np.random.default_rng(0).normal(size=(1000, 2))).astype("float32")
>>> scores = NormalScores.fit(x, x[:, 0], task="regression")
>>> bool(abs(scores.transform(x).mean()) < 0.05)
True

Each column passes through its own monotone piecewise-linear map, estimated once on the first rows of a
shuffled stream: value → rank among those rows → quantile of the normal. The map is blind to units
and to heavy tails, sends duplicates to one score (their middle rank), and costs one binary search per value.

Limitations: the map does not change as more rows arrive, values beyond the ends of those first rows get the
score of the end, and a column that is constant there is encoded as zeros from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amortix.errors import ArrayError, FormatError, SourceError

ROWS = 4096
"""How many first rows of a stream the maps are fitted on."""

KNOTS = 256
"""The most knots of one column's map."""

LIMIT = 3.0
"""Normal scores are clipped to ± this: about the extremes of 1,000 normal draws."""

FLOOR = 0.5
"""The smallest spread that a column is divided by, so that a rare flag is not blown up to a huge value."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NormalScores:
    """Per-column monotone maps and the target's mean and spread.

    Attributes:
        knots: the knots of all columns in turn, ``[sum of knots]`` float64, increasing within a column.
        scores: the score at each knot, like ``knots``.
        offsets: column d owns ``knots[offsets[d]:offsets[d + 1]]``; ``[D + 1]`` int64.
        centre: the target's mean for regression, 0 for classification; ``[1]`` float64.
        scale: the target's standard deviation for regression, 1 for classification; ``[1]`` float64.
    """

    knots: NDArray[np.float64]
    scores: NDArray[np.float64]
    offsets: NDArray[np.int64]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        x: Floats,
        y: Floats,
        *,
        task: Literal["regression", "classification"] = "regression",
        target: str = "the target",
    ) -> NormalScores:
        """Estimate the maps on ``x`` ``[N, D]`` and, for regression, the units of ``y`` ``[N]``.

        Raises:
            ArrayError: the shapes do not agree or there is no row.
            SourceError: a regression target with one value only, named ``target`` in the message.
        """
        if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
            raise ArrayError(f"normal scores need x [N, D] and y [N] with N ≥ 1, got {x.shape} and {y.shape}")
        maps = [_column_map(column) for column in x.T]
        offsets = np.cumsum([0] + [len(knots) for knots, _ in maps]).astype(np.int64)
        knots = np.concatenate([np.empty(0), *(knots for knots, _ in maps)])
        scores = np.concatenate([np.empty(0), *(scores for _, scores in maps)])
        centre, scale = _units(y, target) if task == "regression" else (0.0, 1.0)
        return cls(knots, scores, offsets, np.array([centre]), np.array([scale]))

    @property
    def features(self) -> int:
        """D, the number of columns."""
        return len(self.offsets) - 1

    def transform(self, x: Floats) -> Floats:
        """Raw columns ``[B, D]`` to scores ``[B, D]``, row by row independent of the other rows."""
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ArrayError(f"x must have shape [B, {self.features}], got {x.shape}")
        out = np.empty(x.shape, dtype=np.float32)
        for d in range(self.features):
            own = slice(self.offsets[d], self.offsets[d + 1])
            out[:, d] = np.interp(x[:, d], self.knots[own], self.scores[own])
        return out

    def target(self, y: Floats) -> Floats:
        """Targets ``[B]`` in the learner's units; a class index stays as it is."""
        return ((y - self.centre) / self.scale).astype(np.float32)

    def inverse(
        self, mean: NDArray[np.floating], variance: NDArray[np.floating] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Means and variances in the learner's units back to the target's own; any shape."""
        units = mean * self.scale + self.centre
        return units, None if variance is None else variance * self.scale**2

    def tensors(self) -> dict[str, NDArray]:
        """The state as plain arrays by name; the inverse of `from_tensors`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, arrays: Mapping[str, NDArray]) -> NormalScores:
        """Rebuild an encoder from what `tensors` returned.

        Raises:
            FormatError: an array is missing, or their sizes do not fit each other.
        """
        missing = [field.name for field in fields(cls) if field.name not in arrays]
        if missing:
            raise FormatError(f"the saved encoder lacks {', '.join(missing)}; adapt the table again")
        encoder = cls(**{field.name: np.asarray(arrays[field.name]) for field in fields(cls)})
        ends = (
            len(encoder.knots),
            len(encoder.scores),
            int(encoder.offsets[-1]) if encoder.offsets.size else -1,
        )
        if len(set(ends)) != 1 or np.any(np.diff(encoder.offsets) < 1) or encoder.centre.shape != (1,):
            raise FormatError("the saved encoder's arrays do not fit each other; adapt the table again")
        return encoder


def _column_map(column: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots and scores of one column, scores with mean 0 and spread at most 1 over the column's rows."""
    ordered = np.sort(column.astype(np.float64))
    knots = np.unique(ordered)
    if len(knots) == 1:
        return knots, np.zeros(1)
    if len(knots) > KNOTS:
        knots = np.unique(ordered[np.linspace(0, len(ordered) - 1, KNOTS).round().astype(np.int64)])
    first, last = np.searchsorted(ordered, knots, "left"), np.searchsorted(ordered, knots, "right")
    scores = _normal_quantiles((first + last) / (2 * len(ordered)))
    spread = np.interp(ordered, knots, scores)
    return knots, (scores - spread.mean()) / max(float(spread.std()), FLOOR)


def _normal_quantiles(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    quantile = NormalDist().inv_cdf
    return np.clip([quantile(rank) for rank in ranks], -LIMIT, LIMIT)


def _units(y: Floats, target: str) -> tuple[float, float]:
    """Mean and standard deviation of the target; `SourceError` where it does not vary."""
    wide = y.astype(np.float64)
    if wide.min() == wide.max():
        raise SourceError(
            f"target {target!r} is {wide[0]:g} in each of the first {len(y):,} rows read: "
            "there is nothing to learn; choose another target"
        )
    return float(wide.mean()), float(wide.std())
