"""What a column becomes: one record for each kind of map, the names of what comes out, the compiled code."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from amortix import _core
from amortix.errors import FormatError

#: What a column holds, as far as its encoding goes.
ColumnKind = Literal["number", "boolean", "label", "time"]


@dataclass(frozen=True)
class LeftOut:
    """The values say nothing, for this reason; where they are missing may still say something."""

    reason: str

    def names(self, column: str) -> list[str]:
        """Names of the encoded columns."""
        return []

    def code(self, missing: bool) -> _core.Code:
        """The compiled code."""
        return _core.Code.nothing(missing)


@dataclass(frozen=True)
class Scaled:
    """(value - mean) / scale."""

    mean: float
    scale: float

    def names(self, column: str) -> list[str]:
        """Names of the encoded columns."""
        return [column]

    def code(self, missing: bool) -> _core.Code:
        """The compiled code."""
        return _core.Code.scaled(self.mean, self.scale, missing)


@dataclass(frozen=True)
class Scored:
    """Normal scores: piecewise linear between knots, constant beyond them."""

    knots: tuple[float, ...]
    scores: tuple[float, ...]

    def names(self, column: str) -> list[str]:
        """Names of the encoded columns."""
        return [column]

    def code(self, missing: bool) -> _core.Code:
        """The compiled code."""
        return _core.Code.scored(list(self.knots), list(self.scores), missing)


@dataclass(frozen=True)
class Levels:
    """One column for each level, and one for all other labels if there were any."""

    levels: tuple[str, ...]
    other: bool

    def names(self, column: str) -> list[str]:
        """Names of the encoded columns."""
        return [f"{column}={level}" for level in self.levels] + [f"{column}=other"] * self.other

    def code(self, missing: bool) -> _core.Code:
        """The compiled code."""
        return _core.Code.levels(list(self.levels), self.other, missing)


@dataclass(frozen=True)
class Times:
    """Seconds since 1970, scaled, and sine and cosine of the place in each cycle: year, week, day."""

    mean: float
    scale: float
    cycles: tuple[str, ...]

    def names(self, column: str) -> list[str]:
        """Names of the encoded columns."""
        return [column, *(f"{column} {wave} {cycle}" for cycle in self.cycles for wave in ("sin", "cos"))]

    def code(self, missing: bool) -> _core.Code:
        """The compiled code."""
        return _core.Code.times(self.mean, self.scale, list(self.cycles), missing)


Map: TypeAlias = LeftOut | Scaled | Scored | Levels | Times
MAPS: dict[str, type[Map]] = {
    "left out": LeftOut,
    "scaled": Scaled,
    "scored": Scored,
    "levels": Levels,
    "times": Times,
}


@dataclass(frozen=True)
class Facts:
    """What the pass found in a column: of numbers mean, spread, range and quartiles; of labels how many there are."""

    rows: int
    missing: int
    mean: float = 0.0
    sd: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0
    quartiles: tuple[float, ...] = ()
    labels: int = 0

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Facts:
        """From what JSON gives back of it."""
        return cls(**{name: _frozen(value) for name, value in plain.items()})


@dataclass(frozen=True)
class Field:
    """A column of the table: its name, what it holds, what it becomes, and what the pass found in it.

    Where ``missing`` is set, one more column is 1 where the value is missing.
    """

    column: str
    kind: ColumnKind
    map: Map
    missing: bool
    facts: Facts

    def names(self) -> list[str]:
        """Names of the encoded columns."""
        return self.map.names(self.column) + [f"{self.column} is missing"] * self.missing

    def code(self) -> _core.Code:
        """The compiled code."""
        return self.map.code(self.missing)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        (name,) = (name for name, cls in MAPS.items() if isinstance(self.map, cls))
        return asdict(self) | {"map": {"is": name} | asdict(self.map)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Field:
        """The inverse of `to_dict`.

        Raises:
            FormatError: something is missing or of another type.
        """
        try:
            told = dict(plain["map"])
            made = MAPS[told.pop("is")](**{name: _frozen(value) for name, value in told.items()})
            return cls(**plain | {"map": made, "facts": Facts.from_dict(plain["facts"])})
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"the saved encoder's columns cannot be read ({error}): fit it again") from None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
