"""Cases of `amortix.ops.two_term_update`, drawn from a seed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from amortix.ops.two_term_update import definition
from amortix.ops.two_term_update_backward import gains, precondition

REGISTERS = {"two_term_update": 34}
EPS = torch.finfo(torch.float32).eps

# T, P, R: nothing, one of everything, and either side of 16 lanes, of 32 tasks of 64 parameters in a piece of work
# (CPU), of 32 lanes and 256 threads (CUDA); usual ranks and others.
SIZES = [
    (0, 3, 2),
    (1, 1, 1),
    (2, 15, 0),
    (1, 16, 4),
    (2, 17, 2),
    (1, 31, 8),
    (2, 32, 3),
    (1, 33, 1),
    (1, 255, 4),
    (1, 256, 5),
    (2, 257, 4),
    (31, 64, 4),
    (32, 64, 4),
    (33, 64, 4),
]

Case = tuple[Tensor, ...]


def cases() -> dict[str, Case]:
    return {str(sizes): draw(sizes) for sizes in SIZES}


def largest() -> Case:
    return draw((1, 256, 64))


def crossing() -> Case:
    """Three states of two rounds of threads each."""
    return draw((3, 300, 3))


def check(got: tuple[Tensor, Tensor, Tensor], arguments: Case) -> None:
    """Compare with the definition in float64, to the error bound of its sums in float32, to first order."""
    wanted = definition(*(argument.double() for argument in arguments))
    for one, other, most in zip(got, wanted, bounds(arguments), strict=True):
        assert one.shape == other.shape
        assert ((one.double() - other).abs() <= most + 1e-30).all()


def bounds(arguments: Case) -> tuple[Tensor, Tensor, Tensor]:
    """A sigmoid, a softplus and an exponential err by a few eps each; a power by eps for each unit of its logarithm."""
    theta, memory, average, proposal, _, gradient, diagonal, factors, decay, delay, age = (
        argument.double() for argument in arguments
    )
    fading, gain = gains(decay, delay, age)
    _, parameters, rank = factors.shape
    both = memory.abs() + proposal.abs()
    step = precondition(F.softplus(diagonal), factors.abs(), gradient.abs())
    power = 8 * logarithm(decay, age)[:, None] + 16
    theta_error = EPS * (2 * theta.abs() + power * fading * both + (parameters + rank + 16) * gain * step)
    size = theta.abs() + fading * both + gain * step
    return theta_error, 12 * EPS * both, theta_error / age[:, None] + 4 * EPS * (average.abs() + size)


def logarithm(decay: Tensor, age: Tensor) -> Tensor:
    """Of the fading, its sign turned."""
    return (0.5 + F.softplus(decay)) * age.log()


def draw(sizes: tuple[int, int, int], *, seed: int = 0) -> Case:
    """Arguments of the operation; ages from 1 to a million, the first state's is 1."""
    tasks, parameters, rank = sizes
    generator = torch.Generator().manual_seed(seed)
    matrices = [torch.randn(tasks, parameters, generator=generator) for _ in range(7)]
    matrices[4] *= 4
    matrices[6] *= 4
    factors = torch.randn(tasks, parameters, rank, generator=generator)
    decay, delay = torch.randn(tasks, generator=generator), torch.rand(tasks, generator=generator) * 10 + 0.1
    age = (10 ** (6 * torch.rand(tasks, generator=generator))).floor()
    age[:1] = 1
    return (*matrices, factors, decay, delay, age)
