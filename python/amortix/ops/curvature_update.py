"""Merge a mini-batch into the running second moments of the per-example Jacobian."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.errors import ArrayError
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, register

MAX_SHARED = 64
"""The largest S for which the kernels hold a task's matrix in shared memory."""

_ROWS = 32  # rows that a block of the kernel takes at a time


def curvature_update(
    second: Tensor, count: Tensor, jacobian: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Merge a mini-batch into the curvature memory ``C = E[J Jᵀ]``, a weighted mean over all rows seen.

    ``n′ = n + Σ_B weight`` and ``C′ = (n·C + Σ_B weight · J Jᵀ) / n′``. Means are sums in disguise: in whatever parts
    and order the rows come, C is the same up to rounding, and two memories merge as ``(n₁C₁ + n₂C₂) / (n₁ + n₂)``. To
    forget, give a smaller count: ``count · r`` lets every earlier row fade by r. Without any weight C stays as it is.

    Differentiable in all arguments, as often as needed.

    Args:
        second: C, ``[T, S, S]`` float32, as are all others; symmetric. T and B may be 0.
        count: n, ``[T]``, not negative.
        jacobian: J, ``[T, B, S]``.
        weight: ``[T, B]``, or None for all ones. A row whose weight is not above 0 is padding, and inert whatever it
            holds.

    Returns:
        C′ ``[T, S, S]``, symmetric to the last bit, and n′ ``[T]``.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument. Arrays that are not
            contiguous are copied first.

    References:
        Bottou, Curtis and Nocedal, "Optimization methods for large-scale machine learning", SIAM Review 2018,
        section 6.2: the Gauss-Newton matrix as a mean over rows.
    """
    arguments = {"second": (second, "T S S"), "count": (count, "T"), "jacobian": (jacobian, "T B S")}
    if weight is not None:
        arguments["weight"] = (weight, "T B")
    if check("curvature_update", arguments)["S"] < 1:
        raise ArrayError("curvature_update: S=0; give S ≥ 1")
    return _operator(second, count, jacobian, weight)


def definition(second: Tensor, count: Tensor, jacobian: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The operation in plain PyTorch, for any device and floating dtype."""
    jacobian, weight = _counting(jacobian, weight)
    total = count + weight.sum(1)
    keep, scale = _shares(count, weight, total)
    return torch.baddbmm(keep[:, None, None] * second, (scale[..., None] * jacobian).mT, jacobian), total


def _counting(jacobian: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rows and weights, with zeros for the rows that are padding."""
    if weight is None:
        return jacobian, torch.ones_like(jacobian[..., 0])
    there = weight > 0
    return torch.where(there[..., None], jacobian, 0.0), torch.where(there, weight, 0.0)


def _shares(count: Tensor, weight: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """What C and each row contribute to C′: ``[T]`` and ``[T, B]``."""
    some = total > 0
    safe = torch.where(some, total, 1.0)
    return torch.where(some, count / safe, 1.0), weight / safe[:, None]


def cpu(second: Tensor, count: Tensor, jacobian: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The Rust body."""
    out_second, out_count = _memory.new(*second.shape), _memory.new(*count.shape)
    _core.curvature_update_into(
        _memory.lend(second),
        _memory.lend(count),
        _memory.lend(jacobian),
        None if weight is None else _memory.lend(weight),
        out_second.numpy(),
        out_count.numpy(),
    )
    return out_second, out_count


def _fake(second, count, jacobian, weight):
    return second.new_empty(second.shape), count.new_empty(count.shape)


def launch(second: Tensor, count: Tensor, jacobian: Tensor, weight: Tensor | None) -> _cuda.Planned:
    """The launch of ``curvature_update.cu`` and the outputs that it will fill; above `MAX_SHARED` the library's."""
    (tasks, batch, state), n = jacobian.shape, -(-jacobian.shape[2] // 4)
    if state > MAX_SHARED:
        return (), definition(second, count, jacobian, weight)
    results = _cuda.new(second, *second.shape), _cuda.new(count, *count.shape)
    optional = _cuda.NULL if weight is None else _cuda.lend(weight)
    inputs = map(_cuda.lend, (second, count, jacobian))
    arguments = (*inputs, optional, *results, *map(np.int32, (tasks, batch, state)))
    grid, block, shared = min(tasks, _cuda.MAX_BLOCKS), -(-n * n // 32) * 32, 4 * _ROWS * (4 * n + 1)
    return (_cuda.Launch("curvature_update", "curvature_update", grid, block, shared, arguments),), results


_operator = register(
    "curvature_update",
    "(Tensor second, Tensor count, Tensor jacobian, Tensor? weight) -> (Tensor, Tensor)",
    definition,
    cpu=cpu,
    launch=launch,
    fake=_fake,
)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs, output[1])


def _backward(ctx, by_second: Tensor, by_total: Tensor):
    second, count, jacobian, weight, total = ctx.saved_tensors
    return backward(by_second, by_total, second, count, jacobian, weight, total)


def backward(
    by_second: Tensor,
    by_total: Tensor,
    second: Tensor,
    count: Tensor,
    jacobian: Tensor,
    weight: Tensor | None,
    total: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The gradients of the arguments, from those of C′ and n′; made of products that libraries batch.

    With H the gradient of C′, J has ``weight / n′ · (H + Hᵀ) J``. C′ is a mean: a weight moves it towards its own J Jᵀ,
    and the count towards C, each away from C′ itself.
    """
    given = weight
    jacobian, weight = _counting(jacobian, weight)
    keep, scale = _shares(count, weight, total)
    both = jacobian @ (by_second + by_second.mT)
    along_rows, along_second = (both * jacobian).sum(2) / 2, (by_second * second).sum((1, 2))
    along_mean = keep * along_second + (scale * along_rows).sum(1)
    some = total > 0
    rate = torch.where(some, 1 / torch.where(some, total, 1.0), 0.0)
    by_count = rate * (along_second - along_mean) + by_total
    by_weight = None
    if given is not None:
        by_weight = rate[:, None] * (along_rows - along_mean[:, None]) + by_total[:, None]
        by_weight = torch.where(given > 0, by_weight, 0.0)
    return keep[:, None, None] * by_second, by_count, scale[..., None] * both, by_weight


_operator.register_autograd(_backward, setup_context=_setup)
