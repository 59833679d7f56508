"""`amortix.ops.learned_update` beyond what holds for every operation: closed forms, gradients, refusals."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from amortix.errors import ArrayError
from amortix.ops import UpdateNetwork, UpdateState, learned_update, learned_update_
from cases.learned_update import NETWORKS, SHAPES, draw, draw_network


def adam_like(decay: float, square_decay: float, size: float) -> UpdateNetwork:
    """Fixed weights that read off one feature, m/√v: ReLU of ±, subtracted again; the magnitude is 0."""
    first = torch.zeros(2, UpdateNetwork.inputs(1, 0))
    first[:, 4] = torch.tensor([1.0, -1.0])
    last = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    layers = first, torch.zeros(2), last, torch.zeros(2)
    return UpdateNetwork(
        torch.tensor([decay]), torch.tensor([square_decay]), torch.empty(0), torch.tensor([size, 1.0]), layers
    )


def test_weights_that_read_off_one_feature_are_adam_of_unit_length() -> None:
    """By hand in float64: Adam without the correction of its start, ε under the root, a step of known length."""
    generator = torch.Generator().manual_seed(0)
    parameter = torch.randn(7, 5, generator=generator)
    wanted, m, v = parameter.double().numpy().copy(), 0.0, 0.0
    state = UpdateState.zeros([parameter], 1, 0)
    for step in range(4):
        gradient = torch.randn(7, 5, generator=generator)
        g = gradient.double().numpy()
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        ratio = m / (v + 1e-6) ** 0.5
        wanted -= 0.5 * (0.01 * ratio / ((ratio**2).mean() + 1e-5) ** 0.5 + 0.1 * wanted)
        (parameter,), state = learned_update(
            [parameter],
            [gradient],
            state,
            torch.tensor([float(step)]),
            adam_like(0.9, 0.99, 0.01),
            rate=0.5,
            weight_decay=0.1,
        )
        torch.testing.assert_close(parameter.double(), torch.from_numpy(wanted), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state.square[0].double(), torch.as_tensor(v), rtol=1e-5, atol=1e-9)


def test_every_feature_is_what_its_formula_says() -> None:
    """A network of one layer reads each feature off in turn, against loops over single numbers in Python."""
    momenta, factored, rows, columns, step = 3, 2, 3, 4, 6.0
    generator = torch.Generator().manual_seed(1)
    p, g = torch.randn(rows, columns, generator=generator), torch.randn(rows, columns, generator=generator)
    md, sd, fd = [0.5, 0.9, 0.99], 0.95, [0.8, 0.9]
    a = [[(1 - d) * sum(float(g[i, j]) ** 2 for j in range(columns)) / columns for i in range(rows)] for d in fd]
    b = [[(1 - d) * sum(float(g[i, j]) ** 2 for i in range(rows)) / rows for j in range(columns)] for d in fd]

    def raw(i: int, j: int) -> list[float]:
        x = float(g[i, j])
        m, v = [(1 - d) * x for d in md], (1 - sd) * x * x
        factor = [1 / math.sqrt(a[f][i] / (sum(a[f]) / rows + 1e-9)) / math.sqrt(b[f][j]) for f in range(factored)]
        root = 1 / math.sqrt(v + 1e-6)
        out = [x, float(p[i, j]), *m, v, *(one * root for one in m), root, *(x * f for f in factor)]
        out += [a[f][i] for f in range(factored)] + [b[f][j] for f in range(factored)]
        out += [1 / math.sqrt(a[f][i] + 1e-8) for f in range(factored)]
        out += [1 / math.sqrt(b[f][j] + 1e-8) for f in range(factored)]
        return out + [m[f] * factor[f] for f in range(factored)]

    table = torch.tensor([[raw(i, j) for j in range(columns)] for i in range(rows)])
    wanted = table / (table.square().mean((0, 1)) + 1e-5).sqrt()
    scales = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
    time = torch.tensor([math.tanh(step / scale - 1) for scale in scales])
    wanted = torch.cat([wanted, time.expand(rows, columns, -1)], -1)
    assert wanted.shape[-1] == UpdateNetwork.inputs(momenta, factored)
    for feature in range(wanted.shape[-1]):
        weight = torch.zeros(2, wanted.shape[-1])
        weight[0, feature] = -1.0
        network = UpdateNetwork(
            torch.tensor(md), torch.tensor([sd]), torch.tensor(fd), torch.ones(2), (weight, torch.zeros(2))
        )
        state = UpdateState.zeros([p], momenta, factored)
        (new,), _ = learned_update([p], [g], state, torch.tensor([step]), network)
        torch.testing.assert_close(new - p, wanted[..., feature], rtol=2e-5, atol=2e-6)


def test_the_published_network_reads_39_features_and_magnitudes_are_exponents() -> None:
    assert UpdateNetwork.inputs(3, 3) == 39
    layers = torch.zeros(2, UpdateNetwork.inputs(1, 0)), torch.tensor([2.0, 3.0])
    network = UpdateNetwork(torch.ones(1), torch.ones(1), torch.empty(0), torch.tensor([0.5, 0.1]), layers)
    parameters = [torch.ones(()), torch.ones(0), torch.ones(2)]
    state = UpdateState.zeros(parameters, 1, 0)
    new, _ = learned_update(parameters, parameters, state, torch.zeros(3), network)
    for one in new:
        torch.testing.assert_close(one, torch.full_like(one, 1 - 0.5 * 2 * math.exp(0.1 * 3)))


def test_the_definition_is_differentiable() -> None:
    """Finite differences in float64, to parameters, gradients, state and everything that is trained."""
    network = draw_network((3, 2, (5, 4)), dtype=torch.float64)
    parameters = [torch.randn(2, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)]
    gradients = [torch.randn_like(parameter) for parameter in parameters]
    zeros = UpdateState.zeros(parameters, 3, 2)
    lists = zeros.momentum, zeros.square, zeros.row, zeros.column
    counts = [len(parameters), len(gradients), *map(len, lists), len(network.tensors())]
    flat = [*parameters, *gradients]
    flat += [torch.rand_like(one) + 0.1 for some in lists for one in some] + network.tensors()

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        parts = iter(tensors)
        p, g, m, v, a, b, n = ([next(parts) for _ in range(count)] for count in counts)
        learned = UpdateNetwork.of(n)
        step = torch.tensor([3.0, 40.0], dtype=torch.float64)
        new, state = learned_update(p, g, UpdateState(m, v, a, b), step, learned, rate=0.7, weight_decay=0.1)
        return (*new, *state.momentum, *state.square, *state.row, *state.column)

    torch.manual_seed(0)
    assert torch.autograd.gradcheck(run, tuple(tensor.detach().requires_grad_() for tensor in flat))


def test_an_unroll_can_be_trained_through() -> None:
    """Two steps on a parabola: the loss at the end by finite differences of one weight."""
    network = draw_network((2, 1, (4,)), dtype=torch.float64)

    def loss(weight: Tensor) -> Tensor:
        learned = UpdateNetwork.of([*network.tensors()[:4], weight, *network.layers[1:]])
        parameters = [torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)]
        state = UpdateState.zeros(parameters, 2, 1)
        for step in range(2):
            (gradient,) = torch.autograd.grad((parameters[0] ** 2).sum(), parameters, create_graph=True)
            clock = torch.tensor([float(step)], dtype=torch.float64)
            parameters, state = learned_update(parameters, [gradient], state, clock, learned)
        return (parameters[0] ** 2).sum()

    assert torch.autograd.gradcheck(loss, network.layers[0].requires_grad_())


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, lambda tensors: [tensors[0].half(), *tensors[1:]], r"parameters\[0\] is torch.float16"),
        (1, lambda tensors: tensors[1:], "gradients holds"),
        (1, lambda tensors: [tensors[0].bfloat16(), *tensors[1:]], r"gradients\[0\] is .*bfloat16"),
        (2, lambda tensors: [*tensors[:-1], tensors[-1][None]], r"state.momentum\[\d+\]"),
        (4, lambda tensors: [tensors[0][:, :0], *tensors[1:]], r"state.row\[0\]"),
        (6, lambda tensor: tensor[1:], r"step\[0\]"),
        (7, lambda tensors: [*tensors[:-1], torch.zeros(3)], "layer 2 has"),
        (7, lambda tensors: tensors[:-1], "network.layers holds"),
        (7, lambda tensors: [tensors[0][:1], *tensors[1:]], "K=1 momenta, F=3 factors"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(place: int, change, message: str) -> None:
    arguments = list(draw(SHAPES["several"], (3, 3, (32, 32))))
    arguments[place] = change(arguments[place])
    p, g, *lists, step, network, rate, decay = arguments
    with pytest.raises(ArrayError, match=message):
        learned_update(
            p,
            g,
            UpdateState(*lists),
            step,
            UpdateNetwork.of(network),
            rate=rate,
            weight_decay=decay,
        )


# Bodies


def both(shapes: list[tuple[int, ...]], kind: str = "39-32-32-2") -> tuple[list, UpdateState, Tensor, UpdateNetwork]:
    """Parameters and gradients, state, step, network."""
    p, g, *lists, step, network, _, _ = draw(shapes, NETWORKS[kind])
    return [p, g], UpdateState(*lists), step, UpdateNetwork.of(network)


def all_of(parameters: list[Tensor], state: UpdateState) -> list[Tensor]:
    return [*parameters, *state.momentum, *state.square, *state.row, *state.column]


@pytest.mark.parametrize("kind", NETWORKS)
def test_in_place_it_is_the_same_step(kind: str) -> None:
    (p, g), state, step, network = both(SHAPES["several"], kind)
    before = [one.clone() for one in all_of(p, state)]
    wanted = all_of(*learned_update(p, g, state, step, network, rate=0.5, weight_decay=0.1))
    torch.testing.assert_close(all_of(p, state), before, rtol=0, atol=0)
    assert learned_update_(p, g, state, step, network, rate=0.5, weight_decay=0.1) is None
    torch.testing.assert_close(all_of(p, state), wanted, rtol=0, atol=0)


def unaligned(tensor: Tensor) -> Tensor:
    if tensor.numel() == 0:
        return tensor
    memory = bytearray(1) + tensor.contiguous().numpy().tobytes()
    return torch.frombuffer(memory, dtype=torch.float32, offset=1).view(tensor.shape)


def strided(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, tensor + 1], -1)[..., 0]


@pytest.mark.parametrize("change", [unaligned, strided])
def test_any_memory_layout_gives_the_same_step(change) -> None:
    (p, g), state, step, network = both(SHAPES["several"])
    wanted = all_of(*learned_update(p, g, state, step, network))
    lists = [[change(one) for one in some] for some in (p, g, state.momentum, state.square, state.row, state.column)]
    changed = UpdateState(*lists[2:])
    learned_update_(lists[0], lists[1], changed, change(step), UpdateNetwork.of([*map(change, network.tensors())]))
    torch.testing.assert_close(all_of(lists[0], changed), wanted, rtol=0, atol=0)


def test_bfloat16_parameters_are_widened_and_rounded_once() -> None:
    (p, g), state, step, network = both(SHAPES["several"])
    p, g = ([one.bfloat16() for one in some] for some in (p, g))
    wide, wanted = learned_update([one.float() for one in p], [one.float() for one in g], state, step, network)
    got, held = learned_update(p, g, state, step, network)
    torch.testing.assert_close(got, [one.bfloat16() for one in wide], rtol=0, atol=0)
    torch.testing.assert_close(all_of([], held), all_of([], wanted), rtol=0, atol=0)
    learned_update_(p, g, state, step, network)
    torch.testing.assert_close(p, got, rtol=0, atol=0)


def test_torch_knows_what_the_operators_mutate_and_return() -> None:
    arguments = draw(SHAPES["a block"], NETWORKS["tiny"])
    tests = "test_schema", "test_faketensor"
    for operator in (torch.ops.amortix.learned_update, torch.ops.amortix.learned_update_):
        assert set(torch.library.opcheck(operator.default, arguments, test_utils=tests).values()) == {"SUCCESS"}


_HASH = """
import hashlib, sys
from cases.learned_update import NETWORKS, draw
import torch
arguments = draw([(300, 100), (7,), (1, 20_000)], NETWORKS["39-32-32-2"], steps=0)
import amortix.ops
outputs = torch.ops.amortix.learned_update(*arguments)
print(hashlib.sha256(b"".join(one.numpy().tobytes() for some in outputs for one in some)).hexdigest())
"""


def test_the_number_of_threads_does_not_show() -> None:
    tests = Path(__file__).parent
    hashes = set()
    for threads in ("1", "2", "5"):
        # The arguments are drawn by torch, whose own sums may depend on its threads.
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", _HASH], cwd=tests, env=environment, capture_output=True, text=True, check=True
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1
