"""Networks that inner problems train, as pure functions of a list of parameters."""

from __future__ import annotations

import abc
import itertools
import math
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from amortix.meta_optim import counter

_ACTIVATIONS = {"relu": functional.relu, "tanh": torch.tanh, "gelu": functional.gelu}


class AbstractModel(abc.ABC):
    """A network."""

    @abc.abstractmethod
    def init(self, seed: Tensor) -> list[Tensor]:
        """First parameters, a pure function of an int64 scalar."""

    @abc.abstractmethod
    def forward(self, parameters: list[Tensor], x: Tensor) -> Tensor:
        """Outputs ``[B, O]`` of inputs ``[B, ...]``."""


@final
class Perceptron(AbstractModel):
    """Dense layers; with widths of two entries it is linear.

    Args:
        widths: of inputs, hidden layers and outputs.
        activation: relu, tanh or gelu.
    """

    def __init__(self, widths: tuple[int, ...], activation: str = "relu"):
        self.sizes = list(itertools.pairwise(widths))
        self.activation = _ACTIVATIONS[activation]

    def init(self, seed: Tensor) -> list[Tensor]:
        """As `torch.nn.Linear`."""
        return [one for i, (before, after) in enumerate(self.sizes) for one in _dense(seed, 2 * i, (after, before))]

    def forward(self, parameters: list[Tensor], x: Tensor) -> Tensor:
        """Outputs."""
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            x = self.activation(functional.linear(x, weight, bias))
        return functional.linear(x, *parameters[-2:])


@final
class ConvNet(AbstractModel):
    """Convolutions of 3 × 3, each halving the image, the mean over places, and a dense layer.

    Args:
        channels: of the square image and of each convolution.
        outputs: O.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int):
        self.channels, self.outputs = channels, outputs

    def init(self, seed: Tensor) -> list[Tensor]:
        """As `torch.nn.Conv2d` and `torch.nn.Linear`."""
        pairs = list(itertools.pairwise(self.channels))
        layers = [one for i, (c, d) in enumerate(pairs) for one in _dense(seed, 2 * i, (d, c, 3, 3))]
        return [*layers, *_dense(seed, 2 * len(pairs), (self.outputs, self.channels[-1]))]

    def forward(self, parameters: list[Tensor], x: Tensor) -> Tensor:
        """Outputs of flat images."""
        side = math.isqrt(x.shape[1] // self.channels[0])
        x = x.reshape(len(x), self.channels[0], side, side)
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            x = functional.conv2d(x, weight, bias, stride=2, padding=1).relu()
        return functional.linear(x.mean((2, 3)), *parameters[-2:])


@final
class Transformer(AbstractModel):
    """Blocks of causal attention with one head and a perceptron, norms before each, over learned embeddings.

    Args:
        symbols: of the alphabet.
        length: of a text.
        width: of a token.
        blocks: how many.
    """

    def __init__(self, symbols: int, length: int, width: int, blocks: int):
        self.symbols, self.length, self.width, self.blocks = symbols, length, width, blocks

    def init(self, seed: Tensor) -> list[Tensor]:
        """Dense layers as `torch.nn.Linear`, embeddings normal as `torch.nn.Embedding`, norms 1 and 0."""
        width = self.width
        parameters = [
            counter.normal(seed, 1000, (self.symbols, width)),
            counter.normal(seed, 1001, (self.length, width)),
        ]
        for block in range(self.blocks):
            for place, sizes in enumerate([(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]):
                parameters += _dense(seed, 2 * (4 * block + place), sizes)
            parameters += [value.expand(width).clone() for value in (torch.ones(1), torch.zeros(1)) * 2]
        return [*parameters, *_dense(seed, 8 * self.blocks, (self.symbols, width))]

    def forward(self, parameters: list[Tensor], x: Tensor) -> Tensor:
        """Logits ``[B, L, symbols]`` of the next symbol after each of ``[B, L]``."""
        # One-hot rows and a product, since functional.one_hot and a lookup's gradient cannot be batched.
        tokens = (x[..., None] == torch.arange(self.symbols)).float() @ parameters[0] + parameters[1]
        for block in range(self.blocks):
            tokens = self._block(tokens, parameters[2 + 12 * block : 14 + 12 * block])
        return functional.linear(tokens, *parameters[-2:])

    def _block(self, tokens: Tensor, own: list[Tensor]) -> Tensor:
        norm = functional.layer_norm(tokens, (self.width,), own[8], own[9])
        query, key, value = functional.linear(norm, own[0], own[1]).chunk(3, dim=-1)
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.width)
        later = torch.ones(self.length, self.length, dtype=torch.bool).triu(1)
        tokens = tokens + functional.linear(scores.masked_fill(later, -1e9).softmax(-1) @ value, own[2], own[3])
        norm = functional.layer_norm(tokens, (self.width,), own[10], own[11])
        return tokens + functional.linear(functional.gelu(functional.linear(norm, own[4], own[5])), own[6], own[7])


def _dense(seed: Tensor, stream: int, shape: tuple[int, ...]) -> list[Tensor]:
    """Weight and bias, uniform within one over the root of the fan-in."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    sizes = (shape, shape[:1])
    return [(2 * counter.uniform(seed, stream + i, size) - 1) * bound for i, size in enumerate(sizes)]
