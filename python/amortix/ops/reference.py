"""The definition of every operation in plain PyTorch: any device and floating dtype.

The other bodies (`amortix.ops.cpu`, `amortix.ops.cuda`) are tested against these functions and nothing else.
Axis letters are those of `amortix.batch`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

JITTER = 1e-4
"""Added to the noise variance, relative to the prior variance, before every Cholesky factorisation.

The hardest case, 256 coincident rows without noise, fails in float32 up to 3e-5.
"""

_TINY = 1e-30


def squared_distance(query: Tensor, rows: Tensor, relevance: Tensor) -> Tensor:
    """Squared distances ``[T, M, B]``: ``query [T, M, D]``, ``rows [T, B, D]``, ``relevance [T, D]``.

    ``((relevance · δ) · δ)`` with ``δ = query − row``, summed in column order with every product and sum
    rounded on its own. This order is part of the definition: all bodies follow it, so they agree to the last
    bit and break ties alike.
    """
    total = query.new_zeros(query.shape[0], query.shape[1], rows.shape[1])
    for column in range(query.shape[2]):
        delta = query[:, :, None, column] - rows[:, None, :, column]
        total = total + relevance[:, None, None, column] * delta * delta
    return total


def context_merge(
    query: Tensor,
    rows: Tensor,
    values: Tensor,
    relevance: Tensor,
    distance: Tensor,
    kept_x: Tensor,
    kept_y: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The definition of `amortix.ops.context_merge`."""
    fresh = squared_distance(query, rows, relevance)
    taken = fresh < math.inf  # false for NaN too
    if weight is not None:
        taken = taken & (weight > 0)[:, None, :]
    fresh = torch.where(taken, fresh, math.inf)
    merged, index = torch.cat([distance, fresh], -1).sort(dim=-1, stable=True)
    merged, index = merged[..., : distance.shape[-1]], index[..., : distance.shape[-1]]
    occupied = (merged < math.inf)[..., None]
    return (
        merged.clone(),
        torch.where(occupied, _pick(kept_x, rows, index), 0.0),
        torch.where(occupied, _pick(kept_y, values, index), 0.0),
    )


def _pick(kept: Tensor, fresh: Tensor, index: Tensor) -> Tensor:
    """Gather ``[T, M, K, C]`` by index into the K kept ``[T, M, K, C]``, then B fresh ``[T, B, C]``."""
    tasks, queries, slots, columns = kept.shape
    old = kept.gather(2, index.clamp_max(slots - 1)[..., None].expand(-1, -1, -1, columns))
    if fresh.shape[1] == 0:
        return old
    position = (index - slots).clamp_min(0).reshape(tasks, queries * slots, 1).expand(-1, -1, columns)
    new = fresh.gather(1, position).reshape(kept.shape)
    return torch.where((index < slots)[..., None], old, new)


def local_solve(
    query: Tensor,
    kept_x: Tensor,
    residual: Tensor,
    distance: Tensor,
    relevance: Tensor,
    signal: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """The definition of `amortix.ops.local_solve`; once differentiable in all arguments but ``distance``."""
    kept = distance < math.inf
    kept_x = torch.where(kept[..., None], kept_x, 0.0)
    among = _matern(kept_x, kept_x, relevance[:, None], signal[:, None])
    towards = _matern(kept_x, query[:, :, None], relevance[:, None], signal[:, None])
    both = kept[..., :, None] & kept[..., None, :]
    diagonal = torch.where(kept, (noise + JITTER * signal)[:, None, None], 1.0)
    gram = torch.where(both, among, 0.0) + torch.diag_embed(diagonal)
    right = torch.where(kept[..., None], torch.cat([towards, residual], -1), 0.0)
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), right, upper=False)
    mean = (half[..., :1] * half[..., 1:]).sum(-2)
    variance = signal[:, None] - half[..., 0].square().sum(-1)
    return mean, variance.clamp_min(0.0)


def log_evidence(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    log_relevance: Tensor,
    log_signal: Tensor,
    log_linear: Tensor,
    log_noise: Tensor,
) -> Tensor:
    """Log marginal likelihood of a Gaussian process with a linear and a Matérn-1/2 part, for T tasks at once.

    ``y ~ N(0, linear · (1 + x·x') + signal · exp(−‖x − x'‖) + noise · I)``, with ``‖δ‖² = Σ_D relevance ·
    δ²``. Rows of weight zero are excluded exactly: they become unit rows of the covariance and zeros of y.
    All other weights count alike. The noise is raised by `JITTER` times the mean prior variance of the rows.

    Args:
        x: ``[T, N, D]``.
        y: ``[T, N, O]``; the outputs share one covariance.
        weight: ``[T, N]``.
        log_relevance: ``[T, D]``, natural logarithm, as are the next three.
        log_signal: ``[T]``, variance of the Matérn part.
        log_linear: ``[T]``, variance of the bias and of each weight of the linear part.
        log_noise: ``[T]``, variance.

    Returns:
        ``[T]``, in nats, summed over rows and averaged over outputs; once differentiable.

    References:
        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), eq. 2.30 and 4.18.
    """
    counted = weight > 0
    x = torch.where(counted[..., None], x, 0.0)
    y = torch.where(counted[..., None], y, 0.0)
    linear, signal = log_linear.exp(), log_signal.exp()
    prior = linear[:, None, None] * (1 + x @ x.mT) + _matern(x, x, log_relevance.exp(), signal)
    rows = counted.sum(-1)
    scale = (prior.diagonal(dim1=-2, dim2=-1) * counted).sum(-1) / rows.clamp_min(1)
    diagonal = torch.where(counted, (log_noise.exp() + JITTER * scale)[:, None], 1.0)
    both = counted[:, :, None] & counted[:, None, :]
    factor = torch.linalg.cholesky(torch.where(both, prior, 0.0) + torch.diag_embed(diagonal))
    fit = torch.linalg.solve_triangular(factor, y, upper=False).square().sum(1).mean(-1)
    volume = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (fit + volume + rows * math.log(2 * math.pi))


def _matern(a: Tensor, b: Tensor, relevance: Tensor, signal: Tensor) -> Tensor:
    """Matérn-1/2 kernel ``[..., A, B]`` of ``a [..., A, D]`` and ``b [..., B, D]``.

    The gradient at coincident points, where the distance has a kink, is zero; so is the one to a relevance of
    zero.
    """
    scale = relevance.clamp_min(_TINY).sqrt()[..., None, :]
    distance = torch.cdist(a * scale, b * scale, compute_mode="donot_use_mm_for_euclid_dist")
    return signal[..., None, None] * torch.exp(-distance)
