"""From a gradient with respect to prefix gradients to one with respect to the parameters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, register

_ROWS = 8  # rows that a block of the kernel takes at a time


def prefix_gradient_backward(upstream: Tensor, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """Gradient with respect to ``theta`` of a loss whose gradient with respect to the prefix gradients is given.

    The transposed product with the Hessian of the loss, ``Σ_i weight_i · x_i ⊗ (H_i (Σ_{b ≥ i} upstream_b /
    Σ_{j ≤ b} weight_j)ᵀ x_i)``, with ``H_i`` = 1 for one output and ``diag(p) − ppᵀ`` for a softmax. Not
    differentiable itself. On CUDA the definition runs where D·O is above about 4,000.

    Args:
        upstream: ``[T, B, D, O]`` as `prefix_gradient` returned, or ``[T, 1, D, O]`` for `mean_gradient`; float32,
            as are all others.
        theta: ``[T, D, O]``, as are the next three what the prefix gradients were taken of.
        x: ``[T, B, D]``.
        y: ``[T, B]``.
        weight: ``[T, B]``, or None for all ones.

    Returns:
        ``[T, D, O]``.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument.
    """
    arguments = {"theta": (theta, "T D O"), "x": (x, "T B D"), "y": (y, "T B"), "upstream": (upstream, "T S D O")}
    if weight is not None:
        arguments["weight"] = (weight, "T B")
    check("prefix_gradient_backward", arguments)
    fits = not theta.is_cuda or _shared(theta) <= _cuda.MAX_SHARED
    return (_operator if fits else definition)(upstream, theta, x, y, weight)


def definition(upstream: Tensor, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """The operation in plain PyTorch, for any device and floating dtype."""
    x, y, weight = weighted(x, y, weight)
    total = weight.cumsum(1)[:, x.shape[1] - upstream.shape[1] :] if x.shape[1] else weight.new_zeros(len(x), 1)
    scaled = upstream / torch.where(total > 0, total, 1.0)[..., None, None]
    later = scaled.flip(1).cumsum(1).flip(1) if upstream.shape[1] > 1 else scaled
    side = (x[..., None] * later).sum(2)
    if theta.shape[2] > 1:
        p = (x @ theta).softmax(-1)
        side = p * (side - (p * side).sum(-1, keepdim=True))
    return x.mT @ (weight[..., None] * side)


def weighted(x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The rows with zeros for padding, and their weights."""
    if weight is None:
        return x, y, torch.ones_like(y)
    counted = weight > 0
    return torch.where(counted[..., None], x, 0.0), torch.where(counted, y, 0.0), torch.where(counted, weight, 0.0)


def residual(scores: Tensor, y: Tensor) -> Tensor:
    """The gradient ``[T, B, O]`` of the loss with respect to the scores of every row: its mean less its target."""
    outputs = scores.shape[-1]
    if outputs == 1:
        return scores - y[..., None]
    target = y[..., None] == torch.arange(outputs, device=y.device)
    return scores.softmax(-1) - target.to(scores.dtype)


def _cpu(upstream: Tensor, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    out = _memory.new(*theta.shape)
    _core.prefix_gradient_backward_into(
        _memory.lend(upstream),
        _memory.lend(theta),
        _memory.lend(x),
        _memory.lend(y),
        None if weight is None else _memory.lend(weight),
        out.numpy(),
    )
    return out


def launch(upstream: Tensor, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None) -> _cuda.Planned:
    """The launch of ``prefix_gradient_backward.cu`` and the output that it will fill."""
    (tasks, columns, outputs), batch = theta.shape, x.shape[1]
    out = _cuda.new(theta, tasks, columns, outputs)
    inputs = map(_cuda.lend, (upstream, theta, x, y))
    optional = _cuda.NULL if weight is None else _cuda.lend(weight)
    width = columns * outputs
    block = min(512, max(128, -(-width // 32) * 32))
    sizes = map(np.int32, (tasks, batch, upstream.shape[1], columns, outputs))
    arguments = (*inputs, optional, out, *sizes)
    grid = min(tasks, _cuda.MAX_BLOCKS)
    name = "prefix_gradient_backward"
    return (_cuda.Launch(name, name, grid, block, _shared(theta), arguments),), out


def _shared(theta: Tensor) -> int:
    """Bytes of shared memory of a block: products of `_ROWS` rows, two matrices, what is kept of each row."""
    _, columns, outputs = theta.shape
    return 4 * ((_ROWS + 2) * columns * outputs + _ROWS * (2 * outputs + 2))


def _fake(upstream, theta, x, y, weight):
    return torch.empty_like(theta)


_operator = register(
    "prefix_gradient_backward",
    "(Tensor upstream, Tensor theta, Tensor x, Tensor y, Tensor? weight) -> Tensor",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)
