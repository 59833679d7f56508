"""Which kernel a task's first rows should choose from: rough alone, or with a smooth part beside it.

A kernel is linear·(1 + x·x') + Σ_j signal_j·k_j(r_j) with r_j² = Σ_D relevance_j (x − x')². ``rough`` is what the
library fits today, Matérn-1/2 alone. The others add a squared exponential: under the same relevances times one factor
(``one metric``), or under relevances of its own (``two metrics``). Parameters climb the log evidence of the first rows
by steps of Adam from a wide start; queries are read from their K nearest rows under the rough part's metric.

    python benches/research/kernels.py gp
    python benches/research/kernels.py tables --seeds 3

prints one JSON object a line: on Gaussian process tasks the mean squared error over that of the exact process with the
true kernel on all rows, on real tables R² (classes of two: of ±1).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "versus"))

from _real import TABLES, Real

from amortix.batch import Batch, own
from amortix.data import Gp, Stream, Table, TableEncoder, TaskSampler
from amortix.oracles import oracle

JITTER, RATE, BOUND = 1e-4, 0.4, 10.0
KEPT = 64
PARTS = {"rough": 1, "one metric": 2, "two metrics": 2}
REGRESSION = "california_housing hotel_rates ames concrete car_prices Computers diamonds Wage SLID movies wagepan"
BINARY = "HMDA spam7 VerbAgg magic adult credit_data"


@dataclass(frozen=True)
class Kernel:
    """Logarithms of a kernel's parameters, for T tasks: relevance ``[T, J, D]``, signal ``[T, J]``, others ``[T]``."""

    relevance: Tensor
    signal: Tensor
    linear: Tensor
    noise: Tensor

    def task(self, index: int) -> Kernel:
        """Of one task."""
        return Kernel(*(t[index : index + 1] for t in vars(self).values()))

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Covariances ``[T, A, B]`` of ``[T, A, D]`` and ``[T, B, D]``."""
        total = self.linear.exp()[:, None, None] * (1 + a @ b.mT)
        for part in range(self.signal.shape[1]):
            scale = (self.relevance[:, part] / 2).exp()[:, None]
            r = torch.cdist(a * scale, b * scale, compute_mode="donot_use_mm_for_euclid_dist")
            shape = torch.exp(-r) if part == 0 else torch.exp(-r.square() / 2)
            total = total + self.signal[:, part].exp()[:, None, None] * shape
        return total

    def noisy(self, x: Tensor) -> Tensor:
        """Covariances of observations ``[T, A, A]``."""
        covariance = self(x, x)
        level = self.noise.exp() + JITTER * covariance.diagonal(dim1=1, dim2=2).mean(1)
        return covariance + level[:, None, None] * torch.eye(x.shape[1])


def fit(kind: str, x: Tensor, y: Tensor, steps: int) -> Kernel:
    """From rows ``[T, R, D]`` and targets ``[T, R]``."""
    tasks, _, columns = x.shape
    parts = PARTS[kind]
    used = (x.abs().amax(1) > 0).sum(1).clamp_min(1).float()
    relevance = (-used.log())[:, None].repeat(1, columns)
    own_relevance = [relevance.clone().requires_grad_() for _ in range(parts if kind == "two metrics" else 1)]
    factor = torch.zeros(tasks, requires_grad=kind == "one metric")
    signal = torch.full((tasks, parts), -1.0 - np.log(parts)).requires_grad_()
    linear, noise = (torch.full((tasks,), -1.0).requires_grad_() for _ in range(2))
    unit = y.square().mean(1).clamp_min(1e-12).sqrt()

    def kernel() -> Kernel:
        metrics = own_relevance if len(own_relevance) == parts else [relevance_0, relevance_0 + factor[:, None]]
        return Kernel(torch.stack(metrics, 1), signal, linear, noise)

    relevance_0 = own_relevance[0]
    leaves = [t for t in (*own_relevance, factor, signal, linear, noise) if t.requires_grad]
    optimizer = torch.optim.Adam(leaves, lr=RATE, betas=(0.8, 0.95))
    for _ in range(steps):
        optimizer.zero_grad()
        factor_ = torch.linalg.cholesky(kernel().noisy(x))
        half = torch.linalg.solve_triangular(factor_, (y / unit[:, None]).unsqueeze(2), upper=False)
        evidence = -half.square().sum((1, 2)) / 2 - factor_.diagonal(dim1=1, dim2=2).log().sum(1)
        (-evidence / x.shape[1]).sum().backward()
        optimizer.step()
    found = kernel()
    scale = 2 * unit.log()
    relevance, signal, linear, noise = (t.detach().clamp(-BOUND, BOUND) for t in vars(found).values())
    return Kernel(relevance, signal + scale[:, None], linear + scale, noise + scale)


@torch.no_grad()
def read(kernel: Kernel, query: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Means ``[M]`` at ``[M, D]`` from the K nearest of ``[N, D]`` under the rough metric of one task."""
    scale = (kernel.relevance[0, 0] / 2).exp()
    means = []
    for some in query.split(200):
        nearest = torch.cdist(some * scale, x * scale).topk(min(KEPT, len(x)), largest=False).indices
        each = Kernel(*(t.expand(len(some), *t.shape[1:]) for t in vars(kernel).values()))
        covariance = each.noisy(x[nearest])
        weights = torch.cholesky_solve(y[nearest].unsqueeze(2), torch.linalg.cholesky(covariance))
        means.append((each(some.unsqueeze(1), x[nearest]) @ weights).flatten())
    return torch.cat(means)


