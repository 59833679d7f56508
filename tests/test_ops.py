"""The operations on the CPU: the definitions against plain arithmetic, the Rust bodies against them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from amortix import _core, ops
from amortix.errors import AmortixError, ArrayError
from amortix.ops.local_solve import JITTER
from amortix.ops.local_solve import definition as solve_definition
from cases import KERNELS, case, every, operation, outcome
from cases.context_merge import draw as merge_case
from cases.local_solve import draw as solve_case


def assert_same(got: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        assert torch.equal(one, other)


# All operations


@pytest.mark.parametrize(("name", "label"), every())
def test_the_rust_body_agrees_with_the_definition(name: str, label: str) -> None:
    arguments = case(name).cases()[label]
    given = copy.deepcopy(arguments)
    case(name).check(outcome(getattr(torch.ops.amortix, name)(*given), given), arguments)


@pytest.mark.parametrize("name", KERNELS)
def test_an_operation_has_a_function_a_definition_and_a_launch_of_its_name(name: str) -> None:
    module = operation(name)
    assert getattr(ops, name) is getattr(module, name)
    assert callable(module.definition)
    assert callable(module.launch)


# context_merge


def test_merge_keeps_the_nearest_rows_by_brute_force() -> None:
    query, rows, values, relevance, *state, weight = merge_case((2, 7, 40, 3, 2, 6), steps=0)
    distance, kept_x, kept_y = ops.context_merge(query, rows, values, relevance, *state, weight)
    for task in range(2):
        for point in range(7):
            delta = (query[task, point] - rows[task]).double()
            exact = (relevance[task] * delta**2).sum(-1)
            exact[weight[task] == 0] = math.inf
            nearest = exact.argsort()[:6]
            torch.testing.assert_close(distance[task, point].double(), exact[nearest], rtol=1e-6, atol=0)
            assert torch.equal(kept_x[task, point], rows[task, nearest])
            assert torch.equal(kept_y[task, point], values[task, nearest])


def test_of_equally_near_rows_the_earlier_is_kept() -> None:
    state = torch.full((1, 1, 3), math.inf), torch.zeros(1, 1, 3, 1), torch.zeros(1, 1, 3, 1)
    query, rows, relevance = torch.zeros(1, 1, 1), torch.tensor([[[1.0], [-1.0]]]), torch.ones(1, 1)
    for first in (0.0, 2.0, 4.0):
        state = ops.context_merge(query, rows, torch.tensor([[[first], [first + 1]]]), relevance, *state)
    assert state[2].flatten().tolist() == [0, 1, 2]


def test_merging_in_parts_is_merging_at_once() -> None:
    query, rows, values, relevance, *empty, weight = merge_case((2, 5, 60, 3, 1, 8), steps=0, ties=True)
    once = ops.context_merge(query, rows, values, relevance, *empty, weight)
    state = tuple(empty)
    for start in range(0, 60, 7):
        part = slice(start, start + 7)
        state = ops.context_merge(query, rows[:, part], values[:, part], relevance, *state, weight[:, part])
    assert_same(state, once)


def test_rows_without_weight_or_at_no_finite_distance_are_never_taken() -> None:
    query, rows, values, relevance, *state, _ = merge_case((1, 2, 5, 2, 1, 4), steps=0)
    rows[0, 0], rows[0, 1], rows[0, 2] = math.nan, math.inf, 1e30
    weight = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.5]])
    distance, kept_x, kept_y = ops.context_merge(query, rows, values, relevance, *state, weight)
    assert torch.isfinite(distance).sum(-1).tolist() == [[1, 1]]
    assert torch.equal(kept_x[0, :, 0], rows[0, 4].expand(2, 2))
    assert not kept_x[0, :, 1:].any()
    assert not kept_y[0, :, 1:].any()


@pytest.mark.parametrize("operation", ["context_merge", "local_solve"])
def test_inputs_stay_untouched_and_outputs_are_new(operation: str) -> None:
    arguments = merge_case((2, 3, 5, 4, 2, 4)) if operation == "context_merge" else solve_case((2, 3, 4, 7, 2))
    before = [argument.clone() for argument in arguments]
    outputs = getattr(ops, operation)(*arguments)
    torch.testing.assert_close(list(arguments), before, rtol=0, atol=0, equal_nan=True)
    memory = {argument.untyped_storage().data_ptr() for argument in arguments}
    assert not memory & {output.untyped_storage().data_ptr() for output in outputs}


def unaligned(tensor: Tensor) -> Tensor:
    memory = bytearray(1) + tensor.contiguous().numpy().tobytes()
    return torch.frombuffer(memory, dtype=torch.float32, offset=1).view(tensor.shape)


def strided(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, tensor + 1], -1)[..., 0]


@pytest.mark.parametrize("change", [unaligned, strided], ids=["unaligned", "strided"])
def test_any_memory_layout_gives_the_same_result(change) -> None:
    merge, solve = merge_case((2, 3, 5, 4, 2, 4)), solve_case((2, 3, 4, 7, 2))
    changed = [change(argument) for argument in (*merge, *solve)]
    assert all(c.data_ptr() % 4 or not c.is_contiguous() for c in changed)
    assert_same(ops.context_merge(*changed[: len(merge)]), ops.context_merge(*merge))
    assert_same(ops.local_solve(*changed[len(merge) :]), ops.local_solve(*solve))


def test_no_gradient_passes_a_merge() -> None:
    arguments = [argument.requires_grad_() for argument in merge_case((1, 2, 3, 2, 1, 2))]
    assert not any(output.requires_grad for output in ops.context_merge(*arguments))


# local_solve


def gaussian_process(arguments: tuple[Tensor, ...], task: int, point: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of one query in float64, by inverting the covariance."""
    query, kept_x, residual, distance, relevance, signal, stretch, noise = (a.double() for a in arguments)
    there = distance[task, point] < math.inf
    points = torch.cat([kept_x[task, point, there], query[task, point, None]])
    square = (relevance[task] * (points[:, None] - points) ** 2).sum(-1)
    covariance = both_parts(square, signal[task], stretch[task])
    k, prior = covariance[:-1, -1], float(signal[task].sum())
    inverse = torch.linalg.inv(covariance[:-1, :-1] + (noise[task] + JITTER * prior) * torch.eye(len(k)))
    return k @ inverse @ residual[task, point, there], prior - k @ inverse @ k


