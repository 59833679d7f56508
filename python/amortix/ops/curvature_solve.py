"""The damped symmetric solve of many tasks: a gradient preconditioned by the curvature."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.errors import ArrayError
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, register

MAX_SHARED = 64
"""The largest S of this project's own bodies; above it the batched library solver is at its best."""

_OUTPUTS = 32  # right-hand sides that a block of the kernel takes at a time


def curvature_solve(second: Tensor, damping: Tensor, gradient: Tensor) -> Tensor:
    """The direction ``(C + diag(damping))⁻¹ g`` of every task, by Cholesky factorisation.

    A task whose matrix is not positive definite in float32 gets NaN: nothing is raised and nothing waits, and the
    caller sees which. Damping of the order ``S · 2⁻²⁴ · trace C`` always suffices.

    Differentiable in all arguments, as often as needed; the gradient to C is symmetric.

    Args:
        second: C, ``[T, S, S]`` float32, as are all others; symmetric, of which the upper triangle is read. T may be 0.
        damping: ``[T, S]``.
        gradient: g, ``[T, S]``, or ``[T, S, O]`` for O right-hand sides; O may be 0.

    Returns:
        The direction, shaped as the gradient. Up to S = `MAX_SHARED` in the project's own bodies, above it by the
        batched solver of torch.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument. Arrays that are not
            contiguous are copied first.

    References:
        Higham, Accuracy and Stability of Numerical Algorithms (2002), chapter 10; its derivative: Giles, "Collected
        matrix derivative results for forward and reverse mode algorithmic differentiation", 2008, section 2.3.1.
    """
    axes = "T S" if gradient.dim() == 2 else "T S O"
    arguments = {"second": (second, "T S S"), "damping": (damping, "T S"), "gradient": (gradient, axes)}
    if check("curvature_solve", arguments)["S"] < 1:
        raise ArrayError("curvature_solve: S=0; give S ≥ 1")
    if gradient.dim() == 2:
        return _operator(second, damping, gradient[..., None])[..., 0]
    return _operator(second, damping, gradient)


def definition(second: Tensor, damping: Tensor, gradient: Tensor) -> Tensor:
    """The operation in plain PyTorch, for any device and floating dtype; gradient ``[T, S, O]``."""
    factor, failed = torch.linalg.cholesky_ex(second + torch.diag_embed(damping), upper=True)
    direction = torch.cholesky_solve(gradient, factor, upper=True)
    return torch.where((failed == 0)[:, None, None], direction, torch.nan)


def _cpu(second: Tensor, damping: Tensor, gradient: Tensor) -> Tensor:
    if second.shape[1] > MAX_SHARED:
        return definition(second, damping, gradient)
    direction = _memory.new(*gradient.shape)
    _core.curvature_solve_into(_memory.lend(second), _memory.lend(damping), _memory.lend(gradient), direction.numpy())
    return direction


def launch(second: Tensor, damping: Tensor, gradient: Tensor) -> _cuda.Planned:
    """The launch of ``curvature_solve.cu`` and the output that it will fill; above `MAX_SHARED` the library's."""
    tasks, state, outputs = gradient.shape
    if state > MAX_SHARED:
        return (), definition(second, damping, gradient)
    direction = _cuda.new(gradient, *gradient.shape)
    arguments = (*map(_cuda.lend, (second, damping, gradient)), direction, *map(np.int32, gradient.shape))
    grid, together = min(tasks * -(-outputs // _OUTPUTS), _cuda.MAX_BLOCKS), min(outputs, _OUTPUTS)
    block = -(-(state + together) // 32) * 32
    shared = 4 * (state * (state + 1) // 2 + (together + 1) * state)
    return (_cuda.Launch("curvature_solve", "curvature_solve", grid, block, shared, arguments),), direction


def _fake(second, damping, gradient):
    return gradient.new_empty(gradient.shape)


_operator = register(
    "curvature_solve",
    "(Tensor second, Tensor damping, Tensor gradient) -> Tensor",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2], output)


def _backward(ctx, by_direction: Tensor):
    return backward(by_direction, *ctx.saved_tensors)


def backward(by_direction: Tensor, second: Tensor, damping: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of C, damping and g: that of g is the same solve, that of the matrix −(∂g xᵀ + x ∂gᵀ) / 2."""
    by_gradient = _operator(second, damping, by_direction)
    left, right = torch.cat([by_gradient, direction], -1), torch.cat([direction, by_gradient], -1)
    return (-0.5 * left) @ right.mT, -(by_gradient * direction).sum(-1), by_gradient


_operator.register_autograd(_backward, setup_context=_setup)
