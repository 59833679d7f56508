"""The first rows of a stream, kept in the state: what a task's kernel is inferred from.

The kernel of the explicit and of the implicit regime is part of what a task teaches, and must converge, or whatever
was computed under an earlier kernel goes stale. It is therefore inferred from a bounded sample, again at every
doubling of the rows until the sample is full, and stays as it is from then on. All that depends on it up to that
point can be computed anew, exactly, for the sample holds every row seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amortix.batch import Batch

_FIRST_FIT = 16  # rows below which a kernel is not worth fitting


@dataclass(frozen=True)
class Sample:
    """Up to R first rows of each task.

    Attributes:
        x: ``[T, R, D]``, zeros beyond what is filled.
        y: ``[T, R]``.
        weight: ``[T, R]``, zero beyond what is filled.
        rows: filled rows, ``[T]`` int64.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    rows: Tensor

    @classmethod
    def zeros(cls, tasks: int, rows: int, features: int) -> Sample:
        """An empty sample of R = ``rows``."""
        empty = torch.zeros(tasks, rows)
        return cls(torch.zeros(tasks, rows, features), empty, empty, torch.zeros(tasks, dtype=torch.int64))

    @classmethod
    def from_memory(cls, memory: Mapping[str, Tensor]) -> Sample:
        """Read the memory of a `State`."""
        return cls(*(memory[f"sample_{name}"] for name in ("x", "y", "weight", "rows")))

    def memory(self) -> dict[str, Tensor]:
        """The tensors by name, as a `State` carries them."""
        return {f"sample_{name}": getattr(self, name) for name in ("x", "y", "weight", "rows")}

    @property
    def capacity(self) -> int:
        """R."""
        return self.x.shape[1]

    def extend(self, batch: Batch) -> tuple[Sample, Tensor]:
        """Take as many rows of the batch as there is room for.

        Returns:
            The new sample and the weights ``[T, B]`` of the rows that found no room (zero where a row did).
        """
        weight = batch.weights()
        if bool((self.rows == self.capacity).all()):
            return self, weight
        valid = weight > 0
        place = self.rows[:, None] + valid.cumsum(1) - 1
        taken = valid & (place < self.capacity)
        # Rows without room, and padding, land in one slot past the end, which is cut off again.
        place = torch.where(taken, place, self.capacity)
        x, y, w = (_put(old, place, new) for old, new in ((self.x, batch.x), (self.y, batch.y), (self.weight, weight)))
        rows = self.rows + taken.sum(1)
        return Sample(x, y, w, rows), torch.where(taken, 0.0, weight)

    def closed(self) -> Sample:
        """The same rows in a sample that takes no more: what a kernel is inferred from stays as it is."""
        return Sample(self.x, self.y, self.weight, torch.full_like(self.rows, self.capacity))

    def first(self, rows: int) -> Sample:
        """The sample of the first ``rows``, or of all where there are fewer."""
        return Sample(self.x[:, :rows], self.y[:, :rows], self.weight[:, :rows], self.rows.clamp_max(rows))

    def select(self, tasks: Tensor) -> Sample:
        """The samples of some of the tasks, by a mask or indices."""
        return Sample(self.x[tasks], self.y[tasks], self.weight[tasks], self.rows[tasks])


def due(before: Tensor, after: Tensor, capacity: int) -> Tensor:
    """Which tasks' kernels to infer anew: those whose rows doubled or whose sample just filled, ``[T]`` bool."""
    first = min(_FIRST_FIT, capacity)
    grown = torch.floor(torch.log2(after.float())) > torch.floor(torch.log2(before.clamp_min(1).float()))
    return (after > before) & (after >= first) & (grown | (before < first) | (after == capacity))


def _put(old: Tensor, place: Tensor, new: Tensor) -> Tensor:
    spare = torch.cat([old, torch.zeros_like(old[:, :1])], dim=1)
    index = place.view(*place.shape, *[1] * (old.dim() - 2)).expand_as(new)
    return spare.scatter(1, index, new)[:, :-1]
