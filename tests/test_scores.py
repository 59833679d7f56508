"""The scores of table columns: monotone maps to normal scores, and the target's units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from amortix.errors import ArrayError, FormatError, SourceError
from amortix.scores import FLOOR, KNOTS, LIMIT, NormalScores


def columns(rows=2000, seed=0):
    rng = np.random.default_rng(seed)
    x = np.stack(
        [
            rng.normal(size=rows),
            np.exp(3 * rng.normal(size=rows)),
            rng.integers(0, 2, rows),
            rng.random(rows) < 0.01,
            rng.integers(0, 5, rows),
            np.full(rows, 7.0),
            np.where(rng.random(rows) < 0.7, 0.0, rng.normal(size=rows)),
        ],
        axis=1,
    ).astype(np.float32)
    return x, (3 * x[:, 0] + 10).astype(np.float32)


def test_continuous_columns_become_standard_normal_whatever_their_units():
    x, y = columns()
    z = NormalScores.fit(x, y).transform(x)
    for d in (0, 1):
        assert z[:, d].mean() == pytest.approx(0, abs=0.01)
        assert z[:, d].std() == pytest.approx(1, abs=0.01)
    rank = x[:, 1].argsort().argsort()
    assert np.corrcoef(np.sort(z[:, 1]), np.sort(np.random.default_rng(1).normal(size=2000)))[0, 1] > 0.995
    assert np.all(np.diff(z[rank.argsort(), 1]) >= 0)


def test_scores_do_not_depend_on_the_columns_units():
    x, y = columns()
    scaled = x * np.float32(1024) + 0
    assert np.array_equal(NormalScores.fit(x, y).transform(x), NormalScores.fit(scaled, y).transform(scaled))


def test_flags_and_constants():
    x, y = columns()
    z = NormalScores.fit(x, y).transform(x)
    assert len(np.unique(z[:, 2])) == 2
    assert len(np.unique(z[:, 4])) == 5
    assert z[:, 2].std() == pytest.approx(1, abs=1e-5)
    assert np.ptp(z[:, 3]) <= 2 * LIMIT / FLOOR / 2 + 1, "a rare flag must not be blown up"
    assert not z[:, 5].any()
    unseen = np.full((1, 7), 99, np.float32)
    assert NormalScores.fit(x, y).transform(unseen)[0, 5] == 0


def test_a_rows_scores_do_not_depend_on_its_batch():
    x, y = columns()
    encoder = NormalScores.fit(x, y)
    assert np.array_equal(encoder.transform(x)[100:107], encoder.transform(x[100:107]))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 600), st.integers(1, 3)),
        elements=st.floats(-(2.0**120), 2.0**120, width=32),
    )
)
def test_maps_are_monotone_bounded_and_finite(x):
    encoder = NormalScores.fit(x, np.zeros(len(x), np.float32), task="classification")
    z = encoder.transform(x)
    assert np.isfinite(z).all()
    assert np.abs(z).max() <= 2 * LIMIT / FLOOR
    assert max(np.diff(encoder.offsets)) <= KNOTS
    for d in range(x.shape[1]):
        order = np.argsort(x[:, d], kind="stable")
        assert np.all(np.diff(z[order, d]) >= 0)


def test_targets_return_to_their_units():
    x, y = columns()
    encoder = NormalScores.fit(x, y)
    z = encoder.target(y)
    assert z.mean() == pytest.approx(0, abs=1e-5)
    assert z.std() == pytest.approx(1, abs=1e-5)
    mean, variance = encoder.inverse(z, np.ones_like(z))
    assert mean == pytest.approx(y, abs=1e-4)
    assert variance == pytest.approx(np.full(len(y), y.astype(float).var()), rel=1e-6)
    labels = np.array([0, 2, 1], np.float32)
    assert np.array_equal(NormalScores.fit(x[:3], labels, task="classification").target(labels), labels)


def test_arrays_rebuild_the_encoder_bitwise():
    x, y = columns()
    encoder = NormalScores.fit(x, y)
    again = NormalScores.from_tensors(encoder.tensors())
    assert np.array_equal(encoder.transform(x), again.transform(x))


def test_bad_input_is_named():
    x, y = columns(20)
    with pytest.raises(SourceError, match="price"):
        NormalScores.fit(x, np.full(20, 3, np.float32), target="price")
    with pytest.raises(ArrayError, match=r"\[N, D\]"):
        NormalScores.fit(x[:0], y[:0])
    with pytest.raises(ArrayError, match="7"):
        NormalScores.fit(x, y).transform(x[:, :3])
    arrays = NormalScores.fit(x, y).tensors()
    with pytest.raises(FormatError, match="lacks knots"):
        NormalScores.from_tensors({k: v for k, v in arrays.items() if k != "knots"})
    with pytest.raises(FormatError, match="fit each other"):
        NormalScores.from_tensors(arrays | {"scores": arrays["scores"][1:]})
