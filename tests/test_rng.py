"""The numbers behind every draw: fixed for ever, the same for any number of threads, and distributed as claimed."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from amortix.data import Linear, Logistic, Mlp, Sinusoid, TaskSampler

SEED = 2**63 + 5

#: x and y of task -1 at step 7, two rows: a change here breaks every recipe that names a seed.
GOLDEN = {
    Linear(dim=(1, 3), condition=(5.0, 5.0)): (
        "-0x1.6982a6p-1 -0x1.cb7634p-1 0x1.e0fe2cp-1 -0x1.b9001cp-3 -0x1.0bd84cp+0 0x1.5c9bbap+0",
        "0x1.e0c924p+1 0x1.1ce148p+2",
    ),
    Logistic(dim=(2, 2), classes=(2, 3)): (
        "0x1.243fccp-3 0x1.032f3cp+0 -0x1.3a0cf0p-2 0x1.2be7dap-1",
        "0x0p+0 0x1p+0",
    ),
    Mlp(dim=(2, 2)): (
        "0x1.243fccp-3 0x1.032f3cp+0 -0x1.3a0cf0p-2 0x1.2be7dap-1",
        "-0x1.11b2f2p-1 0x1.2267c8p-4",
    ),
    Sinusoid(): ("0x1.387068p+2 0x1.106360p-1", "0x1.6c09f0p-1 -0x1.027d64p-1"),
}

FINGERPRINT = """
import hashlib, numpy as np
from amortix.data import FAMILIES, TaskSampler
digest = hashlib.sha256()
for family in FAMILIES.values():
    sampler = TaskSampler(family(), seed=3)
    tasks = np.arange(300)
    for array in (*sampler.context(tasks, tasks, 33), *sampler.query(tasks, 5)):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("family", GOLDEN, ids=lambda f: f.name)
def test_golden_values(family):
    x, y = TaskSampler(family, seed=SEED).context([3, -1], [0, 7], 2)
    for array, text in zip((x, y), GOLDEN[family], strict=True):
        assert array[1].ravel().tolist() == [float.fromhex(h) for h in text.split()]


def test_the_number_of_threads_changes_no_bit():
    def digest(threads: str) -> str:
        env = os.environ | {"RAYON_NUM_THREADS": threads}
        return subprocess.run(
            [sys.executable, "-c", FINGERPRINT], env=env, capture_output=True, text=True, check=True
        ).stdout

    assert digest("1") == digest("2") == digest("5")


def test_normals_and_uniforms_pass_kolmogorov_smirnov():
    tasks = np.arange(2000)
    x, _ = TaskSampler(Linear(), seed=1).context(tasks, tasks, 32)
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-3
    x, _ = TaskSampler(Sinusoid(low=0, high=1), seed=1).context(tasks, tasks, 32)
    assert stats.kstest(x.ravel(), "uniform").pvalue > 1e-3


def test_rows_columns_tasks_steps_and_seeds_are_uncorrelated():
    tasks = np.arange(4096)
    zeros = np.zeros_like(tasks)
    draws = [TaskSampler(Linear(), seed=seed).context(tasks, zeros + step, 2)[0] for seed in (0, 1) for step in (0, 1)]
    columns = np.concatenate([d.reshape(4096, -1) for d in draws], axis=1)
    correlation = np.corrcoef(columns, rowvar=False)
    off = np.abs(correlation[~np.eye(len(correlation), dtype=bool)])
    # Largest of 2016 pairs of correlations with standard error 1/64.
    assert off.max() < 5 / 64
    successive = np.corrcoef(columns[:-1].ravel(), columns[1:].ravel())[0, 1]
    assert abs(successive) < 5 / np.sqrt(columns[1:].size)
