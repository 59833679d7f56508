"""Training tasks that no learned optimizer has met in meta-training: other networks, other data, wider and longer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from amortix.errors import AmortixError
from amortix.meta_optim import counter
from amortix.meta_optim.examples import AbstractExamples, Rows, digits, images
from amortix.meta_optim.models import AbstractModel, Perceptron
from amortix.meta_optim.tasks import AbstractInnerTask, Supervised, build_task


@dataclass(frozen=True)
class HeldOut:
    """A task and how long it is trained; ``quick`` is for seeing that it runs."""

    name: str
    build: Callable[[], AbstractInnerTask]
    steps: int
    quick: int = 8


@final
class ResNet(AbstractModel):
    """A stem that halves the image and residual blocks of two convolutions, every other one halving it again."""

    def __init__(self, width: int, blocks: int, outputs: int):
        self.width, self.blocks, self.outputs = width, blocks, outputs

    def init(self, seed: Tensor) -> list[Tensor]:
        """Kaiming's normal for convolutions, 1 and 0 for norms, `torch.nn.Linear`'s uniform for the head."""
        width, parameters = self.width, []
        for place, inputs in enumerate([1, *[width] * (2 * self.blocks)]):
            spread = math.sqrt(2 / (9 * inputs))
            parameters.append(counter.normal(seed, place, (width, inputs, 3, 3)) * spread)
            parameters += [torch.ones(width), torch.zeros(width)]
        head = (2 * counter.uniform(seed, 100, (self.outputs, width)) - 1) / math.sqrt(width)
        return [*parameters, head, torch.zeros(self.outputs)]

    def forward(self, parameters: list[Tensor], x: Tensor) -> Tensor:
        """Logits of flat images."""
        side = math.isqrt(x.shape[1])
        layers = _threes(parameters[:-2])
        x = _normed(x.reshape(len(x), 1, side, side), layers[0], 2).relu()
        for block in range(self.blocks):
            first, second = layers[1 + 2 * block : 3 + 2 * block]
            stride = 2 if block % 2 else 1
            short = functional.avg_pool2d(x, stride, ceil_mode=True) if stride > 1 else x
            x = (_normed(_normed(x, first, stride).relu(), second, 1) + short).relu()
        return functional.linear(x.mean((2, 3)), *parameters[-2:])


def _threes(parameters: list[Tensor]) -> list[tuple[Tensor, ...]]:
    return [tuple(parameters[i : i + 3]) for i in range(0, len(parameters), 3)]


def _normed(x: Tensor, layer: tuple[Tensor, ...], stride: int) -> Tensor:
    weight, scale, shift = layer
    return functional.group_norm(functional.conv2d(x, weight, stride=stride, padding=1), 4, scale, shift)


@final
class Table(AbstractExamples):
    """Rows of a table with a number for a target, both of zero mean and unit size."""

    def __init__(self, x: Tensor, y: Tensor, batch: int):
        self.x, self.y, self.batch = x, y, batch

    def draw(self, seed: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Rows drawn with replacement."""
        places = counter.below(len(self.x), seed, step, self.batch)
        return self.x[places], self.y[places]


def _pictures(batch: int) -> tuple[str, Rows]:
    """Fashion-MNIST, or digits where its files are missing."""
    try:
        return "Fashion-MNIST", Rows(*images("fashion-mnist"), batch)
    except AmortixError:
        return "digits", Rows(*digits(), batch)


def _resnet() -> AbstractInnerTask:
    return Supervised(ResNet(16, 2, 10), _pictures(32)[1])


def _dense(*hidden: int) -> AbstractInnerTask:
    examples = _pictures(32)[1]
    return Supervised(Perceptron((examples.x.shape[1], *hidden, 10)), examples)


def _tabular() -> AbstractInnerTask:
    """California housing where it is in the cache, else scikit-learn's table of diabetes."""
    from amortix.datasets import CALIFORNIA

    if CALIFORNIA.path.is_file():
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(CALIFORNIA.path)
        columns = {name: table[name].to_numpy() for name in table.column_names}
        y = columns.pop(CALIFORNIA.target)
        x = np.stack(list(columns.values()), 1)
    else:
        from sklearn.datasets import load_diabetes

        x, y = load_diabetes(return_X_y=True)
    x, y = (torch.from_numpy(((one - one.mean(0)) / one.std(0)).astype("float32")) for one in (x, y))
    return Supervised(Perceptron((x.shape[1], 64, 64, 64, 1)), Table(x.clamp(-5, 5), y, 64))


def _text() -> AbstractInnerTask:
    return build_task({"kind": "transformer", "width": 64, "length": 32, "batch": 16, "blocks": 2, "half": 1})


def held_out() -> list[HeldOut]:
    """All of them; the last two are ten times as wide and as long as anything in meta-training."""
    data = _pictures(1)[0]
    return [
        HeldOut(f"residual network with group norms, {data}", _resnet, 300),
        HeldOut("transformer of 2 blocks of 64, characters", _text, 300),
        HeldOut("perceptron of 3 layers of 64, a table of numbers", _tabular, 500),
        HeldOut(f"ten times as wide: perceptron of 2 layers of 480, {data}", lambda: _dense(480, 480), 500),
        HeldOut(f"ten times as long: perceptron of a layer of 32, {data}", lambda: _dense(32), 5000),
    ]
