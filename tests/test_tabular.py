"""Tabular tasks: the same numbers everywhere, and tables that are what their settings and descriptions say."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

from amortix.data import ColumnFacts, Linear, Tabular, TaskSampler

#: Rows that a task's cuts and scales are measured on, in the core.
PILOT = 256

#: x and y of task 11 at step 7, two rows: a change here breaks every recipe that names a seed.
GOLDEN = {
    Tabular(dim=(3, 3)): (
        "0x0p+0 0x1.70da92p+0 -0x1.7f3062p+0 0x1p+1 0x1.147f1ap+1 0x1.560e44p-1",
        "0x1.d7833ap-2 -0x1.d614cp-6",
    ),
    Tabular(dim=(3, 3), classes=(2, 5)): (
        "0x0p+0 0x1.70da92p+0 -0x1.7f3062p+0 0x1p+1 0x1.147f1ap+1 0x1.560e44p-1",
        "0x1p+0 0x0p+0",
    ),
}

FINGERPRINT = """
import hashlib, numpy as np
from amortix.data import Tabular, TaskSampler
digest = hashlib.sha256()
for family in (Tabular(missing=(0.0, 0.5)), Tabular(classes=(2, 10), query_scale=2.0)):
    sampler = TaskSampler(family, seed=3)
    tasks = np.arange(100)
    for array in (*sampler.context(tasks, tasks, 300), *sampler.query(tasks, 5)):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("family", GOLDEN, ids=["numbers", "classes"])
def test_golden_values(family):
    x, y = TaskSampler(family, seed=2**63 + 5).context([3, 11], [0, 7], 2)
    for array, text in zip((x, y), GOLDEN[family], strict=True):
        assert array[1].ravel().tolist() == [float.fromhex(h) for h in text.split()]


def test_the_number_of_threads_changes_no_bit():
    def digest(threads: str) -> str:
        env = os.environ | {"RAYON_NUM_THREADS": threads}
        return subprocess.run(
            [sys.executable, "-c", FINGERPRINT], env=env, capture_output=True, text=True, check=True
        ).stdout

    assert digest("1") == digest("2") == digest("5")


@pytest.mark.parametrize("rows", [1, PILOT - 1, PILOT, PILOT + 1, 3 * PILOT])
def test_batches_order_and_memory_change_no_bit(rows):
    family = Tabular(classes=(2, 10), missing=(0.0, 0.5))
    tasks, steps = np.arange(-3, 9), np.arange(12) % 5
    x, y = TaskSampler(family, seed=2).context(tasks, steps, 3 * PILOT)
    sampler = TaskSampler(family, seed=2)
    for _ in range(2):  # The second time from memory.
        other_x, other_y = sampler.context(tasks[::-1], steps[::-1], rows)
        assert other_x[::-1].tobytes() == x[:, :rows].tobytes()
        assert other_y[::-1].tobytes() == y[:, :rows].tobytes()


def test_columns_are_what_they_say():
    sampler = TaskSampler(Tabular(classes=(2, 10)), seed=4)
    tasks = np.arange(100)
    x, y, signal = sampler.query(tasks, 300)
    roles, levels = set(), set()
    for task, cells in enumerate(x):
        columns = sampler.columns(task)
        assert len(columns) == sampler.dims([task])[0]
        assert not cells[:, len(columns) :].any()
        for column, values in zip(columns, cells.T, strict=False):
            roles.add(column.role)
            levels.add(column.levels)
            if column.levels:
                assert set(values.tolist()) <= set(range(column.levels))
    assert roles == {"feature", "redundant", "irrelevant"}
    assert levels - {0} <= set(range(2, 13))
    assert len(levels) > 5
    classes = sampler.n_classes(tasks)
    assert ((y >= 0) & (y < classes[:, None]) & (y == np.floor(y))).all()
    assert np.allclose(signal.sum(-1), 1, atol=1e-5)
    plain = TaskSampler(Linear(dim=(2, 2)), seed=0).columns(7)
    assert plain == [ColumnFacts("feature", 0, 0.0, 0.0, False)] * 2


