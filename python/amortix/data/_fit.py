"""Which map a column's summary calls for."""

from __future__ import annotations

from typing import Protocol

from amortix.data._codes import Facts, Field, LeftOut, Levels, Map, Scaled, Scored, Times
from amortix.data.summary import TableSummary

TOGETHER = 0.999
"""Moments whose mean direction in a cycle is longer than this are at one place of it: within about 3 days of a year,
90 minutes of a week, 10 minutes of a day."""


class Settings(Protocol):
    """What decides: see `amortix.data.encoder.EncoderSettings`."""

    @property
    def scale(self) -> str:
        """How numbers are scaled."""
        ...

    @property
    def levels(self) -> int:
        """The most levels."""
        ...


def field(summary: TableSummary, place: int, settings: Settings) -> Field:
    """What the feature column at a place of a summary becomes."""
    facts = summary.facts(place)
    some = 0 < facts.missing < facts.rows
    return Field(summary.names[place], summary.kinds[place], _map(summary, place, facts, settings), some, facts)


def _map(summary: TableSummary, place: int, facts: Facts, settings: Settings) -> Map:
    kind = summary.kinds[place]
    if facts.missing == facts.rows:
        return LeftOut("has no value at all")
    if kind == "label":
        return _levels(summary, place, settings.levels)
    if settings.scale == "none" and kind == "number":
        return Scaled(0.0, 1.0)
    if facts.minimum == facts.maximum:
        return LeftOut(f"is {facts.minimum:g} wherever it has a value")
    if kind == "boolean":
        return Scaled(0.0, 1.0)
    if facts.sd == 0:
        return LeftOut("varies by less than can be squared")
    if kind == "time":
        return Times(facts.mean, facts.sd, _cycles(summary, place, facts.maximum - facts.minimum))
    if settings.scale == "normal":
        knots, scores = summary.inner.normal_map(place)
        return Scored(tuple(knots), tuple(scores))
    return Scaled(facts.mean, facts.sd)


def _levels(summary: TableSummary, place: int, most: int) -> Map:
    ranked, short = summary.inner.labels(place)
    # Counts may be too low by `short`: a label that is not commoner than that is not known to be common at all.
    common = [label for label, count in ranked if count > short]
    if len(ranked) == 1 and not short:
        return LeftOut(f"is {ranked[0][0]!r} wherever it has a value")
    if not common or (len(common) > most and ranked[0][1] == 1):
        return LeftOut("has so many labels that none is common")
    return Levels(tuple(common[:most]), len(ranked) > len(common[:most]) or short > 0)


def _cycles(summary: TableSummary, place: int, span: float) -> tuple[str, ...]:
    """Cycles in which the moments differ. Of less than half a cycle, sine and cosine say little but the time itself."""
    found = summary.inner.concentrations(place)
    return tuple(name for name, seconds, together in found if together < TOGETHER and span >= seconds / 2)
