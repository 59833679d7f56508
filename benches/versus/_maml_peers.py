"""The same meta-gradient by other means: a loop over tasks with torch.func, and with higher where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad

from amortix.batch import TaskBatch

Loss = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[], None]


def perceptron(hidden: tuple[int, ...]) -> nn.Module:
    """From a number to a number."""
    sizes = (1, *hidden)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 1))


def convolutional(hidden: tuple[int, ...], side: int, classes: int) -> nn.Module:
    """The few-shot network, channels normalised within each image."""
    network = nn.Sequential(nn.Unflatten(1, (1, side, side)))
    for before, after in pairwise((1, *hidden)):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        network.extend([convolution, nn.GroupNorm(4, after), nn.ReLU(), nn.MaxPool2d(2)])
    size = hidden[-1] * (side // 2 ** len(hidden)) ** 2
    return network.append(nn.Flatten()).append(nn.Linear(size, classes))


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean over rows."""
    return F.mse_loss(outputs.squeeze(1), y)


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean over rows."""
    return F.cross_entropy(outputs, y.long())


def tasks_of(data: TaskBatch) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Context and queries of each task."""
    return list(zip(data.context.x, data.context.y, data.query_x, data.query_y, strict=True))


def by_func(network: nn.Module, loss: Loss, data: TaskBatch, *, rate: float, steps: int) -> Step:
    """Gradients of the network by `functional_call` and `grad`, one task after the other."""
    names, parameters = zip(*network.named_parameters(), strict=True)

    def of(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss(functional_call(network, values, (x,)), y)

    inner, tasks = grad(of), tasks_of(data)

    def step() -> None:
        for x, y, query_x, query_y in tasks:
            values = dict(zip(names, parameters, strict=True))
            for _ in range(steps):
                gradients = inner(values, x, y)
                values = {name: value - rate * gradients[name] for name, value in values.items()}
            (of(values, query_x, query_y) / len(tasks)).backward()

    return step


def by_higher(network: nn.Module, loss: Loss, data: TaskBatch, *, rate: float, steps: int) -> Step:
    """The loop of higher's own examples."""
    import higher

    tasks, inner = tasks_of(data), torch.optim.SGD(network.parameters(), lr=rate)

    def step() -> None:
        for x, y, query_x, query_y in tasks:
            with higher.innerloop_ctx(network, inner, copy_initial_weights=False) as (here, optimizer):
                for _ in range(steps):
                    optimizer.step(loss(here(x), y))
                (loss(here(query_x), query_y) / len(tasks)).backward()

    return step


def by_learn2learn(network: nn.Module, loss: Loss, data: TaskBatch, *, rate: float, steps: int) -> Step:
    """A clone of learn2learn's MAML for each task."""
    import learn2learn

    tasks, learner = tasks_of(data), learn2learn.algorithms.MAML(network, lr=rate, first_order=False)

    def step() -> None:
        for x, y, query_x, query_y in tasks:
            here = learner.clone()
            for _ in range(steps):
                here.adapt(loss(here(x), y))
            (loss(here(query_x), query_y) / len(tasks)).backward()

    return step


def peers() -> dict[str, Callable[..., Step]]:
    """Those that can be imported, by name."""
    libraries = {"higher": by_higher, "learn2learn": by_learn2learn}
    found = {name: peer for name, peer in libraries.items() if importlib.util.find_spec(name)}
    return {"torch.func, a loop over tasks": by_func, **found}
