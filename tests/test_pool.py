"""State pools: slots go on, end and start anew, and a snapshot brings all of it back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amortix.data import StatePool
from amortix.errors import ArrayError, ConfigError, StateError

FIELDS = {"value": ((2, 3), np.float32), "age": ((), np.int64), "nothing": ((0,), np.float32)}


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


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_scattered_is_gathered(name):
    shape, dtype = FIELDS[name]
    some, values = pool(), np.arange(3 * int(np.prod(shape)), dtype=dtype).reshape(3, *shape)
    some.scatter_from(name, [5, 0, 9], values)
    out = np.full_like(values, 77)
    address = out.ctypes.data
    some.gather_into(name, np.array([5, 0, 9]), out)
    assert np.array_equal(out, values)
    assert out.ctypes.data == address
    rest = np.full((13, *shape), 77, dtype)
    some.gather_into(name, [s for s in range(16) if s not in (5, 0, 9)], rest)
    assert not rest.any()


def test_a_task_ends_at_its_horizon_and_a_fresh_one_begins():
    some = pool(64, horizon=(2, 6))
    some.set_initial("value", np.full((2, 3), 4, np.float32))
    slots, ends = np.arange(64), np.zeros(64, int)
    for step in range(1, 7):
        some.scatter_from("value", slots, np.full((64, 2, 3), 8, np.float32))
        old = some.tasks(slots)
        finished = some.advance(slots)
        ends[finished & (ends == 0)] = step
        assert (some.ages(slots)[finished] == 0).all()
        assert (some.tasks(slots)[~finished] == old[~finished]).all()
        assert (some.tasks(slots)[finished] > old.max()).all()
        value = np.empty((64, 2, 3), np.float32)
        some.gather_into("value", slots, value)
        assert (value[finished] == 4).all()
        assert (value[~finished] == 8).all()
    assert set(ends) == {2, 3, 4, 5, 6}
    assert len(set(some.tasks(slots))) == 64


def test_initial_values_reach_slots_that_have_not_begun():
    some = pool(2, horizon=(5, 5))
    some.advance([0])
    some.set_initial("age", np.array(-1))
    out = np.empty(2, np.int64)
    some.gather_into("age", [0, 1], out)
    assert out.tolist() == [0, -1]


def test_many_steps_at_once_end_every_task():
    some = pool()
    assert some.advance(range(16), some.horizon[1]).all()


@given(before=st.integers(0, 6), after=st.integers(1, 6))
def test_a_snapshot_brings_everything_back(before, after):
    def play(target: StatePool, steps: int) -> list[np.ndarray]:
        trace = []
        for _ in range(steps):
            slots = target.draw(8)
            value = np.empty((8, 2, 3), np.float32)
            target.gather_into("value", slots, value)
            target.scatter_from("value", slots, value + target.tasks(slots)[:, None, None].astype(np.float32))
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


def test_a_snapshot_of_another_pool_is_refused_and_changes_nothing():
    some = pool()
    some.scatter_from("value", [0], np.ones((1, 2, 3), np.float32))
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
        for call in (some.tasks, some.ages, some.advance):
            with pytest.raises(ArrayError, match="slots"):
                call(slots)
        with pytest.raises(ArrayError, match="slots"):
            some.gather_into("value", slots, good)
        with pytest.raises(ArrayError, match="slots"):
            some.scatter_from("value", slots, good)
    for bad in (
        good[:1],
        good.astype(float),
        np.zeros((2, 3, 2), np.float32),
        np.zeros((2, 2, 6), np.float32)[..., ::2],
    ):
        with pytest.raises(ArrayError, match="out"):
            some.gather_into("value", [0, 1], bad)
        with pytest.raises(ArrayError, match="values"):
            some.scatter_from("value", [0, 1], bad)
    with pytest.raises(ConfigError, match="no field 'v'"):
        some.gather_into("v", [0, 1], good)
    with pytest.raises(ConfigError, match="n"):
        some.draw(17)
    for options in ({"horizon": (0, 3)}, {"horizon": (4, 3)}, {"seed": -1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            pool(**options)
    with pytest.raises(ConfigError, match="float64"):
        StatePool(2, {"a": ((), np.float64)}, seed=0)
    with pytest.raises(ArrayError, match="value"):
        some.set_initial("value", np.zeros(6, np.float32))
    assert not any(array.any() for name, array in some.snapshot().items() if name.startswith("field"))
