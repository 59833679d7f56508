"""One matrix of numbers from columns of any kind: numbers, booleans, labels, dates, with gaps.

>>> import numpy as np
>>> from amortix.data.table import Table
>>> x = np.array([[1.0, 7.0], [3.0, np.nan], [5.0, 9.0]])
>>> encoder = TableEncoder.fit(Table.open(x))
>>> encoder.columns
['0', '1', '1 is missing']
>>> encoder.transform(x)[1]
array([0., 0., 1.], dtype=float32)
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._array_source import in_order
from amortix.data._arrays import Floats, empty, whole
from amortix.data._codes import Facts, Field, LeftOut, Levels
from amortix.data._fit import field
from amortix.data.summary import Progress, TableSummary, kinds_of
from amortix.data.table import MOST_LABELS, Table
from amortix.data.writing import replacing_file
from amortix.errors import ArrayError, ConfigError, FormatError, SourceError

FORMAT = "amortix table encoder 1"
"""What a saved encoder says it is."""


@dataclass(frozen=True)
class EncoderSettings:
    """How columns are encoded.

    Attributes:
        scale: ``"standard"`` for (value - mean) / standard deviation; ``"normal"`` for normal scores, blind to units
            and heavy tails; ``"none"`` to keep numbers as they are, constant ones too, as for token ids.
        levels: the most labels of a column that get a column each, the commonest first.
        categories: columns of numbers that are labels; the target may be among them.
        weight: a column that is no feature, with each row's weight in means and spreads; quantiles and the commonest
            labels are not weighted.
        seed: of the quantiles' sampling, from 0 to 2⁶⁴ - 1.

    Raises:
        ConfigError: a setting is out of range.
    """

    scale: Literal["standard", "normal", "none"] = "standard"
    levels: int = 16
    categories: tuple[str, ...] = ()
    weight: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scale not in ("standard", "normal", "none"):
            raise ConfigError(f"`scale` must be 'standard', 'normal' or 'none', not {self.scale!r}")
        if isinstance(self.categories, str):
            raise ConfigError(f"`categories` must be names of columns, such as ({self.categories!r},)")
        object.__setattr__(self, "categories", tuple(self.categories))
        whole("levels", self.levels, 1, 2**20)
        whole("seed", self.seed, 0, 2**64 - 1)


@dataclass(frozen=True)
class TableEncoder:
    """What each column of a table becomes, decided after one pass over it. Create it with `fit`.

    - A number becomes (value - mean) / standard deviation, or its normal score, or stays.
    - A boolean becomes 0 or 1.
    - A label becomes one column per level, ``NAME=LEVEL``, 1 where the row has it. Levels are the commonest labels of
      the pass; all others share ``NAME=other`` where there were more. A label that the pass did not see goes there,
      and is 0 everywhere where there is no such column.
    - A date or time becomes its standardised seconds, and sine and cosine of its place in the year, week and day, for
      those cycles that vary in the pass and of which it spans half at least.
    - A missing value is 0 in all of these. Where the pass saw one, ``NAME is missing`` is 1 where the value is missing.
    - A column that is the same in all rows is left out, see `left_out`.

    Limits: infinite numbers, and those beyond ±1e140, are refused by `fit` and taken for missing ones afterwards;
    whole numbers beyond ±2⁵³ are rounded; encoded numbers are cut to the range of float32.

    Attributes:
        settings: how columns are encoded.
        fields: one for each feature column of the table.
        target: the target's name, or None.
        target_facts: what the pass found in a target of numbers, or None.
        classes: the target's labels in the order of their class indices, or None for a target of numbers: those the
            table declares, or those found in the pass, sorted, whole numbers in numeric order.
    """

    settings: EncoderSettings
    fields: tuple[Field, ...]
    target: str | None = None
    target_facts: Facts | None = None
    classes: tuple[str, ...] | None = None

    @classmethod
    def fit(
        cls, table: Table, settings: EncoderSettings | None = None, *, progress: Progress | None = None
    ) -> TableEncoder:
        """Read the table once and decide; errors as in `TableSummary.of` and `from_summary`."""
        settings = settings or EncoderSettings()
        chosen = {"categories": settings.categories, "weight": settings.weight, "seed": settings.seed}
        seen = TableSummary.of(table, **chosen, progress=progress)
        return cls.from_summary(seen, settings)

    @classmethod
    def from_summary(cls, summary: TableSummary, settings: EncoderSettings | None = None) -> TableEncoder:
        """Decide on what is known of the columns, merged from shards or not.

        Raises:
            SourceError: there is no row, every column is left out, or a label of the target is missing.
            ConfigError: the summary was made with other categories or weights.
        """
        made = {"categories": summary.categories, "weight": summary.weight}
        settings = settings or EncoderSettings(**made)
        for name, value in made.items():
            if getattr(settings, name) != value:
                raise ConfigError(f"the summary was made with {name}={value!r}: use the same settings")
        if not summary.rows:
            raise SourceError("the table has no rows: an encoder needs some to fit")
        fields = tuple(field(summary, place, settings) for place in range(summary.features))
        facts, classes = _target(summary)
        encoder = cls(settings, fields, summary.target, facts, classes)
        if not encoder.width:
            name, reason = next(iter(encoder.left_out.items()))
            raise SourceError(f"no column is left to encode: column {name!r}, for one, {reason}")
        return encoder

    @cached_property
    def columns(self) -> list[str]:
        """Names of the encoded columns; one that comes up again gets a number."""
        return list(different(name for field in self.fields for name in field.names()))

    @cached_property
    def codes(self) -> list[_core.Code]:
        """The compiled code of each feature column of the table."""
        return [field.code() for field in self.fields]

    @property
    def width(self) -> int:
        """How many columns come out."""
        return len(self.columns)

    @property
    def left_out(self) -> dict[str, str]:
        """The table's columns whose values are left out, with the reason."""
        return {f.column: f.map.reason for f in self.fields if isinstance(f.map, LeftOut)}

    @property
    def fingerprint(self) -> str:
        """A hash of all of it, to recognise the encoder by."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def describe(self) -> list[dict[str, Any]]:
        """One row for each column of the table: what the pass found and what the column becomes."""
        rows = []
        for each in self.fields:
            reason = [each.map.reason] if isinstance(each.map, LeftOut) else []
            becomes = {"becomes": ", ".join([*reason, *each.names()])}
            rows.append({"column": each.column, "kind": each.kind} | asdict(each.facts) | becomes)
        return rows

    def check(self, table: Table) -> None:
        """Refuse a table of other columns.

        Raises:
            SourceError: a column is missing, new, in another place or of another kind; the first is named.
        """
        ours = {field.column: field.kind for field in self.fields}
        theirs = kinds_of(table, table.origin[1], self.settings.categories)
        for name, kind in ours.items():
            if name not in theirs:
                raise SourceError(f"the encoder was fitted on a column {name!r}, which the table lacks: fit it again")
            if theirs[name] != kind:
                raise SourceError(
                    f"column {name!r} holds {theirs[name]}s, but {kind}s where the encoder was fitted: fit it again"
                )
        for name in theirs:
            if name not in ours:
                raise SourceError(f"the encoder was not fitted on column {name!r}: drop it with --drop {name}")
        if list(ours) != list(theirs):
            raise SourceError(f"the columns are in another order than {list(ours)}: open the table with columns=...")

    def transform(self, x: NDArray[Any], out: Floats | None = None) -> Floats:
        """Encode raw numbers ``[B, D]`` of any number type, NaN for a missing one, into ``[B, width]`` float32.

        Args:
            x: one column for each feature column of the table, in its order; booleans are 0 and 1, times are seconds
                since 1970, and labels must be numbers.
            out: where to write; new memory by default.

        Raises:
            ArrayError: ``x`` or ``out`` has another shape or dtype.
            SourceError: a column holds labels that are no numbers.
        """
        if x.ndim != 2 or x.shape[1] != len(self.fields):
            raise ArrayError(f"`x` must have shape [B, {len(self.fields)}], not {list(x.shape)}")
        if self._texts is not None:
            raise SourceError(f"column {self._texts!r} holds labels, which no array of numbers holds: stream the table")
        out = empty("out", (len(x), self.width)) if out is None else out
        _core.encode_into(self.codes, x, out)
        return out

    def to_json(self) -> str:
        """All of it as JSON."""
        plain = {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "target": self.target,
            "target_facts": None if self.target_facts is None else asdict(self.target_facts),
            "classes": self.classes,
            "fields": [field.to_dict() for field in self.fields],
        }
        return json.dumps(plain, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TableEncoder:
        """The inverse of `to_json`.

        Raises:
            FormatError: the text is damaged or of a later release.
        """
        try:
            plain = json.loads(text)
            if plain["format"] != FORMAT:
                raise FormatError(f"this release reads {FORMAT!r}, not {plain['format']!r}: fit the encoder again")
            facts, classes = plain["target_facts"], plain["classes"]
            encoder = cls(
                EncoderSettings(**plain["settings"]),
                tuple(Field.from_dict(one) for one in plain["fields"]),
                plain["target"],
                None if facts is None else Facts.from_dict(facts),
                None if classes is None else tuple(classes),
            )
            # Compiled here, so that damage is told now.
            if sum(code.width for code in encoder.codes) != encoder.width:
                raise FormatError("the saved encoder's columns do not fit each other: fit it again")
        except FormatError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the saved encoder is damaged ({error}): fit it again") from None
        return encoder

    def __reduce__(self) -> tuple[Any, ...]:
        # Compiled codes cannot be pickled: the copy compiles its own.
        return TableEncoder.from_json, (self.to_json(),)

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file, which appears whole or not at all.

        Raises:
            OSError: it could not be written.
        """
        with replacing_file(Path(path)) as fresh:
            fresh.write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> TableEncoder:
        """Read what `save` wrote.

        Raises:
            FormatError: there is no such file, or it is damaged.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(f"{path} is no saved encoder ({error}): check the path") from None
        return cls.from_json(text)

    @cached_property
    def _texts(self) -> str | None:
        """The first column whose labels are not all numbers."""
        for each in self.fields:
            if each.kind == "label" and isinstance(each.map, Levels) and not _numbers(each.map.levels):
                return each.column
        return None


def _target(summary: TableSummary) -> tuple[Facts | None, tuple[str, ...] | None]:
    """What was found in a target of numbers, and the classes of any other."""
    if summary.target is None or summary.classes is not None:
        return None, summary.classes
    place = summary.features
    facts = summary.facts(place)
    if facts.missing:
        raise SourceError(
            f"target {summary.target!r} is missing in {facts.missing:,} of {facts.rows:,} rows: remove these rows"
        )
    if summary.kinds[place] != "label":
        return facts, None
    found, short = summary.inner.labels(place)
    if short or len(found) > MOST_LABELS:
        raise SourceError(
            f"target {summary.target!r} has more than {MOST_LABELS:,} labels: declare the classes or choose another"
        )
    return None, tuple(in_order(label for label, _ in found))


def different(names: Iterable[str]) -> Iterable[str]:
    """The names, one that came before with a number."""
    taken: set[str] = set()
    for name in names:
        candidates = itertools.chain([name], (f"{name} ({count})" for count in itertools.count(2)))
        free = next(candidate for candidate in candidates if candidate not in taken)
        taken.add(free)
        yield free


def _numbers(levels: tuple[str, ...]) -> bool:
    try:
        return bool(np.isfinite([float(level) for level in levels]).all())
    except ValueError:
        return False
