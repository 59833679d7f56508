"""From a flat vector, which meta-training moves, to the rule of an optimizer.

Every coordinate has about unit scale, so that one width of perturbation and one meta learning rate suit all of them.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from amortix.errors import ConfigError
from amortix.learned_rule import LearnedRule
from amortix.meta_optim import counter
from amortix.ops import UpdateNetwork
from amortix.ops._learned import TIME_SCALES

_DECAYS = (0.9, 0.98, 0.995)
_SQUARE, _FACTORED = 0.99, 0.99
_RATE = 0.004
_KNOTS = (1.0, 10.0, 100.0, 1000.0)
_TIME = (0.2, 0.1, -0.1, -0.15)
_FAN_IN = 0.5
_SOFT = 0.3
"""Scale of coordinates whose features have heavy tails, or which move many features at once."""


class AbstractParametrisation(abc.ABC):
    """What is learned of a rule, as a vector."""

    @abc.abstractmethod
    def start(self) -> Tensor:
        """``[D]`` float32, a good optimizer made by hand."""

    @abc.abstractmethod
    def rule(self, theta: Tensor) -> LearnedRule:
        """The rule of a vector ``[D]``; differentiable, and for `torch.func.vmap`."""


@final
class LinearRule(AbstractParametrisation):
    """Direction and log-magnitude linear in the features, so that no hidden unit is to be computed.

    The step of −g, −p and −m is minus that of g, p and m: direction reads only features that are odd in them, and
    magnitude only even ones and time. Weights of time are interpolated between four scales and flat beyond, so that a
    decay goes on after the longest horizon of meta-training. The start is Adam's direction divided by its root mean
    square over the tensor, warmed up over some ten steps, then slowly decayed, at a rate of fan-in to the power −1/2.

    Args:
        momenta: K.
        factored: F.
    """

    def __init__(self, momenta: int = 2, factored: int = 0):
        first = 4 + 2 * momenta
        self.momenta, self.factored = momenta, factored
        self.odd = [0, 1, *range(2, 2 + momenta), *range(3 + momenta, 3 + 2 * momenta)]
        self.odd += [*range(first, first + factored), *range(first + 5 * factored, first + 6 * factored)]
        self.even = [2 + momenta, 3 + 2 * momenta, *range(first + factored, first + 5 * factored)]
        self.sizes = [len(self.odd), len(self.even), len(_KNOTS), 1, momenta, 1, factored, 2]
        self.between = _interpolation()

    def start(self) -> Tensor:
        """Adam, its step of one size."""
        direction = torch.zeros(len(self.odd))
        direction[2 + self.momenta] = 1.0
        decays = [*_DECAYS[: self.momenta], _SQUARE, *[_FACTORED] * self.factored]
        parts = [direction, torch.zeros(len(self.even)), torch.tensor(_TIME) / _SOFT]
        parts += [torch.tensor([math.log(_RATE)]), -torch.log1p(-torch.tensor(decays))]
        return torch.cat([*parts, torch.tensor([0.0, _FAN_IN])])

    def rule(self, theta: Tensor) -> LearnedRule:
        """One layer of two outputs."""
        direction, even, time, rate, momentum, square, factored, shape = theta.split(self.sizes)
        response = self.between @ (time * _SOFT)
        width = UpdateNetwork.inputs(self.momenta, self.factored) - len(TIME_SCALES)
        rows = torch.zeros(2, width).index_put((torch.tensor(0), torch.tensor(self.odd)), direction)
        rows = rows.index_put((torch.tensor(1), torch.tensor(self.even)), even * _SOFT)
        weight = torch.cat([rows, torch.stack([torch.zeros_like(response), response])], 1)
        # Features of time begin at tanh(−1): measured from there, the rate is that of the first step.
        bias = torch.stack([torch.zeros_like(rate[0]), rate[0] + math.tanh(1) * response.sum()])
        decays = [1 - torch.exp(-one) for one in (momentum, square, factored)]
        network = UpdateNetwork.of([*decays, torch.ones(2), weight, bias])
        return LearnedRule(network, shape)


@final
class PerceptronRule(AbstractParametrisation):
    """A perceptron that starts as a linear rule: four of its units carry that, the others begin random and unread.

    Args:
        linear: the rule to start from.
        hidden: widths, four units each at least.
        scale: of the displacement of a weight per unit of its coordinate.
    """

    def __init__(self, linear: LinearRule, hidden: tuple[int, ...], scale: float = 0.03):
        self.linear, self.scale = linear, scale
        inputs = UpdateNetwork.inputs(linear.momenta, linear.factored)
        self.shapes = [shape for a, b in itertools.pairwise((inputs, *hidden, 2)) for shape in ((b, a), (b,))]
        self.first = [self._first(place, shape) for place, shape in enumerate(self.shapes)]

    def start(self) -> Tensor:
        """The linear rule's, and no displacement."""
        return torch.cat([self.linear.start(), torch.zeros(sum(map(math.prod, self.shapes)))])

    def rule(self, theta: Tensor) -> LearnedRule:
        """Layers with ReLU between them; relu(x) − relu(−x) = x carries the linear rule through."""
        count = len(self.linear.start())
        straight = self.linear.rule(theta[:count])
        sizes = [math.prod(shape) for shape in self.shapes]
        moved = [part.reshape(shape) for part, shape in zip(theta[count:].split(sizes), self.shapes, strict=True)]
        layers = [one + self.scale * other for one, other in zip(self.first, moved, strict=True)]
        weight, bias = straight.network.layers
        both = torch.cat([weight, -weight]), torch.cat([bias, -bias])
        layers[:2] = [torch.cat([one, layer[4:]]) for one, layer in zip(both, layers[:2], strict=True)]
        return LearnedRule(UpdateNetwork.of([*straight.network.tensors()[:4], *layers]), straight.shape_rate)

    def _first(self, place: int, shape: tuple[int, ...]) -> Tensor:
        """Random hidden weights that the last layer does not read, and units that pass the linear rule on."""
        layer = torch.zeros(shape)
        if len(shape) == 2 and place < len(self.shapes) - 2:
            layer = counter.normal(torch.tensor(0), place, shape) / math.sqrt(shape[1])
        if len(shape) == 2 and place:
            layer[:, :4] = 0
            last = place == len(self.shapes) - 2
            layer[: 2 if last else 4] = 0
            layer[: 2 if last else 4, :4] = _difference() if last else torch.eye(4)
        return layer


