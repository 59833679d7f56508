"""What only `curvature_update`, `curvature_solve` and `curvature_step` promise."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from amortix import _core, ops
from amortix.errors import ArrayError
from amortix.moments import Moments
from amortix.ops.curvature_solve import definition as solve_definition
from amortix.ops.curvature_step import definition as step_definition
from amortix.ops.curvature_step import launch as step_launch
from amortix.ops.curvature_update import definition as update_definition
from cases.curvature_solve import check as check_solve
from cases.curvature_solve import draw as solve_case
from cases.curvature_update import check as check_update
from cases.curvature_update import draw as update_case

UNIT = torch.finfo(torch.float32).eps / 2


def step_case(sizes: tuple[int, int, int, int], *, inert: float = 0.3) -> tuple[Tensor, ...]:
    """Arguments of `curvature_step` in the order of the operator: T, B, S, O."""
    tasks, batch, state, outputs = sizes
    _, damping, gradient = solve_case((tasks, state, outputs))
    return *update_case((tasks, batch, state), inert=inert), damping, gradient


def step(second, count, jacobian, weight, damping, gradient) -> tuple[Tensor, Tensor, Tensor]:
    return ops.curvature_step(second, count, jacobian, damping, gradient, weight)


# Moments


def test_moments_are_the_means_of_all_rows_and_forget_as_told() -> None:
    second, count, jacobian, weight = update_case((2, 7, 5), inert=0.0)
    got, total = ops.curvature_update(second, count * 0.5, jacobian, weight)
    for task in range(2):
        rows, w = jacobian[task].double(), weight[task].double()
        n = 0.5 * float(count[task])
        wanted = n * second[task].double() + sum(w[b] * torch.outer(rows[b], rows[b]) for b in range(7))
        torch.testing.assert_close(total[task].double(), n + w.sum(), rtol=1e-6, atol=0)
        torch.testing.assert_close(got[task].double(), wanted / (n + w.sum()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("state", [5, 64, 150])
def test_rows_in_parts_in_any_order_and_merged_shards_are_one_stream(state: int) -> None:
    _, _, jacobian, weight = update_case((2, 60, state))
    zeros = torch.zeros(2, state, state), torch.zeros(2)
    whole, total = ops.curvature_update(*zeros, jacobian, weight)
    parts, back = zeros, zeros
    for start in range(0, 60, 7):
        parts = ops.curvature_update(*parts, jacobian[:, start : start + 7], weight[:, start : start + 7])
        back = ops.curvature_update(*back, jacobian.flip(1)[:, start : start + 7], weight.flip(1)[:, start : start + 7])
    shards = [
        Moments(n, c, torch.zeros(2, state, 1), torch.zeros(2))
        for c, n in (
            ops.curvature_update(*zeros, jacobian[:, part], weight[:, part]) for part in (slice(0, 23), slice(23, 60))
        )
    ]
    merged = shards[0].merge(shards[1])
    # Nine merges, each of a few roundings, on top of the sum's own.
    magnitude, _ = update_definition(*zeros, jacobian.abs(), weight)
    error = (2 * 60 + 16 + 9 * 8) * UNIT * magnitude
    for second, count in (parts, back, (merged.second, merged.count)):
        assert ((second - whole).abs() <= 2 * error).all()
        torch.testing.assert_close(count, total, rtol=60 * UNIT, atol=0)


@pytest.mark.parametrize("state", [1, 16, 33, 64, 65, 128, 129, 177])
def test_moments_are_symmetric_to_the_last_bit(state: int) -> None:
    second, _ = ops.curvature_update(*update_case((3, 9, state)))
    assert torch.equal(second, second.mT)


@pytest.mark.parametrize("state", [7, 64, 140])
@pytest.mark.parametrize("content", [math.nan, math.inf])
def test_rows_without_weight_are_inert_whatever_they_hold(state: int, content: float) -> None:
    second, count, jacobian, weight = update_case((2, 11, state))
    assert 0 < int((weight == 0).sum()) < weight.numel()
    quiet = torch.where(weight[..., None] > 0, jacobian, 0.0)
    loud = torch.where(weight[..., None] > 0, jacobian, content)
    wanted = ops.curvature_update(second, count, quiet, weight)
    for vacant in (0.0, -1.0, math.nan):
        got = ops.curvature_update(second, count, loud, torch.where(weight > 0, weight, vacant))
        assert all(torch.equal(one, other) for one, other in zip(got, wanted, strict=True))


def test_without_any_weight_the_memory_stays() -> None:
    second, _, jacobian, _ = update_case((2, 3, 4), inert=0.0)
    for state in (second, torch.zeros_like(second)):
        got, total = ops.curvature_update(state, torch.zeros(2), jacobian, torch.zeros(2, 3))
        assert torch.equal(got, state)
        assert not total.any()


# Directions


@pytest.mark.parametrize("state", [*range(1, 65), 65, 96])
def test_every_width_solves_to_the_bound_of_cholesky(state: int) -> None:
    arguments = solve_case((3, state, 2), seed=state)
    check_solve(ops.curvature_solve(*arguments), arguments)


def test_a_direction_is_what_an_inverse_gives() -> None:
    second, damping, gradient = (argument.double() for argument in solve_case((4, 6, 2)))
    wanted = torch.linalg.inv(second + torch.diag_embed(damping)) @ gradient
    torch.testing.assert_close(solve_definition(second, damping, gradient), wanted)


def test_one_right_hand_side_needs_no_axis() -> None:
    second, damping, gradient = solve_case((4, 6, 1))
    wanted = ops.curvature_solve(second, damping, gradient)[..., 0]
    assert torch.equal(ops.curvature_solve(second, damping, gradient[..., 0]), wanted)
    rows = update_case((4, 3, 6))
    assert ops.curvature_step(*rows[:3], damping, gradient[..., 0], rows[3])[2].shape == (4, 6)


@pytest.mark.parametrize("state", [3, 64, 70])
def test_a_matrix_that_is_not_positive_definite_gives_nan_and_spares_its_neighbours(state: int) -> None:
    second, damping, gradient = solve_case((5, state, 2))
    wanted = ops.curvature_solve(second, damping, gradient)
    second[2, -1, -1] = -1.0
    got = ops.curvature_solve(second, damping, gradient)
    assert got[2].isnan().all()
    others = [0, 1, 3, 4]
    assert torch.equal(got[others], wanted[others])


def test_a_task_does_not_depend_on_its_neighbours() -> None:
    arguments = step_case((19, 5, 9, 2))
    together = step(*arguments)
    for task in (0, 7, 18):
        alone = step(*[argument[task : task + 1] for argument in arguments])
        assert all(torch.equal(one[task : task + 1], other) for one, other in zip(together, alone, strict=True))


# Both


@pytest.mark.parametrize(
    "sizes", [(0, 3, 4, 1), (3, 0, 4, 1), (3, 5, 4, 0), (17, 33, 16, 1), (2, 4, 64, 3), (2, 3, 65, 2)]
)
def test_a_step_is_an_update_and_a_solve(sizes: tuple[int, int, int, int]) -> None:
    second, count, jacobian, weight, damping, gradient = arguments = step_case(sizes)
    updated = ops.curvature_update(second, count, jacobian, weight)
    wanted = *updated, ops.curvature_solve(updated[0], damping, gradient)
    assert all(torch.equal(one, other) for one, other in zip(step(*arguments), wanted, strict=True))
    check_update(step_definition(*arguments)[:2], arguments[:4])
    launches, outputs = step_launch(*arguments)
    assert [one.kernel for one in launches] == (["curvature_update", "curvature_solve"] if sizes[2] <= 64 else [])
    assert [output.shape for output in outputs] == [output.shape for output in wanted]


def changed(tensor: Tensor) -> Tensor:
    memory = bytearray(1) + tensor.contiguous().numpy().tobytes()
    return torch.frombuffer(memory, dtype=torch.float32, offset=1).view(tensor.shape)


def strided(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, tensor + 1], -1)[..., 0]


@pytest.mark.parametrize("change", [changed, strided], ids=["unaligned", "strided"])
@pytest.mark.parametrize("sizes", [(3, 5, 9, 2), (2, 4, 130, 1)])
def test_any_memory_layout_gives_the_same_result(sizes: tuple[int, int, int, int], change: Callable) -> None:
    arguments = step_case(sizes)
    others = [change(argument) for argument in arguments]
    assert all(other.data_ptr() % 4 or not other.is_contiguous() for other in others)
    assert all(torch.equal(one, other) for one, other in zip(step(*others), step(*arguments), strict=True))


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing() -> None:
    program = (
        "import hashlib; from test_op_curvature import step, step_case\n"
        "for sizes in (100, 5, 20, 1), (1, 40, 300, 1):\n"
        "    for out in step(*step_case(sizes)): print(hashlib.sha256(out.numpy().tobytes()).hexdigest())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=environment | {"RAYON_NUM_THREADS": threads},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2", "5")
    }
    assert len(printed) == 1
    assert len(printed.pop().split()) == 6


# Gradients


def test_gradients_of_the_definitions_are_right() -> None:
    precise = [argument.double().nan_to_num() for argument in step_case((2, 3, 3, 2))]
    precise[1] = precise[1] + 1.0
    for argument in precise:
        argument.requires_grad_()
    weight = precise[3]
    weight.data[weight == 0] = -1.0  # away from the kink at zero

    def symmetric(second: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        return step_definition((second + second.mT) / 2, *rest)

    assert torch.autograd.gradcheck(symmetric, precise)


def gradients(function: Callable, arguments: list[Tensor]) -> list[Tensor]:
    leaves = [argument.clone().requires_grad_() for argument in arguments]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    generator = torch.Generator().manual_seed(5)
    loss = sum((output * torch.randn(output.shape, generator=generator).to(output.dtype)).sum() for output in outputs)
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    again = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), leaves)
    return [gradient.detach() for gradient in (*first, *again)]


def damped(arguments: tuple[Tensor, ...], position: int) -> tuple[Tensor, ...]:
    """With damping of the size of the matrix, so that its condition is no more than a hundred: four digits are left."""
    return tuple(argument + (place == position) for place, argument in enumerate(arguments))


@pytest.mark.parametrize(
    ("function", "definition", "arguments"),
    [
        (ops.curvature_update, update_definition, update_case((3, 4, 5), inert=0.0)),
        (ops.curvature_update, update_definition, update_case((1, 4, 130), inert=0.0)),
        (ops.curvature_solve, solve_definition, damped(solve_case((3, 5, 2)), 1)),
        (ops.curvature_solve, solve_definition, damped(solve_case((2, 66, 1)), 1)),
        (step, step_definition, damped(step_case((3, 4, 5, 2), inert=0.0), 4)),
    ],
    ids=["update", "wide update", "solve", "wide solve", "step"],
)
def test_first_and_second_gradients_are_those_of_the_definition(
    function: Callable, definition: Callable, arguments: tuple[Tensor, ...]
) -> None:
    got = gradients(function, list(arguments))
    wanted = gradients(definition, [argument.double() for argument in arguments])
    # The gradient to a symmetric matrix is known up to its antisymmetric part, and both are given symmetric.
    for one, other in zip(got, wanted, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_no_gradient_comes_from_rows_without_weight() -> None:
    second, count, jacobian, weight = update_case((2, 9, 4))
    jacobian, weight = jacobian.requires_grad_(), weight.requires_grad_()
    ops.curvature_update(second, count, jacobian, weight)[0].sum().backward()
    there = weight > 0
    assert not jacobian.grad[~there].any()
    assert not weight.grad[~there].any()
    assert jacobian.grad[there].isfinite().all()
    assert weight.grad[there].all()


# Operators


@pytest.mark.parametrize("sizes", [(2, 3, 4, 2), (1, 3, 130, 1)])
def test_they_are_sound_operators(sizes: tuple[int, int, int, int]) -> None:
    arguments = [argument.requires_grad_() for argument in step_case(sizes, inert=0.0)]
    operators = torch.ops.amortix
    torch.library.opcheck(operators.curvature_step.default, tuple(arguments))
    torch.library.opcheck(operators.curvature_update.default, (*arguments[:3], None))
    second, damping, gradient = solve_case((2, 4, 2))
    torch.library.opcheck(operators.curvature_solve.default, (second.requires_grad_(), damping, gradient))


def test_a_compiled_step_has_no_graph_break() -> None:
    arguments = step_case((2, 3, 4, 2))
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    assert all(torch.equal(one, other) for one, other in zip(compiled(*arguments), step(*arguments), strict=True))


def test_inputs_stay_untouched_and_outputs_are_new() -> None:
    arguments = step_case((2, 3, 4, 2))
    before = [argument.clone() for argument in arguments]
    outputs = step(*arguments)
    torch.testing.assert_close(list(arguments), before, rtol=0, atol=0, equal_nan=True)
    memory = {argument.untyped_storage().data_ptr() for argument in arguments}
    assert not memory & {output.untyped_storage().data_ptr() for output in outputs}


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (1, lambda t: t.double(), "count is torch.float64"),
        (2, lambda t: t[..., :-1], r"jacobian has shape \[2, 3, 3\]; expected \[2, B, 4\]"),
        (3, lambda t: t[0], r"weight has shape \[3\]; expected \[2, 3\]"),
        (4, lambda t: t[:, 1:], r"damping has shape \[2, 3\]; expected \[2, 4\]"),
        (5, lambda t: t[:1], r"gradient has shape \[1, 4, 2\]; expected \[2, 4, O\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(position: int, change: Callable, message: str) -> None:
    arguments = list(step_case((2, 3, 4, 2)))
    arguments[position] = change(arguments[position])
    with pytest.raises(ArrayError, match=message):
        step(*arguments)


def test_no_columns_are_refused() -> None:
    empty = step_case((2, 3, 1, 2))
    empty = [empty[0][:, :0, :0], empty[1], empty[2][..., :0], empty[3], empty[4][:, :0], empty[5][:, :0]]
    for call in (
        lambda: ops.curvature_update(*empty[:4]),
        lambda: ops.curvature_solve(empty[0], *empty[4:]),
        lambda: step(*empty),
    ):
        with pytest.raises(ArrayError, match="S=0"):
            call()


NAMES = ["second", "count", "jacobian", "weight", "damping", "gradient", "out_second", "out_count", "direction"]


def lent() -> dict[str, np.ndarray]:
    """Arguments of the compiled `curvature_step_into`, in order."""
    arrays = [argument.numpy() for argument in step_case((2, 3, 4, 2))]
    outputs = [np.empty(shape, np.float32) for shape in ((2, 4, 4), (2,), (2, 4, 2))]
    return dict(zip(NAMES, [*arrays, *outputs], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_functions_name_the_array_that_does_not_fit(name: str) -> None:
    array = lent()[name]
    wrong = [array.astype(np.float64), array[None], np.stack([array, array], -1)[..., 0], array.tolist()]
    if name not in ("jacobian", "gradient"):  # the sizes are read from these two
        wrong.append(array[..., :-1].copy())
    calls = {
        _core.curvature_step_into: NAMES,
        _core.curvature_update_into: [*NAMES[:4], *NAMES[6:8]],
        _core.curvature_solve_into: ["second", "damping", "gradient", "direction"],
    }
    for call, names in calls.items():
        if name not in names:
            continue
        for other in wrong:
            arguments = {**lent(), name: other}
            with pytest.raises(ArrayError, match=f"`{name}`"):
                call(*(arguments[n] for n in names))
