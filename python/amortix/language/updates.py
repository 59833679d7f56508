"""How the gradient of a mini-batch moves a latent: an update rule without learned parts, its memory explicit."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class AbstractUpdate(abc.ABC):
    """An update rule of z from its gradient; memory in, memory out, and nothing is written into."""

    @abc.abstractmethod
    def init(self, z: Tensor) -> dict[str, Tensor]:
        """The memory before the first step for z ``[T, ...]``, each tensor with a leading T."""

    @abc.abstractmethod
    def step(self, gradient: Tensor, memory: Mapping[str, Tensor], age: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What to add to z, and the memory after it.

        Args:
            gradient: ``[T, ...]``.
            memory: from `init` or the last step.
            age: steps taken before this one, ``[T]`` int64.
        """


@final
@dataclass(frozen=True)
class Descent(AbstractUpdate):
    """Steps of ``rate`` down the gradient (stochastic gradient descent)."""

    rate: float

    def init(self, z: Tensor) -> dict[str, Tensor]:
        """No memory."""
        return {}

    def step(self, gradient: Tensor, memory: Mapping[str, Tensor], age: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `AbstractUpdate.step`."""
        return -self.rate * gradient, {}


@final
@dataclass(frozen=True)
class Adam(AbstractUpdate):
    """Adam (Kingma and Ba, 2015, algorithm 1)."""

    rate: float
    decay: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def init(self, z: Tensor) -> dict[str, Tensor]:
        """Means of the gradient and of its square."""
        return {"mean": torch.zeros_like(z), "square": torch.zeros_like(z)}

    def step(self, gradient: Tensor, memory: Mapping[str, Tensor], age: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `AbstractUpdate.step`."""
        first, second = self.decay
        mean = first * memory["mean"] + (1 - first) * gradient
        square = second * memory["square"] + (1 - second) * gradient.square()
        steps = (age + 1).double().reshape(-1, *[1] * (gradient.ndim - 1))
        unbiased = mean / (1 - first**steps).to(mean.dtype)
        spread = (square / (1 - second**steps).to(square.dtype)).sqrt()
        return -self.rate * unbiased / (spread + self.epsilon), {"mean": mean, "square": square}
