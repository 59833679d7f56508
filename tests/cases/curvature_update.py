"""Cases of `amortix.ops.curvature_update`, drawn from a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amortix.ops.curvature_update import definition

REGISTERS = {"curvature_update": 48}

# T, B, S: nothing, one of everything, and either side of 16 tasks, panels of 16 and 32 columns and 129 columns from
# which on tiles are shared (CPU), 4 columns, 32 rows and 64 columns (CUDA).
SIZES = [
    (0, 5, 3),
    (2, 0, 3),
    (1, 1, 1),
    (2, 3, 4),
    (15, 31, 5),
    (16, 32, 15),
    (17, 33, 16),
    (2, 65, 17),
    (1, 4, 31),
    (2, 5, 32),
    (1, 6, 33),
    (1, 33, 63),
    (2, 32, 64),
    (1, 7, 65),
    (2, 3, 128),
    (2, 4, 129),
    (1, 5, 200),
]


def cases() -> dict[str, tuple[Tensor | None, ...]]:
    """Every size with a share of inert rows, with none and with nothing else, and without weights."""
    drawn: dict[str, tuple[Tensor | None, ...]] = {}
    for sizes in SIZES:
        for inert in (0.0, 0.3, 1.0):
            drawn[f"{sizes} inert={inert}"] = draw(sizes, inert=inert)
        drawn[f"{sizes} unweighted"] = (*draw(sizes, inert=0.0)[:-1], None)
    return drawn


def largest() -> tuple[Tensor, ...]:
    return draw((1, 40, 64))


def crossing() -> tuple[Tensor, ...]:
    return draw((3, 70, 30))


def check(got: tuple[Tensor, Tensor], arguments: tuple[Tensor | None, ...]) -> None:
    """Compare with the definition in float64, entry by entry, to the error bound of a sum in any order.

    B products and B weights, a handful of factors: ``(2 B + 16) u`` of the sum of absolute terms, with u = 2⁻²⁴
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    """
    second, count, jacobian, weight = (None if argument is None else argument.double() for argument in arguments)
    assert second is not None
    assert count is not None
    assert jacobian is not None
    wanted, total = definition(second, count, jacobian, weight)
    magnitude, _ = definition(second.abs(), count, jacobian.abs(), weight)
    assert [tensor.shape for tensor in got] == [wanted.shape, total.shape]
    error = (2 * jacobian.shape[1] + 16) * torch.finfo(torch.float32).eps / 2
    assert ((got[0] - wanted).abs() <= error * magnitude).all()
    assert ((got[1] - total).abs() <= error * total).all()


def draw(sizes: tuple[int, int, int], *, seed: int = 0, inert: float = 0.3) -> tuple[Tensor, ...]:
    """Arguments of the operation; a share ``inert`` of the rows has weight zero and NaN content, and every third task
    has seen nothing yet."""
    tasks, batch, state = sizes
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn(tasks, state + 2, state, generator=generator)
    second = before.mT @ before / (state + 2)
    second, count = (second + second.mT) / 2, torch.rand(tasks, generator=generator) * 100
    second[::3], count[::3] = 0.0, 0.0
    jacobian = torch.randn(tasks, batch, state, generator=generator) + 0.5
    weight = torch.rand(tasks, batch, generator=generator) + 0.1
    vacant = torch.rand(tasks, batch, generator=generator) < inert
    jacobian = torch.where(vacant[..., None], math.nan, jacobian)
    return second, count, jacobian, torch.where(vacant, 0.0, weight)
