"""Inputs of the operations, drawn from a seed, shared by the tests of all bodies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amortix.ops import reference

# T, M, B, D, O, K: nothing, one of everything, and either side of every block of any body: 16 rows, 32
# queries and 128 rows of a tile (CPU), 128 threads and 512 rows (CUDA), 256 slots.
MERGE_SIZES = [
    (0, 3, 5, 2, 1, 4),
    (2, 0, 5, 2, 1, 4),
    (2, 3, 0, 2, 1, 4),
    (1, 1, 1, 1, 1, 1),
    (2, 3, 5, 4, 2, 4),
    (3, 31, 15, 3, 1, 5),
    (1, 32, 16, 3, 1, 16),
    (2, 33, 17, 3, 2, 18),
    (1, 2, 127, 32, 1, 127),
    (1, 2, 128, 32, 1, 128),
    (1, 2, 129, 33, 1, 129),
    (1, 3, 511, 2, 1, 255),
    (1, 3, 512, 2, 1, 256),
    (1, 3, 513, 2, 1, 64),
    (1, 1, 1100, 2, 10, 256),
]

# T, M, K, D, O: the same, for 16 queries (CPU), 32-thread warps and stages of 8 columns (CUDA).
SOLVE_SIZES = [
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


def merge_case(
    sizes: tuple[int, int, int, int, int, int], *, seed: int = 0, ties: bool = False, steps: int = 1
) -> tuple[Tensor, ...]:
    """Arguments of `context_merge` after ``steps`` earlier merges; with ``ties`` coordinates are 0, 1, 2."""
    tasks, queries, batch, columns, outputs, kept = sizes
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        if ties:
            return torch.randint(0, 3, shape, generator=generator).float()
        return torch.randn(shape, generator=generator)

    query = draw(tasks, queries, columns)
    relevance = torch.rand(tasks, columns, generator=generator) + 0.1
    state = (
        torch.full((tasks, queries, kept), math.inf),
        torch.zeros(tasks, queries, kept, columns),
        torch.zeros(tasks, queries, kept, outputs),
    )
    for step in range(steps + 1):
        rows, values = draw(tasks, batch, columns), torch.randn(tasks, batch, outputs, generator=generator)
        weight = (torch.rand(tasks, batch, generator=generator) > 0.3).float() * 2
        if step < steps:
            state = reference.context_merge(query, rows, values, relevance, *state, weight)
    return query, rows, values, relevance, *state, weight


def solve_case(sizes: tuple[int, int, int, int, int], *, seed: int = 0, empty: float = 0.3) -> tuple[Tensor, ...]:
    """Arguments of `local_solve`; a share ``empty`` of the slots is empty, anywhere, with NaN content."""
    tasks, queries, kept, columns, outputs = sizes
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(tasks, queries, columns, generator=generator)
    kept_x = query[:, :, None] + torch.randn(tasks, queries, kept, columns, generator=generator)
    residual = torch.randn(tasks, queries, kept, outputs, generator=generator)
    relevance = torch.rand(tasks, columns, generator=generator) / columns + 0.1
    signal = torch.rand(tasks, generator=generator) + 0.5
    noise = torch.rand(tasks, generator=generator) * 0.2 + 0.05
    vacant = torch.rand(tasks, queries, kept, generator=generator) < empty
    distance = torch.where(vacant, math.inf, 1.0)
    kept_x = torch.where(vacant[..., None], math.nan, kept_x)
    residual = torch.where(vacant[..., None], math.nan, residual)
    return query, kept_x, residual, distance, relevance, signal, noise


def assert_solves(got: tuple[Tensor, Tensor], arguments: tuple[Tensor, ...]) -> None:
    """Compare with the definition in float64, to the textbook error of a float32 Cholesky solve.

    That is K · eps · cond(A), with cond(A) ≤ (K · signal + noise) / noise, relative to the largest result
    (Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.4).
    """
    wanted = reference.local_solve(*(argument.double() for argument in arguments))
    assert [tensor.shape for tensor in got] == [tensor.shape for tensor in wanted]
    if wanted[1].numel() == 0:
        return
    kept, signal, noise = arguments[3].shape[-1], arguments[5], arguments[6]
    condition = ((kept * signal + noise) / noise).max()
    error = kept * torch.finfo(torch.float32).eps * float(condition)
    torch.testing.assert_close(got[0].double(), wanted[0], rtol=0, atol=error * float(wanted[0].abs().max()) + 1e-30)
    torch.testing.assert_close(got[1].double(), wanted[1], rtol=0, atol=error * float(signal.max()))
