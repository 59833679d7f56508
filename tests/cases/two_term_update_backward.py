"""Cases of `amortix.ops.two_term_update_backward`, drawn from a seed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from amortix.ops.two_term_update import definition as forward
from amortix.ops.two_term_update_backward import gains, precondition
from cases import two_term_update as first

REGISTERS = {"two_term_update_backward": 40}
EPS = first.EPS

Case = tuple[Tensor, ...]


def cases() -> dict[str, Case]:
    """Those of the forward pass."""
    return {label: upstream_of(case) for label, case in first.cases().items()}


def largest() -> Case:
    return upstream_of(first.largest())


def crossing() -> Case:
    return upstream_of(first.crossing())


def upstream_of(case: Case) -> Case:
    generator = torch.Generator().manual_seed(1)
    return *(torch.randn(case[0].shape, generator=generator) for _ in range(3)), *case


def check(got: tuple[Tensor, ...], arguments: Case) -> None:
    """Compare with the derivative of the forward definition in float64, to the error bound of its sums in float32."""
    upstream, given = arguments[:3], [argument.double() for argument in arguments[3:]]
    wanted_of = [argument.requires_grad_() for argument in given[:-1]]
    wanted = torch.autograd.grad(forward(*given), wanted_of, [tensor.double() for tensor in upstream])
    for one, other, most in zip(got, wanted, bounds(arguments), strict=True):
        assert one.shape == other.shape
        assert ((one.double() - other).abs() <= most + 1e-30).all()


def bounds(arguments: Case) -> list[Tensor]:
    """To first order: the same formulas over magnitudes, times eps for each rounding on the way."""
    precise = [argument.double() for argument in arguments]
    *magnitudes, decay, delay, age = precise
    above, to_memory, to_average, _, memory, _, proposal, _, gradient, _, factors = (m.abs() for m in magnitudes)
    gate, diagonal = precise[7].sigmoid(), precise[9]
    fading, gain = gains(decay, delay, age)
    share, scale, both = 1 / age[:, None], F.softplus(diagonal), memory + proposal
    t = above + share * to_average
    n, v = to_memory + fading * t, gain * t
    down, up = (torch.einsum("tpr,tp->tr", factors, vector) for vector in (gradient, v))
    sizes = [
        t,
        (1 - gate) * n,
        to_average,
        gate * n,
        gate * (1 - gate) * both * n,
        precondition(scale, factors, v),
        diagonal.sigmoid() * gradient * v,
        v[..., None] * down[:, None] + gradient[..., None] * up[:, None],
        (t * both).sum(1) * fading[:, 0] * age.log() * decay.sigmoid(),
        (t * precondition(scale, factors, gradient)).sum(1) * age / (age + delay).square(),
    ]
    _, parameters, rank = factors.shape
    roundings = 2 * parameters + 2 * rank + 8 * first.logarithm(decay, age) + 30
    return [EPS * roundings.view(-1, *[1] * (size.dim() - 1)) * size for size in sizes]
