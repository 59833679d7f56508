"""The row store: everything while it fits, a weighted sample afterwards, in memory that does not grow."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amortix.data import RowStore
from amortix.errors import ArrayError, ConfigError, FormatError, StateError


def block(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose two columns are their number."""
    y = np.arange(start, stop, dtype=np.float32)
    return np.stack([y, y], 1), y


def store(capacity: int, seed: int = 0, **options) -> RowStore:
    return RowStore(2, bytes=RowStore.row_bytes(2, **options) * capacity, seed=seed, **options)


def weights(rows: np.ndarray) -> np.ndarray:
    return (rows % 5).astype(np.float32)


def by_row(kept: RowStore) -> list[tuple]:
    """All that a store holds, in the order of the row numbers."""
    columns = kept.rows.tolist(), kept.keys.tolist(), kept.x.tolist(), kept.y.tolist(), kept.weight.tolist()
    return sorted(zip(*columns, strict=True))


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


def test_rows_are_kept_by_weight():
    # With room for one, the row with the largest ln(u) / w stays: of rows with weights w, with probability w / sum.
    given, counts = np.array([1, 4, 0, 3], np.float32), np.zeros(4)
    for seed in range(4000):
        kept = store(1, seed)
        kept.extend(*block(0, 4), weight=given)
        counts[int(kept.y[0])] += 1
    share = given / given.sum()
    assert np.all(np.abs(counts - 4000 * share) <= 5 * np.sqrt(4000 * share * (1 - share)))


def test_keys_are_logarithms_of_uniform_numbers_over_the_weights():
    light, heavy = store(4000), store(4000)
    light.extend(*block(0, 4000))
    heavy.extend(*block(0, 4000), weight=np.full(4000, 4, np.float32))
    assert np.array_equal(light.keys, 4 * heavy.keys)
    u = np.sort(np.exp(light.keys))
    # Kolmogorov-Smirnov distance; 2 exp(-2 x²) at x = 2.5 is 7e-6.
    assert np.abs(u - (np.arange(4000) + 0.5) / 4000).max() < 2.5 / math.sqrt(4000)


