"""One step of the curvature memory: merge a mini-batch, then precondition a gradient by what it has become."""

from __future__ import annotations

from torch import Tensor

from amortix import _core
from amortix.errors import ArrayError
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, register
from amortix.ops.curvature_solve import MAX_SHARED
from amortix.ops.curvature_solve import backward as solve_backward
from amortix.ops.curvature_solve import definition as solve_definition
from amortix.ops.curvature_solve import launch as solve_launch
from amortix.ops.curvature_update import backward as update_backward
from amortix.ops.curvature_update import cpu as update_cpu
from amortix.ops.curvature_update import definition as update_definition
from amortix.ops.curvature_update import launch as update_launch


def curvature_step(
    second: Tensor,
    count: Tensor,
    jacobian: Tensor,
    damping: Tensor,
    gradient: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`curvature_update` and `curvature_solve` in one call: ``C′, n′`` and ``(C′ + diag(damping))⁻¹ g``.

    Each is also an operation by itself, since learners need them apart: moments are merged at every mini-batch and
    solved for when asked, with dampings that may be inferred from the moments. Together a task's C′ is solved for while
    it is in the cache. Differentiable in all arguments, as often as needed.

    Args:
        second: C, ``[T, S, S]`` float32, as are all others; symmetric.
        count: n, ``[T]``, not negative; a smaller one forgets.
        jacobian: J, ``[T, B, S]``.
        damping: ``[T, S]``.
        gradient: g, ``[T, S]`` or ``[T, S, O]``.
        weight: ``[T, B]``, or None for all ones.

    Returns:
        C′ ``[T, S, S]``, n′ ``[T]`` and the direction, shaped as the gradient.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument. Arrays that are not
            contiguous are copied first.

    References:
        Those of the two operations.
    """
    axes = "T S" if gradient.dim() == 2 else "T S O"
    arguments = {"second": (second, "T S S"), "count": (count, "T"), "jacobian": (jacobian, "T B S")}
    arguments |= {"damping": (damping, "T S"), "gradient": (gradient, axes)}
    if weight is not None:
        arguments["weight"] = (weight, "T B")
    if check("curvature_step", arguments)["S"] < 1:
        raise ArrayError("curvature_step: S=0; give S ≥ 1")
    sides = gradient[..., None] if gradient.dim() == 2 else gradient
    second, count, direction = _operator(second, count, jacobian, weight, damping, sides)
    return second, count, direction.view_as(gradient)


def definition(
    second: Tensor, count: Tensor, jacobian: Tensor, weight: Tensor | None, damping: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The operation in plain PyTorch, for any device and floating dtype; gradient ``[T, S, O]``."""
    second, count = update_definition(second, count, jacobian, weight)
    return second, count, solve_definition(second, damping, gradient)


def _cpu(
    second: Tensor, count: Tensor, jacobian: Tensor, weight: Tensor | None, damping: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if second.shape[1] > MAX_SHARED or gradient.shape[2] == 0:
        second, count = update_cpu(second, count, jacobian, weight)
        return second, count, solve_definition(second, damping, gradient)
    out_second, out_count, direction = (_memory.new(*like.shape) for like in (second, count, gradient))
    _core.curvature_step_into(
        _memory.lend(second),
        _memory.lend(count),
        _memory.lend(jacobian),
        None if weight is None else _memory.lend(weight),
        _memory.lend(damping),
        _memory.lend(gradient),
        out_second.numpy(),
        out_count.numpy(),
        direction.numpy(),
    )
    return out_second, out_count, direction


def launch(
    second: Tensor, count: Tensor, jacobian: Tensor, weight: Tensor | None, damping: Tensor, gradient: Tensor
) -> _cuda.Planned:
    """The launches of both operations, the second of which reads what the first writes."""
    updated, (second, count) = update_launch(second, count, jacobian, weight)
    solved, direction = solve_launch(second, damping, gradient)
    return (*updated, *solved), (second, count, direction)


def _fake(second, count, jacobian, weight, damping, gradient):
    return second.new_empty(second.shape), count.new_empty(count.shape), gradient.new_empty(gradient.shape)


_operator = register(
    "curvature_step",
    "(Tensor second, Tensor count, Tensor jacobian, Tensor? weight, Tensor damping, Tensor gradient)"
    " -> (Tensor, Tensor, Tensor)",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:5], *output)


def _backward(ctx, by_second: Tensor, by_count: Tensor, by_direction: Tensor):
    second, count, jacobian, weight, damping, new_second, new_count, direction = ctx.saved_tensors
    by_solve, by_damping, by_gradient = solve_backward(by_direction, new_second, damping, direction)
    by_update = update_backward(by_second + by_solve, by_count, second, count, jacobian, weight, new_count)
    return *by_update, by_damping, by_gradient


_operator.register_autograd(_backward, setup_context=_setup)
