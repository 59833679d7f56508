"""What a method says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from amortix.learner import AbstractLearner


@dataclass(frozen=True)
class Method:
    """A named method.

    Attributes:
        title: as the literature names it.
        construct: makes an untrained learner of a task, ``construct(task, **arguments)``.
        amortises: what is learned once for all tasks instead of for each.
        fixes: what is never learned.
        carries: the state from one mini-batch to the next.
        sees: what the adapter or refiner is shown of a mini-batch.
        source: the paper.
        rows: what a row is: numbers, the pixels of an image, or the tokens of a text.
    """

    title: str
    construct: Callable[..., AbstractLearner]
    amortises: str
    fixes: str
    carries: str
    sees: str
    source: str
    rows: Literal["numbers", "images", "texts"] = "numbers"
