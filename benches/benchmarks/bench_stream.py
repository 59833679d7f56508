"""Streams: an epoch over each kind of source, and the memory that a longer table takes."""

import gzip
import tempfile
from pathlib import Path

import numpy as np

from amortix.data import Stream, Table, TableEncoder

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


class Csv:
    """100,000 rows of 16 columns of CSV: the look at them when they are opened, and a pass over them in order."""

    params = ("plain", "quoted", "gzip")
    param_names = ("text",)

    def setup(self, text):
        self.folder = tempfile.TemporaryDirectory()
        path = write(Path(self.folder.name), "csv", ROWS)
        content = path.read_bytes()
        if text == "quoted":
            # A quotation mark in every row: its last field.
            content = b"\n".join(b'%s,"%s"' % (*line.rsplit(b",", 1),) for line in content.splitlines())
        self.path = path.with_suffix(".csv.gz") if text == "gzip" else path
        self.path.write_bytes(gzip.compress(content, 1) if text == "gzip" else content)
        self.table = Table.open(self.path, target="y")
        assert self.table.rows == ROWS

    def teardown(self, text):
        self.folder.cleanup()

    def time_open(self, text):
        Table.open(self.path, target="y")

    def time_in_order(self, text):
        for _ in Stream(self.table, batch=512, shuffle=False):
            pass


class Mapped:
    """A mapped .npy file of 500,000 rows, shuffled by windows."""

    params = (4096, 65_536)
    param_names = ("window",)

    def setup(self, window):
        self.folder = tempfile.TemporaryDirectory()
        self.table = Table.open(write(Path(self.folder.name), "npy", 5 * ROWS), target="-1")

    def teardown(self, window):
        self.folder.cleanup()

    def time_windows(self, window):
        for _ in Stream(self.table, batch=512, window=window):
            pass


class Mixed:
    """100,000 rows of Parquet, 12 columns of numbers with gaps and 4 of text, to one matrix by an encoder."""

    def setup(self):
        import pyarrow as pa
        from pyarrow import parquet

        random = np.random.default_rng(0)
        x = random.normal(size=(ROWS, 12))
        x[random.random(x.shape) < 0.1] = np.nan
        labels = np.array([f"label {i}" for i in range(8)])
        columns = {f"c{i}": pa.array(x[:, i], from_pandas=True) for i in range(12)}
        columns |= {f"t{i}": labels[random.integers(0, 8, ROWS)] for i in range(4)}
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "mixed.parquet"
        parquet.write_table(pa.table(columns), path, row_group_size=10_000)
        self.table = Table.open(path)
        self.encoder = TableEncoder.fit(self.table)
        assert self.encoder.width == 12 * 2 + 4 * 8

    def teardown(self):
        self.folder.cleanup()

    def time_fit(self):
        TableEncoder.fit(self.table)

    def time_epoch(self):
        for _ in Stream(self.table, batch=512, encoder=self.encoder):
            pass


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
