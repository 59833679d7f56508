"""The row store: everything while it fits, a uniform sample afterwards, in memory that does not grow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amortix.data import RowStore
from amortix.errors import ArrayError, ConfigError, StateError


def block(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose two columns are their number."""
    y = np.arange(start, stop, dtype=np.float32)
    return np.stack([y, y], 1), y


def store(capacity: int, seed: int = 0) -> RowStore:
    return RowStore(2, bytes=12 * capacity, seed=seed)


@given(sizes=st.lists(st.integers(0, 30), max_size=6), capacity=st.integers(0, 60), seed=st.integers(0, 2**64 - 1))
def test_batches_do_not_matter_and_rows_stay_whole(sizes, capacity, seed):
    total = sum(sizes)
    once, often, start = store(capacity, seed), store(capacity, seed), 0
    once.extend(*block(0, total))
    for size in sizes:
        often.extend(*block(start, start + size))
        start += size
    assert len(once) == len(often) == min(total, capacity)
    assert once.seen == often.seen == total
    assert np.array_equal(once.x, often.x)
    assert np.array_equal(once.x[:, 0], once.y)
    assert np.array_equal(once.x[:, 1], once.y)
    assert len(set(once.y.tolist())) == len(once)
    if total <= capacity:
        assert np.array_equal(once.y, np.arange(total))


def test_the_sample_is_uniform():
    counts = np.zeros(60)
    for seed in range(3000):
        kept = store(15, seed)
        kept.extend(*block(0, 60))
        counts[kept.y.astype(int)] += 1
    assert np.abs(counts - 750).max() < 5 * np.sqrt(3000 * 0.25 * 0.75)


def test_memory_is_constant_and_views_are_read_only():
    kept = store(100)
    kept.extend(*block(0, 100))
    addresses = kept.x.ctypes.data, kept.y.ctypes.data
    kept.extend(*block(100, 5000))
    assert addresses == (kept.x.ctypes.data, kept.y.ctypes.data)
    assert kept.x.nbytes + kept.y.nbytes <= 1200
    with pytest.raises(ValueError, match="read-only"):
        kept.x[0] = 0


@pytest.mark.parametrize("before", [0, 20, 40, 90])
def test_a_saved_store_goes_on_exactly(before):
    one, other = store(40, 3), store(40, 3)
    one.extend(*block(0, before))
    other.load_state_dict(one.state_dict())
    for kept in (one, other):
        kept.extend(*block(before, 200))
    assert np.array_equal(one.x, other.x)
    assert one.seen == other.seen == 200


def test_a_store_as_large_as_the_saved_arrays_takes_them():
    full = store(40)
    full.extend(*block(0, 90))
    state = full.state_dict()
    reader = RowStore(2, bytes=sum(array.nbytes for array in state.values()), seed=0)
    reader.load_state_dict(state)
    assert np.array_equal(reader.x, full.x)
    assert reader.capacity == 40


def test_states_that_do_not_fit_are_refused_and_change_nothing():
    full = store(40)
    full.extend(*block(0, 40))
    state = full.state_dict()
    small = store(39)
    for target, broken, words in (
        (small, state, "39"),
        (RowStore(3, bytes=999, seed=0), state, r"\[n, 3\]"),
        (store(40), {k: v for k, v in state.items() if k != "y"}, "'y'"),
        (store(40), state | {"x": state["x"].astype(float)}, "float64"),
        (store(40), state | {"seen": np.array([3])}, "of 3 rows"),
    ):
        with pytest.raises(StateError, match=words):
            target.load_state_dict(broken)
        assert len(target) == target.seen == 0


def test_faults_are_named():
    kept = store(4)
    x, y = block(0, 3)
    for bad in (
        (x[:2], y),
        (x.astype(float), y),
        (x[:, :1].copy(), y),
        (x, y[:, None]),
        (x[:, ::-1], y),
        ([[1, 2]], y),
    ):
        with pytest.raises(ArrayError):
            kept.extend(*bad)
    assert len(kept) == kept.seen == 0
    for options in ({"bytes": -1}, {"bytes": 1.5}, {"seed": -1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            RowStore(2, **({"bytes": 8, "seed": 0} | options))
    with pytest.raises(ConfigError, match="features"):
        RowStore(0, bytes=8, seed=0)
    with pytest.raises(ArrayError, match="allocated"):
        RowStore(2, bytes=2**60, seed=0)
