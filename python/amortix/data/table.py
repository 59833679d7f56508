"""A table of numbers with an optional target, in a file or in memory, read in groups that fit memory.

>>> import numpy as np
>>> table = Table.open((np.zeros((4, 2)), np.array(["no", "yes", "no", "no"])))
>>> table.columns, table.target, table.target_kind, table.distinct_labels()
(['0', '1'], 'y', 'label', ['no', 'yes'])
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from amortix import _core
from amortix.data._array_source import ArraySource
from amortix.data._passes import Encoder, Kind, Pass, Plan, Selection
from amortix.data._sources import Source, begin, is_paths, open_paths
from amortix.errors import ConfigError, SourceError

TargetKind = Literal["numeric", "integer", "label"]
#: What `Table.open` takes: paths, arrays, or an object with the Arrow or DLPack interface.
TableLike: TypeAlias = Any

#: Where `Table.distinct_labels` ends by default: more labels in one target are taken for a mistake.
MOST_LABELS = 1024

UNNAMED_INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index without a name where it becomes a column."""


class Table:
    """Feature columns and a target. Create it with `Table.open`.

    Attributes:
        columns: names of the feature columns, in the order in which `Stream` delivers them.
        rows: how many.
        groups: rows of each group: a Parquet row group, a chunk of a CSV file, all rows of an array.
        target: its name, or None.
        target_kind: ``"numeric"``, ``"integer"``, ``"label"`` (text or booleans), or None.
        classes: labels in the order of their class indices, or None where the target is a number.
        source: the file, or None for arrays.
        drop: the columns that were left out.
        weight: the column of sample weights, or None.
        given: what the table was opened from, or None where that can be read only once.
        fingerprint: a hash of column names, target and group sizes, to recognise the table by.
    """

    def __init__(
        self,
        columns_from: Source,
        features: Sequence[int],
        target: int | None,
        *,
        classes: tuple[str, ...] | None = None,
        weight: int | None = None,
        source: str | None = None,
        drop: tuple[str, ...] = (),
        given: Any = None,
    ) -> None:
        names = columns_from.columns
        self._source, self._features, self._target = columns_from, list(features), target
        self.columns = [names[i] for i in self._features]
        self.groups = columns_from.groups
        self.rows = sum(self.groups)
        self.target = None if target is None else names[target]
        self.target_kind = None if target is None else _target_kind(columns_from.kinds[target])
        self.weight = None if weight is None else names[weight]
        self.classes, self.source, self.drop, self.given, self._weight = classes, source, drop, given, weight
        told = json.dumps([self.columns, self.target, self.groups])
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()[:16]

    @classmethod
    def open(
        cls,
        source: TableLike,
        *,
        target: str | None = None,
        drop: Sequence[str] = (),
        columns: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        weight: str | None = None,
    ) -> Table:
        """Open a table. Nothing but a file's description is read; a CSV file is scanned once.

        Args:
            source: a path to a .parquet, .arrow, .feather, .csv (with header; also .csv.gz and .csv.zst), .npy (two
                axes) or .npz file (x and y, or one array); a list of paths, a directory or a pattern such as
                ``"part-*.parquet"`` for files of the same columns, to which folders named ``key=value`` below the
                directory or in the pattern add a column each: numbers where all values are, else text, percent-decoded,
                missing for ``__HIVE_DEFAULT_PARTITION__``; an array ``[rows, columns]``, or a tuple x, y or
                x, y, weight, of NumPy or of anything with DLPack such as a tensor, not copied; or any object with the
                Arrow C stream or array interface (tables and batches of pyarrow, Polars, DuckDB, pandas), read to its
                end and kept, not copied. Columns of arrays are named "0", "1", ..., then "y" and "weight".
            target: the column to predict; for arrays an index in text, "-1" for the last, and by default "y"
                where there is one.
            drop: columns to leave out.
            columns: the feature columns, in this order, instead of all but target, dropped ones and what pandas writes
                for an index without a name, ``__index_level_0__``: the order of rows may tell the target.
            classes: labels of the target; y is then the index of the label.
            weight: the column of sample weights, at least 0; for arrays by default "weight" where there is one.

        Raises:
            SourceError: a file or column is not there.
            FormatError: the file is damaged or of an unknown kind.
        """
        opened, path = _open(source)
        names = opened.columns
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SourceError(f"the table has two columns named {twice!r}: rename one")
        where = None if (target := _target_name(opened, target)) is None else _find(names, target, "target")
        left_out = {_find(names, name, "column to drop") for name in drop}
        if where in left_out:
            raise SourceError(f"target {target!r} is among the columns to drop: remove it from one of the two")
        if weight is None and isinstance(opened, ArraySource) and opened.weight is not None:
            weight = "weight"
        weighing = None if weight is None else _find(names, weight, "weight")
        if weighing is not None and (weighing == where or opened.kinds[weighing] not in ("numeric", "integer")):
            raise SourceError(f"weight {weight!r} must be a column of numbers other than the target")
        if where is not None and opened.kinds[where] in ("time", "other"):
            raise SourceError(f"target {target!r} holds neither numbers nor labels: choose another target")
        if columns is None:
            left_out |= {i for i, name in enumerate(names) if UNNAMED_INDEX.fullmatch(name)}
            features = [i for i in range(len(names)) if i not in (where, weighing) and i not in left_out]
        else:
            features = [_find(names, name, "column") for name in columns]
        if not features:
            raise SourceError("no feature column is left: drop fewer columns")
        given = None if isinstance(opened, _core.Table) and not is_paths(source) else source
        table = cls(opened, features, where, weight=weighing, source=path, drop=tuple(drop), given=given)
        return table if classes is None else table.with_classes(classes)

    def with_classes(self, classes: Sequence[str]) -> Table:
        """The same table with y the index of the label in ``classes``.

        Raises:
            SourceError: there is no target.
            ConfigError: a label is listed twice, or there is none.
        """
        self._require_target()
        labels = tuple(str(label) for label in classes)
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError(f"`classes` must be different labels, at least one, not {list(labels)}")
        return Table(
            self._source,
            self._features,
            self._target,
            classes=labels,
            weight=self._weight,
            source=self.source,
            drop=self.drop,
            given=self.given,
        )

    def distinct_labels(self, limit: int = MOST_LABELS) -> list[str]:
        """The target's labels, sorted, whole numbers in numeric order; the search ends at ``limit`` of them.

        Raises:
            SourceError: there is no target, or a label is missing.
        """
        return self._source.distinct_labels(self._require_target(), limit)

    def begin(self, plan: Plan, encoder: Encoder | None = None) -> Pass:
        """A pass over the rows in the order of a plan; `Stream` is the way to ask for one.

        Raises:
            SourceError: a feature column does not hold numbers and there is no encoder, or the target holds labels and
                `classes` is not set.
        """
        if self.target_kind == "label" and self.classes is None:
            raise SourceError(
                f"target {self.target!r} holds labels: name them, table.with_classes(table.distinct_labels())"
            )
        if encoder is None:
            for feature in self._features:
                self._source.check_feature(feature)
        selection = Selection(self._features, self._target, self.classes, self._weight, encoder)
        return begin(self._source, selection, plan)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.given is None:
            raise ConfigError("a table that was read from an Arrow stream cannot be pickled: save it to a file")
        settings = {"target": self.target, "columns": self.columns, "classes": self.classes, "weight": self.weight}
        return _reopen, (self.given, settings)

    @property
    def origin(self) -> tuple[Source, list[int], int | None]:
        """Where the columns come from, and the indices there of the features and of the target."""
        return self._source, list(self._features), self._target

    def _require_target(self) -> int:
        if self._target is None:
            raise SourceError("the table was opened without a target: name one")
        return self._target


