"""The boundary between NumPy and Rust: what does not fit is refused by name, and what fits is used where it lies."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from amortix import _core
from amortix.data import Linear, Logistic, TaskSampler
from amortix.data._arrays import empty, integers
from amortix.errors import ArrayError, ConfigError

T, B, D = 3, 4, 8
SAMPLER = TaskSampler(Linear(), seed=0)
CORE = _core.TaskSampler.linear(
    0,
    dim=(D, D),
    noise=(0.5, 0.5),
    condition=(1.0, 1.0),
    sparsity=0.0,
    weight_scale=(1.0, 1.0),
    query_scale=1.0,
)


def arguments() -> dict[str, np.ndarray]:
    return {
        "tasks": np.arange(T),
        "steps": np.arange(T),
        "x": np.zeros((T, B, D), np.float32),
        "y": np.zeros((T, B), np.float32),
    }


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def unaligned(array: np.ndarray) -> np.ndarray:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    return raw[1:].view(array.dtype).reshape(array.shape)


BAD = {
    "dtype": lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.int32),
    "byte order": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "fewer axes": lambda a: a[0],
    "more axes": lambda a: a[None],
    "memory order": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "list": lambda a: a.tolist(),
    "None": lambda a: None,
    "not aligned": unaligned,
}


@pytest.mark.parametrize("name", ["tasks", "steps", "x", "y"])
@pytest.mark.parametrize("fault", BAD)
def test_wrong_arrays_are_named(name, fault):
    given = arguments()
    given[name] = BAD[fault](given[name])
    with pytest.raises(ArrayError, match=f"`{name}`"):
        CORE.context_into(**given)
    assert not any(array.any() for key, array in given.items() if key in "xy" and key != name)


@pytest.mark.parametrize("name", ["steps", "x", "y"])
def test_shapes_that_do_not_fit_each_other_are_named(name):
    given = arguments()
    given[name] = given[name][:-1]
    with pytest.raises(ArrayError, match=r"`\w+` must have shape"):
        CORE.context_into(**given)


def test_fortran_order_is_refused():
    given = arguments()
    given["x"] = np.asfortranarray(given["x"])
    with pytest.raises(ArrayError, match="`x` must be C-contiguous"):
        CORE.context_into(**given)


@pytest.mark.parametrize("name", ["x", "y"])
def test_read_only_memory_is_refused(name):
    given = arguments()
    read_only(given[name])
    with pytest.raises(ArrayError, match=f"`{name}` is read-only"):
        CORE.context_into(**given)
    with pytest.raises(ArrayError, match=f"`{name}` is read-only"):
        SAMPLER.context(given["tasks"], given["steps"], B, out=(given["x"], given["y"]))


def test_outputs_that_overlap_are_refused():
    memory = np.zeros(T * B * D + T * B - 1, np.float32)
    given = arguments() | {
        "x": memory[: T * B * D].reshape(T, B, D),
        "y": memory[T * B * D - 1 :].reshape(T, B),
    }
    with pytest.raises(ArrayError, match="shares memory"):
        CORE.context_into(**given)
    tasks = np.arange(T)
    with pytest.raises(ArrayError, match="shares memory"):
        _core.pool_advance_into(
            tasks, 1, tasks, np.zeros(T, np.int64), np.zeros(T, bool), seed=0, horizon=(1, 1), next_task=3
        )


def test_inputs_may_be_the_same_array_and_read_only():
    given = arguments()
    given["steps"] = given["tasks"] = read_only(given["tasks"])
    CORE.context_into(**given)
    assert given["x"].all()


def test_memory_is_used_where_it_lies():
    given = arguments()
    base = np.zeros((T + 2, B, D), np.float32)
    given["x"] = base[1:-1]
    before = {name: array.ctypes.data for name, array in given.items()}
    CORE.context_into(**given)
    assert before == {name: array.ctypes.data for name, array in given.items()}
    assert base[1:-1].all()
    assert not base[[0, -1]].any(), "nothing beyond the view is written"


@pytest.mark.parametrize("shape", [(0, B), (T, 0), (0, 0)])
def test_nothing_asked_for_is_nothing_done(shape):
    tasks, batch = shape
    x, y = SAMPLER.context(np.arange(tasks), np.arange(tasks), batch)
    assert (x.shape, y.shape) == ((tasks, batch, D), (tasks, batch))
    x, y, signal = SAMPLER.query([0] * tasks, batch)
    assert (x.shape, signal.shape) == ((tasks, batch, D), (tasks, batch, 1))
    assert SAMPLER.dims([]).shape == (0,)


def test_huge_requests_are_named():
    with pytest.raises(ArrayError, match="allocated"):
        SAMPLER.context([0], [0], 2**60)
    with pytest.raises(ArrayError, match="allocated"):
        empty("x", (2**62, 2**62))
    with pytest.raises(ConfigError, match="batch"):
        SAMPLER.context([0], [0], -1)
    with pytest.raises(ConfigError, match="1024"):
        TaskSampler(Logistic(classes=(2, 10**9)), seed=0)


@pytest.mark.parametrize(
    "values",
    [[0.5], np.zeros(2), [np.nan], [[1]], 3, ["1"], [True], np.array([2**63], np.uint64), [2**70], None],
    ids=repr,
)
def test_task_numbers_that_are_not_whole_are_named(values):
    with pytest.raises(ArrayError, match="`tasks`"):
        SAMPLER.dims(values)


def test_task_numbers_may_be_of_any_integer_type():
    for values in (
        [1, 2],
        range(1, 3),
        np.array([1, 2], np.uint8),
        np.array([1, 9, 2, 9])[::2],
        np.array([1, 2], ">i8"),
    ):
        assert np.array_equal(integers("tasks", values), [1, 2])
    own = np.arange(5)
    assert integers("tasks", own) is own


GATHER = {
    "out": np.zeros((2, 2), np.float32),
    "rows": np.array([0, 1]),
    "columns": np.array([0, 1]),
}


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "M8[s]", ">f8"])
def test_gather_refuses_other_dtypes(dtype):
    with pytest.raises(ArrayError, match="`x` must have dtype"):
        _core.gather_into(np.zeros((3, 2), dtype), **GATHER)


def test_gather_takes_any_layout_and_finds_what_does_not_fit():
    x = np.arange(24.0).reshape(6, 4)
    for view in (x[:2], x[::-3], x.T[::2, :2], np.broadcast_to(x[0], (2, 4)), np.asfortranarray(x)):
        out = np.zeros((2, 2), np.float32)
        assert _core.gather_into(view, **(GATHER | {"out": out})) is None
        assert np.array_equal(out, view[:2, :2])
    x[1, 1] = np.nan
    assert _core.gather_into(x, **GATHER) == (1, 1)
    with pytest.raises(ArrayError, match="rows"):
        _core.gather_into(x, **(GATHER | {"rows": np.array([0, 6])}))
    with pytest.raises(ArrayError, match="columns"):
        _core.gather_into(x, **(GATHER | {"columns": np.array([0, -1])}))
    with pytest.raises(ArrayError, match="not aligned"):
        _core.gather_into(unaligned(x), **GATHER)
    memory = np.zeros((2, 2), np.float32)
    with pytest.raises(ArrayError, match="shares memory"):
        _core.gather_into(memory, **(GATHER | {"out": memory}))


def test_the_interpreter_lock_is_released_and_a_signal_ends_the_work():
    order = _core.Order(np.array([2**40]), seed=0, shuffle=False, window=None, shard=(0, 1), holdout=0.5, part="fit")

    def interrupt(*_: object) -> None:
        raise InterruptedError("enough")

    # The timer's thread can only run, and send the signal, while Rust counts for hours without the lock.
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(InterruptedError, match="enough"):
            order.count()
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_data_imports_neither_torch_nor_pyarrow():
    code = "import sys, amortix.data; print(sorted({'torch', 'pyarrow', 'pandas'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_compiled_name_has_a_facade(root: Path):
    files = list((root / "python" / "amortix").rglob("*.py"))
    assert len(files) > 8
    used = {name for file in files for name in re.findall(r"\b_core\.(\w+)", file.read_text())}
    used |= (
        {"__version__"} if "_core import __version__" in (root / "python/amortix/__init__.py").read_text() else set()
    )
    assert set(_core.__all__) <= used
