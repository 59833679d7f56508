"""How to carry a Gaussian process in finitely many features: random waves of its spectrum, or inducing rows.

A head over S features is solved on all rows under the kernel that `kernels.py` infers from the first of them. ``waves``
are S/2 random frequencies, with sine and cosine, shared out between the rough and the smooth part (Rahimi and Recht,
NeurIPS 2007); ``rows`` are the whitened covariances with the first S rows, as in `amortix.basis`.

    python benches/research/bases.py gp
    python benches/research/bases.py tables

prints one JSON object a line: on Gaussian process tasks the mean squared error over that of the exact process with the
true kernel on all rows, on real tables R² (classes of two: of ±1).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator

import kernels
import numpy as np
import torch
from kernels import TABLES, Kernel, TaskSampler, oracle, own
from torch import Tensor

from amortix.batch import Batch
from amortix.data import Gp

KIND = "one metric"
NAMES = "california_housing hotel_rates ames Computers diamonds Wage SLID HMDA spam7 magic adult"
Features = Callable[[Tensor], Tensor]


def waves(kernel: Kernel, size: int, columns: int) -> Features:
    """[cos, sin] of x scaled by the relevance, from multivariate t and normal frequencies."""
    draw = torch.Generator().manual_seed(0)
    normal = torch.randn(2, size // 4, columns, generator=draw)
    normal[0] /= torch.randn(size // 4, 1, generator=draw).abs().clamp_min(1e-3)
    share = kernel.signal[0].softmax(0).sqrt() * (size // 4) ** -0.5
    omega = normal * (kernel.relevance[0] / 2).exp().unsqueeze(1)

    def features(x: Tensor) -> Tensor:
        phase = x @ omega.mT
        return torch.cat([*(share[:, None, None] * phase.cos()), *(share[:, None, None] * phase.sin())], 1)

    return features


def rows(kernel: Kernel, inducing: Tensor) -> Features:
    """Whitened covariances with inducing rows ``[S, D]``."""
    local = Kernel(kernel.relevance, kernel.signal.log_softmax(1), torch.full_like(kernel.linear, -30.0), kernel.noise)
    among = local(inducing[None], inducing[None])[0] + 1e-4 * torch.eye(len(inducing))
    factor = torch.linalg.cholesky(among)
    return lambda x: torch.linalg.solve_triangular(factor, local(inducing[None], x[None])[0], upper=False).T


def head(kernel: Kernel, features: Features, x: Tensor, y: Tensor, query: Tensor) -> Tensor:
    """Ridge regression on [1, x, features] with the penalties that the kernel says, in float64; means at the query."""
    noise = kernel.noise.double().exp()
    full = [torch.cat([torch.ones(len(a), 1), a, features(a)], 1).double() for a in (x, query)]
    penalty = torch.full((full[0].shape[1],), float(noise / kernel.signal.exp().sum()), dtype=torch.float64)
    penalty[: 1 + x.shape[1]] = float(noise / kernel.linear.exp())
    weights = torch.linalg.solve(full[0].T @ full[0] + torch.diag(penalty), full[0].T @ y.double())
    return (full[1] @ weights).float()


def compared(kernel: Kernel, sizes: tuple[int, ...], x: Tensor, y: Tensor, query: Tensor) -> Iterator[tuple]:
    """Basis, size and means of each head."""
    for size in sizes:
        yield "waves", size, head(kernel, waves(kernel, size, x.shape[1]), x, y, query)
        yield "rows", size, head(kernel, rows(kernel, x[:size]), x, y, query)


def gp(seeds: int, sample: int, steps: int) -> Iterator[dict[str, object]]:
    """Tasks of 1 to 4 inputs, smooth, in batches of 64; length scale and noise unknown."""
    family = Gp(dim=(1, 4), length_scale=(0.5, 2.0), noise=(0.1, 0.5))
    for seed in range(seeds):
        sampler, ids = TaskSampler(family, seed=2**40 + seed), np.arange(12)
        query, _, signal = map(own, sampler.query(ids, 64))
        best = oracle(sampler, ids)
        assert best is not None
        batches = []
        for step in range(1, 51):
            batches.append(Batch(*map(own, sampler.context(ids, np.full(len(ids), step - 1), 64))))
            best.see(batches[-1])
            if step not in (1, 5, 10, 50):
                continue
            x, y = torch.cat([b.x for b in batches], 1), torch.cat([b.y for b in batches], 1)
            exact = float((best.predict(query).mean - signal).square().mean())
            kernel = kernels.fit(KIND, x[:, :sample], y[:, :sample], steps)
            errors: dict[tuple[str, int], list[float]] = {}
            for t in ids:
                for basis, size, mean in compared(kernel.task(t), (128, 512, 1024), x[t], y[t], query[t]):
                    error = float((mean - signal[t, :, 0]).square().mean())
                    errors.setdefault((basis, size), []).append(error)
            for (basis, size), found in errors.items():
                ratio = float(np.mean(found)) / exact
                yield {"work": "gp", "step": step, "seed": seed, "basis": basis, "size": size, "ratio": ratio}


def tables(seeds: int, sample: int, steps: int) -> Iterator[dict[str, object]]:
    """At most 6,000 rows of each table, a fifth of them to test on."""
    for table in TABLES:
        if table.name not in NAMES.split():
            continue
        for seed in range(seeds):
            (x, y), (query, truth) = kernels.rows(table, seed)
            kernel = kernels.fit(KIND, x[None, :sample], y[None, :sample], steps)
            for basis, size, mean in compared(kernel, (512, 1024), x, y, query):
                r2 = 1 - float((mean - truth).square().mean() / truth.var())
                yield {"work": table.name, "rows": len(x), "seed": seed, "basis": basis, "size": size, "r2": r2}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["gp", "tables"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sample", type=int, default=1024, help="first rows that the kernel is inferred from")
    parser.add_argument("--steps", type=int, default=20, help="of Adam")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for line in {"gp": gp, "tables": tables}[asked.work](asked.seeds, asked.sample, asked.steps):
        print(json.dumps(line | {"sample": asked.sample, "steps": asked.steps}), flush=True)
