"""One step of a per-parameter learned optimizer over a list of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from amortix import _core
from amortix.errors import ArrayError
from amortix.ops import _cuda, _memory
from amortix.ops._learned import TIME_SCALES, UpdateNetwork, UpdateState, check_update, matrix
from amortix.ops._learned_launch import launch
from amortix.ops._operator import register

_SQUARE_FLOOR, _FACTOR_FLOOR, _FACTORED_FLOOR, _MOMENT_FLOOR = 1e-6, 1e-9, 1e-8, 1e-5


def learned_update(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: UpdateState,
    step: Tensor,
    network: UpdateNetwork,
    *,
    rate: float = 1.0,
    weight_decay: float = 0.0,
) -> tuple[list[Tensor], UpdateState]:
    """One step of a per-parameter learned optimizer: ``p − rate · (scale₀ · d · exp(scale₁ · m) + weight_decay · p)``.

    Direction d and magnitude m are what the network makes of the features of a parameter. Those are, with gradient g,
    momenta m, mean square v, row and column mean squares a and b, in this order:

        g, p, m [K], v, m/√v [K], 1/√v, g·f [F], a [F], b [F], 1/√a [F], 1/√b [F], m·f [F], time

    with the factor of Adafactor ``f = 1/√(a/mean(a) · b)``, the i-th momentum standing beside the i-th factor. Each
    but time is divided by the root of its mean square over the tensor; time is ``tanh(step/s − 1)`` for s in
    `TIME_SCALES`. Pure: the inputs stay untouched. Where an argument requires a gradient the definition runs, which is
    differentiable, so that meta-training can unroll it.

    Args:
        parameters: N tensors of any shapes, all float32 or all bfloat16, in which case the state is float32 and the
            result is rounded once; float64 where the definition runs.
        gradients: of the same shapes and dtype.
        state: `UpdateState.zeros` at first, later the result.
        step: ``[N]`` float32, the number of steps that each tensor has taken.
        network: float32.
        rate: multiplies the whole step.
        weight_decay: not part of the gradient, as in AdamW.

    Returns:
        New parameters and the new state.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument.

    References:
        Metz, Freeman, Harrison, Maheswaranathan and Sohl-Dickstein, Practical tradeoffs between memory, compute, and
        performance in learned optimizers (2022), appendix A: 39-32-32-2 is its AdaFac network. It takes the largest two
        axes for rows and columns, and for a vector's row its own elements.
    """
    arguments = _arguments(parameters, gradients, state, step, network, rate, weight_decay)
    tensors = [one for argument in arguments[:8] for one in argument]
    trained = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    body = definition if trained or step.dtype == torch.float64 else _operator
    new, *states = body(*arguments)
    return [one.to(like.dtype) for one, like in zip(new, parameters, strict=True)], UpdateState(*states)


def learned_update_(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: UpdateState,
    step: Tensor,
    network: UpdateNetwork,
    *,
    rate: float = 1.0,
    weight_decay: float = 0.0,
) -> None:
    """`learned_update` in place: parameters and state are overwritten, and no history is kept.

    For optimizers: new tensors of their size would cost more time than the reads and writes. The operator declares
    what it mutates, so autograd and `torch.compile` know.

    Args and errors as in `learned_update`; float32 and bfloat16 only. Tensors that are not contiguous are copied,
    updated and copied back; bfloat16 parameters are widened first and rounded once.
    """
    arguments = _arguments(parameters, gradients, state, step, network, rate, weight_decay)
    if step.dtype != torch.float32:
        raise ArrayError("learned_update_: parameters are torch.float64; give float32 or bfloat16")
    with torch.no_grad():
        _operator_(*arguments)
        for parameter, wide in zip(parameters, arguments[0], strict=True):
            if parameter.dtype != torch.float32:
                parameter.copy_(wide)


def _arguments(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: UpdateState,
    step: Tensor,
    network: UpdateNetwork,
    rate: float,
    weight_decay: float,
) -> tuple[Any, ...]:
    """What all bodies take, once it is checked; bfloat16 widened."""
    check_update(parameters, gradients, state, step, network)
    wide = [[one.to(step.dtype) for one in some] for some in (parameters, gradients)]
    lists = state.momentum, state.square, state.row, state.column
    return *wide, *lists, step, network.tensors(), rate, weight_decay


def definition(
    parameters: list[Tensor],
    gradients: list[Tensor],
    momentum: list[Tensor],
    square: list[Tensor],
    row: list[Tensor],
    column: list[Tensor],
    step: Tensor,
    network: list[Tensor],
    rate: float,
    weight_decay: float,
) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """The operation in plain PyTorch, for any device and floating dtype of state and network; differentiable.

    ``network`` is `UpdateNetwork.tensors`; state in, state out as in `UpdateState`.
    """
    count, learned = len(parameters), UpdateNetwork.of(network)
    results = [
        _one(parameters[i], gradients[i], momentum[i::count], square[i], row[i], column[i], step[i], learned)
        for i in range(count)
    ]
    updated = [
        parameter - rate * (result[0] + weight_decay * parameter)
        for parameter, result in zip(parameters, results, strict=True)
    ]
    moved = [result[1][k] for k in range(len(learned.momentum_decay)) for result in results]
    return updated, moved, [one[2] for one in results], [one[3] for one in results], [one[4] for one in results]


def _one(
    parameter: Tensor,
    gradient: Tensor,
    momentum: list[Tensor],
    square: Tensor,
    row: Tensor,
    column: Tensor,
    step: Tensor,
    network: UpdateNetwork,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Tensor]:
    """The change of one tensor before rate and decay, and its new state; where it is empty nothing changes."""
    if parameter.numel() == 0:
        return parameter.clone(), [m.clone() for m in momentum], square.clone(), row.clone(), column.clone()
    squared = gradient.square()
    momentum = [_decayed(m, gradient, d) for m, d in zip(momentum, network.momentum_decay, strict=True)]
    square = _decayed(square, squared, network.square_decay[0])
    rows, columns = matrix(parameter.shape)
    table = squared.reshape(rows, columns)
    row = _decayed(row, table.mean(1), network.factored_decay[:, None])
    column = _decayed(column, table.mean(0), network.factored_decay[:, None])
    features = _features(parameter, gradient, momentum, square, row, column)
    scale = torch.rsqrt(features.square().mean((1, 2), keepdim=True) + _MOMENT_FLOOR)
    time = torch.tanh(step / step.new_tensor(TIME_SCALES) - 1).to(square.dtype)
    hidden = torch.cat([(features * scale).flatten(1), time[:, None].expand(-1, rows * columns)])
    for weight, bias in zip(network.layers[:-2:2], network.layers[1:-2:2], strict=True):
        hidden = torch.addmm(bias[:, None], weight, hidden).relu()
    direction, magnitude = torch.addmm(network.layers[-1][:, None], network.layers[-2], hidden)
    change = network.scale[0] * direction * torch.exp(network.scale[1] * magnitude)
    return change.reshape(parameter.shape), momentum, square, row, column


def _features(
    parameter: Tensor, gradient: Tensor, momentum: list[Tensor], square: Tensor, row: Tensor, column: Tensor
) -> Tensor:
    """All features but time, before they are normalised, ``[·, R, C]``."""
    rows, columns = row.shape[1], column.shape[1]
    p, g, v = (tensor.reshape(1, rows, columns) for tensor in (parameter, gradient, square))
    m = torch.stack(momentum).reshape(len(momentum), rows, columns)
    root = torch.rsqrt(v + _SQUARE_FLOOR)
    a = (row / (row.mean(1, keepdim=True) + _FACTOR_FLOOR)).clamp_min(_FACTOR_FLOOR)
    factor = torch.rsqrt(a)[:, :, None] * torch.rsqrt(column.clamp_min(_FACTOR_FLOOR))[:, None]
    by_row = [f[:, :, None].expand(-1, -1, columns) for f in (row, torch.rsqrt(row + _FACTORED_FLOOR))]
    by_column = [f[:, None].expand(-1, rows, -1) for f in (column, torch.rsqrt(column + _FACTORED_FLOOR))]
    factored = [g * factor, by_row[0], by_column[0], by_row[1], by_column[1], m[: len(row)] * factor]
    return torch.cat([g, p, m, v, m * root, root, *factored])


def _decayed(mean: Tensor, value: Tensor, decay: Tensor) -> Tensor:
    return decay * mean + (1 - decay) * value


def _cpu_(
    parameters: list[Tensor],
    gradients: list[Tensor],
    momentum: list[Tensor],
    square: list[Tensor],
    row: list[Tensor],
    column: list[Tensor],
    step: Tensor,
    network: list[Tensor],
    rate: float,
    weight_decay: float,
) -> None:
    written = parameters, momentum, square, row, column
    lent = [[_memory.lend(one) for one in some] for some in written]
    new, means, squares, rows, columns = lent
    read = [_memory.lend(one) for one in gradients]
    learned = [_memory.lend(one) for one in network]
    _core.learned_update_into(new, read, means, squares, rows, columns, _memory.lend(step), learned, rate, weight_decay)
    for tensors, arrays in zip(written, lent, strict=True):
        for tensor, array in zip(tensors, arrays, strict=True):
            if array.ctypes.data != tensor.data_ptr():
                tensor.copy_(torch.from_numpy(array))


def _cpu(
    parameters: list[Tensor],
    gradients: list[Tensor],
    momentum: list[Tensor],
    square: list[Tensor],
    row: list[Tensor],
    column: list[Tensor],
    step: Tensor,
    network: list[Tensor],
    rate: float,
    weight_decay: float,
) -> tuple[list[Tensor], ...]:
    new, *states = ([one.clone() for one in some] for some in (parameters, momentum, square, row, column))
    _cpu_(new, gradients, states[0], states[1], states[2], states[3], step, network, rate, weight_decay)
    return new, *states


def _fake(
    parameters: list[Tensor],
    gradients: list[Tensor],
    momentum: list[Tensor],
    square: list[Tensor],
    row: list[Tensor],
    column: list[Tensor],
    *others: Any,
) -> tuple[list[Tensor], ...]:
    new, *states = ([torch.empty_like(one) for one in some] for some in (parameters, momentum, square, row, column))
    return new, *states


_ARGUMENTS = (
    "(Tensor{0}[] parameters, Tensor[] gradients, Tensor{1}[] momentum, Tensor{2}[] square, Tensor{3}[] row,"
    " Tensor{4}[] column, Tensor step, Tensor[] network, float rate, float weight_decay)"
)

_operator = register(
    "learned_update",
    _ARGUMENTS.format(*[""] * 5) + " -> (Tensor[], Tensor[], Tensor[], Tensor[], Tensor[])",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)


def _overwrite(body: Callable[..., Any]) -> Callable[..., None]:
    """The body that works in place, from one that gives new tensors."""

    def overwriting(*arguments: Any) -> None:
        for olds, news in zip((arguments[0], *arguments[2:6]), body(*arguments), strict=True):
            for old, new in zip(olds, news, strict=True):
                old.copy_(new)

    return overwriting


_operator_ = torch.library.custom_op(
    "amortix::learned_update_",
    _overwrite(definition),
    mutates_args=("parameters", "momentum", "square", "row", "column"),
    schema=_ARGUMENTS.format(*(f"(a{i}!)" for i in range(5))) + " -> ()",
)
_operator_.register_kernel("cpu", _cpu_)
_operator_.register_kernel("cuda", _overwrite(_cuda.on_device(definition, launch)))
_operator_.register_fake(lambda *arguments: None)
