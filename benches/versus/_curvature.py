"""`curvature_step` beside torch.baddbmm and torch.linalg.solve, and the moments of a wide head beside a product."""

from __future__ import annotations

import torch
from _table import Row, paired
from torch import Tensor

from amortix import ops

_TASKS, _BATCH = 1024, 32


def curvature_step(quick: bool) -> list[Row]:
    """Merge 32 rows into the curvature of each task and precondition a gradient by it."""
    return [_step(16 if quick else _TASKS, state) for state in (16, 64)]


def curvature_gradients(quick: bool) -> list[Row]:
    """The same with the gradients of all arguments, as training needs them."""
    return [_gradients(16 if quick else _TASKS, state) for state in (16, 64)]


def curvature_wide(quick: bool) -> list[Row]:
    """Moments of one wide head, only the useful half counted: B·S·(S+1) operations, where a product counts 2·n³."""
    batch, state, size = (8, 160, 64) if quick else (512, 2048, 2048)
    second, count, jacobian, weight, _, _ = _arguments(1, batch, state)
    a, b = torch.randn(size, size), torch.randn(size, size)
    useful = batch * state * (state + 1) / 1e9

    def update() -> object:
        return ops.curvature_update(second, count, jacobian, weight)

    against = paired(
        f"curvature_update, 1 task, {batch} rows, S = {state:,}",
        update,
        lambda: a @ b,
        amount=useful,
        peer_amount=2 * size**3 / 1e9,
        unit="GFLOP/s",
        peer_name="a product of that size",
        asked=0.6,
    )
    keep, scale = _shares(count, weight)
    library = paired(
        f"curvature_update, 1 task, {batch} rows, S = {state:,}",
        update,
        lambda: torch.baddbmm(second * keep, (jacobian * scale).mT, jacobian),
        amount=useful,
        unit="GFLOP/s",
        peer_name="torch.baddbmm",
        asked=1,
    )
    return [against, library]


def _step(tasks: int, state: int) -> Row:
    arguments = _arguments(tasks, _BATCH, state)
    for ours, theirs in zip(_ours(*arguments), _library(*arguments), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    return paired(
        f"curvature_step, {tasks:,} tasks, {_BATCH} rows, S = {state}",
        lambda: _ours(*arguments),
        lambda: _library(*arguments),
        amount=tasks / 1e3,
        unit="k tasks/s",
        peer_name="torch.baddbmm + torch.linalg.solve",
        asked=4,
        repeats=15,
    )


def _gradients(tasks: int, state: int) -> Row:
    arguments = _arguments(tasks, _BATCH, state)
    leaves = [argument.requires_grad_() for argument in arguments]

    def run(step) -> None:
        second, _, direction = step(*leaves)
        torch.autograd.grad(second.sum() + direction.sum(), leaves)

    return paired(
        f"curvature_step with gradients, {tasks:,} tasks, {_BATCH} rows, S = {state}",
        lambda: run(_ours),
        lambda: run(_library),
        amount=tasks / 1e3,
        unit="k tasks/s",
        peer_name="torch.baddbmm + torch.linalg.solve",
        asked=1,
    )


def _arguments(tasks: int, batch: int, state: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    second = torch.eye(state).repeat(tasks, 1, 1)
    jacobian = torch.randn(tasks, batch, state, generator=generator)
    weight = torch.rand(tasks, batch, generator=generator)
    damping = torch.rand(tasks, state, generator=generator) + 0.1
    gradient = torch.randn(tasks, state, 1, generator=generator)
    return [second, torch.full((tasks,), 100.0), jacobian, weight, damping, gradient]


def _ours(second, count, jacobian, weight, damping, gradient) -> tuple[Tensor, Tensor, Tensor]:
    return ops.curvature_step(second, count, jacobian, damping, gradient, weight)


def _library(second, count, jacobian, weight, damping, gradient) -> tuple[Tensor, Tensor, Tensor]:
    keep, scale = _shares(count, weight)
    second = torch.baddbmm(second * keep, (jacobian * scale).mT, jacobian)
    return second, count + weight.sum(1), torch.linalg.solve(second + torch.diag_embed(damping), gradient)


def _shares(count: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = count + weight.sum(1)
    return (count / total)[:, None, None], (weight / total[:, None])[..., None]
