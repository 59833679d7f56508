"""The main job: stream a table once through learners of one or more regimes, and keep what they learned.

>>> import numpy as np
>>> x = np.random.default_rng(0).normal(size=(2000, 3)).astype("float32")
>>> run = Adaptation.start(Table.open((x, 2 * x[:, 0] + 1)), ["parametric"])
>>> run.run()
True
>>> run.results[0].metrics["r2"] > 0.98
True
>>> run.model().predict(x[:5]).mean.shape
(5,)

A first reading decides how columns are encoded: numbers, labels, dates, and what is missing in them. Then all
learners step side by side over one stream of encoded mini-batches, and so do the online baselines. A
share of the rows is held out by a hash of the row number; the error there, at row counts evenly spaced in
their logarithm, is the learning curve, and at the end the forecasts there give the weights of the regimes in a
mixture (`AUTO`) or pick one of them. That is all the held-out rows do: no learner ever steps on them.

Everything between two mini-batches can be saved: `save` and `resume` go on bitwise as if never interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import NDArray

from amortix import baselines, metrics, saving, stacking
from amortix.batch import Batch, own
from amortix.budget import check_classes, check_width, compact, initial, new_store
from amortix.data.encoder import EncoderSettings, TableEncoder
from amortix.data.store import RowStore
from amortix.data.summary import Progress as Reading
from amortix.data.table import Table
from amortix.errors import AmortixError, ConfigError, FormatError, LearnerError, StateError
from amortix.learner import Task
from amortix.model import AdaptedModel, Member, check_state, state_arrays, state_from_arrays
from amortix.plan import Floats, Settings, Split, check_rows, first_rows, infer_task, with_classes
from amortix.pretrained import REGIMES, Pretrained, file_of, resolve
from amortix.track import Progress, Result, Track
from amortix.units import ROWS, Units

AUTO = "auto"
"""The name of the mixture of all regimes that were adapted."""


@final
class Adaptation:
    """A table on its way through learners: `start` or `resume`, then `run`, then `results` and `model`.

    Attributes:
        split: the table and its parts.
        tracks: the learners by regime.
        rows: rows learned from so far.
        results: of every regime and baseline, once finished.
        notes: what the user should know about the results.
    """

    def __init__(self, split: Split, units: Units, tracks: Sequence[Track], store: RowStore | None):
        self.split = split
        self.tracks = {track.learner.regime: track for track in tracks}
        self.rows = 0
        self.results: list[Result] = []
        self.notes = [f"column {name!r} is left out: it {why}" for name, why in split.encoder.left_out.items()]
        self._units = units
        self._store = store
        self._task = tracks[0].learner.task
        self._online = baselines.online(self._task, split.encoder.width, _outputs(split.table))
        self._held = _tensor(split.held_x)
        self._weights: dict[str, float] = {}
        self._cursor: dict[str, Any] | None = None
        self._reading = 0.0

    @classmethod
    def start(
        cls,
        table: Table,
        learners: Sequence[str | Path | Pretrained] = REGIMES,
        settings: Settings | None = None,
        *,
        task: Task | None = None,
        encoder: TableEncoder | None = None,
        reading: Reading | None = None,
    ) -> Self:
        """Set out from the learners' initial states.

        Args:
            table: with a target. For classification its labels are found here, unless the table has them.
            learners: one per regime; the name of a regime stands for its bundled learner of the task.
            settings: see `Settings`; its defaults where None.
            task: what to make of the target; by default what `infer_task` says.
            encoder: fitted on this table or on one like it; None to read the table once and fit one of normal scores.
            reading: called with (rows read, rows) during that.

        Raises:
            SourceError: the table is too small, its target constant, or it does not fit the encoder.
            LearnerError: the learners' tasks differ, or the table has more columns or classes than they take.
            ConfigError: the budget is too small.
        """
        settings = settings or Settings()
        check_rows(table)
        task = infer_task(table, task)
        table = with_classes(table) if task == "classification" else table
        origins = resolve(learners, task, _outputs(table))
        check_classes(table, [origin.learner for origin in origins])
        encoder = encoder or TableEncoder.fit(table, EncoderSettings(scale="normal"), progress=reading)
        check_width(table, encoder, [origin.learner for origin in origins])
        split = Split.of(table, encoder, settings)
        units = Units() if table.classes else Units.of(first_rows(split.stream(), ROWS)[1], str(table.target))
        held = _tensor(split.held_x)
        tracks = [Track(origin, initial(origin.learner, held, _outputs(table))) for origin in origins]
        store = new_store([origin.learner for origin in origins], encoder, settings, _outputs(table))
        return cls(split, units, tracks, store)

    @property
    def finished(self) -> bool:
        """Whether every row has been learned from."""
        return bool(self.results)

    @property
    def best(self) -> str:
        """The one regime with the best score on the held-out rows, once finished.

        Raises:
            StateError: not finished.
            LearnerError: no regime has a finite score.
        """
        name = metrics.SCORE[self._task]
        scores = {r.regime: r.metrics[name] for r in self.results if r.regime in self.tracks}
        if not scores:
            raise StateError("the adaptation has not finished: call run() first")
        ranked = {regime: score for regime, score in scores.items() if math.isfinite(score)}
        if not ranked:
            raise LearnerError(f"no regime has a finite {name} on the held-out rows: the target may be constant there")
        return max(ranked, key=lambda regime: ranked[regime])

    def run(self, progress: Callable[[Progress], None] | None = None, stop: Callable[[], bool] = lambda: False) -> bool:
        """Step through the rest of the table.

        An exception while a mini-batch is read or learned from leaves the adaptation as it was before that
        mini-batch, ready to be saved or run on.

        Args:
            progress: called after every mini-batch.
            stop: asked after every mini-batch; True ends the run there.

        Returns:
            Whether the table was finished.
        """
        due = self.split.schedule()
        stream = self.split.stream()
        if self._cursor is not None:
            stream.load_state_dict(self._cursor)
        batches = iter(stream)
        while self.rows < self.split.rows:
            started = time.perf_counter()
            x, y = next(batches)
            self._step(x, y, stream.state_dict(), started, measure=self.rows + len(x) in due)
            if progress is not None:
                progress(self._progress())
            if stop():
                return False
        if not self.finished:
            self._finish()
        return True

    def _step(self, x: Floats, y: Floats | None, cursor: dict[str, Any], started: float, measure: bool) -> None:
        """Compute everything that the mini-batch changes, then change it at once."""
        assert y is not None, "rows to learn from carry their targets"
        target = self._units.target(y)
        batch = Batch(_tensor(x), _tensor(target))
        reading = time.perf_counter() - started
        after = [track.stepped(batch) for track in self.tracks.values()]
        points = [self._point(track, self.rows + len(x)) for track in after] if measure else []
        for baseline in self._online:
            baseline.step(x, y)
        if self._store is not None:
            self._store.extend(x, target)
        for track, point in zip(after, points, strict=False):
            track.curve.append(point)
        self.tracks = {track.learner.regime: track for track in after}
        self.rows, self._cursor, self._reading = self.rows + len(x), cursor, self._reading + reading

    def _point(self, track: Track, rows: int) -> dict[str, float]:
        return {"rows": rows} | self._score(track.forecast(self._units, self._held).mean)

    def _progress(self) -> Progress:
        latest = {regime: track.curve[-1] for regime, track in self.tracks.items() if track.curve}
        return Progress(self.rows, self.split.rows, -(-self.rows // self.split.settings.batch), latest)

    def _finish(self) -> None:
        results, forecasts = [], [track.forecast(self._units, self._held) for track in self.tracks.values()]
        weights = stacking.weights(self._task, self.split.held_y, forecasts)
        self._weights = dict(zip(self.tracks, weights.tolist(), strict=True))
        for regime, track in self.tracks.items():
            last = {name: value for name, value in track.curve[-1].items() if name != "rows"}
            seconds = self._reading + track.seconds
            results.append(Result(regime, False, self.rows, seconds, last, tuple(track.curve)))
        if len(results) > 1:
            seconds = self._reading + sum(track.seconds for track in self.tracks.values())
            found = self._score(stacking.mixture(forecasts, weights).mean)
            results.append(Result(AUTO, False, self.rows, seconds, found, weights=self._weights))
        for baseline in self._online:
            found = self._score(baseline.predict(self._held[0].numpy()))
            results.append(Result(baseline.name, True, self.rows, self._reading, found))
        results += self._offline() if self.split.settings.offline else []
        self.results = results

    def _offline(self) -> list[Result]:
        fitted, notes = baselines.offline(
            self._task,
            _outputs(self.split.table),
            self.split.stream,
            self.split.held_x,
        )
        self.notes += notes
        return [Result(one.name, True, one.rows, one.seconds, self._score(one.mean)) for one in fitted]

    def _score(self, mean: NDArray[np.float64]) -> dict[str, float]:
        return metrics.measure(self._task, self.split.held_y, mean)

    def model(self, regime: str | None = None) -> AdaptedModel:
        """The adapted model: by default, and for `AUTO`, the mixture once finished; at any time that of a regime.

        Raises:
            ConfigError: the regime was not adapted.
            StateError: the mixture is asked for and the adaptation has not finished.
        """
        table, members = self.split.table, self._members(regime)
        implicit = any(member.learner.needs_queries for member in members)
        return AdaptedModel(
            members=members,
            encoder=self.split.encoder,
            units=self._units,
            store=self._store if implicit else None,
            columns=tuple(table.columns),
            target=table.target,
            classes=table.classes if self._task == "classification" else None,
            batch=self.split.settings.batch,
            info={
                "rows": self.rows,
                "held": len(self.split.held_y),
                "settings": asdict(self.split.settings),
                "results": [asdict(result) for result in self.results],
            },
        )

    def _members(self, regime: str | None) -> tuple[Member, ...]:
        if regime in (None, AUTO):
            if not self.finished:
                raise StateError("the adaptation has not finished: call run() first, or name a regime")
            shares = {name: weight for name, weight in self._weights.items() if weight > 0}
        elif regime in self.tracks:
            shares = {regime: 1.0}
        else:
            raise ConfigError(f"regime {regime!r} was not adapted, only {', '.join(self.tracks)}")
        width = self.split.encoder.width
        chosen = [(self.tracks[name], weight) for name, weight in shares.items()]
        return tuple(Member(t.origin, compact(t.learner, t.state, width), weight) for t, weight in chosen)

    def save(self, path: str | Path) -> None:
        """Write a directory, whole or not at all: `model` once finished, else all that `resume` needs.

        The budget bounds the finished model. An unfinished adaptation also holds the other regimes and the
        state of the held-out queries, and may be larger.

        Raises:
            OSError: the disk is full or the place cannot be written.
        """
        if self.finished:
            self.model().save(path)
            return
        tensors: dict[str, NDArray] = {}
        for track in self.tracks.values():
            tensors |= state_arrays(track.learner, track.state)
        for baseline in self._online:
            tensors |= saving.prefixed(baseline.name, baseline.tensors())
        tensors |= {} if self._store is None else saving.prefixed("store", self._store.state_dict())
        with saving.replacing_directory(Path(path)) as fresh:
            for track in self.tracks.values():
                track.origin.save(fresh)
            saving.write(fresh, self._meta(), tensors)

    def _meta(self) -> dict[str, Any]:
        table = self.split.table
        return {
            "kind": "adaptation",
            "source": table.source,
            "target": table.target,
            "drop": list(table.drop),
            "classes": None if table.classes is None else list(table.classes),
            "fingerprint": table.fingerprint,
            "settings": asdict(self.split.settings),
            "encoder": self.split.encoder.to_json(),
            "units": [self._units.centre, self._units.scale],
            "rows": self.rows,
            "reading": self._reading,
            "cursor": self._cursor,
            "tracks": {
                regime: {"seconds": track.seconds, "curve": track.curve} for regime, track in self.tracks.items()
            },
        }

    @classmethod
    def resume(cls, path: str | Path, table: Table | None = None) -> Self:
        """Take up an unfinished adaptation where it was saved.

        Args:
            path: directory that `save` wrote.
            table: the same table, opened anew; where None, it is opened from where it was.

        Raises:
            FormatError: the directory is missing, damaged, or of a later schema.
            StateError: the directory holds a finished model, or the table is another one.
        """
        path = Path(path)
        meta, arrays = saving.read(path)
        if meta.get("kind") != "adaptation":
            raise StateError(f"{path} holds a finished model: there is nothing to resume")
        opened = _reopen(meta, path) if table is None else table
        if meta["classes"] and not opened.classes:
            opened = opened.with_classes(tuple(meta["classes"]))
        if opened.fingerprint != meta["fingerprint"]:
            raise StateError(f"the table is not the one that {path} was adapted to: resume with the same file")
        try:
            return cls._restore(path, opened, meta, arrays)
        except AmortixError:
            raise
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise FormatError(f"{path} is damaged: its parts do not fit each other ({error})") from None

    @classmethod
    def _restore(cls, path: Path, table: Table, meta: dict[str, Any], arrays: dict[str, NDArray]) -> Self:
        encoder, units = TableEncoder.from_json(meta["encoder"]), Units(*meta["units"])
        tracks = []
        for regime, saved in meta["tracks"].items():
            origin = Pretrained.load(path / file_of(regime))
            tracks.append(
                Track(
                    origin,
                    state_from_arrays(regime, arrays),
                    saved["seconds"],
                    [_numbers(point) for point in saved["curve"]],
                )
            )
        settings = Settings(**meta["settings"])
        store = new_store([track.learner for track in tracks], encoder, settings, _outputs(table))
        if store is not None:
            store.load_state_dict(saving.under("store", arrays))
        adaptation = cls(Split.of(table, encoder, settings), units, tracks, store)
        for track in tracks:
            check_state(track.state, initial(track.learner, adaptation._held, _outputs(table)))
        for baseline in adaptation._online:
            baseline.load_tensors(saving.under(baseline.name, arrays))
        adaptation.rows, adaptation._reading = meta["rows"], meta["reading"]
        adaptation._cursor = meta["cursor"]
        return adaptation


def _tensor(array: Floats) -> torch.Tensor:
    return own(array)[None]


def _numbers(point: dict[str, float | None]) -> dict[str, float]:
    """A point as it was before JSON, which has no NaN."""
    return {name: math.nan if value is None else value for name, value in point.items()}


def _outputs(table: Table) -> int:
    return len(table.classes) if table.classes else 1


def _reopen(meta: dict[str, Any], path: Path) -> Table:
    if meta["source"] is None:
        raise StateError(f"{path} was adapted to arrays in memory: pass the same table to resume")
    return Table.open(meta["source"], target=meta["target"], drop=meta["drop"])
