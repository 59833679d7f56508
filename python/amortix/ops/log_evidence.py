"""The log marginal likelihood of a Gaussian process on a mini-batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from amortix.ops.local_solve import JITTER, matern


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
    prior = linear[:, None, None] * (1 + x @ x.mT) + matern(x, x, log_relevance.exp(), signal)
    rows = counted.sum(-1)
    scale = (prior.diagonal(dim1=-2, dim2=-1) * counted).sum(-1) / rows.clamp_min(1)
    diagonal = torch.where(counted, (log_noise.exp() + JITTER * scale)[:, None], 1.0)
    both = counted[:, :, None] & counted[:, None, :]
    factor = torch.linalg.cholesky(torch.where(both, prior, 0.0) + torch.diag_embed(diagonal))
    fit = torch.linalg.solve_triangular(factor, y, upper=False).square().sum(1).mean(-1)
    volume = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (fit + volume + rows * math.log(2 * math.pi))
