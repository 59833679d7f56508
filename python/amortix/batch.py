"""What flows between a stream, a learner and its user: batches, states, predictions.

The axis letters of the whole project:

====  =====================================================================================
T     tasks; a real table is one task
B     context points of one mini-batch
M     query points
D     input columns; a task with fewer columns than its neighbours is padded with zeros
O     outputs: 1 for regression, the number of classes for classification
P     parameters or features of a predictor
K     retained rows of a query
====  =====================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes; what torch gives its own allocations


def own(array: np.ndarray | Tensor) -> Tensor:
    """An array as a tensor that starts where torch's own memory would; copied only if it does not.

    Matrix products choose their kernels by alignment, and kernels differ in the last bit. The same numbers must give
    the same result whether they were computed, read from a file or lent by another library.
    """
    tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tensor.clone()


@dataclass(frozen=True)
class Batch:
    """A mini-batch of context points for each of T tasks.

    Attributes:
        x: inputs, ``[T, B, D]`` float32. Columns beyond a task's own are zero, and zero columns are inert.
        y: targets, ``[T, B]`` float32; for classification the class index as a whole number.
        weight: ``[T, B]`` float32, or None for all ones. Rows of weight zero are padding, and inert.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None

    def weights(self) -> Tensor:
        """The weights, ``[T, B]``, ones where none were given."""
        return torch.ones_like(self.y) if self.weight is None else self.weight


@dataclass(frozen=True)
class TaskBatch:
    """What meta-training draws: a context to step on and a fresh query to be judged by.

    Attributes:
        context: the mini-batch of each task.
        query_x: ``[T, M, D]``.
        query_y: ``[T, M]``.
        signal: ``[T, M, O]``, the noise-free mean or the true class probabilities at the query.
    """

    context: Batch
    query_x: Tensor
    query_y: Tensor
    signal: Tensor


@dataclass(frozen=True)
class Prediction:
    """A predictive distribution at M query points of T tasks.

    Attributes:
        mean: ``[T, M, O]``; for classification the class probabilities, which sum to one over O.
        variance: ``[T, M, O]`` of a new observation for regression, None for classification.
        log_density: of targets ``[T, M]``, ``[T, M]``, where the prediction is not what `log_likelihood` takes it for.
    """

    mean: Tensor
    variance: Tensor | None = None
    log_density: Callable[[Tensor], Tensor] | None = None

    def log_likelihood(self, y: Tensor) -> Tensor:
        """Log probability (nats) of classes, or log density of numbers under a normal law, ``[T, M]``."""
        if self.log_density is not None:
            return self.log_density(y)
        if self.variance is None:
            chosen = self.mean.gather(2, y.long().unsqueeze(2)).squeeze(2)
            return chosen.clamp_min(torch.finfo(chosen.dtype).tiny).log()
        variance = self.variance.squeeze(2)
        return -((y - self.mean.squeeze(2)).square() / variance + (2 * math.pi * variance).log()) / 2


@dataclass(frozen=True)
class State:
    """What a learner carries between mini-batches: immutable, explicit, all of it tensors with a leading T.

    Attributes:
        value: the current solution, as parameters or as the natural parameters that they are read from. ``[T, ...]``.
        memory: what else the update rule carries, by name. ``[T, ...]`` each.
        age: steps taken, ``[T]`` int64.
    """

    value: Tensor
    age: Tensor
    memory: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name: ``value``, ``age`` and ``memory.<name>``; the inverse of `from_tensors`."""
        return {"value": self.value, "age": self.age} | {f"memory.{k}": v for k, v in self.memory.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> State:
        """Rebuild a state from what `tensors` returned."""
        prefix = "memory."
        memory = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        return cls(own(tensors["value"]), own(tensors["age"]), {k: own(v) for k, v in memory.items()})

    def map(self, f: Callable[[Tensor], Tensor]) -> State:
        """Apply ``f`` to every tensor: move to a device, detach, index tasks."""
        return State.from_tensors({k: f(v) for k, v in self.tensors().items()})
