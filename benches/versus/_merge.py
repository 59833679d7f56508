"""`context_merge`, `local_solve` and `log_evidence` beside their definitions and other libraries."""

from __future__ import annotations

import importlib.util
import math
import statistics
import sys
import time
from collections.abc import Callable

import torch
from _machine import flops
from _table import Row, paired

from amortix import ops
from amortix.ops.local_solve import definition
from amortix.ops.log_evidence import density

_COLUMNS, _KEPT, _BATCH = 16, 64, 512


def context_merge(quick: bool) -> list[Row]:
    """A stream of mini-batches merged in place: against faiss's exact search, which has all rows in one call."""
    if importlib.util.find_spec("faiss") is None:
        print("context_merge: faiss is not installed; pip install faiss-cpu", file=sys.stderr)
        return []
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    queries, rows = (200, 20 * _BATCH) if quick else (10_000, 1_000_000)
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, queries, _COLUMNS, generator=generator)
    x, values = torch.randn(1, rows, _COLUMNS, generator=generator), torch.arange(rows).float()[None, :, None]
    relevance = torch.ones(1, _COLUMNS)
    index = faiss.IndexFlatL2(_COLUMNS)
    index.add(x[0].numpy())

    def merge() -> tuple[torch.Tensor, torch.Tensor]:
        distance, kept_y = torch.full((1, queries, _KEPT), math.inf), torch.zeros(1, queries, _KEPT, 1)
        kept_x = torch.zeros(1, queries, _KEPT, _COLUMNS)
        for start in range(0, rows, _BATCH):
            part = slice(start, start + _BATCH)
            ops.context_merge_(query, x[:, part], values[:, part], relevance, distance, kept_x, kept_y)
        return distance[0], kept_y[0, :, :, 0].long()

    ours, theirs = merge()[1], torch.from_numpy(index.search(query[0].numpy(), _KEPT)[1])
    # Its distances come by another formula, so rows that are about equally near may change places.
    assert float((ours == theirs).float().mean()) > 0.99
    return [
        paired(
            f"context_merge_, {queries:,} queries, K = {_KEPT}, {rows:,} × {_COLUMNS} rows in batches of {_BATCH}",
            merge,
            lambda: index.search(query[0].numpy(), _KEPT),
            amount=queries * rows / 1e9,
            unit="G distances/s",
            peer_name="faiss IndexFlatL2, one call",
            asked=1,
            repeats=3,
        )
    ]


def local_solve(quick: bool) -> list[Row]:
    """A local Gaussian process for each query: the Rust body against the batched torch.linalg form."""
    queries = 200 if quick else 10_000
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, queries, _COLUMNS, generator=generator)
    kept = query[:, :, None] + torch.randn(1, queries, _KEPT, _COLUMNS, generator=generator)
    residual = torch.randn(1, queries, _KEPT, 1, generator=generator)
    distance = torch.ones(1, queries, _KEPT)
    scale, relevance = torch.ones(1), torch.full((1, _COLUMNS), 1 / _COLUMNS)
    arguments = query, kept, residual, distance, relevance, torch.full((1, 2), 0.5), scale, 0.1 * scale
    assert math.isclose(
        float(ops.local_solve(*arguments)[0].sum()), float(definition(*arguments)[0].sum()), rel_tol=1e-2
    )
    work = f"local_solve, {queries:,} queries, K = {_KEPT}, {_COLUMNS} columns"
    leaves = [argument.clone().requires_grad_(place != 3) for place, argument in enumerate(arguments)]
    learned = [leaf for leaf in leaves if leaf.requires_grad]

    def backward(function: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
        mean, variance = function(*leaves)
        return torch.autograd.grad(mean.sum() + variance.sum(), learned)

    # Covariance (a difference, a product, a sum a column), factorisation, and two right sides; no exponentials.
    operations = queries * (_KEPT**2 / 2 * 3 * _COLUMNS + _KEPT**3 / 3 + 2 * _KEPT**2)
    seconds = _seconds(lambda: ops.local_solve(*arguments))
    return [
        paired(
            work,
            lambda: ops.local_solve(*arguments),
            lambda: definition(*arguments),
            amount=queries / 1e3,
            unit="k queries/s",
            peer_name="torch.linalg, batched",
            asked=3,
        ),
        paired(
            f"{work}, forward + backward",
            lambda: backward(ops.local_solve),
            lambda: backward(definition),
            amount=queries / 1e3,
            unit="k queries/s",
            peer_name="the definition",
            asked=3,
        ),
        Row(
            f"{work}, of the library's matrix product",
            operations / seconds / 1e9,
            flops() / 1e9,
            "sgemm",
            "Gflop/s",
            operations / seconds / flops(),
            0.4,
        ),
    ]


def _seconds(call: Callable[[], object]) -> float:
    call()
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def log_evidence(quick: bool) -> list[Row]:
    """Value and slopes of one task's evidence, as a step of the kernel's inference needs them."""
    found = []
    for rows, columns in [(128, 8)] if quick else [(1024, 8), (1024, 20), (256, 16)]:
        generator = torch.Generator().manual_seed(0)
        x, y = (torch.randn(1, rows, width, generator=generator) for width in (columns, 1))
        logs = [
            torch.full((1, columns), -math.log(columns)),
            *(torch.full(shape, -1.0) for shape in ((1, 2), (1,), (1,), (1,))),
        ]
        leaves = [log.requires_grad_() for log in logs]

        def slopes(function, x=x, y=y, leaves=leaves):
            return torch.autograd.grad(function(x, y, torch.ones(x.shape[:2]), *leaves).sum(), leaves)

        for ours, theirs in zip(slopes(ops.log_evidence), slopes(density), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-1)
        found.append(
            paired(
                f"log_evidence forward + backward, {rows:,} rows × {columns}",
                lambda slopes=slopes: slopes(ops.log_evidence),
                lambda slopes=slopes: slopes(density),
                amount=1,
                unit="steps/s",
                peer_name="the definition",
                asked=2,
            )
        )
    return found