def test_cells_are_missing_at_the_stated_rate():
    rate, rows = 0.1, 4000
    sampler = TaskSampler(Tabular(missing=(rate, rate)), seed=4)
    tasks = np.arange(100)
    x, _ = sampler.context(tasks, tasks, rows)
    found = [
        (column, np.isnan(values).mean())
        for task, cells in enumerate(x)
        for column, values in zip(sampler.columns(task), cells.T, strict=False)
    ]
    gaps = [(column, share) for column, share in found if column.missing]
    assert all(share == 0 for column, share in found if not column.missing)
    assert abs(len(gaps) / len(found) - 0.5) < 5 * 0.5 / np.sqrt(len(found))
    assert {column.missing for column, _ in gaps} == {np.float32(rate)}
    assert not any(column.depends for column, _ in gaps if column.role == "irrelevant")
    at_random = np.array([share for column, share in gaps if not column.depends])
    assert abs(at_random - rate).max() < 5 * np.sqrt(rate * (1 - rate) / rows)
    driven = np.array([share for column, share in gaps if column.depends])
    # The driver's mean is that of the pilot rows; what that misses differs from column to column.
    assert abs(driven.mean() - rate) < 5 * driven.std() / np.sqrt(len(driven))
    assert driven.std() < rate / 5


@pytest.mark.parametrize("ratio", [4.0, 10.0])
def test_classes_have_the_stated_imbalance(ratio):
    tasks = np.arange(400)
    sampler = TaskSampler(Tabular(classes=(2, 2), imbalance=(ratio, ratio)), seed=4)
    _, y = sampler.context(tasks, tasks, 4000)
    smaller = np.minimum(y.mean(1), 1 - y.mean(1))
    expected = 1 / (1 + ratio)
    # A cut between pilot rows lies within one row of its place, give or take the chance of the pilot rows.
    chance = np.sqrt(expected * (1 - expected) * (1 / PILOT + 1 / 4000))
    assert abs(smaller.mean() - expected) < 5 * chance / np.sqrt(len(tasks)) + 1 / PILOT


def split(sampler: TaskSampler, task: int, rows: int):
    """Rows to learn from and rows to be asked about, of the task's own columns, with the descriptions of these."""
    x, y = sampler.context([task], [0], rows)
    other_x, other_y, _ = sampler.query([task], rows)
    columns = sampler.columns(task)
    width = len(columns)
    return columns, (x[0, :, :width], y[0]), (other_x[0, :, :width], other_y[0])


def boosted(train, test, keep) -> float:
    model = HistGradientBoostingRegressor(max_iter=40, random_state=0).fit(train[0][:, keep], train[1])
    return r2_score(test[1], model.predict(test[0][:, keep]))


def test_irrelevant_columns_say_nothing_of_the_target():
    rows = 4000
    sampler = TaskSampler(Tabular(dim=(6, 12), irrelevant=(0.4, 0.4)), seed=4)
    apart, together = [], []
    for task in range(100):
        columns, (x, y), _ = split(sampler, task, rows)
        ranks = stats.rankdata(np.c_[x, y], axis=0)
        ranks -= ranks.mean(0)
        for transform in (lambda r: r, np.square):
            values = transform(ranks)
            of_target = np.corrcoef(values, rowvar=False)[-1, :-1]
            for column, correlation in zip(columns, of_target, strict=True):
                (apart if column.role == "irrelevant" else together).append(abs(correlation))
    # About a thousand correlations of standard error 1/√rows; columns without spread have none.
    assert np.nanmax(apart) < 5 / np.sqrt(rows)
    assert np.nanmean(np.array(together) > 5 / np.sqrt(rows)) > 0.3


def test_irrelevant_columns_do_not_help_a_learner():
    sampler = TaskSampler(Tabular(dim=(6, 12), irrelevant=(0.4, 0.4)), seed=4)
    for task in range(20):
        columns, train, test = split(sampler, task, 1000)
        keep = [column.role == "irrelevant" for column in columns]
        # An independent prediction of a standard deviations, z standard errors off in its correlation with the target:
        # R² is 2az/√n - a², at most z²/n.
        assert boosted(train, test, keep) < 5**2 / len(test[1])


def test_trees_beat_the_constant_on_most_tables_and_ridge_on_some():
    sampler = TaskSampler(Tabular(), seed=4)
    scores = []
    for task in range(40):
        columns, train, test = split(sampler, task, 1000)
        ridge = RidgeCV(np.logspace(-3, 3, 7)).fit(*train)
        scores.append((boosted(train, test, [True] * len(columns)), r2_score(test[1], ridge.predict(test[0]))))
    trees, linear = np.array(scores).T
    assert (trees > 0.05).mean() > 0.7
    assert (trees > linear + 0.05).mean() > 0.25
    assert (linear > trees).any()
