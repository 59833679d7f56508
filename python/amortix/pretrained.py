"""A learner together with what it was built from, so that it can be written again into a saved adaptation.

>>> Pretrained.build({"regime": "parametric", "task": "regression"}).learner.regime
'parametric'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, final

from amortix import checkpoint
from amortix.learner import AbstractLearner

REGIMES = ("parametric", "explicit", "implicit")


@final
@dataclass(frozen=True)
class Pretrained:
    """A learner and its origin.

    Attributes:
        learner: ready for use.
        config: what `amortix.checkpoint.build` makes its like from.
        card: how it was trained; empty where it was not.
    """

    learner: AbstractLearner
    config: Mapping[str, Any]
    card: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str | Path, **sizes: Any) -> Self:
        """A bundled learner by name, or one from a file; arguments and errors as `checkpoint.load`."""
        config, _ = checkpoint.read(checkpoint.locate(name))
        return cls(checkpoint.load(name, **sizes), config | sizes, checkpoint.card(name))

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> Self:
        """An untrained learner from ``{"regime": ..., "task": ..., **arguments}``."""
        return cls(checkpoint.build(config).eval().requires_grad_(False), dict(config))

    def save(self, directory: Path) -> None:
        """Write weights and card into a directory that is being filled."""
        checkpoint.save_learner(
            self.learner, self.config, directory / file_of(self.learner.regime), self.card
        )


def file_of(regime: str) -> str:
    """The name of the weights file of a regime in a saved directory."""
    return f"learner-{regime}.safetensors"
