"""The convolutional network with its task's weights beside torch's own layers, task by task."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call

from amortix import checkpoint
from amortix.methods import METHODS
from amortix.predictors.convnet import ConvNetPredictor
from by_hand import drawn, mean_loss, outer_gradients

SIDE, HIDDEN, CLASSES, RATE, STEPS = 13, (4, 8), 3, 0.1, 2
PLACES = (SIDE // 2 ** len(HIDDEN)) ** 2


def layers() -> nn.Sequential:
    """What the predictor says it is."""
    network = nn.Sequential(nn.Unflatten(1, (1, SIDE, SIDE)))
    for before, after in pairwise((1, *HIDDEN)):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        network.extend([convolution, nn.GroupNorm(4, after), nn.ReLU(), nn.MaxPool2d(2)])
    return network.append(nn.Flatten()).append(nn.Linear(HIDDEN[-1] * PLACES, CLASSES))


def as_torch(blocks: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """One task's blocks in the order and form of torch's layers."""
    *body, head, bias = blocks.values()
    return [*body, head.T, bias]


def outputs(blocks: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """One task's logits ``[M, O]``."""
    network = layers()
    names = [name for name, _ in network.named_parameters()]
    return functional_call(network, dict(zip(names, as_torch(blocks), strict=True)), (x,))


def drawn_parameters(predictor: ConvNetPredictor, tasks: int) -> torch.Tensor:
    torch.manual_seed(0)
    start = torch.stack([predictor.initial() for _ in range(tasks)])
    # Scales and shifts that are not one and zero.
    return (start + 0.1 * torch.randn_like(start)).double()


def one(layout, value: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: block.squeeze(0) for name, block in layout.split(value.unsqueeze(0)).items()}


def test_values_and_both_orders_of_gradients_are_those_of_torch_layers():
    predictor = ConvNetPredictor(HIDDEN, SIDE, CLASSES)
    layout = predictor.layout(SIDE**2, CLASSES)
    value = drawn_parameters(predictor, 3).requires_grad_()
    x = torch.randn(3, 4, SIDE**2, dtype=torch.float64)
    found = predictor(x, value, layout)
    expected = torch.stack([outputs(one(layout, v), images) for v, images in zip(value, x, strict=True)])
    torch.testing.assert_close(found, expected)
    for scores in (found, expected):
        assert scores.shape == (3, 4, CLASSES)
    firsts = [torch.autograd.grad(s.square().sum(), value, create_graph=True)[0] for s in (found, expected)]
    torch.testing.assert_close(*firsts)
    direction = torch.randn_like(value)
    seconds = [torch.autograd.grad((first * direction).sum(), value)[0] for first in firsts]
    assert float(seconds[1].abs().max()) > 1e-3
    torch.testing.assert_close(*seconds)


def test_images_do_not_see_each_other():
    predictor = ConvNetPredictor(HIDDEN, SIDE, CLASSES)
    layout, value = predictor.layout(SIDE**2, CLASSES), drawn_parameters(predictor, 2)
    x = torch.randn(2, 5, SIDE**2, dtype=torch.float64)
    torch.testing.assert_close(predictor(x, value, layout)[:, :2], predictor(x[:, :2], value, layout))


def test_a_start_has_as_many_parameters_as_its_blocks_say():
    predictor = ConvNetPredictor(HIDDEN, SIDE, CLASSES)
    layout = predictor.layout(SIDE**2, CLASSES)
    parts = one(layout, predictor.initial())
    assert layout.size == sum(p.numel() for p in layers().parameters())
    assert torch.equal(parts["body.1.scale"], torch.ones(8))
    assert torch.equal(parts["body.1.shift"], torch.zeros(8))
    # The relative error of a variance estimated from n = 288 normal numbers is √(2/n) = .083; five of those.
    assert float(parts["body.1.weight"].var()) == pytest.approx(2 / (9 * 4), rel=0.42)


def images():
    return drawn("classification", tasks=2, rows=4, queries=3, columns=SIDE**2, classes=CLASSES)


def learner_of(name: str, **settings):
    torch.manual_seed(0)
    sizes = {"classes": CLASSES, "rate": RATE, "steps": STEPS}
    return METHODS[name].construct("classification", side=SIDE, hidden=HIDDEN, **(sizes | settings))


def test_meta_gradients_of_maml_are_those_of_a_loop_over_torch_layers():
    learner, data = learner_of("maml"), images()
    start = learner.adapter.start.value.detach().clone().requires_grad_()
    layout, losses = learner.predictor.layout(SIDE**2, CLASSES), []
    for x, y, query_x, query_y in zip(data.context.x, data.context.y, data.query_x, data.query_y, strict=True):
        value = start
        for _ in range(STEPS):
            loss = mean_loss("classification", outputs(one(layout, value), x), y)
            value = value - RATE * torch.autograd.grad(loss, value, create_graph=True)[0]
        losses.append(mean_loss("classification", outputs(one(layout, value), query_x), query_y))
    expected = torch.stack(losses).mean()
    _, loss, gradients = outer_gradients(learner, data, CLASSES)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    (wanted,) = torch.autograd.grad(expected, start)
    torch.testing.assert_close(gradients["adapter.start.value"], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["maml", "fomaml", "anil", "reptile", "meta-sgd"])
def test_learned_starts_take_a_convolutional_network_where_a_side_is_given(name):
    learner, data = learner_of(name), images()
    assert isinstance(learner.predictor, ConvNetPredictor)
    _, _, gradients = outer_gradients(learner, data, CLASSES)
    assert all(float(g.abs().max()) > 0 for g in gradients.values())


def test_a_convolutional_learner_is_built_from_its_configuration():
    config = {"method": "maml", "task": "classification", "classes": CLASSES, "side": SIDE, "hidden": list(HIDDEN)}
    assert isinstance(checkpoint.build(config), type(learner_of("maml")))
