"""Cases of `amortix.ops.learned_update`, drawn from a seed."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from amortix.ops import UpdateNetwork, UpdateState
from amortix.ops._learned import TIME_SCALES
from amortix.ops.learned_update import _features, definition

SHAPES = {
    "none": [],
    "several": [(3, 5), (), (0,), (7,), (2, 3, 2, 2), (1, 4), (4, 1), (0, 3), (3, 0)],
    "one": [(1,)],
    "below a block": [(15,), (3, 21), (127,)],
    "a block": [(16,), (4, 16), (128,), (64,)],
    "above a block": [(17,), (5, 13), (129,), (2, 33)],
}
"""Nothing, one, and either side of the blocks of every body."""

NETWORKS = {"39-32-32-2": (3, 3, (32, 32)), "tiny": (2, 0, (8,)), "odd": (2, 1, (5, 3, 7)), "linear": (1, 1, ())}
"""Momenta K, factored statistics F, hidden widths."""

LARGE = [(1023,), (32, 32), (5, 205), (3, 1400), (300, 3), (4097,)]
"""Over chunks of 1,024 (CUDA) and 4,096 parameters, strips of 256 columns and sums of 256 rows (CPU)."""

REGISTERS = {
    "learned_update_rows": 28,
    "learned_update_columns": 32,
    "learned_update_means": 24,
    "learned_update_state": 64,
    "learned_update_fold": 48,
    "learned_update": 64,
}

Kind = tuple[int, int, tuple[int, ...]]


def cases() -> dict[str, tuple[Any, ...]]:
    """Every list of shapes through every network; before the first step and later."""
    drawn = {
        f"{label}, {name}": draw(shapes, kind) for label, shapes in SHAPES.items() for name, kind in NETWORKS.items()
    }
    drawn["large, 39-32-32-2"] = draw(LARGE, NETWORKS["39-32-32-2"])
    drawn["first step"] = draw(SHAPES["several"], NETWORKS["39-32-32-2"], steps=0)
    return drawn


def largest() -> tuple[Any, ...]:
    return draw([(2, 2)], (3, 3, (64, 64)))


def crossing() -> tuple[Any, ...]:
    """Several rows, strips, chunks and tensors for one block, with other weights folded for each."""
    return draw([(3, 700), (40, 3), (1, 5)], NETWORKS["39-32-32-2"])


def check(got: tuple[list[Tensor], ...], arguments: tuple[Any, ...]) -> None:
    """Compare with the definition in float64, to the error that rounding can make in float32.

    A state is a sum of positive multiples: its terms, added by their size, times the number of roundings. A network's
    output errs by that number times what the layers give where every weight and input is positive (Higham, Accuracy
    and Stability of Numerical Algorithms, section 3.1), the number being the length of all sums on the way.
    """
    unit = torch.finfo(torch.float32).eps / 2
    wide = [_double(argument) for argument in arguments]
    parameters, gradients, *state, _, network, rate, weight_decay = wide
    wanted = definition(*wide)
    assert [len(one) for one in got] == [len(one) for one in wanted]
    positive = definition([p.abs() for p in parameters], [g.abs() for g in gradients], *_abs(state), *wide[6:])
    for place in range(1, 5):
        for one, exact, most in zip(got[place], wanted[place], positive[place], strict=True):
            assert one.shape == exact.shape
            assert ((one - exact).abs() <= (sum(one.shape) + 8) * unit * most).all()
    learned = UpdateNetwork.of(network)
    for i, parameter in enumerate(parameters):
        if parameter.numel() == 0:
            assert torch.equal(got[0][i], arguments[0][i])
            continue
        own = positive[1][i :: len(parameters)], *(positive[place][i] for place in (2, 3, 4))
        true = wanted[1][i :: len(parameters)], *(wanted[place][i] for place in (2, 3, 4))
        scale = _features(parameter, gradients[i], *true).square().mean((1, 2), keepdim=True).add(1e-5).rsqrt()
        inputs = (_features(parameter.abs(), gradients[i].abs(), *own) * scale).flatten(1)
        positive_outputs = torch.cat([inputs, torch.ones(len(TIME_SCALES), inputs.shape[1], dtype=torch.float64)])
        roundings = parameter.numel() + own[2].shape[1] + own[3].shape[1]
        for weight, bias in zip(learned.layers[::2], learned.layers[1::2], strict=True):
            positive_outputs = weight.abs() @ positive_outputs + bias.abs()[:, None]
            roundings += weight.shape[1] + 2
        error = (roundings + 32) * unit * positive_outputs
        change = (parameter - wanted[0][i]) / rate - weight_decay * parameter
        # The definition again with direction 1 in place of what the network gives: the exponential alone.
        alone = UpdateNetwork.of([*network[:-2], *_directed(*network[-2:])]).tensors()
        (straight,), *_ = definition(
            [parameter],
            [gradients[i]],
            state[0][i :: len(parameters)],
            *([state[place][i]] for place in (1, 2, 3)),
            wide[6][i : i + 1],
            alone,
            1.0,
            0.0,
        )
        size = (parameter - straight).abs()
        one, two = (part.reshape(parameter.shape) for part in error)
        allowed = rate * (size * one + change.abs() * learned.scale[1] * two) + 4 * unit * parameter.abs()
        assert got[0][i].shape == parameter.shape
        assert ((got[0][i] - wanted[0][i]).abs() <= allowed).all()


def _directed(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A last layer whose direction is 1 everywhere."""
    return torch.stack([torch.zeros_like(weight[0]), weight[1]]), torch.stack([torch.ones_like(bias[0]), bias[1]])


