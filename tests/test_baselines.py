"""The baselines against what they claim to be, and the metrics."""

import numpy as np
import pytest

import small
from amortix import baselines, metrics


def batches(x, y, size=100):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def test_ridge_in_batches_is_scikit_learns_on_all_rows():
    from sklearn.linear_model import Ridge

    x, y = small.regression(700)
    ridge = baselines.Ridge(4)
    for rows, targets in batches(x, y):
        ridge.step(rows, targets)
    reference = Ridge(alpha=1.0).fit(x.astype(float), y.astype(float)).predict(x)
    assert ridge.predict(x) == pytest.approx(reference, rel=1e-5)


def test_constants_are_means_and_shares():
    x, y = small.regression(500)
    mean = baselines.Constant(1)
    x, labels = small.classification(500)
    shares = baselines.Constant(3)
    for (_, targets), (rows, indices) in zip(batches(x, y), batches(x, labels), strict=True):
        mean.step(rows, targets)
        shares.step(rows, indices)
    assert mean.predict(x[:2]) == pytest.approx([y.mean()] * 2, rel=1e-5)
    assert shares.predict(x[:1])[0] == pytest.approx(np.bincount(labels) / 500)


def test_running_sums_can_be_carried_over():
    x, y = small.regression(300)
    for make in (lambda: baselines.Ridge(4), lambda: baselines.Constant(1)):
        one, other = make(), make()
        one.step(x[:200], y[:200])
        other.load_tensors(one.tensors())
        one.step(x[200:], y[200:])
        assert not np.array_equal(one.predict(x), other.predict(x))
        other.step(x[200:], y[200:])
        assert np.array_equal(one.predict(x), other.predict(x))


def test_offline_baselines_stop_at_their_limit_and_say_so(monkeypatch):
    x, y = small.regression(1000)
    fitted, notes = baselines.offline("regression", 1, lambda: batches(x, y), x)
    assert [one.name for one in fitted] == ["hist-gradient-boosting"]
    assert fitted[0].rows == 1000
    assert notes == []
    assert metrics.regression(y, fitted[0].mean)["r2"] > 0.9
    monkeypatch.setattr(baselines, "OFFLINE_ROWS", 400)
    fitted, notes = baselines.offline("regression", 1, lambda: batches(x, y), x)
    assert fitted[0].rows == 400
    assert "400 rows" in notes[0]


def test_a_class_without_rows_gets_no_probability():
    x, y = small.classification(600)
    seen = y != 1
    fitted, _ = baselines.offline("classification", 3, lambda: batches(x[seen], y[seen]), x)
    for one in fitted:
        assert one.mean.shape == (600, 3)
        assert not one.mean[:, 1].any()
        assert one.mean.sum(axis=1) == pytest.approx(np.ones(600))


def test_without_scikit_learn_there_is_a_note(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn", None)
    fitted, notes = baselines.offline("regression", 1, list, np.zeros((1, 1), np.float32))
    assert fitted == []
    assert "amortix[sklearn]" in notes[0]


def test_metrics_are_scikit_learns():
    from sklearn.metrics import accuracy_score, log_loss, r2_score

    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    mean = y + rng.normal(size=200)
    assert metrics.regression(y, mean)["r2"] == pytest.approx(r2_score(y, mean))
    labels = rng.integers(0, 4, 200)
    shares = rng.dirichlet(np.ones(4), 200)
    found = metrics.classification(labels, shares)
    assert found["log_loss"] == pytest.approx(log_loss(labels, shares))
    assert found["accuracy"] == accuracy_score(labels, shares.argmax(axis=1))


def test_metrics_of_broken_predictions_are_not_a_number():
    assert np.isnan(metrics.regression(np.ones(3), np.ones(3))["r2"])
    assert np.isnan(metrics.regression(np.arange(3.0), np.full(3, np.nan))["r2"])
    assert np.isnan(metrics.classification(np.zeros(2), np.full((2, 2), np.nan))["accuracy"])