@given(
    parts=st.lists(st.integers(0, 40), min_size=2, max_size=4),
    capacity=st.integers(0, 50),
    seed=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_merged_stores_are_one_store_over_all_rows(parts, capacity, seed, data):
    rows = np.array(data.draw(st.permutations(range(sum(parts)))), np.int64)
    whole = store(capacity, seed)
    whole.extend(*block(0, len(rows)), weight=weights(np.arange(len(rows))))
    ends = np.cumsum([0, *parts])
    shards = []
    for start, stop in itertools.pairwise(ends):
        shard, own = store(capacity, seed), rows[start:stop]
        y = own.astype(np.float32)
        shard.extend(np.stack([y, y], 1), y, weight=weights(own), rows=own)
        shards.append(shard)
    merged = shards[0]
    for shard in shards[1:]:
        merged.merge(shard)
    assert by_row(merged) == by_row(whole)
    assert merged.seen == whole.seen == len(rows)


def test_stores_that_cannot_be_merged_are_refused_and_nothing_changes():
    kept = store(40)
    kept.extend(*block(0, 30))
    small = store(10)
    small.extend(*block(0, 20), rows=range(100, 120))
    same = store(40)
    same.extend(*block(0, 1))
    for other, words in (
        (RowStore(3, bytes=999, seed=0), "columns"),
        (store(40, seed=1), "seed"),
        (small, "other way round"),
        (same, "row numbers"),
    ):
        with pytest.raises(StateError, match=words):
            kept.merge(other)
        assert len(kept) == kept.seen == 30
    small.merge(kept)
    assert (len(small), small.seen) == (10, 50)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_a_scan_shows_every_row_once(batch):
    kept = store(40)
    kept.extend(*block(0, 90), weight=weights(np.arange(90)) + 1)
    parts = list(kept.scan(batch))
    assert [len(y) for _, y, _ in parts] == [min(batch, 40 - start) for start in range(0, 40, batch)]
    for whole, name in ((kept.x, 0), (kept.y, 1), (kept.weight, 2)):
        assert np.array_equal(np.concatenate([part[name] for part in parts]), whole)
    assert not list(store(4).scan(8))


def test_float16_halves_what_a_row_takes_and_rounds():
    kept = store(100, dtype=np.float16)
    assert RowStore.row_bytes(50) - RowStore.row_bytes(50, np.float16) == 100
    x = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    kept.extend(x, x[:, 0].copy())
    assert kept.x.dtype == np.float16
    assert np.array_equal(kept.x, x.astype(np.float16))
    assert np.array_equal(kept.y, x[:, 0])
    for rows, _, _ in kept.scan(50):
        assert rows.dtype == np.float32
    edge = np.nextafter(np.float32(65520), np.float32(0))
    kept.extend(np.full((1, 2), edge), y := np.ones(1, np.float32))
    assert np.isfinite(kept.x).all()
    with pytest.raises(ArrayError, match="float16"):
        kept.extend(np.full((1, 2), -65520, np.float32), y)
    kept = store(100, dtype=np.float16)
    kept.extend(x, x[:, 0].copy())
    wide = store(100)
    wide.merge(kept)
    assert np.array_equal(wide.x, x.astype(np.float16))


def test_memory_is_constant_and_views_are_read_only():
    kept = store(100)
    kept.extend(*block(0, 100))
    addresses = kept.x.ctypes.data, kept.y.ctypes.data
    kept.extend(*block(100, 5000))
    assert addresses == (kept.x.ctypes.data, kept.y.ctypes.data)
    assert len(kept) == kept.capacity == 100
    arrays = [array for array in vars(kept).values() if isinstance(array, np.ndarray)]
    assert len(arrays) == 6
    assert sum(array.nbytes for array in arrays) == 100 * RowStore.row_bytes(2)
    with pytest.raises(ValueError, match="read-only"):
        kept.x[0] = 0


@pytest.mark.parametrize("before", [0, 20, 40, 90])
def test_a_saved_store_goes_on_exactly(tmp_path, before):
    one, other = store(40, 3), store(40, 5)
    one.extend(*block(0, before), weight=weights(np.arange(before)))
    one.save(tmp_path / "rows")
    other.load_state_dict(one.state_dict())
    read = RowStore.load(tmp_path / "rows")
    for kept in (one, other, read):
        kept.extend(*block(before, 200))
        assert np.array_equal(one.x, kept.x)
        assert by_row(one) == by_row(kept)
        assert (kept.seen, kept.seed, kept.capacity) == (200, 3, 40)


def test_states_of_the_first_release_are_read_where_nothing_was_dropped():
    x, y = block(0, 30)
    kept, fresh = store(40), store(40)
    kept.load_state_dict({"x": x, "y": y, "seen": np.array([30])})
    fresh.extend(x, y)
    for some in (kept, fresh):
        some.extend(*block(30, 90))
    assert by_row(kept) == by_row(fresh)
    with pytest.raises(StateError, match="earlier release"):
        store(40).load_state_dict({"x": x, "y": y, "seen": np.array([31])})


def test_damaged_files_are_refused(tmp_path):
    kept, path = store(4, dtype=np.float16), tmp_path / "rows"
    kept.extend(*block(0, 9))
    kept.save(path)
    assert RowStore.load(path).dtype == np.float16
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[:30], whole.replace(b"row store", b"any store"), whole.replace(b"x", b"z", 1)):
        path.write_bytes(broken)
        with pytest.raises(FormatError, match="rows"):
            RowStore.load(path)


def test_a_store_as_large_as_the_saved_arrays_takes_them():
    full = store(40)
    full.extend(*block(0, 90))
    state = full.state_dict()
    reader = RowStore.from_state_dict(state, 2)
    assert by_row(reader) == by_row(full)
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
        (store(40), state | {"weight": -state["weight"]}, "negative"),
        (store(40), state | {"weight": state["weight"] * np.float32(np.nan)}, "finite"),
        (store(40), state | {"rows": state["rows"][1:]}, "rows"),
        (store(40, dtype=np.float16), state, "float16"),
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
        (x[0], y),
        ([[1, 2]], y),
        (x, y.astype(np.float16)),
    ):
        with pytest.raises(ArrayError):
            kept.extend(*bad)
    one = np.ones(3, np.float32)
    for options, words in (
        ({"weight": one[:2]}, "`weight` has shape"),
        ({"weight": one.astype(float)}, "`weight` must be"),
        ({"weight": -one}, "-1"),
        ({"weight": one * np.float32(np.inf)}, "inf"),
        ({"rows": [1, 2]}, "`rows` has shape"),
        ({"rows": [1.0, 2, 3]}, "`rows` must be"),
    ):
        with pytest.raises(ArrayError, match=words):
            kept.extend(x, y, **options)
    assert len(kept) == kept.seen == 0
    for options in ({"bytes": -1}, {"bytes": 1.5}, {"seed": -1}, {"dtype": np.float64}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            RowStore(2, **({"bytes": 80, "seed": 0} | options))
    with pytest.raises(ConfigError, match="features"):
        RowStore(0, bytes=80, seed=0)
    with pytest.raises(ArrayError, match="allocated"):
        RowStore(2, bytes=2**60, seed=0)
