"""One learner on its way through a table, and how it did there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from amortix.batch import Batch, State
from amortix.learner import AbstractLearner
from amortix.model import forecast
from amortix.pretrained import Pretrained
from amortix.stacking import Forecast
from amortix.units import Units


@dataclass
class Track:
    """One learner on its way through the table.

    Attributes:
        origin: the learner as it was pre-trained; it never changes.
        state: what the table has taught it so far.
        seconds: spent in its steps.
        curve: ``rows`` and the metrics on the held-out rows, in order.
    """

    origin: Pretrained
    state: State
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    @property
    def learner(self) -> AbstractLearner:
        """The learner itself."""
        return self.origin.learner

    def stepped(self, batch: Batch) -> Track:
        """This track one mini-batch further; this one stays as it is, and they share the curve."""
        started = time.perf_counter()
        with torch.no_grad():
            state = self.learner.step(self.state, batch)
        return Track(self.origin, state, self.seconds + time.perf_counter() - started, self.curve)

    def forecast(self, units: Units, held: Tensor) -> Forecast:
        """Predictions for the encoded held-out rows ``[1, M, D]``, which a query state already has."""
        with torch.no_grad():
            return forecast(self.learner, self.state, units, None if self.learner.needs_queries else held)


@dataclass(frozen=True)
class Result:
    """How a regime or a baseline did on the held-out rows.

    Attributes:
        regime: the regime, or the name of the baseline.
        baseline: which of the two.
        rows: rows it learned from.
        seconds: reading and encoding them and learning from them; evaluations along the way are not counted.
        metrics: by name, see `amortix.metrics`.
        curve: of regimes, ``rows`` and the metrics at each point.
        weights: of the regimes in a mixture, by name; else empty.
    """

    regime: str
    baseline: bool
    rows: int
    seconds: float
    metrics: dict[str, float]
    curve: tuple[dict[str, float], ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where a run stands; ``metrics`` are the latest on the held-out rows, by regime."""

    rows: int
    total: int
    batches: int
    metrics: dict[str, dict[str, float]]