def both_parts(square: Tensor, signal: Tensor, stretch: Tensor) -> Tensor:
    """The kernel at squared distances, after Rasmussen and Williams, eq. 4.18 with ν = 1/2 and eq. 4.9."""
    return signal[0] / square.sqrt().exp() + signal[1] * torch.exp(-square * stretch / 2)


@pytest.mark.parametrize("signal", [[0.75, 0.0], [0.0, 0.75], [0.5, 0.25]])
def test_the_definition_is_a_gaussian_process(signal: list[float]) -> None:
    arguments = list(solve_case((2, 3, 9, 3, 2)))
    arguments[5] = torch.tensor([signal, signal])
    mean, variance = solve_definition(*(argument.double() for argument in arguments))
    for task in range(2):
        for point in range(3):
            wanted = gaussian_process(tuple(arguments), task, point)
            torch.testing.assert_close((mean[task, point], variance[task, point]), wanted)


def test_no_row_retained_gives_the_prior_exactly() -> None:
    arguments = solve_case((2, 3, 4, 2, 1), empty=1.0)
    for body in (ops.local_solve, solve_definition):
        mean, variance = body(*arguments)
        assert not mean.any()
        assert torch.equal(variance, arguments[5].sum(-1)[:, None].expand(2, 3))


def test_coincident_rows_without_noise_do_not_break_the_factorisation() -> None:
    query, kept_x, residual, distance, *kernel, _ = solve_case((1, 1, 256, 2, 1), empty=0.0)
    coincident = query[:, :, None].expand_as(kept_x)
    # cond(A) is 256 / JITTER: only a constant residual is then determined to more than a digit.
    arguments = query, coincident, torch.ones_like(residual), distance, *kernel, torch.zeros(1)
    for body in (ops.local_solve, solve_definition):
        mean, variance = body(*arguments)
        torch.testing.assert_close(mean, torch.ones_like(mean), rtol=0, atol=0.01)
        assert 0 <= float(variance) < 0.01 * float(kernel[1].sum())


