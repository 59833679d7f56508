"""A kernel that foretells: from one that explains a task's first rows to one by which each is read off its neighbours.

The log marginal likelihood of `amortix.kernel` judges a kernel by a thousand rows at most, which lie far from each
other, and trusts its shape. Here Q rows at a time are predicted from their K nearest others, as a query will be from
the rows that it retains, and the kernel climbs the log density of what came. A step costs as much as Q queries do, so
it can look at many more rows.

References:
    Sundararajan and Keerthi, "Predictive approaches for choosing hyperparameters in Gaussian processes", Neural
    Computation 2001; Vecchia, "Estimation and model identification for continuous spatial processes", JRSS B 1988.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortix import ops
from amortix.kernel import Kernel

_READ = 32  # K, rows that one is read off
_AT_ONCE = 256  # Q, rows that a step foretells
_RATE = 0.1  # Adam's step size for the logarithms


def foresee(kernel: Kernel, x: Tensor, y: Tensor, weight: Tensor, *, ascent: int) -> Kernel:
    """Move a kernel by ``ascent`` steps on the log density of rows given their neighbours.

    Args:
        kernel: the start.
        x: ``[T, R, D]``.
        y: ``[T, R, O]``.
        weight: ``[T, R]``; rows of weight zero are left out.
        ascent: number of steps, 1 or more; the second half of them is averaged.
    """
    leaves = {name: t.clone().requires_grad_() for name, t in kernel.memory().items()}
    linear = leaves.pop("kernel_linear")
    residual = y - _trend(kernel, x, y, weight)
    optimizer = torch.optim.Adam(leaves.values(), lr=_RATE, betas=(0.8, 0.95))
    stride, averaged = max(1, x.shape[1] // _AT_ONCE), ascent // 2
    total = {name: torch.zeros_like(t) for name, t in leaves.items()}
    with torch.enable_grad():
        for step in range(ascent):
            optimizer.zero_grad(set_to_none=True)
            moving = Kernel.from_memory({**leaves, "kernel_linear": linear})
            density, count = _density(moving, x, residual, weight, slice(step % stride, None, stride))
            (-density / count.clamp_min(1.0)).sum().backward()
            optimizer.step()
            if step >= averaged:
                for name, leaf in leaves.items():
                    total[name] += leaf.detach()
    mean = {name: t / (ascent - averaged) for name, t in total.items()}
    return Kernel.from_memory({**mean, "kernel_linear": kernel.linear})


def _density(kernel: Kernel, x: Tensor, residual: Tensor, weight: Tensor, chosen: slice) -> tuple[Tensor, Tensor]:
    """Log density of the chosen rows given their neighbours, up to a constant, and how many they are: ``[T]``."""
    query, truth, counted = x[:, chosen], residual[:, chosen], (weight[:, chosen] > 0).to(x.dtype)
    tasks, queries, columns = query.shape
    place = torch.arange(x.shape[1], dtype=x.dtype).expand(tasks, -1)
    sides = torch.cat([residual, place.unsqueeze(2)], 2)
    outputs = sides.shape[2]
    empty = torch.full((tasks, queries, _READ + 1), torch.inf)
    kept = torch.zeros(*empty.shape, columns), torch.zeros(*empty.shape, outputs)
    relevance = kernel.relevance.exp()
    distance, kept_x, kept_y = ops.context_merge(query, x, sides, relevance.detach(), empty, *kept, weight)
    own = kept_y[..., -1] == place[:, chosen].unsqueeze(2)
    noise = kernel.noise.exp()
    mean, spread = ops.local_solve(
        query.contiguous(),
        kept_x,
        kept_y[..., :-1].contiguous(),
        distance.masked_fill(own, torch.inf),
        relevance,
        kernel.signal.exp(),
        kernel.stretch.exp(),
        noise,
    )
    variance = spread + noise[:, None]
    error = (truth - mean).square().mean(2)
    return -0.5 * ((error / variance + variance.log()) * counted).sum(1), counted.sum(1)


def _trend(kernel: Kernel, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """The kernel's linear part, fitted to all rows, ``[T, R, O]``."""
    phi = torch.cat([torch.ones_like(x[..., :1]), x], 2)
    weighted = phi * weight.unsqueeze(2)
    penalty = (kernel.noise - kernel.linear).exp()[:, None].expand(-1, phi.shape[2])
    floor = 1e-5 * (weighted * phi).sum(1)
    second = weighted.mT @ phi + torch.diag_embed(penalty + floor)
    return phi @ torch.linalg.solve(second, weighted.mT @ y)
