"""Streams: an epoch over each kind of source, and the memory that a longer table takes."""

import tempfile
from pathlib import Path

import numpy as np

from amortix.data import Stream, Table

ROWS, COLUMNS = 100_000, 16


def write(folder: Path, source: str, rows: int) -> Path:
    """A table of standard normal numbers, its last column the target ``y``."""
    values = np.random.default_rng(0).normal(size=(rows, COLUMNS + 1)).astype(np.float32)
    path = folder / f"table.{source}"
    names = [*(f"c{i}" for i in range(COLUMNS)), "y"]
    if source == "npy":
        np.save(path, values)
    elif source == "csv":
        np.savetxt(path, values, fmt="%.7g", delimiter=",", header=",".join(names), comments="")
    else:
        import pyarrow as pa
        from pyarrow import parquet

        columns = {name: values[:, i] for i, name in enumerate(names)}
        parquet.write_table(pa.table(columns), path, row_group_size=10_000)
    return path


def epoch(path: Path, target: str) -> int:
    """Read all rows once, shuffled; how many there were."""
    return sum(len(x) for x, _ in Stream(Table.open(path, target=target), batch=512))


class Epoch:
    """One shuffled pass over 100,000 rows of 16 columns."""

    params = ("npy", "csv", "parquet")
    param_names = ("source",)

    def setup(self, source):
        self.folder = tempfile.TemporaryDirectory()
        self.path = write(Path(self.folder.name), source, ROWS)
        self.target = "-1" if source == "npy" else "y"

    def teardown(self, source):
        self.folder.cleanup()

    def time_epoch(self, source):
        assert epoch(self.path, self.target) == ROWS


class Memory:
    """Peak memory of a process that streams Parquet: the same for a table ten times longer."""

    params = (50_000, 500_000)
    param_names = ("rows",)

    def setup(self, rows):
        self.folder = tempfile.TemporaryDirectory()
        self.path = write(Path(self.folder.name), "parquet", rows)

    def teardown(self, rows):
        self.folder.cleanup()

    def track_peak(self, rows):
        """MB, in a process of its own: writing the table must not count."""
        import subprocess
        import sys

        code = (
            "import re, sys; from amortix.data import Stream, Table; "
            "[None for _ in Stream(Table.open(sys.argv[1], target='y'))]; "
            # Not ru_maxrss: that starts from the parent's, which wrote the table.
            "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(self.path)], check=True, capture_output=True, text=True)
        return float(done.stdout)

    track_peak.unit = "MB"
