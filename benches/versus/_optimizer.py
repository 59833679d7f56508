"""`learned_update` beside its definition, that compiled, the machine, and an optimizer without a network."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from _machine import flops
from _table import Row, _seconds, paired
from torch import Tensor

from amortix.ops import UpdateNetwork, UpdateState, learned_update_
from amortix.ops.learned_update import _one
from amortix.optim import LearnedOptimizer

_PUBLISHED, _TINY = (3, 3, (32, 32)), (2, 0, (8,))


def learned_update(quick: bool) -> list[Row]:
    """The published network of 39-32-32-2 and a tiny one on 100 matrices, state and parameters in place."""
    shape = (10, 40) if quick else (250, 400)
    millions = 100 * shape[0] * shape[1] / 1e6
    generator = torch.Generator().manual_seed(0)
    parameters, gradients = ([torch.randn(shape, generator=generator) for _ in range(100)] for _ in range(2))
    state, step, network = UpdateState.zeros(parameters, *_PUBLISHED[:2]), torch.zeros(100), _network(_PUBLISHED)
    arguments = parameters, gradients, state, network

    def ours() -> None:
        learned_update_(parameters, gradients, state, step, network)

    name, unit = f"learned_update, 39-32-32-2, {millions:g} M parameters in 100 tensors", "M parameters/s"
    peers = [(f"{name}, plain", _each(_one, *arguments), "PyTorch", 10, 3)]
    if not quick:  # compiling takes longer than everything else together
        peers.append((f"{name}, compiled", _each(torch.compile(_one), *arguments), "torch.compile", 3, 5))
    rows = [
        paired(label, ours, peer, amount=millions, unit=unit, peer_name=of, asked=asked, repeats=repeats)
        for label, peer, of, asked, repeats in peers
    ]
    # What is multiplied for a parameter: time is the same for a tensor and goes into its biases.
    reached = millions / 1e3 * 2 * (28 * 32 + 32 * 32 + 32 * 2) / statistics.median(_seconds(ours) for _ in range(7))
    most = flops() / 1e9
    label = f"{name}, multiply-adds of the network"
    rows.append(Row(label, reached, most, "matrix product", "Gflop/s", reached / most, 0.5))
    return [*rows, _beside_adam(shape, millions, unit)]


def _beside_adam(shape: tuple[int, int], millions: float, unit: str) -> Row:
    """Whole steps of two optimizers, the search for bad gradients with ours."""
    sides = [[torch.randn(shape, requires_grad=True) for _ in range(100)] for _ in range(2)]
    for parameter in itertools.chain(*sides):
        parameter.grad = torch.randn(shape)
    ours, adam = LearnedOptimizer(sides[0], _network(_TINY)), torch.optim.AdamW(sides[1], fused=True)
    name = f"LearnedOptimizer.step, 8-8-2 and 3 numbers of state, {millions:g} M parameters in 100 tensors"
    return paired(name, ours.step, adam.step, amount=millions, unit=unit, peer_name="AdamW(fused=True)", asked=1 / 8)


def _network(kind: tuple[int, int, tuple[int, ...]]) -> UpdateNetwork:
    momenta, factored, hidden = kind
    generator = torch.Generator().manual_seed(0)
    widths = UpdateNetwork.inputs(momenta, factored), *hidden, 2
    layers = [
        torch.randn(size, generator=generator) * 0.2
        for before, after in itertools.pairwise(widths)
        for size in ((after, before), (after,))
    ]
    decays = torch.tensor([0.9, 0.99, 0.999])
    return UpdateNetwork.of(
        [decays[:momenta], torch.tensor([0.999]), decays[:factored], torch.full((2,), 1e-3), *layers]
    )


def _each(
    one: Callable[..., tuple[Any, ...]],
    parameters: list[Tensor],
    gradients: list[Tensor],
    state: UpdateState,
    network: UpdateNetwork,
) -> Callable[[], object]:
    """The same step by a function of one tensor."""
    step = torch.tensor(0.0)

    @torch.no_grad()
    def run() -> list[Tensor]:
        news = []
        for i in range(100):
            own = state.momentum[i::100], state.square[i], state.row[i], state.column[i]
            change, *_ = one(parameters[i], gradients[i], *own, step, network)
            news.append(parameters[i] - change)
        return news

    return run
