"""Cases of `amortix.ops.prefix_gradient_backward`, drawn from a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from amortix.ops.prefix_gradient import definition as forward
from cases import prefix_gradient as first

REGISTERS = {"prefix_gradient_backward": 64}
EPS = first.EPS

Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]


def cases() -> dict[str, Case]:
    """Those of the forward pass."""
    return {label: upstream_of(case) for label, case in first.cases().items()}


def upstream_of(case: first.Case) -> Case:
    theta, x, y, weight, prefixes = case
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(theta), prefixes, *theta.shape[1:], generator=generator), theta, x, y, weight


def largest() -> Case:
    """The most elements of a matrix for which a block has the memory."""
    return upstream_of((*first.draw((1, 1, 415, 10)), 1))


def crossing() -> Case:
    """Three blocks of rows."""
    return upstream_of((*first.draw((2, 20, 35, 15)), 20))


def check(got: Tensor, arguments: Case) -> None:
    """Compare with the derivative of the forward definition in float64, to the error bound of its sums in float32."""
    upstream, *rest = arguments
    theta, x, y, weight, prefixes = first.precise((*rest, upstream.shape[1]))
    theta.requires_grad_()
    (wanted,) = torch.autograd.grad(forward(theta, x, y, weight, prefixes), theta, upstream.double())
    assert got.shape == wanted.shape
    if wanted.numel() == 0 or x.shape[1] == 0:
        assert not got.any()
        return
    assert ((got.double() - wanted).abs() <= bound(upstream.double(), theta.detach(), x, weight) + 1e-30).all()


def bound(upstream: Tensor, theta: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """To first order: sums over later prefixes, over columns, through the softmax, over rows."""
    batch, columns, outputs = *x.shape[1:], theta.shape[2]
    total = weight.cumsum(1)[:, batch - upstream.shape[1] :, None, None]
    scaled = torch.where(total > 0, upstream.abs() / total, 0.0)
    later = scaled.flip(1).cumsum(1).flip(1)
    side = (x.abs()[..., None] * later).sum(2)
    error = (2 * batch + columns + 6) * EPS * side
    if outputs > 1:
        top, worst = side.amax(-1, keepdim=True), error.amax(-1, keepdim=True)
        mean = torch.einsum("tbd,tdo->tbo", x, theta).softmax(-1)
        error = mean * ((3 * first.softmax_error(theta, x) + (outputs + 2) * EPS) * top + 2 * worst)
        side = 2 * mean * top
    return torch.einsum("tb,tbd,tbo->tdo", weight, x.abs(), error + (batch + 3) * EPS * side)
