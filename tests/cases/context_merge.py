"""Cases of `amortix.ops.context_merge`, drawn from a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amortix.ops import MAX_KEPT
from amortix.ops.context_merge import definition

REGISTERS = {"context_merge": 32}

# T, M, B, D, O, K: nothing, one of everything, and either side of every block of any body: 64 rows, 32
# queries and 128 rows of a tile (CPU), 128 threads and 512 rows (CUDA), 256 slots.
SIZES = [
    (0, 3, 5, 2, 1, 4),
    (2, 0, 5, 2, 1, 4),
    (2, 3, 0, 2, 1, 4),
    (1, 1, 1, 1, 1, 1),
    (2, 3, 5, 4, 2, 4),
    (3, 31, 15, 3, 1, 5),
    (1, 32, 16, 3, 1, 16),
    (2, 33, 17, 3, 2, 18),
    (1, 2, 63, 3, 1, 9),
    (1, 2, 64, 3, 1, 9),
    (1, 2, 65, 3, 1, 9),
    (1, 2, 127, 32, 1, 127),
    (1, 2, 128, 32, 1, 128),
    (1, 2, 129, 33, 1, 129),
    (1, 3, 511, 2, 1, 255),
    (1, 3, 512, 2, 1, 256),
    (1, 3, 513, 2, 1, 64),
    (1, 1, 1100, 2, 10, 256),
]


def cases() -> dict[str, tuple[Tensor | None, ...]]:
    """Every size with and without ties, into an empty context and into a full one, with and without weights."""
    drawn: dict[str, tuple[Tensor | None, ...]] = {}
    for sizes in SIZES:
        for ties in (False, True):
            for steps in (0, 2):
                drawn[f"{sizes} ties={ties} steps={steps}"] = draw(sizes, ties=ties, steps=steps)
        drawn[f"{sizes} unweighted"] = (*draw(sizes)[:-1], None)
    return drawn


def largest() -> tuple[Tensor, ...]:
    return draw((1, 1, 1, 128, 10, MAX_KEPT), steps=0)


def crossing() -> tuple[Tensor, ...]:
    """Two chunks of rows: after an even number the merged list lies where the next query's is loaded."""
    return draw((1, 3, 600, 2, 1, 64))


def check(got: tuple[Tensor, ...], arguments: tuple[Tensor | None, ...]) -> None:
    """Equal to the last bit."""
    for one, other in zip(got, definition(*arguments), strict=True):
        assert one.shape == other.shape
        assert torch.equal(one, other)


def draw(
    sizes: tuple[int, int, int, int, int, int], *, seed: int = 0, ties: bool = False, steps: int = 1
) -> tuple[Tensor, ...]:
    """Arguments of the operation after ``steps`` earlier merges; with ``ties`` coordinates are 0, 1, 2."""
    tasks, queries, batch, columns, outputs, kept = sizes
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        if ties:
            return torch.randint(0, 3, shape, generator=generator).float()
        return torch.randn(shape, generator=generator)

    query = numbers(tasks, queries, columns)
    relevance = torch.rand(tasks, columns, generator=generator) + 0.1
    state = (
        torch.full((tasks, queries, kept), math.inf),
        torch.zeros(tasks, queries, kept, columns),
        torch.zeros(tasks, queries, kept, outputs),
    )
    for step in range(steps + 1):
        rows, values = numbers(tasks, batch, columns), torch.randn(tasks, batch, outputs, generator=generator)
        weight = (torch.rand(tasks, batch, generator=generator) > 0.3).float() * 2
        if step < steps:
            state = definition(query, rows, values, relevance, *state, weight)
    return query, rows, values, relevance, *state, weight
