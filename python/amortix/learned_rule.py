"""What a learned optimizer is as a whole: the network of its operation, and how its rate depends on a tensor's shape.

A file of weights is safetensors with ``momentum_decay [K]``, ``square_decay [1]``, ``factored_decay [F]``,
``scale [2]``, ``shape_rate [2]`` and, for each layer i, ``layers.i.weight`` and ``layers.i.bias``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from amortix.data.writing import replacing_file
from amortix.errors import ArrayError, ConfigError, FormatError
from amortix.ops import UpdateNetwork, UpdateState
from amortix.ops._learned import check_network, matrix
from amortix.ops.learned_update import definition

_FORMAT = {"format": "amortix.optim", "version": "2"}
_HEAD = ("momentum_decay", "square_decay", "factored_decay", "scale", "shape_rate")
WIDTH = 16
"""The number of columns at which a matrix has the rate 1."""


@final
@dataclass(frozen=True)
class LearnedRule:
    """A network, and the rate at which a tensor of some shape is moved by it.

    The operation divides every feature by its size, so that its step is of one size for tensors of all sizes; the step
    that a layer bears falls with its fan-in.

    Attributes:
        network: of `amortix.ops.learned_update`.
        shape_rate: ``[2]``, log-rate a of scalars and vectors, which move at ``exp(a)``, and power b of the C columns
            of a matrix, which moves at ``(C / 16)^(−b)``. A convolution's weight has its inputs times its window for C.

    References:
        Yang et al., Tensor Programs V: tuning large neural networks via zero-shot hyperparameter transfer (2022), where
        b = 1 for Adam on hidden layers; learned here.
    """

    network: UpdateNetwork
    shape_rate: Tensor = field(default_factory=lambda: torch.zeros(2))

    def rate(self, shape: torch.Size) -> Tensor:
        """What multiplies the step of a tensor of this shape; a scalar."""
        if len(shape) < 2:
            return self.shape_rate[0].exp()
        return (max(matrix(shape)[1], 1) / WIDTH) ** -self.shape_rate[1]

    def step(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], state: UpdateState, step: Tensor, rate: Tensor
    ) -> tuple[list[Tensor], UpdateState]:
        """The next parameters and state by the operation's definition, differentiable and for `torch.func.vmap`.

        Args:
            parameters: N tensors.
            gradients: of the same shapes.
            state: as in `amortix.ops.learned_update`.
            step: the number of steps taken, a scalar.
            rate: multiplies the whole step, a scalar.
        """
        count, tensors, clock = len(parameters), self.network.tensors(), step[None]
        results = [
            definition(
                [parameters[i]],
                [gradients[i]],
                state.momentum[i::count],
                [state.square[i]],
                [state.row[i]],
                [state.column[i]],
                clock,
                tensors,
                rate * self.rate(parameters[i].shape),  # pyright: ignore[reportArgumentType]
                0.0,
            )
            for i in range(count)
        ]
        momentum = [result[1][k] for k in range(len(self.network.momentum_decay)) for result in results]
        rest = ([result[place][0] for result in results] for place in (2, 3, 4))
        return [result[0][0] for result in results], UpdateState(momentum, *rest)


def bundled_rules() -> dict[str, Path]:
    """The names of the weights that ship with the package, and their files."""
    folder = Path(str(resources.files("amortix").joinpath("weights", "optimizers")))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def save_rule(path: str | PathLike[str], rule: LearnedRule) -> None:
    """Write a rule to a file that `amortix.optim.LearnedOptimizer` takes as its weights."""
    from safetensors.torch import save_file

    check_network(rule.network)
    tensors = rule.network.tensors()
    tensors = [*tensors[:4], rule.shape_rate, *tensors[4:]]
    names = [*_HEAD, *_layers(len(rule.network.layers) // 2)]
    plain = [one.detach().cpu().float().contiguous() for one in tensors]
    with replacing_file(Path(path)) as fresh:
        save_file(dict(zip(names, plain, strict=True)), fresh, _FORMAT)


def load_rule(name: str | PathLike[str]) -> LearnedRule:
    """Read what `save_rule` wrote, by its path or, where it is bundled, by its name.

    Raises:
        ConfigError: there is no such file and nothing of that name is bundled; the message lists what is.
        FormatError: the file is damaged or no rule.
    """
    from safetensors import SafetensorError, safe_open

    path = bundled_rules().get(str(name), Path(name))
    try:
        with safe_open(path, "pt") as file:
            head, tensors = file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except OSError as error:
        known = ", ".join(bundled_rules())
        raise ConfigError(f"no weights at {path} ({error}); give the path of a file or one of {known}") from None
    except SafetensorError as error:
        raise FormatError(f"{path} is damaged ({error}); write it again with amortix.optim.save_rule") from None
    names = [*_HEAD, *_layers((len(tensors) - len(_HEAD)) // 2)]
    if {key: head.get(key) for key in _FORMAT} != _FORMAT or set(tensors) != {*names}:
        raise FormatError(f"{path} holds no learned optimizer, or one of another release; see amortix.optim.save_rule")
    shape_rate = tensors.pop("shape_rate")
    rule = LearnedRule(UpdateNetwork.of([tensors[key] for key in names if key != "shape_rate"]), shape_rate)
    try:
        check_network(rule.network)
    except ArrayError as error:
        raise FormatError(f"{path}: {error}") from None
    if shape_rate.shape != (2,):
        raise FormatError(f"{path}: shape_rate is {list(shape_rate.shape)}; expected [2]")
    return rule


def _layers(count: int) -> list[str]:
    return [f"layers.{place}.{kind}" for place in range(count) for kind in ("weight", "bias")]