def _difference() -> Tensor:
    return torch.cat([torch.eye(2), -torch.eye(2)], 1)


def _interpolation() -> Tensor:
    """``[11, 4]``: from weights at `_KNOTS` to those of all scales, linear in the logarithm and flat at the ends."""
    knots, scales = (torch.tensor(values).log() for values in (_KNOTS, TIME_SCALES))
    place = torch.searchsorted(knots, scales.clamp(knots[0], knots[-1])).clamp(1, len(knots) - 1)
    share = ((scales - knots[place - 1]) / (knots[place] - knots[place - 1])).clamp(0, 1)
    matrix = torch.zeros(len(scales), len(knots))
    rows = torch.arange(len(scales))
    matrix[rows, place - 1] = 1 - share
    matrix[rows, place] += share
    return matrix


def build_parametrisation(config: Mapping[str, Any]) -> AbstractParametrisation:
    """From a recipe's table: ``momenta``, ``factored``, and ``hidden`` widths where there are any.

    Raises:
        ConfigError: an unknown setting, or a hidden layer of fewer than four units.
    """
    settings = dict(config)
    hidden = tuple(settings.pop("hidden", ()))
    try:
        linear = LinearRule(**settings)
    except TypeError as error:
        raise ConfigError(f"the rule does not take these settings: {error}") from None
    if hidden and min(hidden) < 4:
        raise ConfigError(f"hidden={list(hidden)}: give each layer four units or more")
    return PerceptronRule(linear, hidden) if hidden else linear
