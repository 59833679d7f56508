"""State pools: slots go on, end and start anew, and a snapshot brings all of it back."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from amortix.data import ByAge, StatePool, Uniform
from amortix.errors import ArrayError, ConfigError, FormatError, StateError

FIELDS = {"value": ((2, 3), np.float32), "age": ((), np.int64), "nothing": ((0,), np.float32)}
GOLDEN = [[9, 5, 3, 0, 7, 8, 4, 2, 6, 1], [8, 1, 4, 2], [3, 7, 5, 9]]


def pool(slots: int = 16, **options) -> StatePool:
    return StatePool(slots, FIELDS, **({"seed": 7, "horizon": (2, 9)} | options))


def test_slots_start_with_tasks_of_their_own():
    new = pool()
    assert new.tasks(range(16)).tolist() == list(range(16))
    assert new.ages(range(16)).tolist() == [0] * 16
    assert new.fields["value"] == ((2, 3), np.dtype(np.float32))
    assert new.horizon == (2, 9)


@given(slots=st.integers(1, 300), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_draws_are_different_slots_and_reproducible(slots, seed, data):
    n = data.draw(st.integers(0, slots))
    one, other = (StatePool(slots, {}, seed=seed) for _ in range(2))
    for _ in range(3):
        drawn = one.draw(n)
        assert drawn.shape == (n,)
        assert len(set(drawn.tolist())) == n
        assert set(drawn.tolist()) <= set(range(slots))
        assert np.array_equal(drawn, other.draw(n))


def test_every_slot_is_drawn_equally_often():
    many = StatePool(20, {}, seed=1)
    counts = np.bincount(np.concatenate([many.draw(5) for _ in range(4000)]), minlength=20)
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)


def test_uniform_draws_are_those_of_the_first_release():
    # The bundled weights were trained with these; recorded before there were policies.
    assert StatePool(10, {}, seed=7).draw(10).tolist() == GOLDEN[0]
    later = StatePool(10, {}, seed=7, policy=Uniform())
    assert [later.draw(4).tolist() for _ in range(3)] == [GOLDEN[0][:4], *GOLDEN[1:]]


def test_octaves_of_age_are_drawn_equally_often():
    # Of 40 slots, 32 have age 0, 4 age 1, 3 age 2 and 1 age 9: 8 are 2 of each but the last, and one more of any
    # other; so an expected 7/3 of each of the first three octaves.
    old = StatePool(40, {}, seed=3, horizon=None, policy=ByAge())
    for first, steps in ((32, 1), (36, 1), (39, 7)):
        old.advance(range(first, 40), steps)
    counts = np.zeros((4000, 4))
    for row in counts:
        row[:] = np.bincount(np.searchsorted([0, 1, 2, 9], old.ages(old.draw(8))), minlength=4)
    assert (counts.sum(1) == 8).all()
    assert (counts[:, 3] == 1).all()
    assert set(np.unique(counts[:, :3])) == {2, 3}
    assert np.abs(counts[:, :3].mean(0) - 7 / 3).max() < 5 * np.sqrt(1 / 3 * 2 / 3 / 4000)


@given(seed=st.integers(0, 2**64 - 1), n=st.integers(0, 12), ages=st.lists(st.integers(0, 9), min_size=12, max_size=12))
def test_draws_by_age_depend_on_seed_draw_and_ages_alone(seed, n, ages):
    pools = [StatePool(12, {}, seed=seed, horizon=None, policy=ByAge()) for _ in range(2)]
    pools[0].draw(3)
    pools[1].draw(12)
    for slot, age in enumerate(ages):
        pools[0].advance([slot], age)
        for _ in range(age):
            pools[1].advance([slot])
    drawn = [some.draw(n).tolist() for some in pools]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == n


def test_what_is_scattered_is_gathered():
    some = pool()
    values = {
        name: np.arange(3 * int(np.prod(shape)), dtype=dtype).reshape(3, *shape)
        for name, (shape, dtype) in FIELDS.items()
    }
    some.scatter_from([5, 0, 9], values)
    out = {name: np.full_like(array, 77) for name, array in values.items()}
    some.gather_into(np.array([5, 0, 9]), out)
    assert all(np.array_equal(out[name], values[name]) for name in FIELDS)
    assert some.gather([9], ["age"]).keys() == {"age"}
    assert some.gather([9])["value"].tolist() == values["value"][2:].tolist()
    rest = some.gather([s for s in range(16) if s not in (5, 0, 9)])
    assert not any(array.any() for array in rest.values())


def test_wide_states_are_copied_as_numpy_would():
    # Large enough for several threads; slots come twice, and NumPy's own assignment says which row stays.
    some = StatePool(50, {"wide": ((3000,), np.float32)}, seed=0)
    random = np.random.default_rng(0)
    slots, values = random.integers(0, 50, 80), random.normal(size=(80, 3000)).astype(np.float32)
    expected = np.zeros((50, 3000), np.float32)
    for slot, row in zip(slots, values, strict=True):
        expected[slot] = row
    some.scatter_from(slots, {"wide": values})
    assert np.array_equal(some.gather(range(50))["wide"], expected)
    assert np.array_equal(some.gather(slots)["wide"], expected[slots])


def test_memory_of_tensors_is_used_where_it_lies():
    some = pool()
    values = torch.arange(12, dtype=torch.float32).reshape(2, 2, 3)
    some.scatter_from([3, 4], {"value": values, "age": torch.tensor([5, 6])})
    out = torch.empty(2, 2, 3)
    some.gather_into([4, 3], {"value": out})
    assert torch.equal(out, values.flip(0))
    assert some.gather([3, 4])["age"].tolist() == [5, 6]
    for bad in (out.requires_grad_(), torch.empty(2, 2, 3, device="meta"), torch.empty(2, 3, 2).mT, [[0.0] * 3] * 2):
        with pytest.raises(ArrayError, match="out"):
            some.gather_into([4, 3], {"value": bad})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory needs a CUDA device")
def test_pinned_memory_is_used_where_it_lies():
    out = torch.empty(2, 2, 3, pin_memory=True)
    pool().gather_into([4, 3], {"value": out})
    assert not out.any()


def test_a_task_ends_at_its_horizon_and_a_fresh_one_begins():
    some = pool(64, horizon=(2, 6))
    some.set_initial("value", np.full((2, 3), 4, np.float32))
    slots, ends = np.arange(64), np.zeros(64, int)
    for step in range(1, 7):
        some.scatter_from(slots, {"value": np.full((64, 2, 3), 8, np.float32)})
        old = some.tasks(slots)
        finished = some.advance(slots)
        ends[finished & (ends == 0)] = step
        assert (some.ages(slots)[finished] == 0).all()
        assert (some.tasks(slots)[~finished] == old[~finished]).all()
        assert (some.tasks(slots)[finished] > old.max()).all()
        value = some.gather(slots)["value"]
        assert (value[finished] == 4).all()
        assert (value[~finished] == 8).all()
    assert set(ends) == {2, 3, 4, 5, 6}
    assert len(set(some.tasks(slots))) == 64


def test_initial_values_reach_slots_that_have_not_begun():
    some = pool(2, horizon=(5, 5))
    some.advance([0])
    some.set_initial("age", np.array(-1))
    assert some.gather([0, 1])["age"].tolist() == [0, -1]


def test_many_steps_at_once_end_every_task():
    some = pool()
    assert some.advance(range(16), some.horizon[1]).all()


def test_without_a_horizon_a_task_ends_only_when_asked():
    some = pool(horizon=None)
    some.set_initial("value", np.full((2, 3), 4, np.float32))
    some.scatter_from([1, 2], {"value": np.ones((2, 2, 3), np.float32)})
    assert not some.advance(range(16), 2**62).any()
    some.reset([2, 5])
    assert some.tasks([1, 2, 5]).tolist() == [1, 16, 17]
    assert some.ages([1, 2]).tolist() == [2**62, 0]
    assert some.gather([1, 2])["value"][:, 0, 0].tolist() == [1, 4]


def test_equal_ends_fix_the_horizon():
    some = pool(horizon=(3, 3))
    assert [bool(some.advance([7])[0]) for _ in range(7)] == [False, False, True] * 2 + [False]


@given(before=st.integers(0, 6), after=st.integers(1, 6))
def test_a_snapshot_brings_everything_back(before, after):
    def play(target: StatePool, steps: int) -> list[np.ndarray]:
        trace = []
        for _ in range(steps):
            slots = target.draw(8)
            value = target.gather(slots)["value"]
            new = value + target.tasks(slots)[:, None, None].astype(np.float32)
            target.scatter_from(slots, {"value": new})
            trace += [slots, value, target.advance(slots), target.tasks(slots)]
        return trace

    first = pool()
    first.set_initial("value", np.full((2, 3), 0.5, np.float32))
    play(first, before)
    snapshot = {name: array.copy() for name, array in first.snapshot().items()}
    expected = play(first, after)
    second = pool()
    second.restore(snapshot)
    assert all(np.array_equal(a, b) for a, b in zip(play(second, after), expected, strict=True))
    ends = first.snapshot(), second.snapshot()
    assert all(ends[0][name].tobytes() == ends[1][name].tobytes() for name in ends[0])


@pytest.mark.parametrize("options", [{}, {"horizon": None, "policy": ByAge()}, {"seed": 2**64 - 1}])
def test_a_saved_pool_goes_on_to_the_bit(tmp_path, options):
    path, first = tmp_path / "pool.safetensors", pool(**options)
    first.set_initial("value", np.full((2, 3), np.float32(1) / 3))
    first.scatter_from(first.draw(4), {"value": np.full((4, 2, 3), -0.0, np.float32)})
    for _ in range(5):
        first.advance(first.draw(9))
    first.save(path)
    second = StatePool.load(path)
    settings = ("slots", "seed", "horizon", "policy", "fields")
    assert [getattr(first, name) for name in settings] == [getattr(second, name) for name in settings]
    for some in (first, second):
        some.advance(some.draw(9), 3)
    ends = [some.snapshot() for some in (first, second)]
    assert all(ends[0][name].tobytes() == ends[1][name].tobytes() for name in ends[0])
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_pool_is_a_safetensors_file_with_the_same_bytes_every_time(tmp_path):
    some = pool()
    some.scatter_from([3], {"value": np.arange(6, dtype=np.float32).reshape(1, 2, 3)})
    some.save(tmp_path / "a")
    some.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    read, expected = load_file(tmp_path / "a"), some.snapshot()
    assert read.keys() == expected.keys()
    for name, array in expected.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "pool"
    pool().save(path)
    whole = path.read_bytes()
    head = int.from_bytes(whole[:8], "little")
    text = json.loads(whole[8 : 8 + head])
    meta = json.loads(text["__metadata__"]["amortix"])

    def changed(**changes) -> bytes:
        text["__metadata__"]["amortix"] = json.dumps(meta | changes)
        new = json.dumps(text).encode()
        return len(new).to_bytes(8, "little") + new + whole[8 + head :]

    assert len(changed()) > 100
    path.write_bytes(changed())
    StatePool.load(path)
    for broken in (
        b"",
        whole[:-1],
        whole[:100],
        changed(kind="row store"),
        changed(schema=2),
        changed(settings=3),
        changed(settings=meta["settings"] | {"slots": 17}),
        changed(settings=meta["settings"] | {"policy": "by name"}),
        changed(settings=meta["settings"] | {"fields": {}}),
        changed(settings=meta["settings"] | {"more": 1}),
    ):
        path.write_bytes(broken)
        with pytest.raises(FormatError, match="pool"):
            StatePool.load(path)
    with pytest.raises(FormatError, match="nothing"):
        StatePool.load(tmp_path / "nothing")
    with pytest.raises(OSError, match="cannot write"):
        pool().save(tmp_path / "nowhere" / "pool")


def test_a_snapshot_of_another_pool_is_refused_and_changes_nothing():
    some = pool()
    some.scatter_from([0], {"value": np.ones((1, 2, 3), np.float32)})
    before = some.snapshot()
    for other in (pool(8), StatePool(16, {"value": ((2, 3), np.float32)}, seed=7)):
        with pytest.raises(StateError):
            some.restore(other.snapshot())
    with pytest.raises(StateError, match="float64"):
        some.restore(before | {"field.value": before["field.value"].astype(float)})
    assert all(np.array_equal(before[name], array) for name, array in some.snapshot().items())


def test_faults_are_named():
    some = pool()
    good = np.zeros((2, 2, 3), np.float32)
    for slots in ([0, 16], [-1, 0]):
        for call in (some.tasks, some.ages, some.advance, some.reset, some.gather):
            with pytest.raises(ArrayError, match="slots"):
                call(slots)
        with pytest.raises(ArrayError, match="slots"):
            some.gather_into(slots, {"value": good})
        with pytest.raises(ArrayError, match="slots"):
            some.scatter_from(slots, {"value": good})
    for bad in (
        good[:1],
        good.astype(float),
        np.zeros((2, 3, 2), np.float32),
        np.zeros((2, 2, 6), np.float32)[..., ::2],
    ):
        with pytest.raises(ArrayError, match="out"):
            some.gather_into([0, 1], {"value": bad})
        with pytest.raises(ArrayError, match="values"):
            some.scatter_from([0, 1], {"value": bad})
    with pytest.raises(ConfigError, match="no field 'v'"):
        some.gather_into([0, 1], {"v": good})
    with pytest.raises(ConfigError, match="n"):
        some.draw(17)
    for options in ({"horizon": (0, 3)}, {"horizon": (4, 3)}, {"seed": -1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            pool(**options)
    with pytest.raises(ConfigError, match="policy"):
        pool(policy="by age")
    with pytest.raises(ConfigError, match="float64"):
        StatePool(2, {"a": ((), np.float64)}, seed=0)
    with pytest.raises(ArrayError, match="value"):
        some.set_initial("value", np.zeros(6, np.float32))
    assert not any(array.any() for name, array in some.snapshot().items() if name.startswith("field"))
