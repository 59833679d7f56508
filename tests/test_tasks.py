"""Task families: what they draw agrees with what they promise, and with what they say about themselves."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amortix.data import FAMILIES, Linear, Logistic, Mlp, Sinusoid, TaskSampler, family_from_dict
from amortix.errors import ConfigError

VARIED = [
    Linear(dim=(1, 5), noise=(0.1, 2.0), condition=(1.0, 30.0), sparsity=0.4, weight_scale=(0.5, 2.0)),
    Logistic(dim=(1, 5), classes=(2, 4), condition=(1.0, 30.0), sparsity=0.4),
    Mlp(dim=(1, 5), noise=(0.0, 0.0), irrelevant=0.5),
    Mlp(dim=(1, 5), classes=(2, 4), hidden=3),
    Sinusoid(noise=(0.1, 0.1)),
]
ids = pytest.mark.parametrize("family", VARIED, ids=repr)
int64 = st.integers(-(2**63), 2**63 - 1)


def head(values: np.ndarray, n: int) -> bytes:
    return np.ascontiguousarray(values[:, :n]).tobytes()


@ids
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), task=int64, step=int64, short=st.integers(0, 9), more=st.integers(0, 40))
def test_a_longer_batch_begins_with_a_shorter_one(family, seed, task, step, short, more):
    sampler = TaskSampler(family, seed=seed)
    a = sampler.context([task], [step], short)
    b = sampler.context([task, 0], [step, 0], short + more)
    for one, other in zip(a, b, strict=True):
        assert head(one, short) == head(other[:1], short)


@ids
def test_order_of_tasks_does_not_matter_and_out_is_written(family):
    sampler = TaskSampler(family, seed=5)
    tasks, steps = np.arange(10), np.arange(10) * 3
    x, y = sampler.context(tasks, steps, 6)
    out = (np.full_like(x, np.nan), np.full_like(y, np.nan))
    addresses = [array.ctypes.data for array in out]
    returned = sampler.context(tasks[::-1], list(steps[::-1]), 6, out=out)
    assert all(a is b for a, b in zip(returned, out, strict=True))
    assert addresses == [array.ctypes.data for array in out]
    assert np.array_equal(out[0][::-1], x)
    assert np.array_equal(out[1][::-1], y)


@ids
def test_shapes_padding_and_signal(family):
    sampler = TaskSampler(family, seed=5)
    tasks = np.arange(64)
    x, y, signal = sampler.query(tasks, 7)
    dims, classes = sampler.dims(tasks), sampler.n_classes(tasks)
    assert x.shape == (64, 7, sampler.features)
    assert y.shape == (64, 7)
    assert signal.shape == (64, 7, sampler.outputs)
    assert dims.max() == sampler.features
    assert classes.max() == sampler.classes
    beyond = np.arange(sampler.features) >= dims[:, None]
    assert not x[np.broadcast_to(beyond[:, None], x.shape)].any()
    if sampler.classes:
        assert np.allclose(signal.sum(-1), 1, atol=1e-5)
        assert not signal[np.broadcast_to(np.arange(sampler.outputs) >= classes[:, None, None], signal.shape)].any()
        assert ((y >= 0) & (y < classes[:, None]) & (y == np.floor(y))).all()
    else:
        assert np.array_equal(classes, np.zeros(64))


def test_linear_targets_are_the_stated_function():
    sampler = TaskSampler(VARIED[0], seed=2)
    tasks = np.arange(3000)
    x, y, signal = sampler.query(tasks, 16)
    w, noise = sampler.weights(tasks), sampler.noise(tasks)
    mean = w[:, :1] + x @ w[:, 1:]
    assert np.allclose(mean, signal, atol=1e-4)
    z = (y - signal[..., 0]) / noise[:, None]
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / z.size)
    assert noise.min() >= 0.1 - 1e-6
    assert noise.max() <= 2
    logs = (np.log(noise) - np.log(0.1)) / np.log(20)
    assert abs(logs.mean() - 0.5) < 5 / np.sqrt(12 * len(logs))


def test_logistic_probabilities_are_the_softmax_and_labels_follow_them():
    sampler = TaskSampler(Logistic(dim=(3, 3), classes=(3, 3)), seed=2)
    tasks = np.arange(2000)
    x, y, p = sampler.query(tasks, 32)
    w = sampler.weights(tasks).astype(np.float64)
    logits = w[:, :1] + x @ w[:, 1:]
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert np.allclose(p, expected, atol=1e-5)
    for k in range(3):
        error = (y == k) - p[..., k]
        assert abs(error.mean()) < 5 * np.sqrt((p[..., k] * (1 - p[..., k])).mean() / error.size)


def test_inputs_have_the_stated_covariance():
    tasks = np.arange(20)
    x, _ = TaskSampler(Linear(dim=(4, 4), condition=(25.0, 25.0)), seed=2).context(tasks, tasks * 0, 40_000)
    for rows in x.astype(np.float64):
        variances = np.linalg.eigvalsh(np.cov(rows, rowvar=False))
        assert variances.max() / variances.min() == pytest.approx(25, rel=0.1)
        assert variances.mean() == pytest.approx(1, rel=0.05)


def test_sparsity_and_irrelevant_columns():
    tasks = np.arange(4000)
    w = TaskSampler(Linear(sparsity=0.3), seed=2).weights(tasks)
    assert abs((w[:, 1:] == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / (8 * 4000))
    assert (w[:, 0] != 0).all()
    quiet = TaskSampler(Mlp(irrelevant=0.99, noise=(0.0, 0.0)), seed=2)
    x, _, signal = quiet.query(np.arange(20), 2000)
    # One relevant column of eight: the signal is a function of its rank alone, smooth between neighbours.
    rough = [
        min(np.square(np.diff(s[np.argsort(rows[:, j]), 0])).mean() for j in range(8))
        for rows, s in zip(x, signal, strict=True)
    ]
    assert max(rough) < 0.02 * signal.var()


@pytest.mark.parametrize("scale", [0.5, 2.0, 8.0])
def test_mlp_signals_vary_by_about_one(scale):
    _, _, signal = TaskSampler(Mlp(weight_scale=(scale, scale)), seed=2).query(np.arange(2000), 64)
    assert signal.var(axis=1).mean() == pytest.approx(1, abs=0.2)


def test_sinusoids_lie_within_their_amplitudes():
    x, y, signal = TaskSampler(Sinusoid(amplitude=(2.0, 2.0), phase=(0.5, 0.5)), seed=2).query([0, 1], 500)
    assert np.allclose(signal[..., 0], 2 * np.sin(x[..., 0] - 0.5), atol=1e-5)
    assert np.array_equal(y, signal[..., 0])
    assert np.abs(x).max() <= 5


@ids
def test_queries_scale_and_differ_from_contexts_and_other_draws(family):
    wide = dataclasses.replace(family, query_scale=3.0)
    x, *_ = TaskSampler(family, seed=1).query([0], 50)
    x3, *_ = TaskSampler(wide, seed=1).query([0], 50)
    assert np.allclose(x3, 3 * x)
    context, _ = TaskSampler(wide, seed=1).context([0], [0], 50)
    again, *_ = TaskSampler(family, seed=1).query([0], 50, draw=1)
    rows = {row.tobytes() for row in x[0]}
    assert rows.isdisjoint(row.tobytes() for row in context[0])
    assert rows.isdisjoint(row.tobytes() for row in again[0])


@ids
def test_families_survive_json(family):
    settings = json.loads(json.dumps(family.to_dict()))
    assert family_from_dict(settings) == family
    assert hash(family_from_dict(settings)) == hash(family)
    assert FAMILIES[family.name] is type(family)


def test_one_number_stands_for_a_fixed_range():
    assert family_from_dict({"family": "linear", "dim": 3, "noise": 0.1}) == Linear(dim=(3, 3), noise=(0.1, 0.1))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"family": "cubic"}, "family"),
        ({}, "family"),
        ({"family": "linear", "classes": 2}, "classes"),
        ({"family": "linear", "dim": 0}, "dim"),
        ({"family": "linear", "dim": -1}, "dim"),
        ({"family": "linear", "dim": 10**30}, "dim"),
        ({"family": "linear", "dim": (3, 2)}, "dim"),
        ({"family": "linear", "noise": "much"}, "noise"),
        ({"family": "linear", "noise": (0.0, 1.0)}, "noise"),
        ({"family": "linear", "noise": float("nan")}, "noise"),
        ({"family": "linear", "condition": 0.5}, "condition"),
        ({"family": "linear", "sparsity": 1.0}, "sparsity"),
        ({"family": "linear", "query_scale": 0.0}, "query_scale"),
        ({"family": "logistic", "classes": 1}, "classes"),
        ({"family": "mlp", "hidden": 0}, "hidden"),
        ({"family": "mlp", "classes": (0, 3)}, "classes"),
        ({"family": "sinusoid", "amplitude": -1.0}, "amplitude"),
        ({"family": "sinusoid", "low": float("inf")}, "low"),
    ],
)
def test_settings_out_of_range_are_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        TaskSampler(family_from_dict(settings), seed=0)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, None])
def test_seeds_out_of_range_are_named(seed):
    with pytest.raises(ConfigError, match="seed"):
        TaskSampler(Linear(), seed=seed)


def test_only_linear_signals_have_weights():
    with pytest.raises(ConfigError, match="weights"):
        TaskSampler(Mlp(), seed=0).weights([1])
