"""What only `prefix_gradient` and `two_term_update` promise: definitions, derivatives, padding, refusals."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from amortix import ops
from amortix.errors import ArrayError
from amortix.ops.prefix_gradient import definition as prefix_definition
from amortix.ops.prefix_gradient_backward import definition as prefix_backward_definition
from amortix.ops.two_term_update import definition as update_definition
from amortix.ops.two_term_update_backward import definition as update_backward_definition
from cases import case
from cases.prefix_gradient import draw, whole
from cases.two_term_update import draw as state

NAMES = ["prefix_gradient", "prefix_gradient_backward", "two_term_update", "two_term_update_backward"]


def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Mean loss of the rows of one task, by torch."""
    scores = x @ theta
    if theta.shape[1] == 1:
        return 0.5 * (scores[:, 0] - y).square().mean()
    return torch.nn.functional.cross_entropy(scores, y.long())


# prefix_gradient


@pytest.mark.parametrize("outputs", [1, 4])
def test_a_prefix_gradient_is_the_gradient_of_the_mean_loss_of_the_rows_so_far(outputs: int) -> None:
    theta, x, y, _ = draw((2, 6, 3, outputs))
    x, y = whole(x, y)
    got = ops.prefix_gradient(theta, x, y)
    for task in range(2):
        for last in range(6):
            own = theta[task].double().requires_grad_()
            mean = loss(own, x[task, : last + 1].double(), y[task, : last + 1].double())
            (wanted,) = torch.autograd.grad(mean, own)
            torch.testing.assert_close(got[task, last].double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_last_prefix_is_the_whole(outputs: int) -> None:
    arguments = draw((3, 37, 20, outputs))
    assert torch.equal(ops.mean_gradient(*arguments), ops.prefix_gradient(*arguments)[:, -1])


@pytest.mark.parametrize("outputs", [1, 4])
def test_weights_count_rows_and_padding_does_not_exist(outputs: int) -> None:
    theta, x, y, _ = draw((1, 5, 3, outputs))
    x, y = whole(x, y)
    times = torch.tensor([2, 0, 1, 3, 0])
    repeated = [tensor.repeat_interleave(times, 1) for tensor in (x, y)]
    wanted = prefix_definition(theta.double(), *(one.double() for one in repeated), None, 6)
    got = ops.prefix_gradient(theta, x, y, times[None].float())
    torch.testing.assert_close(got[:, [0, 1, 2, 3, 4]].double(), wanted[:, [1, 1, 2, 5, 5]], rtol=1e-5, atol=1e-6)


def test_nothing_to_go_by_gives_no_gradient() -> None:
    theta, x, y, weight = draw((2, 4, 3, 2))
    assert not ops.prefix_gradient(theta, x, y, torch.zeros_like(weight)).any()
    assert not ops.mean_gradient(theta, x[:, :0], y[:, :0]).any()
    assert ops.prefix_gradient(theta, x[:, :0], y[:, :0]).shape == (2, 0, 3, 2)


def test_an_index_that_names_no_class_is_a_target_of_zeros() -> None:
    theta, x = torch.zeros(1, 1, 2), torch.ones(1, 4, 1)
    y = torch.tensor([[-1.0, 0.5, 2.0, 1e10]])
    got = ops.prefix_gradient(theta, x, y)
    assert torch.equal(got, torch.full_like(got, 0.5))
    assert torch.equal(got, prefix_definition(theta, x, y, None, 4))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("prefixes", [1, 4])
def test_derivatives_of_the_prefix_definitions_are_right(outputs: int, prefixes: int) -> None:
    theta, x, y, weight = (tensor.double().nan_to_num() for tensor in draw((2, 4, 3, outputs)))
    theta.requires_grad_()
    assert torch.autograd.gradcheck(lambda theta: prefix_definition(theta, x, y, weight, prefixes), theta)
    gradient = prefix_definition(theta, x, y, weight, prefixes)
    upstream = torch.randn_like(gradient)
    (wanted,) = torch.autograd.grad(gradient, theta, upstream)
    torch.testing.assert_close(prefix_backward_definition(upstream, theta.detach(), x, y, weight), wanted)


@pytest.mark.parametrize("function", [ops.prefix_gradient, ops.mean_gradient])
def test_a_gradient_is_trained_through(function) -> None:
    theta, x, y, weight = draw((2, 9, 5, 3))
    theta.requires_grad_()
    got = function(theta, x, y, weight)
    upstream = torch.randn_like(got)
    (mine,) = torch.autograd.grad(got, theta, upstream)
    prefixes = 9 if function is ops.prefix_gradient else 1
    clean = x.nan_to_num(), y.nan_to_num(), weight
    wanted = prefix_definition(theta, *clean, prefixes).view(got.shape)
    torch.testing.assert_close(mine, torch.autograd.grad(wanted, theta, upstream)[0], rtol=1e-4, atol=1e-5)


def test_gradients_to_the_rows_come_from_the_definition() -> None:
    theta, x, y, _ = draw((1, 4, 3, 1))
    x, y = whole(x, y)
    x.requires_grad_()
    (got,) = torch.autograd.grad(ops.mean_gradient(theta, x, y).sum(), x)
    (wanted,) = torch.autograd.grad(prefix_definition(theta, x, y, None, 1).sum(), x)
    assert torch.equal(got, wanted)
    assert got.any()


# two_term_update


def test_derivatives_of_the_update_definitions_are_right() -> None:
    *arguments, age = (tensor.double() for tensor in state((2, 3, 2)))
    for argument in arguments:
        argument.requires_grad_()
    assert torch.autograd.gradcheck(lambda *rest: update_definition(*rest, age), arguments)
    outputs = update_definition(*arguments, age)
    upstream = [torch.randn_like(output) for output in outputs]
    wanted = torch.autograd.grad(outputs, arguments, upstream)
    detached = (argument.detach() for argument in arguments)
    torch.testing.assert_close(update_backward_definition(*upstream, *detached, age), wanted)


def test_an_update_is_trained_through() -> None:
    *arguments, age = state((3, 20, 4))
    for argument in arguments:
        argument.requires_grad_()
    got = torch.autograd.grad(ops.two_term_update(*arguments, age)[2].square().sum(), arguments)
    wanted = torch.autograd.grad(update_definition(*arguments, age)[2].square().sum(), arguments)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_the_average_is_the_mean_of_the_iterates() -> None:
    theta, memory, _, *rest, _ = state((2, 5, 2))
    average, iterates = torch.zeros_like(theta), []
    for step in range(1, 6):
        theta, memory, average = ops.two_term_update(theta, memory, average, *rest, torch.full((2,), float(step)))
        iterates.append(theta)
    torch.testing.assert_close(average, torch.stack(iterates).mean(0), rtol=1e-4, atol=1e-5)


def test_iterates_settle_where_the_gradient_is_zero_whatever_is_proposed() -> None:
    """Robbins and Monro: on a quadratic, with noise, a constant proposal fades and the minimum is found."""
    generator = torch.Generator().manual_seed(0)
    goal = torch.randn(50, 4, generator=generator)
    theta, memory, average = torch.zeros(50, 4), torch.zeros(50, 4), torch.zeros(50, 4)
    proposal, gate, diagonal = torch.ones(50, 4), torch.zeros(50, 4), torch.full((50, 4), 0.5)
    factors = 0.3 * torch.randn(50, 4, 2, generator=generator)
    decay, delay = torch.ones(50), torch.full((50,), 5.0)
    for step in range(1, 3001):
        gradient = theta - goal + 0.1 * torch.randn(50, 4, generator=generator)
        given = theta, memory, average, proposal, gate, gradient, diagonal, factors, decay, delay
        theta, memory, average = ops.two_term_update(*given, torch.full((50,), float(step)))
    # The proposal shifts the fixed point by age^(−½ − softplus(1)) over the gain: less than .001 at 3,000.
    assert float((theta - goal).abs().mean()) < 0.02


def test_an_update_refuses_what_it_cannot_do() -> None:
    *arguments, age = state((2, 3, 2))
    with pytest.raises(ArrayError, match=r"factors has shape \[2, 2, 2\]; expected \[2, 3, R\]"):
        ops.two_term_update(*arguments[:7], arguments[7][:, 1:], *arguments[8:], age)
    with pytest.raises(ArrayError, match="age requires a gradient"):
        ops.two_term_update(*arguments, age.requires_grad_())
    with pytest.raises(ArrayError, match="P=0"):
        ops.two_term_update(*state((2, 0, 2)))


def test_a_gradient_refuses_what_does_not_fit() -> None:
    theta, x, y, weight = draw((2, 4, 3, 2))
    with pytest.raises(ArrayError, match=r"prefix_gradient: y has shape \[2, 3\]; expected \[2, 4\]"):
        ops.prefix_gradient(theta, x, y[:, 1:], weight)
    with pytest.raises(ArrayError, match=r"mean_gradient: weight is torch.float64"):
        ops.mean_gradient(theta, x, y, weight.double())
    with pytest.raises(ArrayError, match="D=0"):
        ops.mean_gradient(theta[:, :0], x[..., :0], y)


# Both


def unaligned(tensor: Tensor) -> Tensor:
    memory = bytearray(1) + tensor.contiguous().numpy().tobytes()
    return torch.frombuffer(memory, dtype=torch.float32, offset=1).view(tensor.shape)


def strided(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, tensor + 1], -1)[..., 0]


