"""The operations on retained contexts and kernels: what only they promise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from amortix import ops
from amortix.errors import ArrayError
from amortix.ops import _cuda
from amortix.ops.local_solve import definition
from cases import operation
from cases.context_merge import check as check_merge
from cases.context_merge import draw as merge_case
from cases.local_solve import check as check_solve
from cases.local_solve import condition as solve_condition
from cases.local_solve import draw as solve_case
from cases.log_evidence import check as check_evidence
from cases.log_evidence import draw as evidence_case

# context_merge_


@pytest.mark.parametrize("strided", [False, True])
def test_a_merge_in_place_writes_what_a_merge_returns(strided: bool) -> None:
    query, rows, values, relevance, *state, weight = merge_case((2, 33, 40, 3, 2, 6))
    own = [torch.stack([kept, kept], -1)[..., 0] if strided else kept.clone() for kept in state]
    assert all(kept.is_contiguous() != strided for kept in own)
    ops.context_merge_(query, rows, values, relevance, *own, weight=weight)
    check_merge(tuple(own), (query, rows, values, relevance, *state, weight))


def test_a_merge_in_place_that_is_refused_writes_nothing() -> None:
    query, rows, values, relevance, distance, *kept, weight = merge_case((1, 70, 40, 3, 2, 6))
    distance[0, 69] = distance[0, 69].flip(-1)
    before = [one.clone() for one in (distance, *kept)]
    with pytest.raises(ArrayError, match="distance of query 69 does not ascend"):
        ops.context_merge_(query, rows, values, relevance, distance, *kept, weight=weight)
    assert all(torch.equal(one, other) for one, other in zip((distance, *kept), before, strict=True))


# local_solve


def test_queries_of_several_tasks_with_other_counts_share_a_group() -> None:
    arguments = list(solve_case((7, 5, 9, 3, 2), empty=0.5))
    arguments[3][2] = float("inf")
    check_solve(ops.local_solve(*arguments), tuple(arguments))


def gradients(function, arguments: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
    """Of a weighted sum of mean and variance, to all arguments but the distance."""
    leaves = [a.clone().requires_grad_() for place, a in enumerate(arguments) if place != 3]
    outputs = function(*leaves[:3], arguments[3], *leaves[3:])
    total = torch.stack([(w.to(o.dtype) * o).sum() for w, o in zip(weights, outputs, strict=True)]).sum()
    return torch.autograd.grad(total, leaves)


@pytest.mark.parametrize("empty", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (3, 7, 5, 3, 2), (2, 17, 18, 4, 1), (1, 3, 64, 9, 10)])
def test_gradients_of_a_solve_are_those_of_the_definition(sizes: tuple[int, int, int, int, int], empty: float) -> None:
    """Against float64, to what a float32 Cholesky solve loses: twice, for each gradient holds two solves."""
    arguments = [a.nan_to_num(nan=0.0, posinf=math.inf) for a in solve_case(sizes, empty=empty)]
    generator = torch.Generator().manual_seed(1)
    weights = [
        torch.randn(sizes[0], sizes[1], sizes[4], generator=generator),
        torch.rand(*sizes[:2], generator=generator),
    ]
    got = gradients(ops.local_solve, arguments, weights)
    wanted = gradients(definition, [a.double() for a in arguments], weights)
    error = 2 * sizes[2] * torch.finfo(torch.float32).eps * solve_condition(tuple(arguments))
    for one, other in zip(got, wanted, strict=True):
        scale = float(other.abs().max()) + float(arguments[5].sum(-1).max())
        torch.testing.assert_close(one.double(), other, rtol=0, atol=error * scale)


def test_the_gradients_of_a_part_without_variance_are_those_of_the_definition() -> None:
    """A rough part alone and a smooth part alone: its signal still has a gradient, as of a variance of zero."""
    arguments = list(solve_case((2, 5, 6, 3, 2), empty=0.0))
    arguments[5] = torch.tensor([[0.75, 0.0], [0.0, 0.75]])
    weights = [torch.ones(2, 5, 2), torch.ones(2, 5)]
    got = gradients(ops.local_solve, arguments, weights)
    wanted = gradients(definition, [a.double() for a in arguments], weights)
    assert got[5][0] == 0
    assert (got[4].abs() > 0.01).all()
    error = 2 * 6 * torch.finfo(torch.float32).eps * solve_condition(tuple(arguments))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=error * (float(other.abs().max()) + 0.75))


def test_a_solve_has_a_sound_gradient() -> None:
    arguments = [a.requires_grad_(place != 3) for place, a in enumerate(solve_case((2, 3, 4, 7, 2), empty=0.0))]
    torch.library.opcheck(torch.ops.amortix.local_solve.default, tuple(arguments))


# log_evidence


def evidence(arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Value and slopes by the function's own gradient."""
    leaves = [log.clone().requires_grad_() for log in arguments[3:]]
    value = ops.log_evidence(*arguments[:3], *leaves)
    return value.detach(), *torch.autograd.grad(value.sum(), leaves)


