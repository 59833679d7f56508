"""Cases of `amortix.ops.curvature_solve`, drawn from a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from amortix.ops.curvature_solve import definition

REGISTERS = {"curvature_solve": 32}

# T, S, O: nothing, one of everything, and either side of 16 tasks and 4 columns (CPU), 32 threads and 32 right-hand
# sides (CUDA), 64 columns (both).
SIZES = [
    (0, 3, 1),
    (2, 3, 0),
    (1, 1, 1),
    (3, 2, 2),
    (15, 3, 1),
    (16, 4, 3),
    (17, 5, 4),
    (33, 15, 5),
    (5, 16, 1),
    (3, 17, 31),
    (3, 31, 32),
    (2, 32, 33),
    (18, 33, 1),
    (2, 63, 2),
    (3, 64, 1),
    (2, 65, 2),
]


def cases() -> dict[str, tuple[Tensor, ...]]:
    """Every size with matrices of full rank and of low rank, and some with one that is not positive definite."""
    drawn = {f"{sizes} rank={rank}": draw(sizes, rank=rank) for sizes in SIZES for rank in (2, 100)}
    for sizes in SIZES[3:]:
        second, *rest = draw(sizes)
        second[1] = -second[1] - torch.eye(sizes[1])
        drawn[f"{sizes} indefinite"] = (second, *rest)
    return drawn


def largest() -> tuple[Tensor, ...]:
    return draw((1, 64, 40))


def crossing() -> tuple[Tensor, ...]:
    return draw((2, 30, 40))


def check(got: Tensor, arguments: tuple[Tensor, ...]) -> None:
    """The residual is within the rounding of a Cholesky solve, entry by entry, and NaN is where it must be.

    ``|A x − g| ≤ (3 S + 8) u · |Uᵀ| |U| |x|`` with u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms,
    theorem 10.4), and a few roundings more for the reciprocals of the pivots and the sum of C and damping.
    """
    second, damping, gradient = (argument.double() for argument in arguments)
    sound = definition(second, damping, gradient).isfinite()
    assert torch.equal(got.isfinite(), sound)
    assert got.isnan().equal(~sound)
    matrix = second.triu() + second.triu(1).mT + torch.diag_embed(damping)
    factor = torch.linalg.cholesky_ex(matrix, upper=True).L.abs()
    x = got.double()
    error = (3 * second.shape[1] + 8) * torch.finfo(torch.float32).eps / 2 * (factor.mT @ (factor @ x.abs()))
    assert ((matrix @ x - gradient).abs() <= error)[sound].all()


def draw(sizes: tuple[int, int, int], *, seed: int = 0, rank: int = 100) -> tuple[Tensor, ...]:
    """Arguments of the operation; the matrices are means over ``rank`` rows."""
    tasks, state, outputs = sizes
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(tasks, rank, state, generator=generator) + 0.5
    damping = torch.rand(tasks, state, generator=generator) * 0.1 + 0.01
    second = rows.mT @ rows / rank
    return (second + second.mT) / 2, damping, torch.randn(tasks, state, outputs, generator=generator)
