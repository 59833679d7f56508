"""Which columns and directions of a table show its target best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BINS = 12  # groups of about equal size that a column's values are put into
_FAR = 4.0  # standard deviations beyond which a value counts no more


def association(x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of y's variance between groups of equal values, for each column, and what is left of y.

    Args:
        x: ``[B, D]``, NaN for a missing value: those rows are a group of their own.
        y: ``[B]``.

    Returns:
        Shares ``[D]`` from 0 to 1, and y minus the mean of its group ``[D, B]``.
    """
    rest = np.empty((x.shape[1], len(x)))
    for column, values in enumerate(x.T):
        known = values[~np.isnan(values)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else known
        group = np.where(np.isnan(values), _BINS, np.searchsorted(edges, values))
        count = np.maximum(np.bincount(group, minlength=_BINS + 1), 1)
        rest[column] = y - (np.bincount(group, y, minlength=_BINS + 1) / count)[group]
    return 1 - rest.var(axis=1) / max(float(np.var(y, dtype=np.float64)), 1e-30), rest


def plane(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows on the two directions that separate the classes best, filled up by principal components.

    Args:
        x: ``[B, D]``, D at least 2, NaN for a missing value.
        y: ``[B]``, class indices.

    Returns:
        ``[B, 2]``, in standard deviations within the classes.
    """
    white = _whitened(_standard(x), y)
    means = np.stack([white[y == label].mean(0) for label in np.unique(y)])
    weight = np.sqrt(np.unique(y, return_counts=True)[1])[:, None]
    _, strength, apart = np.linalg.svd((means - white.mean(0)) * weight, full_matrices=False)
    found = apart[strength > 1e-6 * max(float(strength.max()), 1e-30)][:2]
    rest = white - white @ found.T @ found
    main = np.linalg.svd(rest - rest.mean(0), full_matrices=False)[2]
    return white @ np.concatenate([found, main])[:2].T


def _standard(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Columns of mean 0 and variance 1, missing values 0, far ones cut off."""
    wide = x.astype(np.float64)
    known = ~np.isnan(wide)
    mean = wide.sum(0, where=known) / np.maximum(known.sum(0), 1)
    spread = np.sqrt(((wide - mean) ** 2).sum(0, where=known) / np.maximum(known.sum(0), 1))
    return np.clip(np.where(known, (wide - mean) / np.where(spread > 0, spread, 1.0), 0.0), -_FAR, _FAR)


def _whitened(x: NDArray[np.float64], y: NDArray[np.floating]) -> NDArray[np.float64]:
    """Directions scaled to variance 1 within the classes; those that hardly vary are left out."""
    inside = np.concatenate([x[y == label] - x[y == label].mean(0) for label in np.unique(y)])
    values, axes = np.linalg.eigh(inside.T @ inside / len(inside))
    kept = values > 1e-3 * max(float(values.max()), 1e-30)
    if kept.sum() < 2:
        return x
    return x @ (axes[:, kept] / np.sqrt(values[kept]))
