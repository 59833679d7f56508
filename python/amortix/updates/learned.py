"""A learned update rule: θ' = θ − α·w·[∇, coordinates, hidden], one network for all parameters.

The readout w also sees the gradient and Adam's direction themselves, so that SGD and Adam are two points in the space
of its weights; untrained, it is Adam. The hidden units come from a network that may look at each parameter alone
(`Perceptron`), remember (`Recurrent`) or compare parameters (`Attention`).

References:
    Andrychowicz et al., "Learning to learn by gradient descent by gradient descent", NeurIPS 2016, whose appendix A has
    the preprocessing of gradients; Metz et al., "Understanding and correcting pathologies in the training of learned
    optimizers", ICML 2019, for the perceptron; Jain et al., "Mnemosyne", NeurIPS 2023, for attention over parameters.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from amortix.contracts import AbstractUpdate
from amortix.layout import Layout
from amortix.networks import TransformerBlock, perceptron, visible
from amortix.updates import adam

GRADIENT, DIRECTION = 0, 1
"""Places of the gradient and of Adam's direction among what the readout sees; hidden units come last."""

COORDINATES = 5
"""What a network sees of each parameter: Adam's direction, the gradient's logarithm and sign, tanh θ and 1/√step."""

_SPAN = 10.0  # p of Andrychowicz et al.: gradients below e^-p are taken as they are
_ADAM = {"betas": (0.9, 0.999), "epsilon": 1e-8}


class AbstractCoordinateNetwork(nn.Module, abc.ABC):
    """From coordinates of parameters to hidden units.

    Attributes:
        width: H, the hidden units of each parameter.
    """

    width: int

    @abc.abstractmethod
    def init(self, value: Tensor) -> dict[str, Tensor]:
        """What is remembered at first, for θ ``[T, P]``."""

    @abc.abstractmethod
    def forward(
        self, coordinates: Tensor, moved: Tensor, memory: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Hidden units ``[T, P, H]`` and what is remembered.

        Args:
            coordinates: ``[T, P, 5]``.
            moved: parameters whose gradient was ever other than zero, ``[T, P]`` bool: padding never moves.
            memory: what was remembered.
        """


@final
class LearnedUpdate(AbstractUpdate):
    """A rule read from a network's hidden units.

    Args:
        network: the network.
        rate: α.
    """

    def __init__(self, network: AbstractCoordinateNetwork, rate: float):
        super().__init__()
        self.network = network
        self.rate = rate
        self.readout = nn.Parameter(torch.zeros(1 + COORDINATES + network.width))
        with torch.no_grad():
            self.readout[DIRECTION] = 1.0

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """Zero moments, and what the network remembers."""
        return adam.begin(value) | self.network.init(value)

    def forward(
        self, value: Tensor, gradient: Tensor, memory: Mapping[str, Tensor], layout: Layout
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The next θ and memory."""
        direction, moments = adam.direction(gradient, memory, **_ADAM)
        coordinates = _coordinates(value, gradient, direction, moments["steps"])
        hidden, remembered = self.network(coordinates, moments["power"] > 0, memory)
        seen = torch.cat([gradient.unsqueeze(2), coordinates, hidden], dim=2)
        return value - self.rate * (seen @ self.readout), moments | remembered


def _coordinates(value: Tensor, gradient: Tensor, direction: Tensor, steps: Tensor) -> Tensor:
    size = gradient.abs()
    large = size >= math.exp(-_SPAN)
    logarithm = torch.where(large, size.clamp_min(math.exp(-_SPAN)).log() / _SPAN, -1.0)
    sign = torch.where(large, gradient.sign(), math.exp(_SPAN) * gradient)
    age = steps.rsqrt()[:, None].expand_as(value)
    return torch.stack([direction, logarithm, sign, value.tanh(), age], dim=2)


@final
class Perceptron(AbstractCoordinateNetwork):
    """Each parameter alone, without memory of its own.

    Args:
        width: H.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        self.width = width
        self.layers = perceptron(COORDINATES, width, width)

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def forward(
        self, coordinates: Tensor, moved: Tensor, memory: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Hidden units."""
        return self.layers(coordinates), {}


@final
class Recurrent(AbstractCoordinateNetwork):
    """Two layers of long short-term memory, run on each parameter alone with shared weights.

    Args:
        width: H.
    """

    def __init__(self, width: int = 20):
        super().__init__()
        self.width = width
        self.cells = nn.ModuleList([nn.LSTMCell(COORDINATES, width), nn.LSTMCell(width, width)])

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """Zero units and cells of both layers, ``[T, P, H]`` each."""
        empty = torch.zeros(*value.shape, self.width)
        return {f"{part}_{layer}": empty for layer in range(len(self.cells)) for part in ("unit", "cell")}

    def forward(
        self, coordinates: Tensor, moved: Tensor, memory: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The upper layer's units."""
        tasks, remembered, inputs = len(coordinates), {}, coordinates.flatten(0, 1)
        for layer, cell in enumerate(self.cells):
            before = (memory[f"unit_{layer}"].flatten(0, 1), memory[f"cell_{layer}"].flatten(0, 1))
            inputs, kept = cell(inputs, before)
            remembered[f"unit_{layer}"] = inputs.unflatten(0, (tasks, -1))
            remembered[f"cell_{layer}"] = kept.unflatten(0, (tasks, -1))
        return inputs.unflatten(0, (tasks, -1)), remembered


@final
class Attention(AbstractCoordinateNetwork):
    """A transformer whose tokens are the parameters: P² pairs, so for small P.

    Args:
        width: H.
        heads: attention heads.
        layers: blocks.
    """

    def __init__(self, width: int = 32, heads: int = 4, layers: int = 2):
        super().__init__()
        self.width = width
        self.embed = nn.Linear(COORDINATES, width)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads) for _ in range(layers)])

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def forward(
        self, coordinates: Tensor, moved: Tensor, memory: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The last block's tokens."""
        tokens, mask = self.embed(coordinates), visible(moved)
        for block in self.blocks:
            tokens = block(tokens, mask)
        return tokens, {}