@pytest.mark.parametrize("rows", [257, pytest.param(600, marks=pytest.mark.slow)])
def test_many_rows_have_the_evidence_of_the_definition(rows: int) -> None:
    arguments = evidence_case((2, rows, 3, 2))
    check_evidence(evidence(arguments), arguments)


def test_coincident_rows_do_not_break_the_evidence() -> None:
    x, y, weight, *logs = evidence_case((1, 70, 3, 1), left_out=0.0)
    logs[-1] = torch.full((1,), -30.0)
    found = evidence((x[:, :1].expand_as(x), y, weight, *logs))
    assert all(torch.isfinite(one).all() for one in found)


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_whose_variance_is_zero_has_no_slopes(part: int) -> None:
    """Its logarithm is −inf; the other part's numbers are those of the definition."""
    x, y, weight, relevance, signal, *rest = evidence_case((2, 40, 3, 2))
    signal[:, part] = -math.inf
    arguments = x, y, weight, relevance, signal, *rest
    found = evidence(arguments)
    check_evidence(found, arguments)
    slopes, stretch = found[2], found[3]
    assert (slopes[:, 1 - part].abs() > 0.01).all()
    assert not slopes[:, part].any()
    assert bool(stretch.any()) == (part == 0)


def test_each_task_counts_its_own_gradient() -> None:
    x, y, weight, *logs = evidence_case((3, 9, 2, 1))
    leaves = [log.clone().requires_grad_() for log in logs]
    value = ops.log_evidence(x, y, weight, *leaves)
    gradients = torch.autograd.grad((value * torch.arange(3)).sum(), leaves)
    for gradient, slope in zip(gradients, evidence((x, y, weight, *logs))[1:], strict=True):
        torch.testing.assert_close(gradient, torch.einsum("t...,t->t...", slope, torch.arange(3.0)))


def test_evidence_is_a_sound_operator() -> None:
    torch.library.opcheck(torch.ops.amortix.log_evidence.default, evidence_case((2, 5, 3, 2), left_out=0.0))


def test_rows_that_no_kernel_holds_go_to_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    module, arguments = operation("log_evidence"), evidence_case((1, 257, 2, 1))
    assert module.launch(*arguments) is None
    assert module.launch(*evidence_case((1, 256, 2, 1))) is not None
    monkeypatch.setattr(_cuda, "_has_cupy", lambda: True)
    check_evidence(_cuda.on_device(module.definition, module.launch)(*arguments), arguments)


@pytest.mark.parametrize(
    ("position", "change", "message"),
    [
        (1, lambda t: t[:, :-1], r"y has shape \[2, 4, 2\]; expected \[2, 5, O\]"),
        (3, lambda t: t[0], r"log_relevance has shape \[3\]; expected \[2, 3\]"),
        (4, lambda t: t[:, :1], r"log_signal has shape \[2, 1\]; expected \[2, 2\]"),
        (5, lambda t: t[:, None], r"log_stretch has shape \[2, 1\]; expected \[2\]"),
        (6, lambda t: t.double(), "log_linear is torch.float64"),
        (0, lambda t: t[..., :0], "log_evidence: log_relevance has shape"),
    ],
)
def test_what_does_not_fit_an_evidence_is_refused_by_name(position: int, change, message: str) -> None:
    arguments = list(evidence_case((2, 5, 3, 2)))
    arguments[position] = change(arguments[position])
    with pytest.raises(ArrayError, match=message):
        ops.log_evidence(*arguments)
