"""Fixed and learned optimizers against torch.optim: weights of a learned update under which it is SGD, or Adam."""

import pytest
import torch

from amortix.methods import METHODS
from amortix.updates.learned import DIRECTION, GRADIENT
from by_hand import drawn, mean_loss, perceptron

TASKS = ("regression", "classification")
LEARNED = ("l2l", "mlp-optimizer", "transformer-optimizer")
OUTPUTS, RATE, STEPS, BATCHES = {"regression": 1, "classification": 3}, 0.05, 2, 4


def learner_of(name: str, task: str, **arguments):
    torch.manual_seed(0)
    sizes = {"features": 2, "classes": 3, "hidden": (8,), "rate": RATE, "steps": STEPS}
    return METHODS[name].construct(task, **sizes, **arguments)


def contexts(task: str):
    return [drawn(task, seed=seed).context for seed in range(BATCHES)]


def adapted(learner, task: str) -> torch.Tensor:
    with torch.no_grad():
        state = learner.init(3, 2, OUTPUTS[task])
        for context in contexts(task):
            state = learner.step(state, context)
    return state.value


def by_torch(learner, task: str, rule: str) -> torch.Tensor:
    """The parameters of each task after a loop of torch.optim over the same mini-batches."""
    shapes = learner.predictor.blocks(2, OUTPUTS[task])
    ends = []
    for index in range(3):
        pieces = learner.adapter.start.value.split([torch.Size(shape).numel() for shape in shapes.values()])
        parameters = {n: p.clone().view(s).requires_grad_() for (n, s), p in zip(shapes.items(), pieces, strict=True)}
        made = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[rule]
        optimizer = made(list(parameters.values()), lr=RATE)
        for context in contexts(task):
            for _ in range(STEPS):
                optimizer.zero_grad()
                mean_loss(task, perceptron(parameters, context.x[index]), context.y[index]).backward()
                optimizer.step()
        ends.append(torch.cat([p.detach().flatten() for p in parameters.values()]))
    return torch.stack(ends)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("task", TASKS)
def test_empirical_risk_minimisation_is_a_loop_of_torch_optim(task, rule):
    learner = learner_of("erm", task, rule=rule)
    assert not list(learner.parameters())
    torch.testing.assert_close(adapted(learner, task), by_torch(learner, task, rule), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", LEARNED)
def test_fixed_weights_of_a_learned_update_recover(name, task, rule):
    learner = learner_of(name, task)
    with torch.no_grad():
        readout = learner.adapter.update.readout
        readout.zero_()
        readout[{"sgd": GRADIENT, "adam": DIRECTION}[rule]] = 1.0
    torch.testing.assert_close(adapted(learner, task), by_torch(learner, task, rule), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LEARNED)
def test_hidden_units_change_the_update(name):
    learner = learner_of(name, "regression")
    before = adapted(learner, "regression")
    with torch.no_grad():
        learner.adapter.update.readout[-1] = 1.0
    assert float((adapted(learner, "regression") - before).abs().max()) > 1e-3


def test_a_recurrent_update_is_an_lstm_along_the_steps_of_each_parameter():
    """The memory carried in the state is that of `torch.nn.LSTM` run over the same coordinates at once."""
    network = learner_of("l2l", "regression").adapter.update.network
    lstm = torch.nn.LSTM(5, network.width, num_layers=2)
    for layer, cell in enumerate(network.cells):
        for name, weight in cell.named_parameters():
            getattr(lstm, f"{name}_l{layer}").data.copy_(weight)
    coordinates = torch.randn(6, 3, 4, 5)
    memory = network.init(torch.zeros(3, 4))
    found = []
    for at in coordinates:
        hidden, memory = network(at, torch.ones(3, 4, dtype=torch.bool), memory)
        found.append(hidden)
    expected, _ = lstm(coordinates.flatten(1, 2))
    torch.testing.assert_close(torch.stack(found).flatten(1, 2), expected, atol=1e-5, rtol=1e-5)
