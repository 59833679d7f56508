"""The gradient of linear and softmax predictors on a mini-batch and on each of its prefixes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.errors import ArrayError
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, register
from amortix.ops.prefix_gradient_backward import prefix_gradient_backward, residual, weighted

_ROWS = 32  # rows that a block of the kernel takes at a time


def prefix_gradient(theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean gradient of a linear predictor over every prefix of a mini-batch: what a causal mask asks for.

    ``gradient[b] = Σ_{i ≤ b} weight_i · x_i ⊗ (m(θᵀx_i) − y_i) / Σ_{i ≤ b} weight_i``. One output: squared loss
    ``½ (θᵀx − y)²``, m the identity. O > 1 outputs: cross-entropy in nats, m the softmax and y an indicator of its
    class; an index that names no class is a target of zeros. A prefix without weight has gradient zero. For a bias
    give x a column of ones.

    Once differentiable in theta by a pass of its own. Where x, y or weight requires a gradient the definition runs,
    which on the CPU takes ten times as long; on CUDA it also runs beyond about 1,200 outputs.

    Args:
        theta: ``[T, D, O]`` float32, as are all others; T and B may be 0.
        x: ``[T, B, D]``.
        y: ``[T, B]``, values where O is 1, else class indices as whole numbers.
        weight: ``[T, B]``, or None for all ones. A row whose weight is not above 0 is padding, and inert whatever
            it holds.

    Returns:
        ``[T, B, D, O]``.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument. Arrays that are not
            contiguous are copied first.

    References:
        McCullagh and Nelder, Generalized Linear Models (1989), section 2.5: the score of a canonical link.
    """
    return _checked("prefix_gradient", theta, x, y, weight, all_prefixes=True)


def mean_gradient(theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean gradient of a linear predictor over a mini-batch, ``[T, D, O]``.

    The last of what `prefix_gradient` returns, with its arguments, errors and derivative; zeros where B is 0.
    """
    return _checked("mean_gradient", theta, x, y, weight, all_prefixes=False)[:, 0]


def _checked(name: str, theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, *, all_prefixes: bool) -> Tensor:
    arguments = {"theta": (theta, "T D O"), "x": (x, "T B D"), "y": (y, "T B")}
    if weight is not None:
        arguments["weight"] = (weight, "T B")
    sizes = check(name, arguments)
    if sizes["D"] < 1 or sizes["O"] < 1:
        raise ArrayError(f"{name}: D={sizes['D']}, O={sizes['O']}; give D ≥ 1 and O ≥ 1")
    rows = (x, y) if weight is None else (x, y, weight)
    prefixes = sizes["B"] if all_prefixes else 1
    by_row = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in rows)
    too_wide = theta.is_cuda and _shared(sizes["O"]) > _cuda.MAX_SHARED
    return (definition if by_row or too_wide else _operator)(theta, x, y, weight, prefixes)


def definition(theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, prefixes: int) -> Tensor:
    """The operation in plain PyTorch, for any device and floating dtype: ``[T, prefixes, D, O]``.

    ``prefixes`` is B for all of them, or 1 for the mini-batch as a whole.
    """
    x, y, weight = weighted(x, y, weight)
    side = weight[..., None] * residual(x @ theta, y)
    if prefixes == 1:
        sums, total = (x.mT @ side)[:, None], weight.sum(1, keepdim=True)
    else:
        sums, total = (x[..., None] * side[:, :, None]).cumsum(1), weight.cumsum(1)
    return sums / torch.where(total > 0, total, 1.0)[..., None, None]


def _cpu(theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, prefixes: int) -> Tensor:
    out = _memory.new(theta.shape[0], prefixes, *theta.shape[1:])
    lent = None if weight is None else _memory.lend(weight)
    _core.prefix_gradient_into(_memory.lend(theta), _memory.lend(x), _memory.lend(y), lent, out.numpy())
    return out


def launch(theta: Tensor, x: Tensor, y: Tensor, weight: Tensor | None, prefixes: int) -> _cuda.Planned:
    """The launch of ``prefix_gradient.cu`` and the output that it will fill."""
    (tasks, columns, outputs), batch = theta.shape, x.shape[1]
    out = _cuda.new(theta, tasks, prefixes, columns, outputs)
    inputs = map(_cuda.lend, (theta, x, y))
    optional = _cuda.NULL if weight is None else _cuda.lend(weight)
    # One thread for each element; a larger matrix is divided among blocks, each of which reads the rows.
    block = min(512, max(128, -(-columns * outputs // 32) * 32))
    grid = min(tasks * -(-columns * outputs // block) * min(prefixes, 1), _cuda.MAX_BLOCKS)
    sizes = map(np.int32, (tasks, batch, prefixes, columns, outputs))
    arguments = (*inputs, optional, out, *sizes)
    return (_cuda.Launch("prefix_gradient", "prefix_gradient", grid, block, _shared(outputs), arguments),), out


def _shared(outputs: int) -> int:
    """Bytes of shared memory of a block: the residuals and weights of `_ROWS` rows."""
    return 4 * _ROWS * (outputs + 1)


def _fake(theta, x, y, weight, prefixes):
    return theta.new_empty(theta.shape[0], prefixes, *theta.shape[1:])


def _backward(ctx, upstream):
    return prefix_gradient_backward(upstream, *ctx.saved_tensors), None, None, None, None


_operator = register(
    "prefix_gradient",
    "(Tensor theta, Tensor x, Tensor y, Tensor? weight, SymInt prefixes) -> Tensor",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
    backward=_backward,
)
