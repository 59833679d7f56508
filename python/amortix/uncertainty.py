"""Whether a learner knows how sure it is: coverage of intervals, calibration of probabilities, logarithmic scores.

References:
    Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 2007; Naeini, Cooper and
    Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015 (the calibration error).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from amortix.batch import Prediction

LEVELS = (50, 80, 95)
"""Percent of the targets that central intervals should cover."""

BINS = 10
"""Bins of equal width, by the probability of the class that is predicted."""


def measures(prediction: Prediction, y: Tensor) -> dict[str, np.ndarray]:
    """What `summary` needs of each task's predictions for targets ``[T, M]``, ``[T, ...]`` each.

    ``log_score`` is the mean log probability or density, nats. For regression, ``coverage_50`` and so on are the shares
    of targets within the normal law's central intervals; for classification, ``bins`` holds for each bin how many
    predictions fell in it, the sum of their probabilities and how many of them were right, ``[T, BINS, 3]``.
    """
    score = {"log_score": prediction.log_likelihood(y).mean(1)}
    found = score | (_binned(prediction.mean, y) if prediction.variance is None else _covered(prediction, y))
    return {name: tensor.double().numpy() for name, tensor in found.items()}


def summary(measured: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means over tasks of what `measures` found; of bins, ``calibration_error``: the mean distance of the share of
    predictions that were right from their probability, over all tasks' predictions together."""
    found = {name: float(values.mean()) for name, values in measured.items() if name != "bins"}
    if "bins" in measured:
        count, confidence, right = measured["bins"].sum(0).T
        found["calibration_error"] = float(np.abs(confidence - right).sum() / count.sum())
    return found


def _covered(prediction: Prediction, y: Tensor) -> dict[str, Tensor]:
    assert prediction.variance is not None, "a regression has a variance"
    away = ((y - prediction.mean.squeeze(2)).abs() / prediction.variance.squeeze(2).sqrt()).double()
    inside = torch.special.erf(away / 2**0.5)  # the level of the interval that ends at the target
    return {f"coverage_{level}": (inside <= level / 100).double().mean(1) for level in LEVELS}


def _binned(probabilities: Tensor, y: Tensor) -> dict[str, Tensor]:
    confidence, chosen = probabilities.max(2)
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    right = (chosen == y.long()).to(confidence.dtype)
    each = torch.stack([torch.ones_like(right), confidence, right], dim=2).double()
    empty = torch.zeros(len(y), BINS, 3, dtype=torch.float64)
    return {"bins": empty.scatter_add(1, place.unsqueeze(2).expand_as(each), each)}
