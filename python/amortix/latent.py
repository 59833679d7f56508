"""What the explicit and implicit regimes infer of a task before its head: a kernel, and a basis of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amortix.basis import Basis
from amortix.batch import Batch
from amortix.foresight import foresee
from amortix.kernel import Kernel, fit
from amortix.sample import Sample, due

_EXPLAINED = 1024  # rows that the evidence is of, whose cost is their number cubed


@dataclass(frozen=True)
class Latent:
    """A kernel and a basis of it, from a task's first rows; a basis of no rows takes no part.

    Attributes:
        sample: the first rows.
        kernel: inferred from them.
        basis: the first S of them, under that kernel.
    """

    sample: Sample
    kernel: Kernel
    basis: Basis

    @classmethod
    def begin(cls, tasks: int, rows: int, features: int, size: int) -> Latent:
        """An empty sample of R = ``rows``, the wide kernel and an empty basis of at most S = ``size`` ≤ R rows."""
        kernel = Kernel.wide(torch.ones(tasks, 1, features), torch.ones(tasks, 1))
        return cls(Sample.zeros(tasks, rows, features), kernel, Basis.empty(tasks, size, features))

    @classmethod
    def from_memory(cls, memory: Mapping[str, Tensor]) -> Latent:
        """Read the memory of a `State`."""
        return cls(Sample.from_memory(memory), Kernel.from_memory(memory), Basis.from_memory(memory))

    def memory(self) -> dict[str, Tensor]:
        """The tensors by name, as a `State` carries them."""
        return self.sample.memory() | self.kernel.memory() | self.basis.memory()

    def extend(self, batch: Batch, sides: Callable[[Tensor], Tensor], ascent: int) -> tuple[Latent, Tensor, Tensor]:
        """Take the batch's rows while there is room, and infer kernel and basis anew where the rows have doubled.

        Args:
            batch: the next mini-batch.
            sides: from targets ``[T, R]`` to what the kernel explains, ``[T, R, O]``.
            ascent: steps of the inference; with 0 the kernel stays wide.

        Returns:
            The new latent, the weights of the rows without room ``[T, B]``, and which tasks were inferred anew ``[T]``.
        """
        sample, beyond = self.sample.extend(batch)
        refit = due(self.sample.rows, sample.rows, sample.capacity)
        if ascent == 0 or not bool(refit.any()):
            return Latent(sample, self.kernel, self.basis), beyond, torch.zeros_like(refit)
        chosen = sample.select(refit)
        found = _inferred(self.kernel.select(refit), chosen, sides, ascent)
        basis = self.basis.where(refit, Basis.of(chosen, found, self.basis.rows.shape[1]))
        return Latent(sample, self.kernel.where(refit, found), basis), beyond, refit

    def features(self, x: Tensor) -> Tensor:
        """The basis at x ``[T, M, D]``, ``[T, M, S]``."""
        return self.basis.features(x, self.kernel)

    def beyond(self, features: Tensor) -> Tensor:
        """Variance of the kernel's local part that features ``[T, M, S]`` lack, over the noise's, ``[T, M]``."""
        return self.basis.beyond(features, self.kernel)

    def select(self, tasks: Tensor) -> Latent:
        """The latents of some of the tasks, by a mask."""
        memory = {name: tensor[tasks] for name, tensor in self.memory().items()}
        return Latent.from_memory(memory)


def _inferred(kernel: Kernel, sample: Sample, sides: Callable[[Tensor], Tensor], ascent: int) -> Kernel:
    """From the evidence of the first rows, and from then on moved to foretell all of them."""
    few, many = sample.rows <= _EXPLAINED, sample.rows >= _EXPLAINED
    if bool(few.any()):
        first = sample.select(few).first(_EXPLAINED)
        kernel = kernel.where(few, fit(first.x, sides(first.y), first.weight, ascent=ascent))
    if bool(many.any()):
        held = sample.select(many)
        moved = foresee(kernel.select(many), held.x, sides(held.y), held.weight, ascent=ascent)
        kernel = kernel.where(many, moved)
    return kernel
