"""What a learned optimizer is made of: its network and its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amortix.errors import ArrayError

TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
"""Steps over which the features of time turn from −0.76 to 1."""


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


def _state_type(parameter: Tensor) -> torch.dtype:
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32


def check_update(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], state: UpdateState, step: Tensor, network: UpdateNetwork
) -> None:
    """Refuse, by name, what does not fit."""
    check_network(network)
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


def check_network(network: UpdateNetwork) -> None:
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
