"""Statistical checks that tests share. Seeds are fixed, so what is right passes once and for all."""

import numpy as np
from scipy import stats

LEAST_P = 1e-3


def follows(sample: np.ndarray, distribution) -> bool:
    """Whether a sample agrees with a distribution of scipy, by Kolmogorov and Smirnov's test."""
    return stats.kstest(sample.ravel(), distribution.cdf).pvalue > LEAST_P


def unrelated(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether ranks are uncorrelated: of independent numbers, whatever their tails, within 5 standard errors of 0."""
    return abs(stats.spearmanr(a.ravel(), b.ravel()).statistic) < 5 / np.sqrt(a.size - 1)
