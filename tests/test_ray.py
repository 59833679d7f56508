"""Blocks of a Ray Dataset feed streams through the Arrow C stream interface; needs ray, else it is skipped."""

import numpy as np
import pyarrow as pa
import pytest

from amortix.data import IterableStream, Stream, Table, TableEncoder

pytestmark = pytest.mark.slow
ROWS = 1000


@pytest.fixture(scope="module")
def dataset():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
    number = np.arange(ROWS, dtype=np.float64)
    label = np.array(["red", "blue"])[np.arange(ROWS) % 2]
    blocks = [pa.table({"n": number[i::4], "kind": label[i::4], "y": 10 * number[i::4]}) for i in range(4)]
    yield ray.data.from_arrow(blocks)
    ray.shutdown()


def check(table):
    assert table.rows == ROWS
    encoder = TableEncoder.fit(table)
    assert encoder.columns == ["n", "kind=blue", "kind=red"]
    targets = np.concatenate([y for _, y in Stream(table, batch=64, seed=1, encoder=encoder)])
    assert targets.tolist() != sorted(targets)
    assert sorted(targets) == [10.0 * row for row in range(ROWS)]


def test_blocks_by_reference_feed_a_stream(dataset):
    import ray

    blocks = ray.get(dataset.to_arrow_refs())
    table = Table.open(pa.concat_tables(blocks), target="y")
    assert table.groups == [ROWS // 4] * 4, "each block is a group of its own"
    check(table)


def test_batches_feed_a_stream_as_they_come(dataset):
    batches = dataset.iter_batches(batch_format="pyarrow", batch_size=128)
    schema = pa.schema([("n", pa.float64()), ("kind", pa.string()), ("y", pa.float64())])
    records = (record for batch in batches for record in batch.cast(schema).to_batches())
    check(Table.open(pa.RecordBatchReader.from_batches(schema, records), target="y"))


def test_batches_feed_a_stream_that_holds_no_table(dataset):
    numbers = dataset.drop_columns(["kind"]).iter_batches(batch_format="numpy", batch_size=128)
    stream = IterableStream(((batch["n"][:, None], batch["y"]) for batch in numbers), batch=64, window=256)
    seen = [(x, y) for x, y in stream]
    assert all(np.array_equal(10 * x[:, 0], y) for x, y in seen)
    assert sorted(np.concatenate([x[:, 0] for x, _ in seen])) == list(range(ROWS))
