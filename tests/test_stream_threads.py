"""Streams over tables that are long enough for all cores, and longer than 31 bits count."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from amortix.data import Stream, Table

ROWS, BATCH = 40_000, 1000
#: Prints a hash of each mini-batch that is left, and the place after each.
READ = """
import hashlib, json, sys
import numpy as np
from amortix.data import Stream, Table

target, window, state = json.loads(sys.argv[2])
stream = Stream(Table.open(sys.argv[1], target=target), batch=1000, seed=3, window=window, holdout=0.1, epochs=2)
if state:
    stream.load_state_dict(state)
for x, y in stream:
    print(json.dumps([hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest(), stream.state_dict()]))
"""


def read(threads: int, *arguments) -> list[list]:
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    path, *rest = arguments
    command = [sys.executable, "-c", READ, str(path), json.dumps(rest)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["npy", "parquet", "csv"])
@pytest.mark.parametrize("window", [None, 3000])
def test_the_number_of_threads_changes_neither_order_nor_place(tmp_path, kind, window):
    path, n = tmp_path / f"t.{kind}", np.arange(ROWS, dtype=np.float64)
    columns = {"n": n, "half": n / 2, "y": 3 * n}
    if kind == "npy":
        np.save(path, np.stack(list(columns.values()), 1))
    elif kind == "csv":
        pyarrow.csv.write_csv(pa.table(columns), path)
    else:
        pq.write_table(pa.table(columns), path, row_group_size=9000)
    options = ("-1" if kind == "npy" else "y", window)
    one, two, five = (read(threads, path, *options, None) for threads in (1, 2, 5))
    assert one == two == five
    held = Stream(Table.open(path, target=options[0]), part="held", holdout=0.1).rows
    assert len(one) == 2 * -(-(ROWS - held) // BATCH)
    assert len({digest for digest, _ in one}) == len(one)
    # Taken up in the middle of the second epoch with another number of threads.
    place = len(one) * 3 // 4
    for threads in (1, 2, 5):
        assert read(threads, path, *options, one[place - 1][1]) == one[place:]


def test_rows_beyond_31_bits_are_read(tmp_path):
    # A file with a hole takes no room on the disk; only its last rows are not zero.
    rows, last = 2**31 + 5000, np.arange(5000) % 251
    try:
        x = np.lib.format.open_memmap(tmp_path / "t.npy", mode="w+", dtype=np.uint8, shape=(rows, 1))
        x[-5000:, 0] = last
    except OSError as error:
        pytest.skip(f"no file of 2 GiB can be made here: {error}")
    table, shards = Table.open(tmp_path / "t.npy"), rows // 2500
    assert table.rows == rows
    options = {"batch": 512, "shard": (shards - 1, shards)}
    plain = Stream(table, shuffle=False, **options)
    found = np.concatenate([x[:, 0] for x, _ in plain])
    assert len(found) == plain.rows
    assert np.array_equal(found, last[-len(found) :])
    shuffled, again = (Stream(table, seed=1, **options) for _ in range(2))
    batches = iter(shuffled)
    mixed = [next(batches)[0][:, 0]]
    again.load_state_dict(json.loads(json.dumps(shuffled.state_dict())))
    mixed += [x[:, 0] for x, _ in again]
    mixed = np.concatenate(mixed)
    assert not np.array_equal(mixed, found)
    assert np.array_equal(np.sort(mixed), np.sort(found))
