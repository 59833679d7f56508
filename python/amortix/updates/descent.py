"""Gradient descent, with a rate for all parameters, for those of some blocks, or learned for each."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from amortix.contracts import AbstractPredictor, AbstractUpdate
from amortix.layout import Layout


class AbstractRate(nn.Module, abc.ABC):
    """The step size of every parameter."""

    @abc.abstractmethod
    def forward(self, layout: Layout) -> Tensor:
        """``[P]``."""


@final
class FixedRate(AbstractRate):
    """One rate.

    Args:
        rate: step size.
        within: only blocks whose name starts with this move; all by default.
    """

    def __init__(self, rate: float, *, within: str = ""):
        super().__init__()
        self.rate = rate
        self.within = within

    def forward(self, layout: Layout) -> Tensor:
        """``[P]``."""
        return self.rate * layout.within(self.within)


@final
class LearnedRate(AbstractRate):
    """A rate for each parameter, learned across tasks; it may become negative (Li et al. 2017, "Meta-SGD")."""

    def __init__(self, predictor: AbstractPredictor, rate: float):
        super().__init__()
        self.value = nn.Parameter(torch.full_like(predictor.initial(), rate))

    def forward(self, layout: Layout) -> Tensor:
        """``[P]``."""
        return self.value[layout.places]


@final
class Descent(AbstractUpdate):
    """θ' = θ − α∇."""

    def __init__(self, rate: AbstractRate):
        super().__init__()
        self.rate = rate

    def init(self, value: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def forward(
        self, value: Tensor, gradient: Tensor, memory: Mapping[str, Tensor], layout: Layout
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The next θ."""
        return value - self.rate(layout) * gradient, {}
