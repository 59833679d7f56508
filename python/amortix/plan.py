"""What an adaptation sets out with: settings, task, and the rows to learn from and to be judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from amortix.data.encoder import TableEncoder
from amortix.data.stream import Stream
from amortix.data.table import Table
from amortix.errors import ConfigError, SourceError

HELD_ROWS = 4096
"""The most rows that are held out."""

FEWEST_ROWS = 20
"""Tables with fewer rows are refused: too few would be left to hold out."""

CLASSES = 10
"""An integer target with more distinct values is taken for a number, not for a class."""

POINTS = 16
"""About how many points a learning curve has, evenly spaced in the logarithm of the rows."""

Task = Literal["regression", "classification"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """What determines an adaptation beside table and learners.

    Attributes:
        batch: rows per mini-batch.
        seed: of the stream's order and of the row store.
        holdout: share of rows held out; at most `HELD_ROWS` rows.
        budget: bytes that a saved model may take.
        offline: whether to fit the baselines that need all rows at once (`amortix.baselines.offline`).
    """

    batch: int = 512
    seed: int = 0
    holdout: float = 0.2
    budget: int = 64 << 20
    offline: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, got {self.batch}")
        if not 0 < self.holdout < 1:
            raise ConfigError(f"holdout must lie between 0 and 1, got {self.holdout}")


def check_rows(table: Table) -> None:
    """Refuse a table that is too short to be parted, or whose rows have weights, with `SourceError`."""
    if table.weight is not None:
        raise SourceError(f"learners do not weigh rows yet: open the table without the weight {table.weight!r}")
    if table.rows < FEWEST_ROWS:
        plural = "row" if table.rows == 1 else "rows"
        raise SourceError(
            f"the table has {table.rows} {plural}: at least {FEWEST_ROWS} are needed, "
            "some to learn from and some held out"
        )


@dataclass(frozen=True)
class Split:
    """A table's rows, parted by a hash of the row number into those to learn from and those held out.

    Attributes:
        table: with a target; class indices for classification.
        encoder: makes of its columns what learners read.
        settings: the batch size and the order of the rows to learn from.
        share: of the rows that the hash holds out.
        held_x: held-out rows, encoded, ``[M, D]``.
        held_y: their targets, ``[M]``.
        rows: number of rows to learn from.
    """

    table: Table
    encoder: TableEncoder
    settings: Settings
    share: float
    held_x: Floats
    held_y: Floats
    rows: int

    @classmethod
    def of(cls, table: Table, encoder: TableEncoder, settings: Settings) -> Self:
        """Part a table of at least `FEWEST_ROWS` rows."""
        share = min(settings.holdout, HELD_ROWS / table.rows)
        while (held := _stream(table, encoder, settings, share, "held")).rows < FEWEST_ROWS // 5:
            share = (1 + share) / 2
        x, y = first_rows(held, HELD_ROWS)
        return cls(table, encoder, settings, share, x, y, _stream(table, encoder, settings, share, "fit").rows)

    def stream(self) -> Stream:
        """The rows to learn from, shuffled, in mini-batches."""
        return _stream(self.table, self.encoder, self.settings, self.share, "fit")

    def schedule(self) -> set[int]:
        """Row counts at which the learning curve is measured: the end, and none shortly before it."""
        batch = self.settings.batch
        steps = np.geomspace(1, max(self.rows // batch, 1), POINTS).round().astype(int)
        return {batch * int(step) for step in steps if batch * step < 0.9 * self.rows} | {self.rows}


def infer_task(table: Table, asked: Task | None = None) -> Task:
    """The task that a target asks for: text, booleans and up to ten distinct integers are classes.

    Raises:
        SourceError: regression is asked of a target that is text.
    """
    if asked == "regression" and table.target_kind == "label":
        raise SourceError(f"target {table.target!r} holds labels, not numbers: use --task classification")
    if asked is not None:
        return asked
    if table.target_kind == "integer":
        return "classification" if len(table.distinct_labels(limit=CLASSES + 1)) <= CLASSES else "regression"
    return "classification" if table.target_kind == "label" else "regression"


def with_classes(table: Table) -> Table:
    """The table with class indices for targets; `SourceError` where there is one class only."""
    if table.classes is None:
        table = table.with_classes(tuple(table.distinct_labels()))
    if len(table.classes or ()) < 2:
        raise SourceError(
            f"target {table.target!r} is {(table.classes or ('missing',))[0]!r} in every row: "
            "there is nothing to learn; choose another target"
        )
    return table


def first_rows(stream: Stream, rows: int) -> tuple[Floats, Floats]:
    """The first ``rows`` rows of a stream, or all that it has: ``[N, D]`` and ``[N]``."""
    xs, ys, count = [], [], 0
    for x, y in stream:
        if y is None:
            raise SourceError("the table has no target: name one by --target")
        xs.append(x.copy())
        ys.append(y.copy())
        count += len(x)
        if count >= rows:
            break
    return np.concatenate(xs)[:rows], np.concatenate(ys)[:rows]


def _stream(
    table: Table, encoder: TableEncoder, settings: Settings, share: float, part: Literal["fit", "held"]
) -> Stream:
    return Stream(table, batch=settings.batch, seed=settings.seed, holdout=share, part=part, encoder=encoder)
