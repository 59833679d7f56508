"""Weights of several forecasts in one mixture, from how they did on rows that none of them learned from. NumPy only.

>>> import numpy as np
>>> y = np.array([1.0, 2.0, 3.0, 4.0])
>>> weights("regression", y, [Forecast(y + 1), Forecast(y - 1)]).round(6)
array([0.5, 0.5])

References:
    Wolpert, "Stacked generalization", Neural Networks 1992; Breiman, "Stacked regressions", Machine Learning 1996
    (weights that are not negative); Yao, Vehtari, Simpson and Gelman, "Using stacking to average Bayesian predictive
    distributions", Bayesian Analysis 2018 (mixtures, logarithmic score).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amortix.metrics import SMALLEST

PULL = 10.0
"""How many rows the pull towards equal weights counts for: it matters where few rows are held out."""

LEAST = 0.02
"""Weights below this are set to zero: a forecast that costs time should be worth it."""

ROUNDS = 2000
"""The most rounds of expectation-maximisation, which is slow where forecasts are alike."""


@dataclass(frozen=True)
class Forecast:
    """Predictions for M rows, in the target's own units.

    Attributes:
        mean: ``[M]`` for regression; class probabilities ``[M, O]`` for classification.
        variance: of a new observation, ``[M]``; None for classification.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64] | None = None


def mixture(forecasts: Sequence[Forecast], weights: Sequence[float] | NDArray[np.float64]) -> Forecast:
    """The mean and variance of the mixture of predictive distributions; weights ``[R]`` sum to one."""
    if len(forecasts) == 1:
        return forecasts[0]
    pairs = list(zip(weights, forecasts, strict=True))
    mean = sum((w * f.mean for w, f in pairs), np.zeros_like(forecasts[0].mean))
    if any(f.variance is None for f in forecasts):
        return Forecast(mean)
    # Within and between: forecasts that disagree are less sure together.
    spread = (w * (f.variance + (f.mean - mean) ** 2) for w, f in pairs if f.variance is not None)
    return Forecast(mean, sum(spread, np.zeros_like(mean)))


def weights(task: str, y: NDArray[np.floating], forecasts: Sequence[Forecast]) -> NDArray[np.float64]:
    """Weights ``[R]``, none negative, that sum to one: least squares of the means for regression, the logarithmic score
    of the mixture for classification; a forecast that is not finite gets none.

    Args:
        task: "regression" or "classification".
        y: targets ``[M]`` that no forecast was made from, class indices for classification.
        forecasts: R of them, for those rows.
    """
    sound = np.array([bool(np.isfinite(f.mean).all()) for f in forecasts])
    found = np.zeros(len(forecasts))
    if not sound.any():
        return np.full(len(forecasts), 1 / len(forecasts))
    means = np.stack([f.mean for f, whole in zip(forecasts, sound, strict=True) if whole])
    solve = _likely if task == "classification" else _least_squares
    found[sound] = solve(means.astype(np.float64), y)
    found[found < LEAST] = 0.0
    return found / found.sum()


def _likely(probabilities: NDArray[np.float64], y: NDArray[np.floating]) -> NDArray[np.float64]:
    """The expectation-maximisation of mixture weights, from ``[R, M, O]``."""
    true = np.maximum(probabilities[:, np.arange(len(y)), y.astype(np.int64)], SMALLEST)
    count = len(true)
    found = np.full(count, 1 / count)
    for _ in range(ROUNDS):
        before, shares = found, found[:, None] * true
        found = (shares / shares.sum(0)).sum(1) + PULL / count
        found /= found.sum()
        if np.abs(found - before).max() < 1e-6:
            break
    return found


def _least_squares(means: NDArray[np.float64], y: NDArray[np.floating]) -> NDArray[np.float64]:
    """The best of the solutions with some weights zero: exact, for a handful of forecasts ``[R, M]``."""
    residuals = means - y.astype(np.float64)
    # As the weights sum to one, the residual of the mixture is the mixture of the residuals.
    products = residuals @ residuals.T
    count = len(means)
    products += PULL * np.diag(products).min() / len(y) * np.eye(count)
    best, least = np.full(count, 1 / count), np.inf
    subsets = itertools.chain.from_iterable(itertools.combinations(range(count), n) for n in range(1, count + 1))
    for subset in map(list, subsets):
        free = np.linalg.lstsq(products[np.ix_(subset, subset)], np.ones(len(subset)), rcond=None)[0]
        if free.sum() <= 0 or (free < 0).any():
            continue
        candidate = np.zeros(count)
        candidate[subset] = free / free.sum()
        if (loss := candidate @ products @ candidate) < least:
            best, least = candidate, loss
    return best
