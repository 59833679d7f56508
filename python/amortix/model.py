"""The model that an adaptation leaves: it predicts new rows without the table, from its own directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import NDArray

from amortix import saving
from amortix.batch import Batch, State, own
from amortix.data.encoder import TableEncoder
from amortix.data.store import RowStore
from amortix.data.stream import Stream
from amortix.data.table import Table, TableLike
from amortix.errors import AmortixError, ArrayError, FormatError, StateError
from amortix.learner import AbstractLearner
from amortix.pretrained import Pretrained, file_of
from amortix.stacking import Forecast, mixture
from amortix.units import Units

CHUNK = 4096
"""Queries that are predicted at a time: bounds the memory of `AdaptedModel.predict`."""

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Member:
    """A learner with what a table taught it, and its share in the model's predictions.

    Attributes:
        origin: the pre-trained learner.
        state: of a learner that needs queries, only what new queries start from.
        weight: 0 .. 1; those of all members sum to one.
    """

    origin: Pretrained
    state: State
    weight: float = 1.0

    @property
    def learner(self) -> AbstractLearner:
        """The learner that the state belongs to."""
        return self.origin.learner


@final
@dataclass(frozen=True)
class AdaptedModel:
    """What is left of a table: a learner's state, its encoder and, for the implicit regime, a store of rows.

    Attributes:
        members: one learner, or several of different regimes that predict together (`amortix.stacking`).
        encoder: raw columns to what learners read.
        units: of the target.
        store: rows that late queries are compared with; None where the states alone predict.
        columns: names of the feature columns, in order.
        target: name of the target column, None when it had none.
        classes: the class labels in the order of the probabilities; None for regression.
        batch: rows that late queries read at a time; each time, all that they retain is copied.
        info: how the model came about: rows, settings, scores, the curve.
    """

    members: tuple[Member, ...]
    encoder: TableEncoder
    units: Units
    store: RowStore | None
    columns: tuple[str, ...]
    target: str | None
    classes: tuple[str, ...] | None
    batch: int = 8192
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """``"regression"`` or ``"classification"``."""
        return self.members[0].learner.task

    @property
    def regimes(self) -> dict[str, float]:
        """The members' weights by regime."""
        return {member.learner.regime: member.weight for member in self.members}

    @property
    def outputs(self) -> int:
        """O: 1 for regression, the number of classes otherwise."""
        return len(self.classes) if self.classes else 1

    def predict(self, x: TableLike) -> Forecast:
        """Predict for the rows of an array or of a table.

        Args:
            x: numbers ``[M, D]``, columns in the order of ``columns`` and NaN for what is missing; or a `Table`, or
                anything that `Table.open` takes and that has those columns, such as a data frame or a path.

        Raises:
            ArrayError: ``x`` has another shape.
            SourceError: a column is missing or of another kind than those that the model learned from.
        """
        parts = list(self.predict_chunks(x))
        if not parts:
            shape = (0, self.outputs) if self.classes else (0,)
            return Forecast(np.empty(shape), None if self.classes else np.empty(0))
        mean = np.concatenate([part.mean for part in parts])
        variances = [part.variance for part in parts if part.variance is not None]
        return Forecast(mean, np.concatenate(variances) if variances else None)

    def predict_chunks(self, x: TableLike) -> Iterator[Forecast]:
        """As `predict`, up to `CHUNK` rows at a time, in their order."""
        for encoded in self._encoded(x):
            yield self._predict(encoded)

    def _encoded(self, x: TableLike) -> Iterator[Floats]:
        if not isinstance(x, np.ndarray):
            table = x if isinstance(x, Table) else Table.open(x, columns=self.columns)
            stream = Stream(table, batch=CHUNK, shuffle=False, part="all", encoder=self.encoder)
            return (rows for rows, *_ in stream)
        if x.ndim != 2 or x.shape[1] != len(self.columns):
            names = ", ".join(self.columns)
            raise ArrayError(f"x must have shape [M, {len(self.columns)}] ({names}), got {x.shape}")
        return (self.encoder.transform(x[start : start + CHUNK]) for start in range(0, len(x), CHUNK))

    def _predict(self, encoded: Floats) -> Forecast:
        x = own(encoded)[None]
        with torch.no_grad():
            return mixture([self._ask(member, x) for member in self.members], list(self.regimes.values()))

    def _ask(self, member: Member, x: torch.Tensor) -> Forecast:
        learner = member.learner
        if not learner.needs_queries:
            return forecast(learner, member.state, self.units, x)
        assert self.store is not None, "a learner that needs queries comes with rows to compare them with"
        state = learner.ask(x, member.state)
        for rows, targets, _ in self.store.scan(self.batch):
            state = learner.recall(state, Batch(own(np.array(rows))[None], own(np.array(targets))[None]))
        return forecast(learner, state, self.units, None)

    def save(self, path: str | Path) -> None:
        """Write a directory that `load` reads, whole or not at all.

        Raises:
            OSError: the disk is full or the place cannot be written.
        """
        path = Path(path)
        meta = {
            "kind": "model",
            "task": self.task,
            "regimes": self.regimes,
            "columns": list(self.columns),
            "target": self.target,
            "classes": None if self.classes is None else list(self.classes),
            "batch": self.batch,
            "encoder": self.encoder.to_json(),
            "units": [self.units.centre, self.units.scale],
            "info": dict(self.info),
        }
        with saving.replacing_directory(path) as fresh:
            tensors = {} if self.store is None else saving.prefixed("store", self.store.state_dict())
            for member in self.members:
                member.origin.save(fresh)
                tensors |= state_arrays(member.learner, member.state)
            saving.write(fresh, meta, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a saved model.

        Raises:
            FormatError: the directory is missing, damaged, or of a later schema.
            StateError: it holds an unfinished adaptation.
        """
        path = Path(path)
        meta, arrays = saving.read(path)
        if meta.get("kind") != "model":
            raise StateError(f"{path} holds an unfinished adaptation: finish it by amortix adapt --resume {path}")
        try:
            members = tuple(
                Member(Pretrained.load(path / file_of(regime)), state_from_arrays(regime, arrays), weight)
                for regime, weight in meta["regimes"].items()
            )
            stored = saving.under("store", arrays)
            encoder = TableEncoder.from_json(meta["encoder"])
            model = cls(
                members=members,
                encoder=encoder,
                units=Units(*meta["units"]),
                store=RowStore.from_state_dict(stored, encoder.width) if stored else None,
                columns=tuple(meta["columns"]),
                target=meta["target"],
                classes=None if meta["classes"] is None else tuple(meta["classes"]),
                batch=meta["batch"],
                info=meta["info"],
            )
            model._check()
        except AmortixError as error:
            raise FormatError(f"{path} cannot be read: {error}") from None
        except (KeyError, TypeError, RuntimeError, ValueError, IndexError) as error:
            raise FormatError(f"{path} is damaged: its parts do not fit each other ({error})") from None
        return model

    def _check(self) -> None:
        """Compare the shapes with what this table and learner need, so that damage is found at once."""
        if [field.column for field in self.encoder.fields] != list(self.columns):
            raise FormatError("the encoder's columns are not those of the model")
        features = self.encoder.width
        for member in self.members:
            query = torch.zeros(1, 1, features) if member.learner.needs_queries else None
            check_state(member.state, member.learner.init(1, features, self.outputs, query_x=query))
        if not self.members or any(member.learner.needs_queries for member in self.members) != (self.store is not None):
            raise FormatError("the learners do not fit the stored rows")


def check_state(state: State, like: State) -> None:
    """Raise `FormatError` where a saved state's tensors have other names, shapes or dtypes than ``like``."""
    found = {name: (tuple(t.shape), t.dtype) for name, t in state.tensors().items()}
    expected = {name: (tuple(t.shape), t.dtype) for name, t in like.tensors().items()}
    wrong = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
    if wrong:
        shape = list(found[wrong[0]][0]) if wrong[0] in found else "missing"
        raise FormatError(f"the state's {wrong[0]!r} is {shape}, which does not fit the learner")


def forecast(learner: AbstractLearner, state: State, units: Units, x: torch.Tensor | None) -> Forecast:
    """Predict at encoded ``x`` ``[1, M, D]`` (None: the state's own queries), in the target's units."""
    found = learner.predict(state) if x is None else learner.predict(state, x)
    mean = found.mean[0].cpu().numpy()
    if learner.task == "classification":
        return Forecast(mean.astype(np.float64))
    variance = None if found.variance is None else found.variance[0, :, 0].cpu().numpy()
    return Forecast(*units.inverse(mean[:, 0], variance))


def state_arrays(learner: AbstractLearner, state: State) -> dict[str, NDArray]:
    """A state's tensors as arrays under ``<regime>/``."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in state.tensors().items()}
    return saving.prefixed(learner.regime, arrays)


def state_from_arrays(regime: str, arrays: Mapping[str, NDArray]) -> State:
    """The inverse of `state_arrays`."""
    return State.from_tensors({k: torch.from_numpy(v) for k, v in saving.under(regime, arrays).items()})
