"""Cases of `amortix.ops.log_evidence`, drawn from a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amortix.ops.local_solve import JITTER
from amortix.ops.log_evidence import density

REGISTERS = {"log_evidence": 48}

# T, N, D, O: nothing, one of everything, and either side of a tile of 32 rows or outputs (CPU); T above the grid of two
# blocks that the emulator runs.
SIZES = [
    (0, 5, 2, 1),
    (2, 0, 2, 1),
    (1, 1, 1, 1),
    (3, 5, 4, 2),
    (1, 31, 3, 1),
    (1, 32, 3, 32),
    (1, 33, 9, 33),
    (1, 65, 2, 3),
]


def cases() -> dict[str, tuple[Tensor, ...]]:
    """Every size with all, some and none of the rows counting."""
    return {f"{sizes} left out={share}": draw(sizes, left_out=share) for sizes in SIZES for share in (0.0, 0.3, 1.0)}


def largest() -> tuple[Tensor, ...]:
    return draw((1, 256, 3, 15))


def crossing() -> tuple[Tensor, ...]:
    return draw((2, 40, 3, 2))


def check(got: tuple[Tensor, ...], arguments: tuple[Tensor, ...]) -> None:
    """Compare with the value in float64 and its slopes by automatic differentiation, to a float32 Cholesky's error.

    A solve is off by N · eps · cond(A) of its size (Higham, theorem 10.4). The value is a sum of the fit and a
    logarithm of pivots; a slope is Σ G ∘ ∂A, whose two parts are at most ``½ (Σ α α'/O + A⁻¹) ∘ |∂A|`` each.
    """
    precise = [argument.double() for argument in arguments]
    leaves = [log.requires_grad_() for log in precise[3:]]
    value = density(*precise)
    slopes = torch.autograd.grad(value.sum(), leaves)
    wanted = value.detach(), *slopes
    assert [tensor.shape for tensor in got] == [tensor.shape for tensor in wanted]
    for task in range(len(value)):
        scales, error = _scales([argument.detach()[task] for argument in precise])
        for one, other, scale in zip(got, wanted, scales, strict=True):
            torch.testing.assert_close(one[task].double(), other[task], rtol=0, atol=error * scale)


def _scales(arguments: list[Tensor]) -> tuple[list[float], float]:
    """The sizes of what is summed up in the value and in each slope of one task, and the relative error."""
    x, y, weight, *logs = arguments
    x, y = x[weight > 0], y[weight > 0]
    relevance, signal, stretch, linear, noise = (log.exp() for log in logs)
    rows = len(x)
    squared = relevance * (x[:, None] - x).square()
    square = squared.sum(-1)
    radius = square.sqrt()
    rough, smooth = signal[0] * torch.exp(-radius), signal[1] * torch.exp(-stretch * square / 2)
    straight = linear * (1 + x @ x.mT).abs()
    prior = rough + smooth + linear * (1 + x @ x.mT)
    mean = float(prior.diagonal().mean()) if rows else 1.0
    added = float(noise) + JITTER * mean
    inverse = torch.linalg.inv(prior + added * torch.eye(rows, dtype=x.dtype))
    solved = inverse @ y
    size = 0.5 * ((solved @ solved.mT).abs() / y.shape[1] + inverse.abs())
    diagonal = float(size.diagonal().sum())
    bent = size * (rough / radius.clamp_min(1e-30) + stretch * smooth)
    fit = float((y * solved).sum()) / y.shape[1]
    scales = [
        fit + rows * math.log(2 * math.pi * (mean + added) / added),
        float((bent[..., None] * squared).sum((0, 1)).max()),
        float((size * torch.maximum(rough, smooth)).sum()) + diagonal * JITTER * mean,
        float((size * smooth * stretch * square).sum()),
        float((size * straight).sum()) + diagonal * JITTER * mean,
        diagonal * float(noise),
    ]
    condition = (rows * mean + added) / added
    return [scale + 1e-30 for scale in scales], max(rows, 8) * torch.finfo(torch.float32).eps * condition


def draw(sizes: tuple[int, int, int, int], *, seed: int = 0, left_out: float = 0.3) -> tuple[Tensor, ...]:
    """Arguments of the operation; a share ``left_out`` of the rows, anywhere, has weight zero and NaN content."""
    tasks, rows, columns, outputs = sizes
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tasks, rows, columns, generator=generator)
    y = torch.randn(tasks, rows, outputs, generator=generator)
    weight = 2 * (torch.rand(tasks, rows, generator=generator) >= left_out).float()
    x, y = (torch.where(weight[..., None] > 0, values, math.nan) for values in (x, y))
    logs = [
        torch.randn(shape, generator=generator) / 2 - 1 for shape in ((tasks, columns), (tasks, 2), tasks, tasks, tasks)
    ]
    return x, y, weight, *logs
