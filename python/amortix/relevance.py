"""A task's kernel from its first rows: one relevance per column, the amplitudes, the noise.

The kernel is exp(linear)·(1 + x·x') + exp(signal)·exp(−√Σ ρ_d (x_d − x'_d)²) + exp(noise)·δ, and its parameters climb
the log marginal likelihood of a bounded sample of rows by a few steps of Adam from a wide start (every column equally
relevant, distances of typical rows about one).

References:
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2.2 and 5.4 (automatic relevance
    determination); Kingma and Ba, "Adam", ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from amortix.batch import Batch
from amortix.ops import log_evidence
from amortix.sample import Sample, due

_RATE = 0.4  # Adam's step size for the logarithms
_BOUND = 10.0


@dataclass(frozen=True)
class Kernel:
    """The logarithms of a kernel's parameters for each of T tasks.

    Attributes:
        relevance: log ρ, ``[T, D]``.
        signal: log variance of the local part, ``[T]``.
        linear: log variance of the linear part, ``[T]``.
        noise: log variance of the noise, ``[T]``.
    """

    relevance: Tensor
    signal: Tensor
    linear: Tensor
    noise: Tensor

    @classmethod
    def wide(cls, x: Tensor, weight: Tensor) -> Kernel:
        """The start: equal relevance over the columns that vary, for x ``[T, R, D]`` and weight ``[T, R]``."""
        used = ((x * weight.unsqueeze(2)).abs().amax(1) > 0).sum(1).clamp_min(1)
        start = -used.to(x.dtype).log()
        ones = torch.ones_like(start)
        return cls(start[:, None].expand(-1, x.shape[2]).contiguous(), -1 * ones, -1 * ones, -1 * ones)

    @classmethod
    def from_memory(cls, memory: Mapping[str, Tensor]) -> Kernel:
        """Read the memory of a `State`."""
        return cls(*(memory[f"kernel_{name}"] for name in ("relevance", "signal", "linear", "noise")))

    def memory(self) -> dict[str, Tensor]:
        """The tensors by name, as a `State` carries them."""
        return {f"kernel_{name}": getattr(self, name) for name in ("relevance", "signal", "linear", "noise")}

    def where(self, tasks: Tensor, other: Kernel) -> Kernel:
        """This kernel with the tasks under the mask ``[T]`` replaced by those of ``other`` (only those tasks)."""
        replaced = []
        for mine, theirs in zip(self.memory().values(), other.memory().values(), strict=True):
            new = mine.clone()
            new[tasks] = theirs
            replaced.append(new)
        return Kernel(*replaced)


@dataclass(frozen=True)
class Latent:
    """What the explicit and implicit regimes infer of a task before its head: a kernel, from its first rows.

    Attributes:
        sample: the first rows.
        kernel: inferred from them.
    """

    sample: Sample
    kernel: Kernel

    @classmethod
    def begin(cls, tasks: int, rows: int, features: int) -> Latent:
        """An empty sample of R = ``rows`` and the wide kernel."""
        kernel = Kernel.wide(torch.ones(tasks, 1, features), torch.ones(tasks, 1))
        return cls(Sample.zeros(tasks, rows, features), kernel)

    @classmethod
    def from_memory(cls, memory: Mapping[str, Tensor]) -> Latent:
        """Read the memory of a `State`."""
        return cls(Sample.from_memory(memory), Kernel.from_memory(memory))

    def memory(self) -> dict[str, Tensor]:
        """The tensors by name, as a `State` carries them."""
        return self.sample.memory() | self.kernel.memory()

    def closed(self) -> Latent:
        """The same kernel, to be inferred no more."""
        return Latent(self.sample.closed(), self.kernel)

    def extend(self, batch: Batch, sides: Callable[[Tensor], Tensor], ascent: int) -> tuple[Latent, Tensor, Tensor]:
        """Take the batch's rows while there is room, and infer the kernel anew where the rows have doubled.

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
            return Latent(sample, self.kernel), beyond, torch.zeros_like(refit)
        chosen = sample.select(refit)
        found = fit(chosen.x, sides(chosen.y), chosen.weight, ascent=ascent)
        return Latent(sample, self.kernel.where(refit, found)), beyond, refit


def fit(x: Tensor, y: Tensor, weight: Tensor, *, ascent: int) -> Kernel:
    """Fit the kernel to rows by ``ascent`` steps on their log marginal likelihood.

    Args:
        x: ``[T, R, D]``.
        y: ``[T, R, O]``, about zero mean; one-hot for classification.
        weight: ``[T, R]``; rows of weight zero are left out.
        ascent: number of steps.
    """
    kernel = Kernel.wide(x, weight)
    leaves = [t.clone().requires_grad_() for t in kernel.memory().values()]
    power = (y.square().mean(2) * weight).sum(1) / weight.sum(1).clamp_min(1.0)
    unit = power.clamp_min(1e-12).sqrt()[:, None, None]
    optimizer = torch.optim.Adam(leaves, lr=_RATE, betas=(0.8, 0.95))
    with torch.enable_grad():
        for _ in range(ascent):
            optimizer.zero_grad(set_to_none=True)
            evidence = log_evidence(x, y / unit, weight, *leaves)
            (-evidence / weight.sum(1).clamp_min(1.0)).sum().backward()
            optimizer.step()
    found = [t.detach().clamp(-_BOUND, _BOUND) for t in leaves]
    scale = 2 * unit.reshape(-1).log()
    return Kernel(found[0], *(t + scale for t in found[1:]))
