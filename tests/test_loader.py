"""Streams in PyTorch's loaders: real worker processes, each row once, any epoch, taken up after any batch."""

import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import DataLoader

from amortix.data import Stream, Table, TableEncoder
from amortix.errors import ConfigError, StateError
from amortix.loader import StreamDataset

ROWS = 83


@pytest.fixture(scope="module", params=["array", "parquet"])
def table(request, tmp_path_factory) -> Table:
    """One column that is the row's number, and a target that is ten times it."""
    number = np.arange(ROWS, dtype=np.float64)
    if request.param == "array":
        return Table.open((number[:, None], number * 10))
    path = tmp_path_factory.mktemp("tables") / "t.parquet"
    pq.write_table(pa.table({"n": number, "y": number * 10}), path, row_group_size=30)
    return Table.open(path, target="y")


def rows(batches) -> list[int]:
    seen = []
    for x, y in batches:
        assert x.dtype == y.dtype == torch.float32
        assert torch.equal(y, 10 * x[:, 0])
        seen += x[:, 0].int().tolist()
    return seen


def loading(data, workers, **options):
    timeout = 60 if workers else 0
    return DataLoader(data, batch_size=None, num_workers=workers, timeout=timeout, **options)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_forked_workers_yield_every_row_once(table, workers):
    list(Stream(table))  # the parent's threads are running, and are not the children's
    options = {"multiprocessing_context": "fork"} if workers else {}
    found = rows(loading(StreamDataset(Stream(table, batch=10, seed=3)), workers, **options))
    assert sorted(found) == list(range(ROWS))
    assert found != sorted(found)


@pytest.mark.slow
def test_spawned_workers_yield_every_row_once(table):
    stream = Stream(table, batch=10, seed=3, encoder=TableEncoder.fit(table))
    list(stream)  # an encoder that was used has compiled parts
    loader = loading(StreamDataset(stream), 2, multiprocessing_context="spawn", persistent_workers=True)
    for epoch in (0, 1):
        loader.dataset.set_epoch(epoch)
        targets = torch.cat([y for _, y in loader]).tolist()
        assert sorted(targets) == [10 * row for row in range(ROWS)]


def test_ranks_and_workers_together_split_the_table(table):
    found = []
    for rank in (0, 1):
        data = StreamDataset(Stream(table, batch=10, shard=(rank, 2), holdout=0.2))
        found.append(rows(loading(data, 2)))
    held = rows(StreamDataset(Stream(table, part="held", holdout=0.2)))
    assert sorted(found[0] + found[1] + held) == list(range(ROWS))