def _open(source: TableLike) -> tuple[Source, str | None]:
    if is_paths(source):
        return open_paths(source), os.fspath(source) if isinstance(source, str | os.PathLike) else None
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        return _core.Table.from_arrow(source), None
    given = source if isinstance(source, tuple) else (source,)
    if not 1 <= len(given) <= 3 or not all(isinstance(a, np.ndarray) or hasattr(a, "__dlpack__") for a in given):
        raise SourceError(
            "a table is a path or several, an array or a tuple of arrays (x, y) or (x, y, weight), "
            "or an object with the Arrow C stream interface"
        )
    arrays = [a if isinstance(a, np.ndarray) else np.from_dlpack(a) for a in given]
    return ArraySource(*arrays), None


def _reopen(given: Any, settings: dict[str, Any]) -> Table:
    return Table.open(given, **settings)


def _target_kind(kind: Kind) -> TargetKind:
    return "label" if kind == "boolean" else cast(TargetKind, kind)


def _target_name(source: Source, target: str | None) -> str | None:
    if not isinstance(source, ArraySource):
        return target
    if target is None:
        return None if source.y is None else "y"
    return str(source.x.shape[1] - 1) if target == "-1" else target


def _find(names: list[str], name: str, role: str) -> int:
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:5]
    raise SourceError(f"the table has no {role} {name!r}: did you mean {', '.join(map(repr, near))}?")
