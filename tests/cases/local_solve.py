"""Cases of `amortix.ops.local_solve`, drawn from a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amortix.ops import MAX_KEPT
from amortix.ops.local_solve import definition

REGISTERS = {"local_solve": 32}

# T, M, K, D, O: nothing, one of everything, and either side of 16 queries (CPU), 32-thread warps and stages of 8
# columns (CUDA).
SIZES = [
    (0, 3, 4, 2, 1),
    (2, 0, 4, 2, 1),
    (1, 1, 1, 1, 1),
    (2, 3, 4, 7, 2),
    (1, 15, 29, 8, 1),
    (1, 16, 30, 9, 1),
    (1, 17, 31, 16, 2),
    (1, 2, 64, 17, 10),
    (1, 1, 256, 4, 3),
]


def cases() -> dict[str, tuple[Tensor, ...]]:
    """Every size with none, some and all of the slots empty."""
    return {f"{sizes} empty={empty}": draw(sizes, empty=empty) for sizes in SIZES for empty in (0.0, 0.3, 1.0)}


def largest() -> tuple[Tensor, ...]:
    return draw((1, 1, MAX_KEPT, 128, 10))


def crossing() -> tuple[Tensor, ...]:
    return draw((1, 3, 40, 17, 2))


def check(got: tuple[Tensor, Tensor], arguments: tuple[Tensor, ...]) -> None:
    """Compare with the definition in float64, to the textbook error of a float32 Cholesky solve.

    That is K · eps · cond(A), with cond(A) ≤ (K · prior + noise) / noise, relative to the largest result
    (Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.4).
    """
    wanted = definition(*(argument.double() for argument in arguments))
    assert [tensor.shape for tensor in got] == [tensor.shape for tensor in wanted]
    if wanted[1].numel() == 0:
        return
    error, prior = arguments[3].shape[-1] * torch.finfo(torch.float32).eps * condition(arguments), arguments[5].sum(-1)
    torch.testing.assert_close(got[0].double(), wanted[0], rtol=0, atol=error * float(wanted[0].abs().max()) + 1e-30)
    torch.testing.assert_close(got[1].double(), wanted[1], rtol=0, atol=error * float(prior.max()))


def condition(arguments: tuple[Tensor, ...]) -> float:
    """A bound on the condition of every covariance."""
    kept, prior, noise = arguments[3].shape[-1], arguments[5].sum(-1), arguments[7]
    return float(((kept * prior + noise) / noise).max())


def draw(sizes: tuple[int, int, int, int, int], *, seed: int = 0, empty: float = 0.3) -> tuple[Tensor, ...]:
    """Arguments of the operation; a share ``empty`` of the slots is empty, anywhere, with NaN content."""
    tasks, queries, kept, columns, outputs = sizes
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(tasks, queries, columns, generator=generator)
    kept_x = query[:, :, None] + torch.randn(tasks, queries, kept, columns, generator=generator)
    residual = torch.randn(tasks, queries, kept, outputs, generator=generator)
    relevance = torch.rand(tasks, columns, generator=generator) / columns + 0.1
    signal = torch.rand(tasks, 2, generator=generator) + 0.25
    stretch = torch.rand(tasks, generator=generator) + 0.5
    noise = torch.rand(tasks, generator=generator) * 0.2 + 0.05
    vacant = torch.rand(tasks, queries, kept, generator=generator) < empty
    distance = torch.where(vacant, math.inf, 1.0)
    kept_x = torch.where(vacant[..., None], math.nan, kept_x)
    residual = torch.where(vacant[..., None], math.nan, residual)
    return query, kept_x, residual, distance, relevance, signal, stretch, noise