def gp(seeds: int, sample: int, steps: int) -> Iterator[dict[str, object]]:
    """Tasks of 1 to 4 inputs, smooth, in batches of 64; length scale and noise unknown."""
    family = Gp(dim=(1, 4), length_scale=(0.5, 2.0), noise=(0.1, 0.5))
    for seed in range(seeds):
        sampler, ids = TaskSampler(family, seed=2**40 + seed), np.arange(12)
        query, _, signal = map(own, sampler.query(ids, 64))
        best = oracle(sampler, ids)
        assert best is not None
        batches = []
        for step in range(1, 21):
            batches.append(Batch(*map(own, sampler.context(ids, np.full(len(ids), step - 1), 64))))
            best.see(batches[-1])
            if step not in (1, 5, 10, 20):
                continue
            x, y = torch.cat([b.x for b in batches], 1), torch.cat([b.y for b in batches], 1)
            exact = float((best.predict(query).mean - signal).square().mean())
            for kind in PARTS:
                kernel = fit(kind, x[:, :sample], y[:, :sample], steps)
                means = torch.stack([read(kernel.task(t), query[t], x[t], y[t]) for t in ids])
                error = float((means - signal.squeeze(2)).square().mean())
                yield {"work": "gp", "step": step, "seed": seed, "kernel": kind, "ratio": error / exact}


def tables(seeds: int, sample: int, steps: int) -> Iterator[dict[str, object]]:
    """At most 6,000 rows of each table, a fifth of them to test on."""
    for table in TABLES:
        if table.name not in f"{REGRESSION} {BINARY}".split():
            continue
        for seed in range(seeds):
            (x, y), (query, truth) = rows(table, seed)
            for kind in PARTS:
                kernel = fit(kind, x[None, :sample], y[None, :sample], steps)
                error = (read(kernel, query, x, y) - truth).square().mean() / truth.var()
                yield {"work": table.name, "rows": len(x), "seed": seed, "kernel": kind, "r2": 1 - float(error)}


def rows(table: Real, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    frame = table.frame().sample(frac=1, random_state=seed)[:6000].reset_index(drop=True)
    if table.task == "c":
        kinds = sorted(frame[table.target].unique())
        frame[table.target] = np.where(frame[table.target] == kinds[0], -1.0, 1.0)
    opened = Table.open(frame, target=table.target)
    stream = Stream(opened, batch=len(frame), encoder=TableEncoder.fit(opened))
    x, y = (torch.from_numpy(np.array(a)) for a in next(iter(stream))[:2])
    y = (y - y.mean()) / y.std()
    end = len(x) * 4 // 5
    return (x[:end], y[:end]), (x[end:], y[end:])


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
