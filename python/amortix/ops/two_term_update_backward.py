"""The gradients of the two-term step."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amortix import _core
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, register

AXES: dict[str, str] = dict.fromkeys(("theta", "memory", "average", "proposal", "gate", "gradient", "diagonal"), "T P")
AXES |= {"factors": "T P R", "decay": "T", "delay": "T", "age": "T"}
"""The arguments of the step and their axes, in order."""

_UPSTREAM: dict[str, str] = dict.fromkeys(("upstream_theta", "upstream_memory", "upstream_average"), "T P")


def two_term_update_backward(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Gradients with respect to what `two_term_update` reads, of a loss whose gradients with respect to what it
    returns are given.

    With t what reaches the new θ, directly and through the average, and v = −t · c/(age + c) what reaches P∇: the
    gradient gets P v, the factors v (Uᵀ∇)ᵀ + ∇ (Uᵀv)ᵀ, and the memory s · t more, s = age^(−½ − softplus(a)).
    Nothing but inputs is kept of the forward pass. Not differentiable itself.

    Args:
        tensors: gradients ``[T, P]`` with respect to the new theta, memory and average, then the eleven arguments of
            `two_term_update`; float32.

    Returns:
        Gradients with respect to its arguments but age, in order, in their shapes.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument.
    """
    axes = AXES | _UPSTREAM
    given = dict(zip((*_UPSTREAM, *AXES), tensors, strict=True))
    check("two_term_update_backward", {name: (given[name], axes[name]) for name in (*AXES, *_UPSTREAM)})
    return _operator(*tensors)


def definition(
    upstream_theta: Tensor,
    upstream_memory: Tensor,
    upstream_average: Tensor,
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
) -> tuple[Tensor, ...]:
    """The operation in plain PyTorch, for any device and floating dtype."""
    fading, gain = gains(decay, delay, age)
    share, scale = 1 / age[:, None], F.softplus(diagonal)
    opened, shut = gate.sigmoid(), (-gate).sigmoid()
    to_theta = upstream_theta + share * upstream_average
    to_memory = upstream_memory + fading * to_theta
    through = -gain * to_theta
    projected, above = (torch.einsum("tpr,tp->tr", factors, vector) for vector in (gradient, through))
    remembered = memory + opened * (proposal - memory)
    to_fading = (to_theta * remembered).sum(1) * fading[:, 0]
    to_gain = -(to_theta * precondition(scale, factors, gradient)).sum(1)
    return (
        to_theta,
        shut * to_memory,
        (1 - share) * upstream_average,
        opened * to_memory,
        opened * shut * (proposal - memory) * to_memory,
        precondition(scale, factors, through),
        diagonal.sigmoid() * gradient * through,
        through[..., None] * projected[:, None] + gradient[..., None] * above[:, None],
        -to_fading * age.log() * decay.sigmoid(),
        to_gain * age / (age + delay).square(),
    )


def gains(decay: Tensor, delay: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
    """By how much proposals and gradients count, ``[T, 1]`` each."""
    return (age ** (-0.5 - F.softplus(decay)))[:, None], (delay / (age + delay))[:, None]


def precondition(scale: Tensor, factors: Tensor, vector: Tensor) -> Tensor:
    """``(diag(scale) + U Uᵀ) vector``, ``[T, P]``."""
    projected = factors.mT @ vector[..., None]
    return scale * vector + (factors @ projected)[..., 0]


def block(parameters: int) -> int:
    """Threads of a block: one for each parameter up to 256, whole warps."""
    return min(256, -(-parameters // 32) * 32)


def _cpu(*tensors: Tensor) -> tuple[Tensor, ...]:
    outputs = tuple(_memory.new(*tensor.shape) for tensor in tensors[3:-1])
    _core.two_term_update_backward_into(*map(_memory.lend, tensors), *(output.numpy() for output in outputs))
    return outputs


def launch(*tensors: Tensor) -> _cuda.Planned:
    """The launch of ``two_term_update_backward.cu`` and the outputs that it will fill."""
    tasks, parameters, rank = tensors[10].shape
    outputs = tuple(_cuda.new(tensor, *tensor.shape) for tensor in tensors[3:-1])
    threads = block(parameters)
    arguments = (*map(_cuda.lend, tensors), *outputs, *map(np.int32, (tasks, parameters, rank)))
    shared = 4 * (threads // 32 + 1) * (2 * rank + 2)
    name = "two_term_update_backward"
    grid = min(tasks, _cuda.MAX_BLOCKS)
    return (_cuda.Launch(name, name, grid, threads, shared, arguments),), outputs


def _fake(*tensors):
    return tuple(tensor.new_empty(tensor.shape) for tensor in tensors[3:-1])


_operator = register(
    "two_term_update_backward",
    f"({', '.join(f'Tensor {name}' for name in (*_UPSTREAM, *AXES))}) -> ({', '.join(['Tensor'] * 10)})",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)