def test_gradients_come_from_the_definition_and_are_right() -> None:
    arguments = solve_case((2, 2, 4, 3, 2), empty=0.25)
    precise = [argument.double().nan_to_num(posinf=math.inf) for argument in arguments]
    distance = precise.pop(3)
    for argument in precise:
        argument.requires_grad_()
    assert torch.autograd.gradcheck(lambda *a: solve_definition(*a[:3], distance, *a[3:]), precise)

    kernel = [argument.clone().requires_grad_() for argument in arguments[4:]]
    mean, _ = ops.local_solve(*arguments[:4], *kernel)
    assert all(gradient.abs().min() > 0 for gradient in torch.autograd.grad(mean.sum(), kernel))


def test_gradients_are_finite_at_coincident_points_and_empty_slots() -> None:
    query, kept_x, residual, distance, *rest = solve_case((1, 2, 5, 3, 1), empty=0.4)
    kept_x = torch.where(kept_x.isnan(), kept_x, query[:, :, None])
    arguments = [a.clone().requires_grad_() for a in (query, kept_x, residual, *rest)]
    mean, variance = ops.local_solve(*arguments[:3], distance, *arguments[3:])
    gradients = torch.autograd.grad(mean.sum() + variance.sum(), arguments)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


# log_evidence


def evidence_case(tasks: int, rows: int, columns: int, outputs: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = (
        (tasks, rows, columns),
        (tasks, rows, outputs),
        (tasks, rows),
        (tasks, columns),
        (tasks, 2),
        *[(tasks,)] * 3,
    )
    arguments = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    arguments[2] = (arguments[2] > -0.5).double()
    return arguments


@pytest.mark.parametrize("missing", [0, 1])
def test_evidence_is_the_density_of_a_multivariate_normal(missing: int) -> None:
    """Of both parts of the kernel, and of one alone."""
    x, y, weight, *logs = arguments = evidence_case(2, 7, 3, 2)
    logs[1][0, missing] = -math.inf
    got = ops.log_evidence(*arguments)
    for task in range(2):
        there = weight[task] > 0
        relevance, signal, stretch, linear, noise = (log[task].exp() for log in logs)
        points, targets = x[task, there], y[task, there]
        square = (relevance * (points[:, None] - points) ** 2).sum(-1)
        prior = linear * (1 + points @ points.T) + both_parts(square, signal, stretch)
        added = noise + JITTER * prior.diagonal().mean()
        normal = torch.distributions.MultivariateNormal(
            torch.zeros(len(points)).double(), prior + added * torch.eye(len(points))
        )
        torch.testing.assert_close(got[task], normal.log_prob(targets.T).mean())


def test_rows_of_weight_zero_do_not_exist_for_the_evidence() -> None:
    x, y, weight, *logs = evidence_case(1, 9, 3, 2)
    there = weight[0] > 0
    assert 0 < int(there.sum()) < 9
    without = ops.log_evidence(x[:, there], y[:, there], weight[:, there], *logs)
    x[:, ~there], y[:, ~there] = math.nan, math.nan
    for log in logs:
        log.requires_grad_()
    got = ops.log_evidence(x, y, weight, *logs)
    torch.testing.assert_close(got, without)
    assert all(torch.isfinite(gradient).all() for gradient in torch.autograd.grad(got.sum(), logs))
    assert not ops.log_evidence(x, y, torch.zeros_like(weight), *logs).any()


def test_gradients_of_the_evidence_are_right() -> None:
    arguments = evidence_case(2, 6, 2, 2)
    for index in (0, 1, 3, 4, 5, 6, 7):
        arguments[index].requires_grad_()
    assert torch.autograd.gradcheck(ops.log_evidence, arguments)


# The operators of torch.library


@pytest.mark.parametrize("weighted", [True, False])
def test_context_merge_is_a_sound_operator(weighted: bool) -> None:
    arguments = merge_case((2, 3, 5, 4, 2, 4))
    arguments = arguments if weighted else (*arguments[:-1], None)
    torch.library.opcheck(torch.ops.amortix.context_merge.default, arguments)


def test_local_solve_is_a_sound_operator() -> None:
    torch.library.opcheck(torch.ops.amortix.local_solve.default, solve_case((2, 3, 4, 7, 2), empty=0.0))


def test_a_compiled_step_has_no_graph_break() -> None:
    merge = merge_case((1, 3, 5, 2, 1, 4))
    signal, stretch, noise = torch.full((1, 2), 0.5), torch.ones(1), torch.full((1,), 0.1)

    def step(query: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        distance, kept_x, kept_y = ops.context_merge(query, *rest)
        return ops.local_solve(query, kept_x, kept_y, distance, rest[2], signal, stretch, noise)

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    assert_same(compiled(*merge), step(*merge))


# Refusals


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (1, lambda t: t.double(), "rows is torch.float64"),
        (2, lambda t: t[:, :-1], r"values has shape \[2, 4, 2\]; expected \[2, 5, O\]"),
        (3, lambda t: t[0], r"relevance has shape \[4\]; expected \[2, 4\]"),
        (4, lambda t: t.to("meta"), "distance is torch.float32 on meta"),
        (5, lambda t: t[..., 1:], r"kept_x has shape \[2, 3, 4, 3\]; expected \[2, 3, 4, 4\]"),
        (7, lambda t: t[..., None], r"weight has shape \[2, 5, 1\]; expected \[2, 5\]"),
        (4, lambda t: t.flip(-1), "distance of query 0 does not ascend"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(position: int, change, message: str) -> None:
    arguments = list(merge_case((2, 3, 5, 4, 2, 4), steps=2))
    arguments[position] = change(arguments[position])
    with pytest.raises(ArrayError, match=message) as caught:
        ops.context_merge(*arguments)
    assert isinstance(caught.value, AmortixError)


def test_more_slots_than_the_kernels_hold_are_refused() -> None:
    with pytest.raises(ArrayError, match="K=257"):
        ops.context_merge(*merge_case((1, 1, 1, 1, 1, 257), steps=0))
    with pytest.raises(ArrayError, match="K=257"):
        ops.local_solve(*solve_case((1, 1, 257, 1, 1)))


def lent() -> dict[str, np.ndarray | float]:
    """Arguments of the compiled `local_solve_into`, in order."""
    names = "query", "kept_x", "residual", "distance", "relevance", "signal", "stretch", "noise"
    arrays = {name: tensor.numpy() for name, tensor in zip(names, solve_case((2, 3, 4, 7, 2)), strict=True)}
    empty = {"mean": np.empty((2, 3, 2), np.float32), "variance": np.empty((2, 3), np.float32)}
    return {**arrays, "jitter": 1e-4, **empty}


@pytest.mark.parametrize("name", [name for name in lent() if name != "jitter"])
def test_the_compiled_function_names_the_array_that_does_not_fit(name: str) -> None:
    array = lent()[name]
    assert isinstance(array, np.ndarray)
    wrong = [array.astype(np.float64), array[None], np.stack([array, array], -1)[..., 0], array.tolist()]
    if name not in ("kept_x", "residual"):  # the sizes are read from these two
        wrong.append(array[..., :-1].copy())
    if name in ("mean", "variance"):
        wrong.append(array.copy())
        wrong[-1].flags.writeable = False
    for other in wrong:
        with pytest.raises(ArrayError, match=f"`{name}`"):
            _core.local_solve_into(*{**lent(), name: other}.values())


def test_the_compiled_function_refuses_an_output_that_is_an_input() -> None:
    memory = np.zeros(42, np.float32)
    shared = {"query": memory.reshape(2, 3, 7), "mean": memory[:12].reshape(2, 3, 2)}
    with pytest.raises(ArrayError, match="`mean` shares memory"):
        _core.local_solve_into(*{**lent(), **shared}.values())
