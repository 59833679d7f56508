"""One two-term step of many states: a proposal that fades with age, beside a preconditioned gradient that stays."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from amortix import _core
from amortix.errors import ArrayError
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, register
from amortix.ops.two_term_update_backward import (
    AXES,
    block,
    gains,
    precondition,
    two_term_update_backward,
)


def two_term_update(
    theta: Tensor,
    memory: Tensor,
    average: Tensor,
    proposal: Tensor,
    gate: Tensor,
    gradient: Tensor,
    diagonal: Tensor,
    factors: Tensor,
    decay: Tensor,
    delay: Tensor,
    age: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step ``θ ← θ + m · age^(−½ − softplus(a)) − P ∇ · c / (age + c)`` of T states of P parameters.

    The memory takes in the proposal as far as its gate is open, ``m ← m + σ(gate) · (proposal − m)``. The
    preconditioner is ``P = diag(softplus(diagonal)) + U Uᵀ``, positive definite. Early the proposal rules, which is
    amortised inference; late the gradient, which is stochastic approximation, and its fixed points are those of the
    loss. The average is the mean of the iterates from the first on, ``average ← average + (θ − average) / age``.

    Once differentiable by a pass of its own in all arguments but age, which must not require a gradient.

    Args:
        theta: the iterate, ``[T, P]`` float32, as are all others; T may be 0.
        memory: ``[T, P]``, zeros at first.
        average: ``[T, P]``; at age 1 its value does not matter as long as it is finite.
        proposal: ``[T, P]``, what a network proposes to add to θ.
        gate: ``[T, P]``, logits.
        gradient: ``[T, P]``, the mini-batch's mean gradient at θ.
        diagonal: ``[T, P]``, softplus gives the preconditioner's diagonal.
        factors: U, ``[T, P, R]``; R may be 0.
        decay: a, ``[T]``.
        delay: c, ``[T]``, above 0: the age at which the gradient's gain is a half.
        age: the number of this step counted from 1, ``[T]``.

    Returns:
        New ``theta``, ``memory`` and ``average``.

    Raises:
        ArrayError: a shape, dtype or device does not fit, or age requires a gradient; the message names the
            argument. Arrays that are not contiguous are copied first.

    References:
        Robbins and Monro, A stochastic approximation method (1951): the gain c / (age + c). Polyak and Juditsky,
        Acceleration of stochastic approximation by averaging (1992): the average.
    """
    tensors = theta, memory, average, proposal, gate, gradient, diagonal, factors, decay, delay, age
    sizes = check("two_term_update", dict(zip(AXES, zip(tensors, AXES.values(), strict=True), strict=True)))
    if sizes["P"] < 1:
        raise ArrayError("two_term_update: P=0; give P ≥ 1")
    if age.requires_grad:
        raise ArrayError("two_term_update: age requires a gradient; give age.detach()")
    return _operator(*tensors)


def definition(
    theta: Tensor,
    memory: Tensor,
    average: Tensor,
    proposal: Tensor,
    gate: Tensor,
    gradient: Tensor,
    diagonal: Tensor,
    factors: Tensor,
    decay: Tensor,
    delay: Tensor,
    age: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operation in plain PyTorch, for any device and floating dtype."""
    memory = memory + gate.sigmoid() * (proposal - memory)
    fading, gain = gains(decay, delay, age)
    theta = theta + fading * memory - gain * precondition(F.softplus(diagonal), factors, gradient)
    return theta, memory, average + (theta - average) / age[:, None]


def _cpu(*tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shape = tensors[0].shape
    outputs = _memory.new(*shape), _memory.new(*shape), _memory.new(*shape)
    _core.two_term_update_into(*map(_memory.lend, tensors), *(output.numpy() for output in outputs))
    return outputs


def launch(*tensors: Tensor) -> _cuda.Planned:
    """The launch of ``two_term_update.cu`` and the outputs that it will fill."""
    theta, factors = tensors[0], tensors[7]
    tasks, parameters, rank = factors.shape
    outputs = tuple(_cuda.new(theta, tasks, parameters) for _ in range(3))
    threads = block(parameters)
    arguments = (*map(_cuda.lend, tensors), *outputs, *map(np.int32, (tasks, parameters, rank)))
    shared = 4 * (threads // 32 + 1) * rank
    grid = min(tasks, _cuda.MAX_BLOCKS)
    return (_cuda.Launch("two_term_update", "two_term_update", grid, threads, shared, arguments),), outputs


def _fake(theta, *rest):
    return theta.new_empty(theta.shape), theta.new_empty(theta.shape), theta.new_empty(theta.shape)


def _backward(ctx, *upstream):
    return *two_term_update_backward(*upstream, *ctx.saved_tensors), None


_operator = register(
    "two_term_update",
    f"({', '.join(f'Tensor {name}' for name in AXES)}) -> (Tensor, Tensor, Tensor)",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
    backward=_backward,
)
