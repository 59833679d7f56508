"""One step of a per-parameter learned optimizer over a list of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from amortix.errors import ArrayError

TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
"""Steps over which the features of time turn from −0.76 to 1."""

_SQUARE_FLOOR, _FACTOR_FLOOR, _FACTORED_FLOOR, _MOMENT_FLOOR = 1e-6, 1e-9, 1e-8, 1e-5


@dataclass(frozen=True)
class UpdateNetwork:
    """What is trained of a learned optimizer: decays and a small network, the same for every parameter.

    Attributes:
        momentum_decay: ``[K]``, of the running means of gradients, K ≥ 1.
        square_decay: ``[1]``, of the running mean of squared gradients.
        factored_decay: ``[F]``, of the row and column means of squared gradients; 0 ≤ F ≤ K, and F = 0 leaves
            these statistics and their features out.
        scale: ``[2]``, what multiplies the update, and the magnitude before its exponential.
        layers: weight ``[to, from]`` and bias ``[to]`` of each layer in turn; the first reads `inputs` features,
            ReLU stands between them, the last gives direction and magnitude.
    """

    momentum_decay: Tensor
    square_decay: Tensor
    factored_decay: Tensor
    scale: Tensor
    layers: tuple[Tensor, ...]

    @staticmethod
    def inputs(momenta: int, factored: int) -> int:
        """Features of a parameter: 39 for three momenta and three factored statistics, 21 for three and none."""
        return 4 + 2 * momenta + 6 * factored + len(TIME_SCALES)

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> UpdateNetwork:
        """The network whose `tensors` these are."""
        return cls(tensors[0], tensors[1], tensors[2], tensors[3], tuple(tensors[4:]))

    def tensors(self) -> list[Tensor]:
        """All of it in one list, the layers last."""
        return [self.momentum_decay, self.square_decay, self.factored_decay, self.scale, *self.layers]


@dataclass(frozen=True)
class UpdateState:
    """What a learned optimizer remembers of N tensors, float32.

    A tensor is seen as a matrix of R = ``shape[0]`` rows and C columns, everything else; a vector is one row.

    Attributes:
        momentum: K·N tensors of the parameters' shapes: all N at the first decay, then all at the second.
        square: N tensors of the parameters' shapes.
        row: N tensors ``[F, R]``, means over columns.
        column: N tensors ``[F, C]``, means over rows.
    """

    momentum: list[Tensor]
    square: list[Tensor]
    row: list[Tensor]
    column: list[Tensor]

    @classmethod
    def zeros(cls, parameters: Sequence[Tensor], momenta: int, factored: int) -> UpdateState:
        """The state before the first step."""
        sizes = [matrix(parameter.shape) for parameter in parameters]

        def zeros() -> list[Tensor]:
            return [torch.zeros_like(parameter, dtype=_state_type(parameter)) for parameter in parameters]

        def factors(axis: int) -> list[Tensor]:
            pairs = zip(parameters, sizes, strict=True)
            return [one.new_zeros(factored, size[axis], dtype=_state_type(one)) for one, size in pairs]

        return cls([one for _ in range(momenta) for one in zeros()], zeros(), factors(0), factors(1))


def matrix(shape: torch.Size) -> tuple[int, int]:
    """Rows and columns of a tensor seen as a matrix."""
    return (shape[0], shape[1:].numel()) if len(shape) > 1 else (1, shape.numel())


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
    _check(parameters, gradients, state, step, network)
    lists = state.momentum, state.square, state.row, state.column
    new, *states = definition(list(parameters), list(gradients), *lists, step, network.tensors(), rate, weight_decay)
    return new, UpdateState(*states)


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
        (parameter - rate * (result[0] + weight_decay * parameter)).to(parameter.dtype)
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
        return parameter, momentum, square, row, column
    gradient = gradient.to(square.dtype)
    squared = gradient.square()
    momentum = [_decayed(m, gradient, d) for m, d in zip(momentum, network.momentum_decay, strict=True)]
    square = _decayed(square, squared, network.square_decay[0])
    rows, columns = matrix(parameter.shape)
    table = squared.reshape(rows, columns)
    row = _decayed(row, table.mean(1), network.factored_decay[:, None])
    column = _decayed(column, table.mean(0), network.factored_decay[:, None])
    features = _features(parameter.to(square.dtype), gradient, momentum, square, row, column)
    scale = torch.rsqrt(features.square().mean((1, 2), keepdim=True) + _MOMENT_FLOOR)
    time = torch.tanh(step / step.new_tensor(TIME_SCALES) - 1).to(square.dtype)
    hidden = torch.cat([features * scale, time[:, None, None].expand(-1, rows, columns)]).movedim(0, -1)
    for weight, bias in zip(network.layers[:-2:2], network.layers[1:-2:2], strict=True):
        hidden = linear(hidden, weight, bias).relu()
    direction, magnitude = linear(hidden, *network.layers[-2:]).unbind(-1)
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


def _state_type(parameter: Tensor) -> torch.dtype:
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32


def _check(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], state: UpdateState, step: Tensor, network: UpdateNetwork
) -> None:
    """Refuse, by name, what does not fit."""
    _check_network(network)
    momenta, factored = len(network.momentum_decay), len(network.factored_decay)
    shapes = [parameter.shape for parameter in parameters]
    sizes = [matrix(shape) for shape in shapes]
    kind = parameters[0].dtype if parameters else torch.float32
    held = torch.float64 if kind == torch.float64 else torch.float32
    if kind not in (torch.float32, torch.bfloat16, torch.float64):
        raise ArrayError(f"learned_update: parameters[0] is {kind}; give float32 or bfloat16")
    for name, tensors, wanted, dtype in (
        ("parameters", parameters, shapes, kind),
        ("gradients", gradients, shapes, kind),
        ("state.momentum", state.momentum, shapes * momenta, held),
        ("state.square", state.square, shapes, held),
        ("state.row", state.row, [(factored, rows) for rows, _ in sizes], held),
        ("state.column", state.column, [(factored, columns) for _, columns in sizes], held),
        ("step", [step], [(len(parameters),)], held),
    ):
        if len(tensors) != len(wanted):
            raise ArrayError(f"learned_update: {name} holds {len(tensors)} tensors; expected {len(wanted)}")
        for place, (tensor, shape) in enumerate(zip(tensors, wanted, strict=True)):
            if tensor.shape != shape or tensor.dtype != dtype or tensor.device != step.device:
                given = f"{list(tensor.shape)} {tensor.dtype} on {tensor.device}"
                raise ArrayError(
                    f"learned_update: {name}[{place}] is {given}; expected {list(shape)} {dtype} on {step.device}"
                )


def _check_network(network: UpdateNetwork) -> None:
    momenta, factored, layers = len(network.momentum_decay), len(network.factored_decay), network.layers
    if not 0 <= factored <= momenta or momenta < 1:
        raise ArrayError(f"learned_update: K={momenta} momenta, F={factored} factors; give K ≥ 1 and 0 ≤ F ≤ K")
    if len(layers) < 2 or len(layers) % 2:
        raise ArrayError(f"learned_update: network.layers holds {len(layers)} tensors; give a weight and a bias each")
    width = UpdateNetwork.inputs(momenta, factored)
    for place, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        last = 2 * place + 2 == len(layers)
        if weight.dim() != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != width or (last and len(bias) != 2):
            given = f"weight {list(weight.shape)} and bias {list(bias.shape)}"
            wanted = f"[{2 if last else 'H'}, {width}] and [{2 if last else 'H'}]"
            raise ArrayError(f"learned_update: layer {place} has {given}; expected {wanted}")
        width = len(bias)
