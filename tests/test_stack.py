"""Streams that step together, and streams of any iterable."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amortix.data import IterableStream, Stream, StreamStack, Table
from amortix.errors import ConfigError, SourceError, StateError


def stack(sizes: list[tuple[int, int]], batch: int) -> StreamStack:
    tables = [Table.open((np.arange(n * d, dtype=np.float32).reshape(n, d) + 1, np.arange(n) + 1.0)) for n, d in sizes]
    return StreamStack([Stream(table, batch=batch, seed=4) for table in tables])


def test_each_slice_is_its_own_stream_and_padding_weighs_nothing():
    sizes = [(23, 3), (7, 5), (1, 1)]
    batches = list(stack(sizes, 4))
    assert len(batches) == 6
    for place, (n, d) in enumerate(sizes):
        alone = list(stack([(n, d)], 4).streams[0])
        rows = np.concatenate([weight[place] > 0 for _, _, weight in batches])
        x = np.concatenate([x[place] for x, _, _ in batches])
        y = np.concatenate([y[place] for _, y, _ in batches])
        assert np.array_equal(x[rows][:, :d], np.concatenate([x for x, _ in alone]))
        assert np.array_equal(y[rows], np.concatenate([y for _, y in alone]))
        assert not x[~rows].any()
        assert not x[:, d:].any()
        assert not y[~rows].any()


def test_a_stack_goes_on_where_it_was_left():
    sizes = [(23, 3), (7, 5)]
    whole, first = list(stack(sizes, 4)), stack(sizes, 4)
    passing = iter(first)
    for done in range(1, 7):
        next(passing)
        later = stack(sizes, 4)
        later.load_state_dict(json.loads(json.dumps(first.state_dict())))
        rest = list(later)
        assert len(rest) == 6 - done
        for batch, expected in zip(rest, whole[done:], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(batch, expected, strict=True))
    with pytest.raises(StateError, match="2 streams"):
        stack([(3, 1)], 4).load_state_dict(first.state_dict())


def test_streams_that_do_not_fit_are_named():
    tables = [Table.open((np.eye(3), np.ones(3)))] * 2
    for streams, words in (
        ([], "one stream or more"),
        ([Stream(tables[0], batch=2), Stream(tables[1], batch=3)], "one size"),
        ([Stream(Table.open(np.eye(3)))], "target"),
    ):
        with pytest.raises(ConfigError, match=words):
            StreamStack(streams)


def pieces(sizes: list[int]) -> list[tuple[np.ndarray, ...]]:
    """Pieces whose rows are numbered: x = (row, -row), y = row, weight = row."""
    rows = np.split(np.arange(sum(sizes), dtype=np.float64), np.cumsum(sizes)[:-1])
    return [(np.stack([r, -r], 1), r, r) for r in rows]


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    batch=st.integers(1, 40),
    window=st.none() | st.integers(1, 50),
)
def test_an_iterable_is_cut_into_mini_batches(sizes, batch, window):
    options = {"batch": batch, "window": window, "seed": 3}
    stream = IterableStream(pieces(sizes), **options)
    batches, states = [], []
    for x, y, weight in stream:
        assert x.dtype == np.float32
        assert np.array_equal(x, np.stack([y, -y], 1))
        assert np.array_equal(weight, y)
        batches.append(y)
        states.append(stream.state_dict())
    assert all(len(y) == batch for y in batches[:-1])
    order = np.concatenate([*batches, np.empty(0)])
    assert sorted(order) == list(range(sum(sizes)))
    for start in range(0, len(order), window or 1):
        part = order[start : start + (window or 1)]
        assert sorted(part) == list(range(start, start + len(part)))
    for done, state in enumerate(states, start=1):
        later = IterableStream(pieces(sizes), **options)
        later.load_state_dict(state)
        assert [y.tolist() for _, y, _ in later] == [y.tolist() for y in batches[done:]]


def test_pieces_that_do_not_fit_are_named():
    x, y = np.ones((2, 2)), np.ones(2)
    for bad, words in (
        ([x], "must be \\(X, y\\)"),
        ([(x, np.ones(3))], "one number a row"),
        ([(x * np.nan, y)], "missing"),
        ([(x, y), (np.ones((2, 3)), y)], "different numbers of columns"),
    ):
        with pytest.raises(SourceError, match=words):
            list(IterableStream(bad, batch=4))
    with pytest.raises(StateError, match="seed"):
        IterableStream([], seed=1).load_state_dict(IterableStream([], seed=2).state_dict())
