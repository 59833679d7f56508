"""What one pass over a table learns of its columns; summaries of parts of a table merge.

>>> import numpy as np
>>> from amortix.data.table import Table
>>> table = Table.open((np.arange(6.0).reshape(3, 2), np.zeros(3)))
>>> halves = [TableSummary.of(table, shard=(i, 2)) for i in range(2)]
>>> halves[0].merge(halves[1]).facts(1).mean
3.0
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from amortix import _core
from amortix.data._arrays import whole
from amortix.data._codes import ColumnKind, Facts
from amortix.data._seeing import Seeing
from amortix.data.table import Table
from amortix.errors import ConfigError, FormatError, SourceError

#: Called with the rows seen and all rows of the pass.
Progress = Callable[[int, int], None]

KINDS: dict[str, ColumnKind] = {
    "numeric": "number",
    "integer": "number",
    "boolean": "boolean",
    "label": "label",
    "time": "time",
}
GATHERED = {"number": "numbers", "boolean": "numbers", "label": "labels", "time": "times"}


@dataclass(frozen=True)
class TableSummary:
    """Counts, moments, quantiles and labels of each column.

    Moments and counts of up to 8,192 different labels are exact, up to rounding. Of more labels, a count may be too
    low by 1/4,096 of the rows. The rank of a quantile is off by less than 1.5 % of the rows with a probability of
    99 %, and exact up to 512 rows.

    Attributes:
        names: the feature columns, and the target last where there is one and its classes were not declared.
        kinds: what each holds.
        target: the target's name, or None.
        classes: the target's classes where the table declared them.
        categories: the columns of whole numbers that were taken for labels.
        weight: the column of the rows' weights in means and spreads, or None.

    References:
        Chan, Golub, LeVeque 1979 (moments); Karnin, Lang, Liberty, FOCS 2016 (quantiles); Agarwal et al., "Mergeable
        summaries", PODS 2012 (labels).
    """

    names: tuple[str, ...]
    kinds: tuple[ColumnKind, ...]
    target: str | None
    classes: tuple[str, ...] | None
    categories: tuple[str, ...]
    weight: str | None
    inner: _core.Summaries

    @classmethod
    def of(
        cls,
        table: Table,
        *,
        categories: Sequence[str] = (),
        weight: str | None = None,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
        progress: Progress | None = None,
    ) -> TableSummary:
        """Read a table, or one of several shards of it, once.

        Args:
            table: the table.
            categories: columns of numbers, the target among them, that are labels.
            weight: a column of the source that is no feature, with each row's weight in means and spreads, at least 0.
            seed: of the quantiles' sampling, from 0 to 2⁶⁴ - 1.
            shard: (index, count): each row is in exactly one of ``count`` shards; of a file whole groups.
            progress: called after each piece.

        Raises:
            ConfigError: a setting is out of range, or a category is no column of numbers.
            SourceError: a number is infinite or beyond ±1e140, or a weight is below 0 or missing; its column and row
                are named. Or the target is among the features, or one of them comes twice.
        """
        index, count = (whole("shard", number, 0) for number in shard)
        if index >= count:
            raise ConfigError(f"`shard` must be (index, count) with index < count, not {shard}")
        source, features, target = table.origin
        _check_features(source.columns, features, target)
        columns = features if target is None or table.classes is not None else [*features, target]
        kinds = kinds_of(table, columns, tuple(categories))
        if target is not None and table.target_kind == "label" and table.target in kinds:
            kinds[table.target] = "label"
        for name in categories:
            if kinds.get(name) != "label":
                raise ConfigError(f"`categories` names {name!r}, which is no column of numbers or labels of this table")
        gathered = [GATHERED[kind] for kind in kinds.values()]
        inner = _core.Summaries(gathered, seed=whole("seed", seed, 0, 2**64 - 1), shard=index)
        summary = cls(
            tuple(kinds), tuple(kinds.values()), table.target, table.classes, tuple(categories), weight, inner
        )
        weighing = None if weight is None else _weighing(table, weight)
        for done, total in Seeing(source, columns, weighing, inner).read(index, count):
            if progress is not None:
                progress(done, total)
        return summary

    @property
    def features(self) -> int:
        """How many of ``names`` are features."""
        return len(self.names) - (self.target is not None and self.classes is None)

    @property
    def rows(self) -> int:
        """How many rows were seen."""
        return self.inner.facts(0)[0]

    def facts(self, place: int) -> Facts:
        """What was found in the column at a place of ``names``."""
        rows, missing, mean, variance, minimum, maximum = self.inner.facts(place)
        if self.kinds[place] == "label":
            return Facts(rows, missing, labels=len(self.inner.labels(place)[0]))
        if missing == rows:
            return Facts(rows, missing)
        quartiles = tuple(self.inner.quantiles(place, [0.25, 0.5, 0.75]))
        return Facts(rows, missing, mean, variance**0.5, minimum, maximum, quartiles)

    def merge(self, other: TableSummary) -> TableSummary:
        """The summary of this one's rows and the other's.

        Raises:
            ConfigError: they are not of the same columns.
        """
        ours, theirs = replace(self, inner=other.inner), other
        if ours != theirs:
            raise ConfigError("the summaries are of different columns: merge shards of one table")
        merged = _core.Summaries.from_parts(self.inner.parts())
        merged.merge(other.inner)
        return replace(self, inner=merged)

    def to_json(self) -> str:
        """All of it as JSON, for another process to merge."""
        plain = {
            "names": self.names,
            "kinds": self.kinds,
            "target": self.target,
            "classes": self.classes,
            "categories": self.categories,
            "weight": self.weight,
            "parts": self.inner.parts(),
        }
        return json.dumps(plain, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TableSummary:
        """The inverse of `to_json`.

        Raises:
            FormatError: the text is damaged.
        """
        try:
            plain: dict[str, Any] = json.loads(text)
            inner = _core.Summaries.from_parts([(*part,) for part in plain.pop("parts")])
            plain = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
            return cls(**plain, inner=inner)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise FormatError(f"the saved summary is damaged ({error}): summarise the table again") from None


def _check_features(names: Sequence[str], features: Sequence[int], target: int | None) -> None:
    """Refuse a column that would be summarised twice."""
    if target in features:
        raise SourceError(f"target {names[target or 0]!r} is among the feature columns too: leave it out of `columns`")
    twice = next((feature for place, feature in enumerate(features) if feature in features[:place]), None)
    if twice is not None:
        raise SourceError(f"column {names[twice]!r} is listed twice among the feature columns: list it once")


def _weighing(table: Table, weight: str) -> int:
    """The index of the column of weights in the table's source."""
    source, features, target = table.origin
    names = source.columns
    place = names.index(weight) if weight in names else None
    if place is None or place in features or place == target or source.kinds[place] not in ("numeric", "integer"):
        raise ConfigError(f"`weight` must be a column of numbers that is no feature, not {weight!r}: drop it first")
    return place


def kinds_of(table: Table, columns: Iterable[int], categories: tuple[str, ...]) -> dict[str, ColumnKind]:
    """What each of some columns of the table's source holds; numbers that are named in ``categories`` are labels."""
    source = table.origin[0]
    names, told = source.columns, source.kinds
    kinds: dict[str, ColumnKind] = {}
    for column in columns:
        if told[column] not in KINDS:
            raise SourceError(f"column {names[column]!r} holds neither numbers nor labels nor times: drop it")
        kinds[names[column]] = KINDS[told[column]]
    labels: dict[str, ColumnKind] = {name: "label" for name in categories if kinds.get(name) == "number"}
    return kinds | labels
