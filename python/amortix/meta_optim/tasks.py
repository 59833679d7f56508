"""Inner tasks: what an optimizer is trained to train, by name and size as recipes give them."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional

from amortix.errors import ConfigError
from amortix.meta_optim import counter
from amortix.meta_optim.examples import ALPHABET, AbstractExamples, Rows, Teacher, Text, digits, images, manual
from amortix.meta_optim.models import AbstractModel, ConvNet, Perceptron, Transformer


class AbstractInnerTask(abc.ABC):
    """An inner problem: first parameters, and their loss on a mini-batch. Both are pure, for slots to be batched."""

    @abc.abstractmethod
    def init(self, seed: Tensor) -> list[Tensor]:
        """First parameters, from an int64 scalar."""

    @abc.abstractmethod
    def loss(self, parameters: list[Tensor], seed: Tensor, step: Tensor) -> Tensor:
        """The loss on the mini-batch of (seed, step), int64 scalars; a scalar."""


@final
class Supervised(AbstractInnerTask):
    """A network on examples: cross-entropy where targets are whole numbers, squared error otherwise."""

    def __init__(self, model: AbstractModel, examples: AbstractExamples):
        self.model, self.examples = model, examples

    def init(self, seed: Tensor) -> list[Tensor]:
        """The model's."""
        return self.model.init(seed)

    def loss(self, parameters: list[Tensor], seed: Tensor, step: Tensor) -> Tensor:
        """Mean over the mini-batch."""
        x, y = self.examples.draw(seed, step)
        outputs = self.model.forward(parameters, x)
        if y.is_floating_point():
            return (outputs.squeeze(-1) - y).square().mean()
        return functional.cross_entropy(outputs.flatten(0, -2), y.flatten())


@final
class Rescaled(AbstractInnerTask):
    """A task whose tensors are seen through scales, c · p in the place of p, so that no one scale is learned by heart.

    Args:
        task: the task.
        span: log c is uniform within ± this, for each tensor and seed.

    References:
        Metz et al., VeLO: training versatile learned optimizers by scaling up (2022), task augmentation.
    """

    def __init__(self, task: AbstractInnerTask, span: float):
        self.task, self.span = task, span

    def init(self, seed: Tensor) -> list[Tensor]:
        """The task's, divided by the scales."""
        first = self.task.init(seed)
        return [one / scale for one, scale in zip(first, self._scales(seed, len(first)), strict=True)]

    def loss(self, parameters: list[Tensor], seed: Tensor, step: Tensor) -> Tensor:
        """The task's at the scaled parameters."""
        scales = self._scales(seed, len(parameters))
        return self.task.loss([one * scale for one, scale in zip(parameters, scales, strict=True)], seed, step)

    def _scales(self, seed: Tensor, count: int) -> list[Tensor]:
        return list(torch.exp((2 * counter.uniform(seed, -4, (count,)) - 1) * self.span).unbind())


def build_task(config: Mapping[str, Any]) -> AbstractInnerTask:
    """A task from a recipe's table.

    Args:
        config: ``kind``, one of perceptron, convnet, transformer, logistic and regression, ``batch``, and
            ``data`` (digits, mnist or fashion-mnist), ``hidden``, ``activation``, ``channels``, ``width``, ``blocks``,
            ``length``, ``features``, ``units``, ``noise``, ``rescale`` where the kind has them.

    Raises:
        ConfigError: an unknown kind or setting, or data that are not there.
    """
    settings = dict(config)
    kind, span = settings.pop("kind", None), settings.pop("rescale", 0.0)
    if kind not in _KINDS:
        raise ConfigError(f"unknown kind of task {kind!r}: choose one of {', '.join(_KINDS)}")
    try:
        task = _KINDS[kind](**settings)
    except (TypeError, KeyError) as error:
        raise ConfigError(f"a task of kind {kind} does not take these settings: {error}") from None
    return Rescaled(task, span) if span else task


def _labelled(name: str) -> tuple[Tensor, Tensor]:
    return digits() if name == "digits" else images(name)


def _perceptron(*, hidden: list[int], batch: int, data: str = "digits", activation: str = "relu") -> AbstractInnerTask:
    x, y = _labelled(data)
    return Supervised(Perceptron((x.shape[1], *hidden, 10), activation), Rows(x, y, batch))


def _logistic(*, batch: int, data: str = "digits") -> AbstractInnerTask:
    return _perceptron(hidden=[], batch=batch, data=data)


def _convnet(*, channels: list[int], batch: int, data: str = "digits") -> AbstractInnerTask:
    return Supervised(ConvNet((1, *channels), 10), Rows(*_labelled(data), batch))


def _transformer(*, width: int, length: int, batch: int, blocks: int = 1, half: int = 0) -> AbstractInnerTask:
    symbols = len(ALPHABET)
    return Supervised(Transformer(symbols, length, width, blocks), Text(manual(half), length, batch))


def _regression(
    *, features: int, hidden: list[int], batch: int, units: int = 8, noise: float = 0.3, activation: str = "relu"
) -> AbstractInnerTask:
    return Supervised(Perceptron((features, *hidden, 1), activation), Teacher(features, units, noise, batch))


_KINDS = {
    "perceptron": _perceptron,
    "logistic": _logistic,
    "convnet": _convnet,
    "transformer": _transformer,
    "regression": _regression,
}