@pytest.mark.parametrize("change", [unaligned, strided], ids=["unaligned", "strided"])
@pytest.mark.parametrize("name", NAMES)
def test_any_memory_layout_gives_the_same_result(name: str, change) -> None:
    arguments, run = case(name).crossing(), getattr(torch.ops.amortix, name)
    changed = [change(value) if isinstance(value, Tensor) else value for value in arguments]
    assert all(c.data_ptr() % 4 or not c.is_contiguous() for c in changed if isinstance(c, Tensor))
    torch.testing.assert_close(run(*changed), run(*arguments), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_stay_untouched(name: str) -> None:
    arguments = list(case(name).crossing())
    before = [value.clone() if isinstance(value, Tensor) else value for value in arguments]
    getattr(torch.ops.amortix, name)(*arguments)
    torch.testing.assert_close(arguments, before, rtol=0, atol=0, equal_nan=True)


def sound(name: str) -> tuple:
    """Arguments without NaN, those that are trained through with a gradient."""
    if name.startswith("prefix"):
        theta, x, y, weight = draw((2, 5, 3, 2))
        x, y = x.nan_to_num(), y.nan_to_num()
        if name == "prefix_gradient":
            return theta.requires_grad_(), x, y, weight, 5
        return torch.randn(2, 5, 3, 2), theta, x, y, weight
    if name == "two_term_update":
        *arguments, age = state((2, 3, 2))
        return *(argument.requires_grad_() for argument in arguments), age
    return case(name).upstream_of(state((2, 3, 2)))


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_sound_operator(name: str) -> None:
    torch.library.opcheck(getattr(torch.ops.amortix, name).default, sound(name))


def test_a_compiled_step_has_no_graph_break_and_trains() -> None:
    theta, x, y, _ = draw((2, 5, 4, 1))
    x, y = whole(x, y)
    _, *rest = state((2, 4, 2))

    def step(theta: Tensor) -> Tensor:
        gradient = ops.mean_gradient(theta, x, y)[..., 0]
        return ops.two_term_update(theta[..., 0], *rest[:4], gradient, *rest[5:])[0].sum()

    wanted = torch.autograd.grad(step(theta.requires_grad_()), theta)
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(theta), theta), wanted)


SUMS = """
import hashlib, torch
from amortix import ops
g = torch.Generator().manual_seed(0)
def draw(*shape): return torch.randn(shape, generator=g)
digest = hashlib.sha256()
for outputs in (1, 3):
    theta = draw(100, 40, outputs).requires_grad_()
    gradient = ops.prefix_gradient(theta, draw(100, 50, 40), draw(100, 50))
    digest.update(gradient.detach().numpy().tobytes())
    digest.update(torch.autograd.grad(gradient.square().sum(), theta)[0].numpy().tobytes())
arguments = [*(draw(200, 64) for _ in range(7)), draw(200, 64, 4), draw(200), draw(200).exp()]
[argument.requires_grad_() for argument in arguments]
outputs = ops.two_term_update(*arguments, torch.arange(1.0, 201.0))
loss = sum(output.square().sum() for output in outputs)
for tensor in (*outputs, *torch.autograd.grad(loss, arguments)):
    digest.update(tensor.detach().numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_threads_do_not_change_a_bit() -> None:
    found = set()
    for threads in ("1", "2", "5"):
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", SUMS], env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1
