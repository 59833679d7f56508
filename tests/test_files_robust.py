"""Streams over files under odd conditions: files that change, extreme shapes and values, consumers that stop."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from amortix.data import Stream, Table
from amortix.errors import AmortixError, ConfigError, FormatError, SourceError

ROWS = 20_000
KINDS = ["parquet", "feather", "csv", "csv.gz", "csv.zst"]


def write(path: Path, columns: dict[str, np.ndarray], group: int = 1000) -> Path:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=group)
    elif path.suffix == ".feather":
        feather.write_feather(table, path, chunksize=group)
    else:
        codec = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        with pa.output_stream(path, compression=codec) as out:
            out.write(table.to_pandas().to_csv(index=False).encode())
    return path


def numbered(path: Path, rows: int = ROWS) -> Path:
    n = np.arange(rows)
    return write(path, {"n": n, "half": n / 2})


def seen(stream) -> np.ndarray:
    return np.concatenate([x for x, _ in stream] or [np.empty((0, 2))])


def ahead() -> int:
    """Threads that decode ahead, of this process."""
    names = (task / "comm" for task in Path("/proc/self/task").iterdir())
    return sum(name.read_text().strip() == "amortix-ahead" for name in names)


def settle() -> None:
    """Wait until no thread decodes ahead."""
    until = time.monotonic() + 10
    while ahead() and time.monotonic() < until:
        time.sleep(0.01)
    assert ahead() == 0


linux = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [ROWS // 2, 2 * ROWS])
def test_a_file_that_has_changed_is_not_read(tmp_path, kind, rows):
    table = Table.open(numbered(tmp_path / f"t.{kind}"))
    numbered(tmp_path / f"t.{kind}", rows)
    with pytest.raises(FormatError, match="has changed since it was opened"):
        seen(Stream(table))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_the_same_size_and_time_in_its_place_is_not_read(tmp_path, kind):
    path, other = tmp_path / f"t.{kind}", tmp_path / f"other.{kind}"
    numbered(path)
    other.write_bytes(path.read_bytes())
    was = path.stat()
    stream = Stream(Table.open(path), epochs=2)
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    os.replace(other, path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    with pytest.raises(FormatError, match="has changed since it was opened"):
        seen(stream)


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "csv.zst"])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_csv_that_another_of_its_size_replaces_while_it_is_read(tmp_path, kind, quote, in_place):
    def content(value: int) -> bytes:
        # One group of some ten megabytes, more than is read at once, which no compression makes smaller than it is.
        line = f"{value},{quote}{'x' * 190}{quote}\n".encode()
        text = b"n,label\n" + line * 50_000
        sink = pa.BufferOutputStream()
        codec = {"csv.gz": "gzip", "csv.zst": "zstd"}.get(kind)
        with pa.output_stream(sink, compression=codec) as out:
            out.write(text)
        return sink.getvalue().to_pybytes()

    path, other, (old, new) = tmp_path / f"t.{kind}", tmp_path / f"o.{kind}", (content(1), content(2))
    assert len(old) == len(new)
    path.write_bytes(old)
    os.utime(path, (0, 0))
    batches = iter(Stream(Table.open(path, drop=["label"]), batch=10, shuffle=False, memory=4000, epochs=2))
    delivered = [next(batches)[0]]
    if in_place:
        path.write_bytes(new)
    else:
        other.write_bytes(new)
        os.replace(other, path)
    with pytest.raises(FormatError, match="has changed since it was opened"):
        delivered.extend(x for x, _ in batches)
    rows = np.concatenate(delivered)
    assert (rows == 1).all()
    # A file that is held open stays what it was; one that is written into is given up at once.
    assert len(rows) < 50_000 if in_place else len(rows) == 50_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_gone(tmp_path, kind):
    path = numbered(tmp_path / f"t.{kind}")
    table = Table.open(path)
    path.unlink()
    with pytest.raises(SourceError, match="does not exist"):
        seen(Stream(table))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 0.5])
def test_a_file_that_is_cut_while_it_is_read(tmp_path, kind, size):
    path = numbered(tmp_path / f"t.{kind}")
    stream = Stream(Table.open(path), batch=10, window=10, memory=1000)
    batches = iter(stream)
    rows = len(next(batches)[0])
    os.truncate(path, int(size * path.stat().st_size))
    try:
        rows += sum(len(x) for x, _ in batches)
    except (FormatError, SourceError):
        return
    assert rows == ROWS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row(tmp_path, kind, rows):
    path = tmp_path / f"t.{kind}"
    write(path, {"n": np.arange(rows, dtype=np.float64), "half": np.full(rows, 0.5)})
    table = Table.open(path)
    assert table.rows == rows
    assert [x.tolist() for x, _ in Stream(table)] == [[[0.0, 0.5]]] * rows


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_ten_thousand_columns(tmp_path, kind):
    columns = {f"c{i}": np.array([i, -i, i / 2]) for i in range(10_000)}
    table = Table.open(write(tmp_path / f"t.{kind}", columns))
    (x, _), i = next(iter(Stream(table, shuffle=False))), np.arange(10_000)
    assert np.array_equal(x, np.stack([i, -i, i / 2]).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_values_at_the_ends_of_their_range(tmp_path, kind):
    tiny = float(np.float32(1e-45))
    values = np.array([tiny, -tiny, 5e-324, np.finfo(np.float32).max, -0.0, 2.0**24 + 1])
    whole = np.array([2**63 - 1, -(2**63), 2**53 + 1, 2**24 + 1, -1, 0])
    table = Table.open(write(tmp_path / f"t.{kind}", {"v": values, "whole": whole}))
    x = seen(Stream(table, shuffle=False))
    assert np.array_equal(x[:, 0], values.astype(np.float32))
    # Whole numbers pass through float64, which rounds once more; both roundings are to the nearest.
    assert np.array_equal(x[:, 1], whole.astype(np.float64).astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_values_that_are_no_finite_float32(tmp_path, kind, value):
    path = write(tmp_path / f"t.{kind}", {"good": np.ones(3), "odd": np.array([1.0, value, 1.0])})
    with pytest.raises(SourceError, match=r'column "odd".* row 1'):
        seen(Stream(Table.open(path), shuffle=False))


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,label\n1,caf\xe9\n2,tea\n")
    with pytest.raises(AmortixError, match=r"t\.csv|label"):
        Table.open(tmp_path / "t.csv", target="label").distinct_labels()


@linux
def test_no_thread_outlives_its_consumer(tmp_path):
    stream = Stream(Table.open(numbered(tmp_path / "t.parquet", 200_000)), batch=10, window=10, memory=1000)

    def raises():
        for _ in stream:
            raise KeyError

    for _ in stream:
        break
    settle()
    with pytest.raises(KeyError):
        raises()
    settle()
    batches = iter(stream)
    next(batches)
    assert ahead() == 1
    del batches
    gc.collect()
    settle()
    assert sum(len(x) for x, _ in Stream(stream.table)) == 200_000
    settle()


def test_threads_that_share_an_iterator(tmp_path):
    batches, taken = iter(Stream(Table.open(numbered(tmp_path / "t.parquet")), batch=7)), []

    def consume():
        taken.extend(x[:, 0] for x, _ in batches)

    threads = [threading.Thread(target=consume) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(np.sort(np.concatenate(taken)), np.arange(ROWS))


INTERRUPTED = """
import signal, sys
from amortix.data import Stream, Table
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
print("begun", flush=True)
for epoch in Stream(Table.open(sys.argv[1]), epochs=10**9):
    pass
"""


def test_an_interrupt_ends_a_stream(tmp_path):
    path = numbered(tmp_path / "t.parquet")
    command = [sys.executable, "-c", INTERRUPTED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert told.rstrip().endswith("KeyboardInterrupt"), told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_ends_a_pass_but_not_its_stream(tmp_path):
    stream = Stream(Table.open(numbered(tmp_path / "t.parquet")), batch=10)
    batches = iter(stream)
    next(batches)
    if not (child := os.fork()):
        status = 1
        try:
            try:
                next(batches)
            except ConfigError:
                status = 0 if sum(len(x) for x, _ in stream) == ROWS else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert sum(len(x) for x, _ in batches) == ROWS - 10


@pytest.mark.slow
def test_memory_does_not_grow_with_epochs(tmp_path):
    import psutil

    table, process = Table.open(numbered(tmp_path / "t.parquet", 2000)), psutil.Process()

    def epochs(count: int) -> int:
        for _ in range(count):
            assert sum(len(x) for x, _ in Stream(table)) == 2000
        gc.collect()
        return process.memory_info().rss

    before = epochs(100)
    assert epochs(1000) - before < 4 << 20
