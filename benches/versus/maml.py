"""A meta-step of MAML, second order, beside loops over tasks: `python benches/versus/maml.py`.

32 tasks, five inner steps each, the gradient of the start and one step of Adam. Every side starts from the same
parameters and must find the same meta-gradient before it is timed; one thread each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from _maml_peers import Loss, Step, convolutional, cross_entropy, peers, perceptron, squared_error
from _table import Row, main, paired
from torch import Tensor, nn

from amortix.batch import Batch, TaskBatch
from amortix.learner import AbstractLearner
from amortix.methods import METHODS

_TASKS = 32
_STEPS = 5
_RATE = 0.01
_WAYS, _QUERIES = 5, 5  # classes, and queries of each
_SIDE = 28
_TOLERANCE = 1e-4  # of the largest entry of the meta-gradient


def sinusoid(quick: bool) -> list[Row]:
    """Ten points of a sinusoid, two hidden layers of 40."""
    tasks, hidden = 4 if quick else _TASKS, (40, 40)
    x, query_x = (torch.empty(tasks, 10, 1).uniform_(-5, 5) for _ in range(2))
    phase, height = torch.empty(tasks, 1).uniform_(0, torch.pi), torch.empty(tasks, 1).uniform_(0.1, 5)
    y, query_y = (height * torch.sin(points.squeeze(2) - phase) for points in (x, query_x))
    data = TaskBatch(Batch(x, y), query_x, query_y, query_y.unsqueeze(2))
    learner = METHODS["maml"].construct("regression", features=1, hidden=hidden, rate=_RATE, steps=_STEPS)
    return _rows("sinusoid, 40-40", learner, perceptron(hidden), squared_error, data, tasks, repeats=3 if quick else 15)


def images(quick: bool) -> list[Row]:
    """Five classes in one shot, five queries of each, four blocks of 64 channels."""
    tasks, hidden = (1, (8,) * 4) if quick else (_TASKS, (64,) * 4)
    y, query_y = (torch.arange(float(_WAYS)).repeat(tasks, n) for n in (1, _QUERIES))
    x, query_x = (torch.rand(*rows.shape, _SIDE**2) for rows in (y, query_y))
    data = TaskBatch(Batch(x, y), query_x, query_y, F.one_hot(query_y.long(), _WAYS).float())
    sizes = {"classes": _WAYS, "side": _SIDE, "hidden": hidden, "rate": _RATE, "steps": _STEPS}
    learner = METHODS["maml"].construct("classification", **sizes)
    network = convolutional(hidden, _SIDE, _WAYS)
    return _rows(f"28 x 28, 4-conv-{hidden[0]}", learner, network, cross_entropy, data, tasks, repeats=3)


def _rows(
    work: str, learner: AbstractLearner, network: nn.Module, loss: Loss, data: TaskBatch, tasks: int, repeats: int
) -> list[Row]:
    _start_alike(learner, network)
    ours = _outer(list(learner.parameters()), lambda: _meta_gradient(learner, data))
    rows = []
    for name, peer in peers().items():
        step = partial(peer, network, loss, rate=_RATE, steps=_STEPS)
        _assert_equal(learner, network, data, step)
        theirs = _outer(list(network.parameters()), step(data))
        what = f"MAML meta-step, {tasks} tasks x {_STEPS} inner steps, {work}"
        rows.append(paired(what, ours, theirs, amount=tasks, unit="tasks/s", peer_name=name, asked=3, repeats=repeats))
        _start_alike(learner, network)
    return rows


def _outer(parameters: list[nn.Parameter], gradient: Step) -> Callable[[], None]:
    """One step of Adam along what ``gradient`` leaves in the parameters."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        gradient()
        optimizer.step()

    return step


def _meta_gradient(learner: AbstractLearner, data: TaskBatch) -> None:
    before = learner.init(len(data.query_x), data.query_x.shape[2], data.signal.shape[2])
    after = learner.step(before, data.context)
    learner.outer(before, after, learner.predict(after, data.query_x), data).mean().backward()


def _start_alike(learner: AbstractLearner, network: nn.Module) -> None:
    """Give the network the learner's start."""
    with torch.no_grad():
        blocks = _blocks(learner, learner.get_parameter("adapter.start.value"))
        for own, other in zip(blocks, network.parameters(), strict=True):
            other.copy_(own)


def _blocks(learner: AbstractLearner, value: Tensor) -> Iterator[Tensor]:
    """Blocks of the flat start in the form of torch's layers."""
    layout = learner.get_submodule("predictor").layout(learner.max_features, learner.max_outputs)
    for block in layout.split(value.unsqueeze(0)).values():
        yield block.squeeze(0).T if block.dim() == 3 else block.squeeze(0)


def _assert_equal(learner: AbstractLearner, network: nn.Module, data: TaskBatch, peer: Callable[..., Step]) -> None:
    """The same meta-gradient, so that the same work is timed.

    In float64: in float32 a unit near zero may be on for one side and off for the other, which is no other work.
    """
    context = Batch(data.context.x.double(), data.context.y.double())
    exact = TaskBatch(context, data.query_x.double(), data.query_y.double(), data.signal.double())
    learner.double().zero_grad()
    network.double().zero_grad()
    _meta_gradient(learner, exact)
    peer(exact)()
    gradient = learner.get_parameter("adapter.start.value").grad
    assert gradient is not None
    for own, other in zip(_blocks(learner, gradient), network.parameters(), strict=True):
        torch.testing.assert_close(own, other.grad, rtol=0, atol=_TOLERANCE * float(gradient.abs().max()))
    learner.float().zero_grad()
    network.float().zero_grad()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    main(__doc__ or "", [sinusoid, images])
