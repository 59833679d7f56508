"""Mixtures of forecasts: weights against closed forms, moments against samples."""

import numpy as np
import pytest

from amortix.stacking import LEAST, Forecast, mixture, weights


def noisy(y, *errors, seed=0):
    rng = np.random.default_rng(seed)
    return [Forecast(y + error * rng.normal(size=len(y)), np.full(len(y), error**2)) for error in errors]


def test_independent_errors_are_weighed_by_their_precisions():
    y = np.random.default_rng(1).normal(size=50_000)
    found = weights("regression", y, noisy(y, 1.0, 0.5, 2.0))
    # Precisions 1, 4, 1/4; the standard error of a weight is below .005 on so many rows.
    assert found == pytest.approx(np.array([1, 4, 0.25]) / 5.25, abs=0.02)


def test_a_forecast_that_only_harms_gets_nothing():
    y = np.random.default_rng(1).normal(size=5000)
    good = noisy(y, 0.3)[0]
    worse = Forecast(good.mean + noisy(y, 2.0, seed=3)[0].mean - y)
    assert weights("regression", y, [worse, good]).tolist() == [0.0, 1.0]


def test_few_rows_stay_near_equal_weights():
    y = np.random.default_rng(1).normal(size=4)
    found = weights("regression", y, noisy(y, 1.0, 0.5))
    many = np.random.default_rng(1).normal(size=4000)
    assert abs(found[0] - 0.5) < abs(weights("regression", many, noisy(many, 1.0, 0.5))[0] - 0.5)


def test_class_probabilities_are_weighed_by_the_logarithmic_score():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), 20_000)
    other = rng.dirichlet(np.ones(3), 20_000)
    y = np.array([rng.choice(3, p=0.7 * a + 0.3 * b) for a, b in zip(truth, other, strict=True)])
    found = weights("classification", y, [Forecast(truth), Forecast(other)])
    # Labels of the 7 : 3 mixture: the likelihood has its maximum there, with a standard error of .006.
    assert found == pytest.approx([0.7, 0.3], abs=0.025)


def test_what_is_not_finite_gets_no_weight_and_small_weights_are_none():
    y = np.random.default_rng(1).normal(size=1000)
    broken = Forecast(np.full(1000, np.nan))
    assert weights("regression", y, [broken, *noisy(y, 1.0)]).tolist() == [0.0, 1.0]
    assert weights("regression", y, [broken, broken]).tolist() == [0.5, 0.5]
    found = weights("regression", y, noisy(y, 0.1, 1.0))
    assert ((found == 0) | (found >= LEAST)).all()
    assert found.sum() == pytest.approx(1)


def test_a_mixture_has_the_moments_of_its_samples():
    rng = np.random.default_rng(0)
    parts = [Forecast(np.array([0.0]), np.array([1.0])), Forecast(np.array([3.0]), np.array([0.25]))]
    found = mixture(parts, [0.75, 0.25])
    first = rng.random(400_000) < 0.75
    drawn = np.where(first, rng.normal(0, 1, 400_000), rng.normal(3, 0.5, 400_000))
    assert found.mean == pytest.approx([drawn.mean()], abs=0.01)
    assert found.variance == pytest.approx([drawn.var()], abs=0.02)
    assert mixture(parts[:1], [1.0]) is parts[0]
    assert mixture([Forecast(np.array([[0.2, 0.8]])), Forecast(np.array([[0.6, 0.4]]))], [0.5, 0.5]).variance is None
