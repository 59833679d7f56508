"""What a preview tells of tasks, against what the sampler says; the views, against planted structure."""

import numpy as np
import pytest

from amortix.data import FAMILIES, Causal, Gp, Tabular, TaskSampler
from amortix.preview import describe
from amortix.views import association, plane


@pytest.mark.parametrize("name", FAMILIES)
def test_moments_are_those_of_the_rows(name):
    sampler = TaskSampler(FAMILIES[name](), seed=5)
    x, y = sampler.context([2, 9], [0, 0], 40)
    for row, own, target, dim in zip(describe(sampler, [2, 9], 40), x, y, sampler.dims([2, 9]), strict=True):
        assert row["columns"] == dim
        cells = own[:, :dim].astype(np.float64)
        assert row["x_std"] == pytest.approx(np.sqrt(np.nanmean(cells**2) - np.nanmean(cells) ** 2), rel=1e-6)
        if sampler.classes:
            assert row["shares"] == [np.mean(target == label) for label in range(row["classes"])]
        else:
            assert row["y_mean"] == pytest.approx(target.mean(dtype=np.float64))
            assert row["noise"] == sampler.noise([row["task"]])[0]


def test_what_a_family_tells_of_a_task():
    (gp,) = describe(TaskSampler(Gp(length_scale=(0.25, 0.25), amplitude=(2.0, 2.0)), seed=0), [4], 30)
    assert (gp["length_scale"], gp["amplitude"]) == (0.25, 2.0)
    sampler = TaskSampler(Causal(dim=(6, 6)), seed=0)
    (causal,) = describe(sampler, [4], 30)
    assert causal["edges"] == sampler.graph([4]).sum()
    assert causal["parents_of_y"] == sampler.graph([4])[0, :, -1].sum() >= 1
    sampler = TaskSampler(Tabular(missing=(0.3, 0.4)), seed=0)
    for row in describe(sampler, range(6), 200):
        assert row["numeric"] + row["categorical"] == row["columns"]
        x, _ = sampler.context([row["task"]], [0], 200)
        assert row["missing"] == pytest.approx(np.isnan(x[0, :, : row["columns"]]).mean())


def test_an_oracle_that_saw_more_rows_errs_less():
    sampler = TaskSampler(Gp(), seed=1)
    few, many = (np.mean([row["oracle"] for row in describe(sampler, range(8), rows)]) for rows in (5, 200))
    assert 0 < many < few / 5
    assert describe(TaskSampler(Tabular(), seed=1), [0], 5)[0]["oracle"] is None


def test_the_column_that_says_most_is_found():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 4))
    said, rest = association(x, x[:, 2] ** 2 + 0.5 * x[:, 1])
    assert np.argsort(said)[-2:].tolist() == [1, 2], "no correlation, but an even function, is the strongest"
    assert rest.shape == (4, 4000)
    assert association(x, rest[2])[0].argmax() == 1
    # A column of two values says all of a target that is a function of it; missing values are a group.
    codes = np.where(rng.random(4000) < 0.3, np.nan, (x[:, 0] > 0).astype(float))[:, None]
    assert association(codes, np.nan_to_num(codes[:, 0], nan=7.0))[0] == pytest.approx([1.0])


@pytest.mark.filterwarnings("error")
def test_few_rows_with_gaps_everywhere():
    x = np.array([[np.nan, 1.0], [np.nan, 2.0], [np.nan, np.nan]])
    said, rest = association(x, np.array([1.0, 2.0, 3.0]))
    assert said == pytest.approx([0, 1])
    assert rest[0] == pytest.approx([-1, 0, 1])
    for row in describe(TaskSampler(Tabular(missing=(0.5, 0.5)), seed=0), range(40), 2):
        assert 0 <= row["missing"] <= 1


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_apart_in_their_plane(classes):
    """Means 8 standard deviations apart in hidden directions of 10 columns: every row is nearest to its own mean."""
    rng = np.random.default_rng(1)
    y = np.arange(600) % classes
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    x = (np.eye(10)[y] * 8 + rng.normal(size=(600, 10))) @ turn
    x[:, 3] *= 100
    x[5, 2] = np.nan
    seen = plane(x, y)
    assert seen.shape == (600, 2)
    means = np.stack([seen[y == label].mean(0) for label in range(classes)])
    nearest = ((seen[:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == y).mean() > 0.99


def test_a_plane_where_there_is_little_to_see():
    for x, y in [(np.ones((4, 3)), [0, 1, 0, 1]), (np.eye(3), [0, 0, 0]), (np.eye(2), [0, 1])]:
        seen = plane(np.asarray(x), np.asarray(y))
        assert seen.shape == (len(x), 2)
        assert np.isfinite(seen).all()
