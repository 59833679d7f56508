"""Streams: every row once, in an order that can be left and taken up at any batch."""

import itertools
import json
import multiprocessing
from copy import deepcopy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amortix.data import Linear, Stream, Table, TableEncoder, TaskSampler
from amortix.errors import ConfigError, SourceError, StateError

ROWS = 83


@pytest.fixture(scope="module", params=["array", "parquet", "csv", "npy"])
def table(request, tmp_path_factory) -> Table:
    """One column that is the row's number, and a target that is ten times it."""
    number = np.arange(ROWS, dtype=np.float64)
    folder = tmp_path_factory.mktemp("tables")
    if request.param == "array":
        return Table.open((number[:, None], number * 10))
    if request.param == "npy":
        np.save(folder / "t.npy", np.stack([number, number * 10], 1))
        return Table.open(folder / "t.npy", target="-1")
    path = folder / f"t.{request.param}"
    if request.param == "csv":
        path.write_text("n,y\n" + "".join(f"{n},{10 * n}\n" for n in range(ROWS)))
    else:
        pq.write_table(pa.table({"n": number, "y": number * 10}), path, row_group_size=30)
    return Table.open(path, target="y")


def rows(stream: Stream) -> list[int]:
    seen = []
    for x, y in stream:
        assert x.dtype == np.float32
        assert x.shape == (len(x), 1)
        assert np.array_equal(y, 10 * x[:, 0])
        seen += x[:, 0].astype(int).tolist()
    return seen


@given(
    batch=st.integers(1, 100),
    seed=st.integers(0, 2**64 - 1),
    shuffle=st.booleans(),
    shards=st.integers(1, 4),
    holdout=st.floats(0, 0.9),
)
def test_shards_and_parts_split_the_table(table, batch, seed, shuffle, shards, holdout):
    everything = []
    for part in ("fit", "held"):
        for shard in range(shards):
            options = {"batch": batch, "seed": seed, "shuffle": shuffle, "shard": (shard, shards), "holdout": holdout}
            stream = Stream(table, part=part, **options)
            found = rows(stream)
            assert len(found) == stream.rows
            everything += found
    assert sorted(everything) == list(range(ROWS))


@pytest.mark.parametrize("batch", [1, 7, 30, 83, 200])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_stream_resumes_after_every_batch(table, batch, shuffle):
    options = {"batch": batch, "seed": 4, "shuffle": shuffle, "holdout": 0.1, "epochs": 2}
    stream = Stream(table, **options)
    batches, states = [], []
    for x, _ in stream:
        batches.append(x)
        states.append(json.loads(json.dumps(stream.state_dict())))
    assert len(batches) == 2 * -(-stream.rows // batch)
    for done, state in enumerate(states, start=1):
        later = Stream(table, **options)
        later.load_state_dict(state)
        rest = [x for x, _ in later]
        assert len(rest) == len(batches) - done
        assert all(np.array_equal(a, b) for a, b in zip(rest, batches[done:], strict=True))
        assert len(list(later)) == len(batches), "the pass after a resumed one starts at the beginning"


def test_the_order_is_a_function_of_seed_and_epoch(table):
    first = rows(Stream(table, seed=1))
    assert first == rows(Stream(table, seed=1, batch=3)), "not of the batch size"
    assert first != rows(Stream(table, seed=2))
    both = rows(Stream(table, seed=1, epochs=2))
    assert both[:ROWS] == first
    assert both[ROWS:] != first
    assert sorted(both[ROWS:]) == sorted(first) == list(range(ROWS))
    assert rows(Stream(table, shuffle=False)) == list(range(ROWS))


def test_held_rows_do_not_depend_on_seed_epoch_or_order(table):
    held = [
        set(rows(Stream(table, part="held", holdout=0.3, **options)))
        for options in ({"seed": 1}, {"seed": 2}, {"shuffle": False}, {"epochs": 3}, {"batch": 5})
    ]
    assert all(other == held[0] for other in held)
    assert 0 < len(held[0]) < ROWS
    assert held[0].isdisjoint(rows(Stream(table, holdout=0.3)))


def test_the_last_batch_is_smaller_or_left_out(table):
    assert [len(x) for x, _ in Stream(table, batch=40)] == [40, 40, 3]
    assert [len(x) for x, _ in Stream(table, batch=40, drop_last=True)] == [40, 40]
    assert [len(x) for x, _ in Stream(table, batch=10**12)] == [ROWS]
    assert list(Stream(table, epochs=0)) == []


def test_each_batch_has_memory_of_its_own(table):
    batches = [x for x, _ in Stream(table, batch=20)]
    assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(batches))


