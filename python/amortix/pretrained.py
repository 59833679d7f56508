"""A learner together with what it was built from, so that it can be written again into a saved adaptation.

>>> Pretrained.build({"regime": "parametric", "task": "regression"}).learner.regime
'parametric'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, final

from amortix import checkpoint
from amortix.errors import LearnerError
from amortix.learner import AbstractLearner, Task

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
        checkpoint.save_learner(self.learner, self.config, directory / file_of(self.learner.regime), self.card)


def file_of(regime: str) -> str:
    """The name of the weights file of a regime in a saved directory."""
    return f"learner-{regime}.safetensors"


def resolve(learners: Sequence[str | Path | Pretrained], task: Task, outputs: int) -> list[Pretrained]:
    """The learners by name, path or themselves; the name of a regime stands for its bundled learner.

    A bundled learner is trained small, for thousands of synthetic tasks at once, and used at `table_sizes`.

    Raises:
        LearnerError: none, two of one regime, or one of another task.
    """
    origins = [_origin(learner, task, outputs) for learner in learners]
    regimes = [origin.learner.regime for origin in origins]
    if not regimes or len(set(regimes)) < len(regimes):
        raise LearnerError(f"give one learner per regime, not {', '.join(regimes) or 'none'}")
    for origin in origins:
        if origin.learner.task != task:
            raise LearnerError(
                f"the {origin.learner.regime} learner is for {origin.learner.task} and the target asks for "
                f"{task}: choose another learner, or another task by --task"
            )
    return origins


def table_sizes(regime: str, task: Task, outputs: int) -> dict[str, int]:
    """The sizes at which a bundled learner meets a real table: one task, of which there is more to learn.

    Args:
        regime: of the learner.
        task: of the learner.
        outputs: O. A softmax head has S·O parameters and costs their square, so S shrinks with O.
    """
    kernel = {"sample": 4096 if task == "regression" else 1024, "ascent": 20}
    if regime == "parametric":
        return {"sample": 1024} if task == "classification" else {}
    if regime == "explicit":
        return kernel | {"size": 1024 if task == "regression" else max(512 // outputs, 32)}
    return kernel | {"size": 64 if task == "regression" else max(128 // outputs, 16)}


def _origin(learner: str | Path | Pretrained, task: Task, outputs: int) -> Pretrained:
    if isinstance(learner, Pretrained):
        return learner
    if learner in REGIMES:
        return Pretrained.load(f"{learner}-{task}", **table_sizes(str(learner), task, outputs))
    return Pretrained.load(learner)
