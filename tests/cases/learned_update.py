"""Cases of `amortix.ops.learned_update`, drawn from a seed."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from amortix.ops.learned_update import UpdateNetwork, UpdateState, definition

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

Kind = tuple[int, int, tuple[int, ...]]


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
