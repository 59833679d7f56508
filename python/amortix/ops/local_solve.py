"""Predict every query by a Gaussian process on the rows that it retains."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortix import _core
from amortix.ops import _cuda, _memory
from amortix.ops._operator import check, check_kept, register
from amortix.ops.context_merge import MAX_KEPT

JITTER = 1e-4
"""Added to the noise variance, relative to the prior variance, before every Cholesky factorisation.

The hardest case, 256 coincident rows without noise, fails in float32 up to 3e-5.
"""

_STAGE = 8  # columns that a block of the kernel takes at a time
_TINY = 1e-30


def local_solve(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    stretch: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """Predict every query by a Gaussian process on the K rows that it retains.

    Kernel ``k(a, b) = signal₀ · exp(−√s) + signal₁ · exp(−stretch · s / 2)`` with ``s = Σ_D relevance · (a − b)²``:
    a rough part, Matérn-1/2, and a smooth one, squared exponential. With ``prior = signal₀ + signal₁``, ``k =
    k(query, rows)`` and ``A = k(rows, rows) + (noise + JITTER · prior) · I``: ``mean = kᵀ A⁻¹ residual`` and
    ``variance = prior − kᵀ A⁻¹ k``, at least 0, of the latent function: the noise of a new observation is not in
    it. No row retained: 0 and ``prior``. Differentiable once, in all but ``distance``; elsewhere than on the CPU
    the definition runs where an argument requires a gradient.

    Args:
        query: ``[T, M, D]`` float32, as are all others; T and M may be 0.
        kept_x: ``[T, M, K, D]``, K ≤ `MAX_KEPT`.
        residual: ``[T, M, K, O]``, the targets of the rows less their prior mean.
        distance: ``[T, M, K]``; a slot at +inf is empty and excluded exactly, other values do not matter.
        relevance: ``[T, D]``, not negative.
        signal: ``[T, 2]``, variances of the rough and the smooth part, not negative, of sum above 0.
        stretch: ``[T]``, the smooth part's factor of the relevances, not negative.
        noise: ``[T]``, variance, not negative.

    Returns:
        Mean ``[T, M, O]`` and variance ``[T, M]``.

    Raises:
        ArrayError: a shape, dtype or device does not fit; the message names the argument. Arrays that are not
            contiguous are copied first.

    References:
        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1 and eq. 4.9 and 4.18.
    """
    arguments = {"query": (query, "T M D"), "kept_x": (kept_x, "T M K D"), "residual": (residual, "T M K O")}
    arguments |= {"distance": (distance, "T M K"), "relevance": (relevance, "T D")}
    arguments |= {"signal": (signal, "T 2"), "stretch": (stretch, "T"), "noise": (noise, "T")}
    check_kept("local_solve", check("local_solve", arguments), MAX_KEPT)
    tensors = [tensor for tensor, _ in arguments.values()]
    if torch.is_grad_enabled() and not query.is_cpu and any(tensor.requires_grad for tensor in tensors):
        return definition(*tensors)
    return _operator(*tensors)


def definition(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    stretch: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """The operation in plain PyTorch, for any device and floating dtype.

    Once differentiable, in all arguments but ``distance``.
    """
    kept, prior = distance < math.inf, signal.sum(-1)
    kept_x = torch.where(kept[..., None], kept_x, 0.0)
    kernel = relevance[:, None], signal[:, None], stretch[:, None]
    among, towards = covariance(kept_x, kept_x, *kernel), covariance(kept_x, query[:, :, None], *kernel)
    both = kept[..., :, None] & kept[..., None, :]
    diagonal = torch.where(kept, (noise + JITTER * prior)[:, None, None], 1.0)
    gram = torch.where(both, among, 0.0) + torch.diag_embed(diagonal)
    right = torch.where(kept[..., None], torch.cat([towards, residual], -1), 0.0)
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), right, upper=False)
    mean = (half[..., :1] * half[..., 1:]).sum(-2)
    variance = prior[:, None] - half[..., 0].square().sum(-1)
    return mean, variance.clamp_min(0.0)


def covariance(a: Tensor, b: Tensor, relevance: Tensor, signal: Tensor, stretch: Tensor) -> Tensor:
    """Kernel ``[..., A, B]`` of ``a [..., A, D]`` and ``b [..., B, D]``, with ``signal [..., 2]``, ``stretch [...]``.

    The gradient at coincident points, where the distance has a kink, is zero; so is the one to a relevance of
    zero.
    """
    rough, smooth = parts(scaled_distance(a, b, relevance), signal, stretch)
    return rough + smooth


def parts(radius: Tensor, signal: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
    """The rough and the smooth part of the kernel at scaled distances ``[..., A, B]``."""
    rough, smooth = signal[..., None, None, :].unbind(-1)
    return rough * torch.exp(-radius), smooth * torch.exp(-0.5 * stretch[..., None, None] * radius.square())


def scaled_distance(a: Tensor, b: Tensor, relevance: Tensor) -> Tensor:
    """``√(Σ_D relevance · (a − b)²)``, ``[..., A, B]``, of ``a [..., A, D]`` and ``b [..., B, D]``."""
    scale = relevance.clamp_min(_TINY).sqrt()[..., None, :]
    return torch.cdist(a * scale, b * scale, compute_mode="donot_use_mm_for_euclid_dist")


def _cpu(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    stretch: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    outputs = mean, variance = _memory.new(*query.shape[:2], residual.shape[3]), _memory.new(*query.shape[:2])
    _core.local_solve_into(
        _memory.lend(query),
        _memory.lend(kept_x),
        _memory.lend(residual),
        _memory.lend(distance),
        _memory.lend(relevance),
        _memory.lend(signal),
        _memory.lend(stretch),
        _memory.lend(noise),
        JITTER,
        mean.numpy(),
        variance.numpy(),
    )
    return outputs


def launch(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    stretch: Tensor,
    noise: Tensor,
) -> _cuda.Planned:
    """The launch of ``local_solve.cu`` and the outputs that it will fill."""
    tasks, queries, slots, columns = kept_x.shape
    outputs = residual.shape[3]
    results = _cuda.new(query, tasks, queries, outputs), _cuda.new(query, tasks, queries)
    inputs = map(_cuda.lend, (query, kept_x, residual, distance, relevance, signal, stretch, noise))
    sizes = map(np.int32, (tasks, queries, slots, columns, outputs))
    matrix = (slots + 1) * (slots + 2) // 2 + outputs * slots
    shared = 4 * (matrix + _STAGE * (slots + 1) + slots)
    block = min(512, -(-(slots + 1 + outputs) // 32) * 32)
    arguments = (*inputs, *results, *sizes, np.float32(JITTER))
    grid = min(tasks * queries, _cuda.MAX_BLOCKS)
    return (_cuda.Launch("local_solve", "local_solve", grid, block, shared, arguments),), results


def _fake(query, kept_x, residual, distance, relevance, signal, stretch, noise):
    tasks, queries, _ = query.shape
    return query.new_empty(tasks, queries, residual.shape[3]), query.new_empty(tasks, queries)


_operator = register(
    "local_solve",
    "(Tensor query, Tensor kept_x, Tensor residual, Tensor distance, Tensor relevance, Tensor signal, Tensor stretch,"
    " Tensor noise) -> (Tensor, Tensor)",
    definition,
    cpu=_cpu,
    launch=launch,
    fake=_fake,
)


def _cpu_backward(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    stretch: Tensor,
    noise: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of all inputs but ``distance``, from those of mean and variance."""
    query_slope, kept_x_slope, residual_slope = (_memory.new(*like.shape) for like in (query, kept_x, residual))
    relevance_slope, signal_slope = (_memory.new(*like.shape) for like in (relevance, signal))
    stretch_slope, noise_slope = (_memory.new(*like.shape) for like in (stretch, noise))
    _core.local_solve_backward_into(
        _memory.lend(query),
        _memory.lend(kept_x),
        _memory.lend(residual),
        _memory.lend(distance),
        _memory.lend(relevance),
        _memory.lend(signal),
        _memory.lend(stretch),
        _memory.lend(noise),
        JITTER,
        _memory.lend(mean),
        _memory.lend(variance),
        query_slope.numpy(),
        kept_x_slope.numpy(),
        residual_slope.numpy(),
        relevance_slope.numpy(),
        signal_slope.numpy(),
        stretch_slope.numpy(),
        noise_slope.numpy(),
    )
    return query_slope, kept_x_slope, residual_slope, relevance_slope, signal_slope, stretch_slope, noise_slope


def _fake_backward(query, kept_x, residual, distance, relevance, signal, stretch, noise, mean, variance):
    wanted = query, kept_x, residual, relevance, signal, stretch, noise
    return tuple(tensor.new_empty(tensor.shape) for tensor in wanted)


_gradients = torch.library.custom_op(
    "amortix::local_solve_backward", _cpu_backward, mutates_args=(), device_types="cpu"
)
_gradients.register_fake(_fake_backward)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, mean: Tensor, variance: Tensor) -> tuple[Tensor | None, ...]:
    query, kept_x, residual, *kernel = _gradients(*ctx.saved_tensors, mean, variance)
    return query, kept_x, residual, None, *kernel


_operator.register_autograd(_backward, setup_context=_save)
