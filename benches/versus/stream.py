"""Streams beside what others use to feed mini-batches: arrays in memory and mapped, Parquet, CSV."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from _table import Row, main, paired

from amortix.data import Stream, Table, TableEncoder

BATCH, COLUMNS = 512, 32
#: What rows of files may take in memory.
MEMORY = 16 << 20


def _matrix(rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, COLUMNS), dtype=np.float32)


def _drain(stream: Stream) -> None:
    for _ in stream:
        pass


def _beside(
    work: str, ours: Callable[[], object], rows: int, peers: Iterable[tuple[Callable[[], object], str, float]]
) -> list[Row]:
    """Three pairs of turns against each peer, given with its name and what is asked."""
    return [
        paired(work, ours, peer, amount=rows / 1e6, unit="M rows/s", peer_name=name, asked=asked, repeats=3)
        for peer, name, asked in peers
    ]


def arrays(quick: bool) -> list[Row]:
    """10 million rows in memory, shuffled and in order."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    rows = 100_000 if quick else 10_000_000
    x = _matrix(rows)
    table, unit, million = Table.open(x), "M rows/s", rows / 1e6
    shuffled, plain = Stream(table, batch=BATCH), Stream(table, batch=BATCH, shuffle=False)
    few = min(rows, 200_000)
    loader = DataLoader(TensorDataset(torch.from_numpy(x[:few])), batch_size=BATCH, shuffle=True)
    order, out = np.random.default_rng(0).permutation(rows), np.empty((BATCH, COLUMNS), np.float32)

    def take() -> None:
        for start in range(0, rows - BATCH + 1, BATCH):
            np.take(x, order[start : start + BATCH], axis=0, out=out)

    copy = np.empty_like(x)
    work = f"{rows:,} x {COLUMNS} in memory"
    return [
        paired(
            f"{work}, shuffled",
            lambda: _drain(shuffled),
            lambda: [None for _ in loader],
            amount=million,
            peer_amount=few / 1e6,
            unit=unit,
            peer_name="torch DataLoader",
            asked=50,
            repeats=3,
        ),
        paired(
            f"{work}, shuffled",
            lambda: _drain(shuffled),
            take,
            amount=million,
            unit=unit,
            peer_name="np.take, order given",
            asked=1.5,
        ),
        paired(
            f"{work}, in order",
            lambda: _drain(plain),
            lambda: np.copyto(copy, x),
            amount=million,
            unit=unit,
            peer_name="memcpy",
            asked=0.7,
        ),
    ]


def mapped(quick: bool) -> list[Row]:
    """The same rows in a mapped file, shuffled by windows, beside a plain read of the file; both from a cold cache."""
    rows = 100_000 if quick else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        np.save(path, _matrix(rows))
        os.sync()

        def cold() -> None:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        def stream() -> None:
            cold()
            _drain(Stream(Table.open(path), batch=BATCH, window=65_536))

        def read() -> None:
            cold()
            buffer = bytearray(1 << 20)
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

        return [
            paired(
                f"{rows:,} x {COLUMNS} from a mapped file, windows of 65,536",
                stream,
                read,
                amount=rows / 1e6,
                unit="M rows/s",
                peer_name="read of the file",
                asked=1 / 1.3,
                repeats=3,
            )
        ]


