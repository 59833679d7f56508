"""Task samplers beside NumPy on one thread: `RAYON_NUM_THREADS=1 python benches/versus/sampler.py`.

Without the variable ours runs on all cores; NumPy's generator has one thread in any case. The last work sets the
variable for its own processes.
"""

from __future__ import annotations

import os

# Before NumPy is loaded: the peer's matrix products stay on one thread too.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from _episodes import episodes
from _table import Row, main, paired
from _tabular import tabular
from _threads import threads

from amortix.data import Linear, TaskSampler
from amortix.data import normals as ours_normals

_DIM, _NOISE = 32, 0.5


def normals(quick: bool) -> list[Row]:
    """Float32 standard normals into memory at hand, against `Generator.standard_normal`."""
    count = 1 << 14 if quick else 1 << 24
    out, theirs = np.empty(count, np.float32), np.empty(count, np.float32)
    generator = np.random.default_rng(0)
    return [
        paired(
            f"{count:,} float32 normals",
            lambda: ours_normals(0, count, out=out),
            lambda: generator.standard_normal(dtype=np.float32, out=theirs),
            amount=count / 1e6,
            unit="M normals/s",
            peer_name="numpy Generator, one thread",
            asked=5,
        )
    ]


def linear(quick: bool) -> list[Row]:
    """Context rows of linear tasks of 32 columns, against all tasks at once in NumPy; both draw new weights."""
    tasks, rows = (4, 64) if quick else (64, 1024)
    sampler = TaskSampler(Linear(dim=(_DIM, _DIM), noise=(_NOISE, _NOISE)), seed=0)
    ids, steps = np.arange(tasks), np.zeros(tasks, np.int64)
    ours = sampler.context(ids, steps, rows)
    x, y = (np.empty_like(array) for array in ours)
    generator = np.random.default_rng(0)

    def peer() -> None:
        w = generator.standard_normal((tasks, _DIM, 1), np.float32)
        bias = generator.standard_normal((tasks, 1), np.float32)
        generator.standard_normal(dtype=np.float32, out=x)
        generator.standard_normal(dtype=np.float32, out=y)
        np.multiply(y, np.float32(_NOISE), out=y)
        np.add(y, (x @ w)[..., 0], out=y)
        np.add(y, bias, out=y)

    return [
        paired(
            f"{tasks} linear tasks of {rows:,} rows and {_DIM} columns",
            lambda: sampler.context(ids, steps, rows, out=ours),
            peer,
            amount=tasks * rows / 1e6,
            unit="M rows/s",
            peer_name="numpy, one thread",
            asked=5,
        )
    ]


if __name__ == "__main__":
    main(__doc__ or "", [normals, linear, episodes, tabular, threads])
