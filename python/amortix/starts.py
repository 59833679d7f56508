"""Where the parameters of every task start: learned across tasks, or drawn once and kept."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from amortix.contracts import AbstractPredictor, AbstractStart
from amortix.layout import Layout


@final
class LearnedStart(AbstractStart):
    """θ⁽⁰⁾ learned across tasks: what MAML amortises."""

    def __init__(self, predictor: AbstractPredictor):
        super().__init__()
        self.value = nn.Parameter(predictor.initial())

    def forward(self, layout: Layout) -> Tensor:
        """``[P]``."""
        return self.value[layout.places]


@final
class FixedStart(AbstractStart):
    """θ⁽⁰⁾ drawn once; saved with the learner."""

    value: Tensor

    def __init__(self, predictor: AbstractPredictor):
        super().__init__()
        self.register_buffer("value", predictor.initial())

    def forward(self, layout: Layout) -> Tensor:
        """``[P]``."""
        return self.value[layout.places]
