"""A target's units, there and back."""

import numpy as np
import pytest

from amortix.errors import SourceError
from amortix.units import Units


def test_targets_return_to_their_units():
    y = (3 * np.random.default_rng(0).normal(size=2000) + 10).astype(np.float32)
    units = Units.of(y, "price")
    z = units.target(y)
    assert z.dtype == np.float32
    assert z.mean() == pytest.approx(0, abs=1e-5)
    assert z.std() == pytest.approx(1, abs=1e-5)
    mean, variance = units.inverse(z, np.ones_like(z))
    assert mean == pytest.approx(y, abs=1e-4)
    assert variance == pytest.approx(np.full(len(y), y.astype(float).var()), rel=1e-6)


def test_class_indices_stay_as_they_are():
    labels = np.array([0, 2, 1], np.float32)
    assert np.array_equal(Units().target(labels), labels)


def test_a_constant_target_is_named():
    with pytest.raises(SourceError, match="'price' is 3 in each of the first 20 rows"):
        Units.of(np.full(20, 3, np.float32), "price")
