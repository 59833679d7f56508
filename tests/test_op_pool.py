"""Gathering from and scattering into the fields of a pool: beside `StatePool`, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from amortix import ops
from amortix.data import ByAge, StatePool
from amortix.errors import ArrayError, ConfigError
from amortix.ops import _cuda
from cases import operation
from cases.pool_gather import bits, random_bits
from cuda_emulator import ORDERS, Kernels, compiler

FIELDS = {"value": ((2, 3), np.float32), "age": ((), np.int64), "nothing": ((0,), np.float32), "wide": ((8,), np.int64)}
TORCH = {np.float32: torch.float32, np.int64: torch.int64}


def fields(height: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"value": random_bits((height, 3), 0, 0, generator), "age": torch.arange(height)}


def rows(height: int = 2) -> dict[str, Tensor]:
    return {"value": torch.ones(height, 3), "age": torch.zeros(height, dtype=torch.int64)}


def test_tensors_follow_a_state_pool_through_draws_ends_and_fresh_starts() -> None:
    """The same pool twice: with its own fields, and without fields beside tensors."""
    settings = {"seed": 4, "horizon": (1, 5), "policy": ByAge()}
    whole, bare = StatePool(20, FIELDS, **settings), StatePool(20, {}, **settings)
    own = {name: torch.zeros(20, *shape, dtype=TORCH[dtype]) for name, (shape, dtype) in FIELDS.items()}
    initial = {name: torch.full(tensor.shape[1:], 7, dtype=tensor.dtype) for name, tensor in own.items()}
    everyone = torch.arange(20)
    for name, value in initial.items():
        whole.set_initial(name, value)
    ops.pool_scatter(own, everyone, {name: value.expand(20, *value.shape) for name, value in initial.items()})

    ended = 0
    for _ in range(12):
        slots = torch.from_numpy(whole.draw(9))
        assert torch.equal(slots, torch.from_numpy(bare.draw(9)))
        state = ops.pool_gather(own, slots)
        for name, array in whole.gather(slots.numpy()).items():
            assert torch.equal(state[name], torch.from_numpy(array))
        state = {name: tensor * 3 + slots.view(-1, *[1] * (tensor.dim() - 1)) for name, tensor in state.items()}
        ops.pool_scatter(own, slots, state)
        whole.scatter_from(slots.numpy(), state)
        finished = torch.from_numpy(bare.advance(slots.numpy()))
        assert torch.equal(finished, torch.from_numpy(whole.advance(slots.numpy())))
        fresh = slots[finished]
        ended += len(fresh)
        ops.pool_scatter(own, fresh, {name: value.expand(len(fresh), *value.shape) for name, value in initial.items()})
        for name, array in whole.gather(range(20)).items():
            assert torch.equal(own[name], torch.from_numpy(array))
    assert 0 < ended < 12 * 9


def test_only_the_named_fields_move() -> None:
    own = fields()
    before = copy.deepcopy(own)
    assert set(ops.pool_gather(own, torch.tensor([1]), ["age"])) == {"age"}
    ops.pool_scatter(own, torch.tensor([1, 0]), {"age": torch.tensor([8, 9])})
    assert own["age"].tolist() == [9, 8, 2, 3, 4, 5]
    assert torch.equal(bits(own["value"]), bits(before["value"]))
    assert ops.pool_gather(own, torch.tensor([1]), []) == {}


def test_any_layout_of_values_and_slots_gives_the_same() -> None:
    own, other = fields(), fields()
    generator = torch.Generator().manual_seed(1)
    values = {"value": torch.randn(2, 3, generator=generator, requires_grad=True), "age": torch.tensor([5, 6])}
    slots = torch.tensor([4, 2])
    apart = {name: torch.stack([rows, rows], -1)[..., 0] for name, rows in values.items()}
    ops.pool_scatter(own, slots, values)
    ops.pool_scatter(other, torch.stack([slots, slots], -1)[:, 0], apart)
    for name, tensor in own.items():
        assert torch.equal(bits(tensor), bits(other[name]))
        assert not tensor.requires_grad
    assert torch.equal(ops.pool_gather(own, slots)["value"], values["value"])


Change = Callable[[dict[str, Tensor], Tensor, dict[str, Tensor]], tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]]
REFUSED: dict[str, tuple[Change, str]] = {
    "slots of another dtype": (lambda f, s, v: (f, s.int(), v), r"slots is torch.int32 \[2\]; give torch.int64 \[N\]"),
    "slots of two axes": (lambda f, s, v: (f, s[None], v), r"slots is torch.int64 \[1, 2\]"),
    "a field of another dtype": (lambda f, s, v: (f | {"age": f["age"].int()}, s, v), "field 'age' is torch.int32"),
    "a field elsewhere": (lambda f, s, v: (f | {"age": f["age"].to("meta")}, s, v), "field 'age' is .* on meta"),
    "a field of one number": (lambda f, s, v: (f | {"age": torch.tensor(1)}, s, v), r"field 'age' has shape \[\]"),
    "fewer slots": (lambda f, s, v: (f | {"age": f["age"][1:]}, s, v), r"has shape \[5\]; expected \[6, ...\]"),
    "a field with gaps": (lambda f, s, v: (f | {"value": torch.zeros(6, 6)[:, ::2]}, s, v), "is not contiguous"),
    "a slot beyond": (lambda f, s, v: (f, s + 4, v), "slots.? holds 6, but the pool has 6 slots"),
    "a slot below": (lambda f, s, v: (f, s - 2, v), "holds -1, but the pool has 6 slots"),
}
REFUSED_VALUES: dict[str, tuple[Change, str]] = {
    "a slot twice": (lambda f, s, v: (f, torch.tensor([3, 3]), v), "slots holds 3 twice; give different slots"),
    "values of another dtype": (lambda f, s, v: (f, s, v | {"age": rows()["value"]}), "'age' are torch.float32"),
    "values of another shape": (lambda f, s, v: (f, s, v | {"value": v["value"][:, :2]}), r"\[2, 2\] .*\[2, 3\]"),
    "too few rows": (lambda f, s, v: (f, s, rows(1)), r"values of 'value' are torch.float32 \[1, 3\]"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_gather_does_not_take_is_named(what: str) -> None:
    change, message = REFUSED[what]
    given, slots, _ = change(fields(), torch.tensor([1, 2]), rows())
    with pytest.raises(ArrayError, match=message):
        ops.pool_gather(given, slots)


@pytest.mark.parametrize("what", [*REFUSED, *REFUSED_VALUES])
def test_what_scatter_does_not_take_is_named_and_changes_nothing(what: str) -> None:
    change, message = (REFUSED | REFUSED_VALUES)[what]
    given, slots, values = change(fields(), torch.tensor([1, 2]), rows())
    before = copy.deepcopy(given)
    with pytest.raises(ArrayError, match=message):
        ops.pool_scatter(given, slots, values)
    assert all(before[name].is_meta or torch.equal(bits(before[name]), bits(given[name])) for name in given)


def test_a_field_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="pool_gather: there is no field 'momentum': there are value, age"):
        ops.pool_gather(fields(), torch.tensor([1]), ["momentum"])
    with pytest.raises(ConfigError, match="pool_scatter: there is no field 'momentum'"):
        ops.pool_scatter(fields(), torch.tensor([1]), {"momentum": torch.zeros(1)})


def test_a_compiled_step_knows_that_the_pool_changes() -> None:
    def step(own: Tensor, slots: Tensor) -> Tensor:
        state = ops.pool_gather({"value": own}, slots)["value"]
        ops.pool_scatter({"value": own}, slots, {"value": state + 1})
        return ops.pool_gather({"value": own}, slots)["value"]

    own, slots = torch.zeros(6, 3), torch.tensor([4, 1])
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    for times in (1, 2):
        assert torch.equal(compiled(own, slots), torch.full((2, 3), float(times)))
    assert own.sum() == 2 * 2 * 3


def test_torch_accepts_the_operators() -> None:
    own, slots, values = torch.zeros(6, 3), torch.tensor([4, 1]), torch.ones(2, 3)
    torch.library.opcheck(operation("pool_gather")._operator, ([own], slots))
    torch.library.opcheck(operation("pool_scatter")._operator, ([own], slots, [values]))


def test_launches_take_vectors_where_sizes_and_addresses_allow() -> None:
    generator = torch.Generator().manual_seed(0)
    kernels = {
        (width, long, offset): operation("pool_gather")
        .launch([random_bits((9, width), long, offset, generator)], torch.tensor([0]))[0][0]
        .kernel.endswith("_wide")
        for width in (2, 3, 4)
        for long in (0, 1)
        for offset in (0, 1, 2, 4)
    }
    assert {key for key, wide in kernels.items() if wide} == {(4, 0, 0), (4, 0, 4)} | {
        (width, 1, offset) for width in (2, 4) for offset in (0, 2, 4)
    }


def test_a_field_with_gaps_is_never_launched() -> None:
    gaps = torch.zeros(6, 4)[:, :2]
    with pytest.raises(RuntimeError, match="view"):
        operation("pool_scatter").launch([gaps], torch.tensor([0]), [torch.ones(1, 2)])


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler for the emulator")
@pytest.mark.parametrize("width", [3, 8])
def test_on_a_device_slots_that_do_not_exist_are_marked_and_left_out(tmp_path, width: int) -> None:
    slots = torch.tensor([1, -1, 6, 2**40, 0])
    own = {0: torch.zeros(6, width), 1: torch.zeros(6, width, dtype=torch.int64)}
    for name in ("pool_gather", "pool_scatter"):
        (tmp_path / name).mkdir()
    gather = Kernels(_cuda.source("pool_gather"), tmp_path / "pool_gather")
    scatter = Kernels(_cuda.source("pool_scatter"), tmp_path / "pool_scatter")
    for order in ORDERS:
        for tensor in own.values():
            (launch,), (out,) = operation("pool_gather").launch([tensor], slots)
            gather.run(launch.kernel, launch.grid, launch.block, launch.shared, order, launch.arguments)
            absent = out.isnan() if out.is_floating_point() else out == -1
            assert absent.all(1).tolist() == absent.any(1).tolist() == [False, True, True, True, False]
            kept = tensor.clone()
            (launch,), _ = operation("pool_scatter").launch([kept], slots, [torch.ones_like(out)])
            scatter.run(launch.kernel, launch.grid, launch.block, launch.shared, order, launch.arguments)
            assert kept.sum(1).tolist() == [width, width, 0, 0, 0, 0]


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler for the emulator")
def test_on_a_device_of_a_slot_given_twice_each_number_is_of_either_row(tmp_path) -> None:
    kernels = Kernels(_cuda.source("pool_scatter"), tmp_path)
    values = torch.stack([torch.full((600,), float(row)) for row in (1, 2, 3)])
    for order in ORDERS:
        kept = torch.zeros(4, 600)
        (launch,), _ = operation("pool_scatter").launch([kept], torch.tensor([2, 2, 0]), [values])
        kernels.run(launch.kernel, launch.grid, launch.block, launch.shared, order, launch.arguments)
        assert kept[0].eq(3).all()
        assert ((kept[2] == 1) | (kept[2] == 2)).all()
        assert not kept[[1, 3]].any()
