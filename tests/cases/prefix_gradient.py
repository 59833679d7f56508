"""Cases of `amortix.ops.prefix_gradient`, drawn from a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amortix.ops.prefix_gradient import definition

REGISTERS = {"prefix_gradient": 57}
EPS = torch.finfo(torch.float32).eps

# T, B, D, O: nothing, one of everything, and either side of 8 lanes and of a piece of work (CPU), of 32 rows, 32 lanes
# and 512 elements of a matrix (CUDA).
SIZES = [
    (0, 3, 2, 1),
    (2, 0, 2, 1),
    (2, 0, 3, 4),
    (1, 1, 1, 1),
    (2, 31, 7, 1),
    (3, 32, 8, 1),
    (2, 33, 9, 1),
    (1, 5, 31, 2),
    (2, 7, 32, 7),
    (1, 8, 33, 8),
    (1, 9, 5, 9),
    (1, 33, 6, 17),
    (1, 5, 64, 8),
    (1, 5, 171, 3),
    (4, 65, 129, 1),
]

Case = tuple[Tensor, Tensor, Tensor, Tensor | None, int]


def cases() -> dict[str, Case]:
    """Every size with all prefixes and weights, and as a whole without weights; two sizes the other way round too."""
    drawn: dict[str, Case] = {}
    for sizes in SIZES:
        theta, x, y, weight = draw(sizes)
        drawn[f"{sizes} weighted"] = theta, x, y, weight, sizes[1]
        drawn[f"{sizes} whole"] = theta, *whole(x, y), None, 1
        if sizes in ((2, 33, 9, 1), (1, 9, 5, 9)):
            drawn[f"{sizes}"] = theta, *whole(x, y), None, sizes[1]
            drawn[f"{sizes} whole weighted"] = theta, x, y, weight, 1
    return drawn


def largest() -> Case:
    return (*draw((1, 1, 2, 1000)), 1)


def crossing() -> Case:
    """Two parts of a matrix and three blocks of rows."""
    return (*draw((2, 70, 35, 15)), 70)


def check(got: Tensor, arguments: Case) -> None:
    """Compare with the definition in float64, to the error bound of its sums in float32, to first order.

    A dot product of n terms errs by n · eps of the sum of its absolute terms (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1); a softmax by twice the error of its scores, and eps for each class summed.
    """
    theta, x, y, weight, prefixes = precise(arguments)
    wanted = definition(theta, x, y, weight, prefixes)
    assert got.shape == wanted.shape
    if wanted.numel() == 0:
        return
    batch = x.shape[1]
    side = definition_of_sides(theta, x, y)
    error = side_error(theta, x, y) + (2 * batch + 6) * EPS * side.abs()
    bound = mean_of_products(x.abs(), error, weight, prefixes)
    assert ((got.double() - wanted).abs() <= bound + 1e-30).all()


def precise(arguments: Case) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """In float64, with ones for no weights and zeros for padding."""
    theta, x, y, weight, prefixes = arguments
    weight = torch.ones_like(y) if weight is None else weight.clamp_min(0)
    return theta.double(), x.nan_to_num().double(), y.nan_to_num().double(), weight.double(), prefixes


def definition_of_sides(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The residuals by the definition: the gradient of each row alone with respect to a column of ones is its own."""
    scores = torch.einsum("tbd,tdo->tbo", x, theta).requires_grad_()
    if theta.shape[-1] == 1:
        loss = 0.5 * (scores[..., 0] - y).square().sum()
    else:
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), y.long().flatten(), reduction="sum")
    return torch.autograd.grad(loss, scores)[0]


def score_error(theta: Tensor, x: Tensor) -> Tensor:
    return (theta.shape[1] + 2) * EPS * torch.einsum("tbd,tdo->tbo", x.abs(), theta.abs())


def softmax_error(theta: Tensor, x: Tensor) -> Tensor:
    """Relative, ``[T, B, 1]``; the exponential errs by at most 3e-7."""
    return 2 * score_error(theta, x).amax(-1, keepdim=True) + (theta.shape[2] + 10) * EPS


def side_error(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    if theta.shape[2] == 1:
        return score_error(theta, x) + EPS * y.abs()[..., None]
    return softmax_error(theta, x).expand(-1, -1, theta.shape[2])


def mean_of_products(x: Tensor, side: Tensor, weight: Tensor, prefixes: int) -> Tensor:
    """``[T, prefixes, D, O]``: means of ``x_i ⊗ side_i`` over the last prefixes; zeros for an empty mini-batch."""
    if x.shape[1] == 0:
        return x.new_zeros(len(x), prefixes, x.shape[2], side.shape[2])
    sums = torch.einsum("tb,tbd,tbo->tbdo", weight, x, side).cumsum(1)
    total = weight.cumsum(1)[:, :, None, None]
    return torch.where(total > 0, sums / total, 0.0)[:, x.shape[1] - prefixes :]


def whole(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Rows none of which is padding."""
    return x.nan_to_num(nan=0.5), y.nan_to_num(nan=0.0)


def draw(sizes: tuple[int, int, int, int], *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """theta, x, y and weights; a third of the rows is padding and holds NaN, the first row of the first task too."""
    tasks, batch, columns, outputs = sizes
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(tasks, columns, outputs, generator=generator) / math.sqrt(columns)
    x = torch.randn(tasks, batch, columns, generator=generator)
    y = torch.randn(tasks, batch, generator=generator)
    if outputs > 1:
        y = torch.randint(0, outputs, (tasks, batch), generator=generator).float()
    weight = torch.rand(tasks, batch, generator=generator) * 2
    weight[torch.rand(tasks, batch, generator=generator) < 0.3] = 0.0
    weight[:1, :1] = 0.0
    padding = weight == 0
    return theta, x.masked_fill(padding[..., None], math.nan), y.masked_fill(padding, math.nan), weight
