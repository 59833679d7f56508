"""Learned initialisations, each equal to its inner loop written with torch.func, in values and in meta-gradients."""

import pytest
import torch
from torch.func import grad, vmap

from amortix.methods import METHODS
from by_hand import drawn, mean_loss, outer_gradients, perceptron

TASKS = ("regression", "classification")
STEPS, RATE, OUTPUTS = 3, 0.1, {"regression": 1, "classification": 3}


def learner_of(name: str, task: str):
    torch.manual_seed(0)
    return METHODS[name].construct(task, features=2, classes=3, hidden=(8, 6), rate=RATE, steps=STEPS)


def blocks(learner) -> dict[str, torch.Tensor]:
    """The learned start, as the weights and biases that it stands for."""
    shapes = learner.predictor.blocks(2, learner.max_outputs)
    pieces = learner.adapter.start.value.detach().split([torch.Size(shape).numel() for shape in shapes.values()])
    return {name: p.clone().view(s) for (name, s), p in zip(shapes.items(), pieces, strict=True)}


def inner_loop(task, start, rates, x, y):
    """Gradient descent of one task by torch.func."""

    def loss(parameters):
        return mean_loss(task, perceptron(parameters, x), y)

    for _ in range(STEPS):
        gradients = grad(loss)(start)
        start = {name: p - rates[name] * gradients[name] for name, p in start.items()}
    return start


def by_hand(task, start, rates, data):
    """The predictions and the mean query loss over tasks."""

    def one(x, y, query_x, query_y):
        outputs = perceptron(inner_loop(task, start, rates, x, y), query_x)
        return outputs, mean_loss(task, outputs, query_y)

    outputs, losses = vmap(one)(data.context.x, data.context.y, data.query_x, data.query_y)
    return outputs if task == "regression" else outputs.softmax(2), losses.mean()


def flat(parts) -> torch.Tensor:
    return torch.cat([part.flatten() for part in parts])


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["maml", "fomaml", "anil"])
def test_values_and_meta_gradients_are_those_of_the_inner_loop(name, task):
    learner, data = learner_of(name, task), drawn(task)
    start = {key: p.requires_grad_() for key, p in blocks(learner).items()}
    rates = {key: RATE * (name != "anil" or key.startswith("head")) for key in start}
    mean, loss, gradients = outer_gradients(learner, data, OUTPUTS[task])
    if name == "fomaml":
        # Detaching inside a torch.func transform is its own affair: a plain loop instead.
        expected, outer = first_order_by_hand(task, start, data)
    else:
        expected, outer = by_hand(task, start, rates, data)
    close(mean, expected)
    close(loss, outer)
    close(gradients["adapter.start.value"], flat(torch.autograd.grad(outer, list(start.values()))))


def first_order_by_hand(task, start, data):
    outputs, losses = [], []
    for x, y, query_x, query_y in zip(data.context.x, data.context.y, data.query_x, data.query_y, strict=True):
        here = dict(start)
        for _ in range(STEPS):
            loss = mean_loss(task, perceptron(here, x), y)
            gradients = torch.autograd.grad(loss, list(here.values()))
            here = {name: p - RATE * g for (name, p), g in zip(here.items(), gradients, strict=True)}
        outputs.append(perceptron(here, query_x))
        losses.append(mean_loss(task, outputs[-1], query_y))
    found = torch.stack(outputs)
    return found if task == "regression" else found.softmax(2), torch.stack(losses).mean()


@pytest.mark.parametrize("task", TASKS)
def test_second_order_differs_from_first(task):
    data = drawn(task)
    second = outer_gradients(learner_of("maml", task), data, OUTPUTS[task])[2]["adapter.start.value"]
    first = outer_gradients(learner_of("fomaml", task), data, OUTPUTS[task])[2]["adapter.start.value"]
    assert float((second - first).abs().max()) > 1e-3


@pytest.mark.parametrize("task", TASKS)
def test_meta_sgd_also_learns_its_rates(task):
    learner, data = learner_of("meta-sgd", task), drawn(task)
    start = {key: p.requires_grad_() for key, p in blocks(learner).items()}
    rates = {key: torch.full_like(p, RATE).requires_grad_() for key, p in start.items()}
    mean, loss, gradients = outer_gradients(learner, data, OUTPUTS[task])
    expected, outer = by_hand(task, start, rates, data)
    close(mean, expected)
    close(loss, outer)
    found = torch.autograd.grad(outer, [*start.values(), *rates.values()])
    close(gradients["adapter.start.value"], flat(found[: len(start)]))
    close(gradients["adapter.update.rate.value"], flat(found[len(start) :]))


@pytest.mark.parametrize("task", TASKS)
def test_reptile_moves_towards_the_mean_of_where_the_tasks_lead(task):
    learner, data = learner_of("reptile", task), drawn(task)
    start = blocks(learner)
    rates = dict.fromkeys(start, RATE)
    ends = vmap(lambda x, y: inner_loop(task, start, rates, x, y))(data.context.x, data.context.y)
    # Algorithm 2 of the paper: φ ← φ + ε · mean of (φ̃ − φ); the meta-gradient is its negative.
    expected = flat(start[name] - ends[name].mean(0) for name in start)
    close(outer_gradients(learner, data, OUTPUTS[task])[2]["adapter.start.value"], expected)


@pytest.mark.parametrize("name", ["maml", "anil", "meta-sgd", "reptile"])
def test_a_second_mini_batch_goes_on_from_where_the_first_led(name):
    learner, data = learner_of(name, "regression"), drawn("regression")
    start = blocks(learner)
    rates = {key: RATE * (name != "anil" or key.startswith("head")) for key in start}

    def twice(x, y, query_x):
        once = inner_loop("regression", start, rates, x, y)
        return perceptron(inner_loop("regression", once, rates, x, y), query_x)

    expected = vmap(twice)(data.context.x, data.context.y, data.query_x)
    close(outer_gradients(learner, data, 1, batches=2)[0], expected)


def test_fewer_columns_and_classes_use_the_beginning_of_every_block():
    torch.manual_seed(0)
    learner = METHODS["maml"].construct("classification", features=5, classes=4, hidden=(8,))
    state = learner.init(2, 3, 2)
    start = learner.adapter.start.value.detach().split([5 * 8, 8, 8 * 4, 4])
    parts = (start[0].view(5, 8)[:3], start[1], start[2].view(8, 4)[:, :2], start[3][:2])
    assert torch.equal(state.value[1], flat(parts))


def test_a_frozen_learner_keeps_no_graph():
    learner, data = learner_of("maml", "regression").requires_grad_(False), drawn("regression")
    state = learner.step(learner.init(3, 2, 1), data.context)
    assert not state.value.requires_grad
    with torch.no_grad():
        assert torch.equal(learner.step(learner.init(3, 2, 1), data.context).value, state.value)
