"""Small tables and untrained learners that the tests of the main job share."""

from pathlib import Path

import numpy as np

from amortix.adapt import Adaptation
from amortix.data.stream import Stream
from amortix.plan import HELD_ROWS, Settings, first_rows
from amortix.pretrained import REGIMES, Pretrained

SETTINGS = Settings(batch=128)
SIZES = {
    "parametric": {},
    "explicit": {"size": 32, "sample": 64, "ascent": 4},
    "implicit": {"rows": 16, "sample": 64, "ascent": 4},
}


def regression(rows=1500, columns=4, seed=0):
    """Raw rows with heavy tails, and a target that is linear in the first columns plus a wave and noise."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, columns))
    y = 50 + 10 * (z[:, 0] - 0.5 * z[:, 1] + 0.7 * np.sin(3 * z[:, 2]) + 0.3 * rng.normal(size=rows))
    x = z.copy()
    x[:, 1] = np.exp(z[:, 1])
    return x.astype(np.float32), y.astype(np.float32)


def classification(rows=1500, columns=4, classes=3, seed=0):
    """Rows of a softmax-linear task and their class numbers."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    logits = 3 * x @ rng.normal(size=(columns, classes))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return x.astype(np.float32), y.astype(np.int64)


def learners(task="regression", regimes=REGIMES):
    """Small untrained learners, which already work."""
    return [Pretrained.build({"regime": regime, "task": task, **SIZES[regime]}) for regime in regimes]


def learner_files(folder: Path, task="regression", regimes=REGIMES):
    """The same as files: options for the command line, ``["--learner", path, ...]``."""
    options = []
    for pretrained in learners(task, regimes):
        home = folder / task
        home.mkdir(parents=True, exist_ok=True)
        pretrained.save(home)
        options += ["--learner", str(home / f"learner-{pretrained.learner.regime}.safetensors")]
    return options


def write_csv(path: Path, x, y, *, names=None, target="y"):
    """A CSV file with a header; labels are written as they are."""
    names = names or [f"c{i}" for i in range(x.shape[1])]
    lines = [",".join([*names, target])]
    lines += [",".join([*(f"{v:.9g}" for v in row), str(t)]) for row, t in zip(x, y, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_parquet(path: Path, x, y, *, names=None, target="y", group=400):
    """A Parquet file of several row groups."""
    import pyarrow as pa
    from pyarrow import parquet

    names = names or [f"c{i}" for i in range(x.shape[1])]
    table = pa.table({**{name: x[:, i] for i, name in enumerate(names)}, target: y})
    parquet.write_table(table, path, row_group_size=group)
    return path


def adapted(table, learners, settings=SETTINGS, **options):
    adaptation = Adaptation.start(table, learners, settings, **options)
    assert adaptation.run()
    return adaptation


def raw_held(run):
    """The held-out rows as they are in the table."""
    split = run.split
    settings = {"batch": split.settings.batch, "seed": split.settings.seed}
    return first_rows(Stream(split.table, holdout=split.share, part="held", **settings), HELD_ROWS)[0]


def stop_after(batches):
    """A `stop` that says so after that many mini-batches."""
    left = iter([False] * (batches - 1) + [True])
    return lambda: next(left)