def test_an_epoch_reaches_workers_that_persist(table):
    stream = Stream(table, batch=10, seed=1)
    data = StreamDataset(stream)
    loader = loading(data, 2, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        data.set_epoch(epoch)
        orders.append(rows(loader))
        assert sorted(orders[-1]) == list(range(ROWS))
    assert orders[0] == orders[2] != orders[1]
    data.set_epoch(1)
    both = rows((torch.from_numpy(x), torch.from_numpy(y)) for x, y in Stream(table, batch=10, seed=1, epochs=2))
    assert rows(data) == both[ROWS:], "an epoch of the data set is that of the stream"


def test_a_data_set_resumes_after_every_batch(table):
    def fresh():
        return StreamDataset(Stream(table, batch=10, seed=1))

    data, orders, states = fresh(), [], []
    data.set_epoch(2)
    for x, _ in loading(data, 0):
        orders.append(x[:, 0].tolist())
        states.append(json.dumps(data.state_dict()))
    assert all(len(state) < 500 for state in states)
    for done, state in enumerate(states, start=1):
        later = fresh()
        later.load_state_dict(json.loads(state))
        assert later.epoch == 2
        later.set_epoch(2)  # as a loop over epochs does
        assert [x[:, 0].tolist() for x, _ in loading(later, 0)] == orders[done:]
        later.set_epoch(3)
        assert sorted(rows(later)) == list(range(ROWS))
    other = fresh()
    other.load_state_dict(json.loads(states[3]))
    other.set_epoch(0)
    assert rows(other) == rows(fresh()), "another epoch starts at its beginning"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_resumes(table, workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def fresh():
        return stateful(StreamDataset(Stream(table, batch=10, seed=1)), batch_size=None, num_workers=workers)

    whole = [x[:, 0].tolist() for x, _ in fresh()]
    loader, taken = fresh(), []
    for x, _ in loader:
        taken.append(x[:, 0].tolist())
        if len(taken) == 4:
            break
    later = fresh()
    later.load_state_dict(loader.state_dict())
    assert taken + [x[:, 0].tolist() for x, _ in later] == whole
    assert [x[:, 0].tolist() for x, _ in later] == whole


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_plain_workers_are_not_resumed_in_silence(table, context):
    data = StreamDataset(Stream(table, batch=10, seed=1))
    next(batches := iter(data))
    state, rest = data.state_dict(), rows(batches)
    loader = loading(data, 2, multiprocessing_context=context)
    for _ in loader:
        with pytest.raises(StateError, match="StatefulDataLoader, or read with num_workers=0"):
            data.state_dict()
    data.load_state_dict(state)
    assert data.state_dict() == state
    with pytest.raises(StateError, match="the place was loaded outside of the workers"):
        rows(loader)
    assert rows(loading(data, 0)) == rest, "the place is not lost"
    # One worker reads what this process would.
    data.load_state_dict(state)
    assert rows(loading(data, 1, multiprocessing_context=context)) == rest


def test_ranks_without_shards_are_told(table):
    whole, sharded = Stream(table, batch=10), Stream(table, batch=10, shard=(1, 2))
    with warnings.catch_warnings(action="error"):
        StreamDataset(whole)  # the only rank
    distributed.init_process_group("fake", rank=1, world_size=2, store=FakeStore())
    try:
        with pytest.warns(UserWarning, match=r"each of the 2 ranks reads all rows: give the stream shard=\(rank, 2\)"):
            StreamDataset(whole)
        with warnings.catch_warnings(action="error"):
            StreamDataset(sharded)
    finally:
        distributed.destroy_process_group()


def test_weights_and_missing_targets_come_through():
    x = np.arange(6, dtype=np.float32)[:, None]
    ((_, y, weight),) = StreamDataset(Stream(Table.open((x, x[:, 0], 2 * x[:, 0])), batch=9))
    assert torch.equal(weight, 2 * y)
    ((alone, nothing),) = loading(StreamDataset(Stream(Table.open(x), batch=9)), 0)
    assert nothing is None
    assert len(alone) == 6


def test_what_cannot_be_is_refused_by_name(table):
    with pytest.raises(ConfigError, match="epochs=1"):
        StreamDataset(Stream(table, epochs=2))
    data = StreamDataset(Stream(table, batch=10))
    with pytest.raises(ConfigError, match="`epoch`"):
        data.set_epoch(-1)
    for state in ({}, {"epoch": "x", "stream": {}}, {"epoch": 0, "stream": {}}):
        with pytest.raises(StateError):
            data.load_state_dict(state)
    sharded = StreamDataset(Stream(table, batch=10, shard=(0, 2))).state_dict()
    with pytest.raises(StateError, match="shard"):
        data.load_state_dict(sharded)
    with pytest.raises(ConfigError, match="`index`"):
        Stream(table).split(2, 2)
    with pytest.raises(ConfigError, match="`count`"):
        Stream(table).split(0, 0)
    once = Table.open(pa.table({"n": [1.0, 2.0]}).to_reader())
    with pytest.raises(ConfigError, match="save it to a file"):
        next(iter(loading(StreamDataset(Stream(once)), 1, multiprocessing_context="spawn")))
