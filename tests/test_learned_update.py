"""`amortix.ops.learned_update` beyond what holds for every operation: closed forms, gradients, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from amortix.errors import ArrayError
from amortix.ops import UpdateNetwork, UpdateState, learned_update
from cases.learned_update import SHAPES, draw, draw_network


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
