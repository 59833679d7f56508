"""Plain models to hold the learners against, on the same rows of the same stream.

Two kinds. `Constant` and `Ridge` take mini-batches as they come, like a learner, at constant memory, and
are carried and saved with an adaptation. `offline` fits what needs every row at once, by scikit-learn:
boosted trees and logistic regression, on a second reading of the rows and only up to a number of them.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TREES = "hist-gradient-boosting"

OFFLINE_ROWS = 500_000
"""Beyond this many rows the offline baselines are fitted to the first that many of the shuffled stream."""


class OnlineBaseline(abc.ABC):
    """A baseline that learns by running sums: `step` on every mini-batch, `predict` at any time."""

    name: str

    @abc.abstractmethod
    def step(self, x: Floats, y: Floats) -> None:
        """Take encoded rows ``[B, D]`` and their targets ``[B]``, class indices for classification."""

    @abc.abstractmethod
    def predict(self, x: Floats) -> NDArray[np.float64]:
        """Encoded rows ``[M, D]`` to means ``[M]`` or class probabilities ``[M, O]``."""

    @abc.abstractmethod
    def tensors(self) -> dict[str, NDArray]:
        """The running sums by name."""

    @abc.abstractmethod
    def load_tensors(self, arrays: Mapping[str, NDArray]) -> None:
        """Take back what `tensors` returned."""


@final
class Constant(OnlineBaseline):
    """The mean of the targets so far, or the shares of the classes so far; blind to the columns."""

    def __init__(self, outputs: int):
        self.name = "mean" if outputs == 1 else "majority"
        self._sums = np.zeros(outputs + 1)  # rows, then the sum of targets or the count of each class

    def step(self, x: Floats, y: Floats) -> None:
        """Count."""
        self._sums[0] += len(y)
        if len(self._sums) == 2:
            self._sums[1] += y.sum(dtype=np.float64)
        else:
            self._sums[1:] += np.bincount(y.astype(np.int64), minlength=len(self._sums) - 1)

    def predict(self, x: Floats) -> NDArray[np.float64]:
        """The same for every row."""
        mean = self._sums[1:] / max(self._sums[0], 1)
        return np.full(len(x), mean[0]) if len(mean) == 1 else np.tile(mean, (len(x), 1))

    def tensors(self) -> dict[str, NDArray]:
        """The sums."""
        return {"sums": self._sums}

    def load_tensors(self, arrays: Mapping[str, NDArray]) -> None:
        """Restore the sums."""
        self._sums = arrays["sums"].copy()


@final
class Ridge(OnlineBaseline):
    """Ridge regression on all rows so far, in closed form from the moments of [1, x] and y.

    The penalty is one unit (a prior of unit variance under unit noise) and spares the intercept.

    References:
        Hoerl and Kennard, "Ridge regression", Technometrics 1970.
    """

    name = "ridge"

    def __init__(self, features: int):
        self._second = np.zeros((features + 1, features + 1))
        self._cross = np.zeros(features + 1)

    def step(self, x: Floats, y: Floats) -> None:
        """Add the batch's moments."""
        design = _with_intercept(x)
        self._second += design.T @ design
        self._cross += design.T @ y.astype(np.float64)

    def predict(self, x: Floats) -> NDArray[np.float64]:
        """The fit of the rows so far."""
        penalty = np.eye(len(self._cross))
        penalty[0, 0] = 1e-9
        return _with_intercept(x) @ np.linalg.solve(self._second + penalty, self._cross)

    def tensors(self) -> dict[str, NDArray]:
        """The moments."""
        return {"second": self._second, "cross": self._cross}

    def load_tensors(self, arrays: Mapping[str, NDArray]) -> None:
        """Restore the moments."""
        self._second, self._cross = arrays["second"].copy(), arrays["cross"].copy()


def online(task: str, features: int, outputs: int) -> list[OnlineBaseline]:
    """The online baselines of a task."""
    if task == "classification":
        return [Constant(outputs)]
    return [Constant(1), Ridge(features)]


@dataclass(frozen=True)
class Fitted:
    """What an offline baseline predicts for the held-out rows, and what its fit took.

    Attributes:
        name: of the baseline.
        mean: means ``[M]`` or class probabilities ``[M, O]``.
        rows: fit rows.
        seconds: of reading the rows, the fit and the prediction.
    """

    name: str
    mean: NDArray[np.float64]
    rows: int
    seconds: float


def offline(
    task: str,
    outputs: int,
    rows: Callable[[], Iterable[tuple[Floats, Floats | None]]],
    held_x: Floats,
) -> tuple[list[Fitted], list[str]]:
    """Fit the offline baselines and predict the held-out rows.

    Args:
        task: "regression" or "classification".
        outputs: number of classes; 1 for regression.
        rows: opens the stream of encoded fit rows anew; the targets are in their own units or class indices.
        held_x: encoded held-out rows ``[M, D]``.

    Returns:
        The fitted baselines, and notes about what was left out and why.
    """
    try:
        from sklearn import ensemble, linear_model
    except ImportError:
        return [], ["boosted trees left out: scikit-learn is not installed (pip install 'amortix[sklearn]')"]
    opened = time.perf_counter()
    x, y, notes = _gather(rows())
    reading = time.perf_counter() - opened

    def fit(name: str, model: Any) -> Fitted:
        start = time.perf_counter()
        model.fit(x, y)
        mean = model.predict(held_x) if task == "regression" else _probabilities(model, held_x, outputs)
        return Fitted(name, mean, len(x), reading + time.perf_counter() - start)

    if task == "regression":
        return [fit(TREES, ensemble.HistGradientBoostingRegressor(random_state=0))], notes
    return [
        fit("logistic", linear_model.LogisticRegression(max_iter=1000)),
        fit(TREES, ensemble.HistGradientBoostingClassifier(random_state=0)),
    ], notes


def _with_intercept(x: Floats) -> NDArray[np.float64]:
    return np.concatenate([np.ones((len(x), 1)), x], axis=1, dtype=np.float64)


def _gather(rows: Iterable[tuple[Floats, Floats | None]]) -> tuple[Floats, Floats, list[str]]:
    xs, ys, held = [], [], 0
    for x, y in rows:
        if held >= OFFLINE_ROWS:
            note = f"baselines of scikit-learn fitted to the first {held:,} rows: they need all rows in memory"
            return np.concatenate(xs), np.concatenate(ys), [note]
        assert y is not None, "a stream of fit rows carries its targets"
        xs.append(x.copy())
        ys.append(y.copy())
        held += len(x)
    return np.concatenate(xs), np.concatenate(ys), []


def _probabilities(model: Any, x: Floats, outputs: int) -> NDArray[np.float64]:
    """Probabilities over all classes; a class that no fit row had gets none."""
    full = np.zeros((len(x), outputs))
    full[:, model.classes_.astype(np.int64)] = model.predict_proba(x)
    return full