def _double(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.double()
    return [one.double() for one in argument] if isinstance(argument, list) else argument


def _abs(state: list[list[Tensor]]) -> list[list[Tensor]]:
    return [[one.abs() for one in some] for some in state]


def draw_network(kind: Kind, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> UpdateNetwork:
    """Weights of the size that makes every layer's outputs of order one."""
    momenta, factored, hidden = kind
    generator = torch.Generator().manual_seed(seed)
    widths = UpdateNetwork.inputs(momenta, factored), *hidden, 2
    layers: list[Tensor] = []
    for before, after in itertools.pairwise(widths):
        layers.append(torch.randn(after, before, generator=generator) * (2 / before) ** 0.5)
        layers.append(torch.randn(after, generator=generator) * 0.3)
    decays = torch.tensor([0.5, 0.9, 0.99])
    tensors = decays[:momenta], torch.tensor([0.95]), decays[:factored] + 0.005, torch.tensor([0.1, 0.3])
    return UpdateNetwork(*(tensor.to(dtype) for tensor in tensors), tuple(layer.to(dtype) for layer in layers))


def draw(shapes: list[tuple[int, ...]], kind: Kind, *, seed: int = 0, steps: int = 2) -> tuple[Any, ...]:
    """Arguments of the operation after ``steps`` earlier ones, every tensor's gradients on a scale of its own."""
    generator = torch.Generator().manual_seed(seed)
    network = draw_network(kind, seed=seed)
    parameters = [torch.randn(shape, generator=generator) for shape in shapes]
    zeros = UpdateState.zeros(parameters, kind[0], kind[1])
    state = [zeros.momentum, zeros.square, zeros.row, zeros.column]
    for step in range(steps):
        state = list(definition(*_arguments(parameters, state, step, network, generator))[1:])
    return _arguments(parameters, state, steps, network, generator)


def _arguments(
    parameters: list[Tensor], state: list[list[Tensor]], step: int, network: UpdateNetwork, generator: torch.Generator
) -> tuple[Any, ...]:
    drawn = [torch.randn(parameter.shape, generator=generator) for parameter in parameters]
    gradients = [gradient * 10 ** -(place % 3) for place, gradient in enumerate(drawn)]
    clock = torch.tensor([step + 50.0 * place for place in range(len(parameters))])
    return parameters, gradients, *state, clock, network.tensors(), 0.5, 0.01