def test_two_passes_at_once_do_not_disturb_each_other(table):
    stream = Stream(table, batch=9)
    pairs = list(zip(stream, stream, strict=True))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in pairs)


def test_a_state_of_another_stream_is_refused(table):
    stream = Stream(table, batch=9)
    state = stream.state_dict()
    other = Table.open(np.zeros((ROWS, 2)))
    with pytest.raises(StateError, match="another table"):
        Stream(other, batch=9).load_state_dict(state)
    for options in (
        {"seed": 1},
        {"batch": 8},
        {"shuffle": False},
        {"shard": (0, 2)},
        {"holdout": 0.5},
        {"part": "all"},
    ):
        with pytest.raises(StateError, match=next(iter(options))):
            Stream(table, **({"batch": 9} | options)).load_state_dict(state)
    for broken in ({}, state | {"position": [1]}, state | {"position": [-1, 0, 0]}, state | {"epoch": "x"}):
        with pytest.raises(StateError):
            stream.load_state_dict(broken)
    beyond = state | {"position": [10**6, 5, 0]}
    stream.load_state_dict(beyond)
    assert list(stream) == [], "a place beyond the end is the end"


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 0},
        {"batch": 1.5},
        {"seed": -1},
        {"shard": (2, 2)},
        {"shard": (0, 0)},
        {"holdout": 1.0},
        {"holdout": -0.1},
        {"holdout": float("nan")},
        {"part": "some"},
        {"epochs": -1},
    ],
    ids=repr,
)
def test_settings_out_of_range_are_named(table, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Stream(table, **options)


def test_an_empty_table_has_no_batches():
    assert list(Stream(Table.open(np.zeros((0, 2))))) == []


def test_a_shuffle_mixes_the_whole_array():
    n = 20_000
    x = np.arange(n, dtype=np.float64)[:, None]
    order = np.concatenate([b[:, 0] for b, _ in Stream(Table.open(x), batch=n)])
    assert abs(np.corrcoef(order, np.arange(n))[0, 1]) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 5 / np.sqrt(n)


def test_a_forked_process_can_sample_and_stream():
    sampler = TaskSampler(Linear(), seed=0)
    expected = sampler.context(range(64), range(64), 8)[0]
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        results = [pool.apply_async(_sample, (sampler.seed,)) for _ in range(4)]
        assert all(np.array_equal(result.get(timeout=30), expected) for result in results)


def _sample(seed: int) -> np.ndarray:
    return TaskSampler(Linear(), seed=seed).context(range(64), range(64), 8)[0]


def test_an_encoder_of_another_table_is_refused_by_name(table):
    names = [*table.columns, "more"]
    wider = Table.open(pa.table({name: np.arange(4.0) for name in names}), columns=names)
    with pytest.raises(SourceError, match="not fitted on column 'more'"):
        Stream(wider, encoder=TableEncoder.fit(table))
    with pytest.raises(SourceError, match="column 'more', which the table lacks"):
        Stream(table, encoder=TableEncoder.fit(wider))


def test_a_stream_with_an_encoder_can_be_copied_after_a_pass(table):
    stream = Stream(table, batch=20, seed=3, encoder=TableEncoder.fit(table))
    batches = [x for x, _ in stream]
    again = deepcopy(stream)  # by what pickling would do
    assert again.encoder == stream.encoder
    assert all(np.array_equal(a, x) for a, (x, _) in zip(batches, again, strict=True))