def parquet(quick: bool) -> list[Row]:
    """A million rows of Parquet to mini-batches, in order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 20_000 if quick else 1_000_000
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        x = _matrix(rows)
        data = pa.table({f"c{i}": x[:, i] for i in range(COLUMNS)})
        for codec in ("snappy", "zstd"):
            path = Path(folder) / f"{codec}.parquet"
            pq.write_table(data, path, compression=codec, row_group_size=65_536)
            stream = Stream(Table.open(path), batch=BATCH, shuffle=False, memory=MEMORY)

            def batches(path: Path = path) -> None:
                for batch in pq.ParquetFile(path).iter_batches(BATCH):
                    np.stack([column.to_numpy() for column in batch.columns], 1)

            def whole(path: Path = path) -> None:
                np.stack([column.to_numpy() for column in pq.read_table(path).columns], 1)

            peers = ((batches, "pyarrow iter_batches(512)", 5), (whole, "pyarrow read_table", 1.3))
            found += _beside(f"Parquet {codec}, {rows:,} x {COLUMNS}", partial(_drain, stream), rows, peers)
            found.append(_peaks(path, f"Parquet {codec}, {rows:,} x {COLUMNS}: memory"))
    return found


def mixed(quick: bool) -> list[Row]:
    """Numbers with gaps and text from Parquet to one matrix: standardised, flagged where missing, a column a label.

    The encoder is fitted before, and the peer is given its means, spreads and labels: both make the same matrix.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows, numbers, texts = 20_000 if quick else 1_000_000, 24, 8
    random = np.random.default_rng(0)
    x = _matrix(rows)[:, :numbers]
    x[random.random(x.shape) < 0.1] = np.nan
    labels = np.array([f"label {i}" for i in range(8)])
    columns = {f"c{i}": pa.array(x[:, i], from_pandas=True) for i in range(numbers)}
    columns |= {f"t{i}": labels[random.integers(0, len(labels), rows)] for i in range(texts)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixed.parquet"
        pq.write_table(pa.table(columns), path, compression="snappy", row_group_size=65_536)
        table = Table.open(path)
        encoder = TableEncoder.fit(table)
        stream = Stream(table, batch=BATCH, shuffle=False, encoder=encoder, memory=MEMORY)
        facts = {field.column: field.facts for field in encoder.fields}
        levels = {f"t{i}": [c.split("=")[1] for c in encoder.columns if c.startswith(f"t{i}=")] for i in range(texts)}

        def encode(batch: pa.RecordBatch | pa.Table) -> np.ndarray:
            parts = []
            for name in batch.column_names:
                column = batch.column(name)
                if name.startswith("t"):
                    place = pc.index_in(column, value_set=pa.array(levels[name])).to_numpy(zero_copy_only=False)
                    parts.append(np.eye(len(labels), dtype=np.float32)[place])
                else:
                    value = column.to_numpy(zero_copy_only=False)
                    missing = np.isnan(value)
                    scaled = np.where(missing, 0, (value - facts[name].mean) / facts[name].sd)
                    parts.append(np.stack([scaled, missing], 1).astype(np.float32))
            return np.concatenate(parts, 1)

        whole = next(iter(Stream(table, batch=BATCH, shuffle=False, encoder=encoder)))[0]
        theirs = encode(next(pq.ParquetFile(path).iter_batches(BATCH)))
        assert whole.shape == theirs.shape
        assert np.allclose(whole, theirs, atol=1e-4)

        def batches() -> None:
            for batch in pq.ParquetFile(path).iter_batches(BATCH):
                encode(batch)

        work = f"Parquet snappy, {rows:,} x {numbers} numbers with gaps and {texts} of text"
        peers = (
            (batches, "pyarrow iter_batches(512), encoded", 5),
            (lambda: encode(pq.read_table(path)), "pyarrow read_table, encoded", 1.3),
        )
        return _beside(work, partial(_drain, stream), rows, peers)


_OURS = """
from amortix.data import Stream, Table
rise(lambda: [None for _ in Stream(Table.open(sys.argv[1]), batch=512, shuffle=False, memory=1 << 24)])
"""
_PEER = """
import numpy as np, pyarrow.parquet as pq
rise(lambda: np.stack([column.to_numpy() for column in pq.read_table(sys.argv[1]).columns], 1))
"""
_RISE = """
import re, sys
def now(key): return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
def rise(work):
    before = now("VmRSS")
    kept = work()
    print(now("VmHWM") - before)
"""


def _peaks(path: Path, work: str) -> Row:
    """By how many MB each side's memory rises in a process of its own."""

    def rise(code: str) -> float:
        imports, call = code.strip().rsplit("\n", 1)
        command = [sys.executable, "-c", f"{_RISE}\n{imports}\n{call}", str(path)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    ours, peer = rise(_OURS), rise(_PEER)
    return Row(work, ours, peer, "pyarrow read_table", "MB (less is better)", peer / max(ours, 1e-9), 10)


def csv(quick: bool) -> list[Row]:
    """A million rows of CSV to mini-batches."""
    import pandas as pd
    import polars as pl

    rows = 20_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        pl.DataFrame(_matrix(rows), schema=[f"c{i}" for i in range(COLUMNS)]).write_csv(path)

        def ours() -> None:
            _drain(Stream(Table.open(path), batch=BATCH, shuffle=False))

        peers = (
            (lambda: pd.read_csv(path, engine="c").to_numpy(np.float32), "pandas.read_csv", 2),
            (lambda: pl.read_csv(path).to_numpy().astype(np.float32), "polars.read_csv", 1),
        )
        return _beside(f"CSV, {rows:,} x {COLUMNS}", ours, rows, peers)


if __name__ == "__main__":
    main(__doc__, [arrays, mapped, parquet, mixed, csv])
