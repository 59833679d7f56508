"""The log marginal likelihood of a Gaussian process on a mini-batch, and its slopes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.errors import ArrayError
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, register
from amortix.ops.local_solve import JITTER, covariance, parts, scaled_distance

_SHARED = 163 * 1024  # bytes of a block on compute capability 8.0
_BLOCK = 256  # threads of a block of the kernel

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def log_evidence(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    log_relevance: Tensor,
    log_signal: Tensor,
    log_stretch: Tensor,
    log_linear: Tensor,
    log_noise: Tensor,
) -> Tensor:
    """Log marginal likelihood of a Gaussian process with a linear, a rough and a smooth part, for T tasks at once.

    ``y ~ N(0, linear · (1 + x·x') + signal₀ · exp(−√s) + signal₁ · exp(−stretch · s / 2) + noise · I)``, with
    ``s = Σ_D relevance · (x − x')²``: beside the linear part the kernel of `amortix.ops.local_solve`. Rows of
    weight zero are excluded exactly: they become unit rows of the covariance and zeros of y. All other weights
    count alike. The noise is raised by `JITTER` times the mean prior variance of the rows.

    Value and slopes in the logarithms come from one factorisation. Where x or y requires a gradient, or in another
    dtype, `density` runs.

    Args:
        x: ``[T, N, D]`` float32, as are all others; T and N may be 0.
        y: ``[T, N, O]``; the outputs share one covariance.
        weight: ``[T, N]``.
        log_relevance: ``[T, D]``, natural logarithm, as are the next four.
        log_signal: ``[T, 2]``, variances of the rough and the smooth part; −inf leaves one out.
        log_stretch: ``[T]``, the smooth part's factor of the relevances.
        log_linear: ``[T]``, variance of the bias and of each weight of the linear part.
        log_noise: ``[T]``, variance.

    Returns:
        ``[T]``, in nats, summed over rows and averaged over outputs; once differentiable.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument.

    References:
        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), eq. 2.30, 4.9, 4.18 and
            5.9.
    """
    if x.dtype != torch.float32 or (torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)):
        return density(x, y, weight, log_relevance, log_signal, log_stretch, log_linear, log_noise)
    arguments = {"x": (x, "T N D"), "y": (y, "T N O"), "weight": (weight, "T N")}
    arguments |= {"log_relevance": (log_relevance, "T D"), "log_signal": (log_signal, "T 2")}
    arguments |= {"log_stretch": (log_stretch, "T"), "log_linear": (log_linear, "T")}
    arguments |= {"log_noise": (log_noise, "T")}
    sizes = check("log_evidence", arguments)
    if sizes["D"] < 1 or sizes["O"] < 1:
        raise ArrayError(f"log_evidence: D={sizes['D']}, O={sizes['O']}; give D ≥ 1 and O ≥ 1")
    return _operator(x, y, weight, log_relevance, log_signal, log_stretch, log_linear, log_noise)[0]


def density(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    log_relevance: Tensor,
    log_signal: Tensor,
    log_stretch: Tensor,
    log_linear: Tensor,
    log_noise: Tensor,
) -> Tensor:
    """The value ``[T]`` in plain PyTorch, for any device and floating dtype; once differentiable in all but weight."""
    x, y, counted = _counted(x, y, weight)
    factor = _factor(x, counted, log_relevance, log_signal, log_stretch, log_linear, log_noise)
    fit = torch.linalg.solve_triangular(factor, y, upper=False).square().sum(1).mean(-1)
    volume = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (fit + volume + counted.sum(-1) * math.log(2 * math.pi))


def definition(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    log_relevance: Tensor,
    log_signal: Tensor,
    log_stretch: Tensor,
    log_linear: Tensor,
    log_noise: Tensor,
) -> Outputs:
    """The value ``[T]`` and its slopes in the logarithms, in their order, in plain PyTorch.

    With ``α = A⁻¹ y`` and ``G = ½ (Σ_O α α' / O − A⁻¹)`` the slope in a parameter is ``Σ G ∘ ∂A``.
    """
    logs = log_relevance, log_signal, log_stretch, log_linear, log_noise
    value = density(x, y, weight, *logs)
    x, y, counted = _counted(x, y, weight)
    inverse = torch.cholesky_inverse(_factor(x, counted, *logs))
    solved = inverse @ y
    both = counted[:, :, None] & counted[:, None, :]
    slope = torch.where(both, 0.5 * (solved @ solved.mT / y.shape[2] - inverse), 0.0)

    relevance, signal, stretch, linear, noise = (log.exp() for log in logs)
    radius = scaled_distance(x, x, relevance)
    rough, smooth = (slope * part for part in parts(radius, signal, stretch))
    bent = torch.where(radius > 0, rough / radius, 0.0) + stretch[:, None, None] * smooth
    columns = [(bent * (c[:, :, None] - c[:, None, :]).square()).sum((1, 2)) for c in x.unbind(2)]
    diagonal = slope.diagonal(dim1=-2, dim2=-1).sum(-1)
    power = x.square().sum((1, 2)) / counted.sum(-1).clamp_min(1)
    return (
        value,
        -0.5 * relevance * torch.stack(columns, -1),
        torch.stack([rough.sum((1, 2)), smooth.sum((1, 2))], -1) + JITTER * signal * diagonal[:, None],
        -0.5 * stretch * (smooth * radius.square()).sum((1, 2)),
        linear * ((slope * (1 + x @ x.mT)).sum((1, 2)) + JITTER * (1 + power) * diagonal),
        noise * diagonal,
    )


def _counted(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x and y with zeros for the rows that do not count, and which do."""
    counted = weight > 0
    return torch.where(counted[..., None], x, 0.0), torch.where(counted[..., None], y, 0.0), counted


def _factor(x: Tensor, counted: Tensor, *logs: Tensor) -> Tensor:
    """The lower Cholesky factor of the covariance ``[T, N, N]``."""
    relevance, signal, stretch, linear, noise = (log.exp() for log in logs)
    prior = linear[:, None, None] * (1 + x @ x.mT) + covariance(x, x, relevance, signal, stretch)
    scale = (prior.diagonal(dim1=-2, dim2=-1) * counted).sum(-1) / counted.sum(-1).clamp_min(1)
    diagonal = torch.where(counted, (noise + JITTER * scale)[:, None], 1.0)
    both = counted[:, :, None] & counted[:, None, :]
    return torch.linalg.cholesky(torch.where(both, prior, 0.0) + torch.diag_embed(diagonal))


def _cpu(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    log_relevance: Tensor,
    log_signal: Tensor,
    log_stretch: Tensor,
    log_linear: Tensor,
    log_noise: Tensor,
) -> Outputs:
    tasks, columns = log_relevance.shape
    value, stretch, linear, noise = (_memory.new(tasks) for _ in range(4))
    relevance, signal = _memory.new(tasks, columns), _memory.new(tasks, 2)
    _core.log_evidence_into(
        _memory.lend(x),
        _memory.lend(y),
        _memory.lend(weight),
        _memory.lend(log_relevance),
        _memory.lend(log_signal),
        _memory.lend(log_stretch),
        _memory.lend(log_linear),
        _memory.lend(log_noise),
        JITTER,
        value.numpy(),
        relevance.numpy(),
        signal.numpy(),
        stretch.numpy(),
        linear.numpy(),
        noise.numpy(),
    )
    return value, relevance, signal, stretch, linear, noise


def _fake(x, y, weight, *logs):
    return x.new_empty(x.shape[0]), *(log.new_empty(log.shape) for log in logs)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Outputs) -> None:
    ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, gradient: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    relevance, signal, *scalars = ctx.saved_tensors
    rows = (gradient[:, None] * slope for slope in (relevance, signal))
    return None, None, None, *rows, *(gradient * slope for slope in scalars)


def launch(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    log_relevance: Tensor,
    log_signal: Tensor,
    log_stretch: Tensor,
    log_linear: Tensor,
    log_noise: Tensor,
) -> _cuda.Planned | None:
    """The launch of ``log_evidence.cu`` and the outputs that it will fill; None where a matrix does not fit."""
    (tasks, rows, columns), outputs = x.shape, y.shape[2]
    shared = 4 * (rows * (rows + 1) // 2 + 2 * outputs * rows + 2 * rows + _BLOCK)
    if rows > _BLOCK or shared > _SHARED:
        return None
    value, stretch, linear, noise = (_cuda.new(x, tasks) for _ in range(4))
    results = value, _cuda.new(x, tasks, columns), _cuda.new(x, tasks, 2), stretch, linear, noise
    inputs = map(_cuda.lend, (x, y, weight, log_relevance, log_signal, log_stretch, log_linear, log_noise))
    sizes = map(np.int32, (tasks, rows, columns, outputs))
    grid = min(tasks, _cuda.MAX_BLOCKS)
    arguments = (*inputs, *results, *sizes, np.float32(JITTER))
    return (_cuda.Launch("log_evidence", "log_evidence", grid, _BLOCK, shared, arguments),), results


_operator = register(
    "log_evidence",
    "(Tensor x, Tensor y, Tensor weight, Tensor log_relevance, Tensor log_signal, Tensor log_stretch,"
    " Tensor log_linear, Tensor log_noise) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)
_operator.register_autograd(_backward, setup_context=_save)
