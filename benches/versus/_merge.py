"""`context_merge` and `local_solve` beside their definitions."""

from __future__ import annotations

import math

import torch
from _table import Row, paired

from amortix import ops
from amortix.ops.local_solve import definition

_COLUMNS, _KEPT = 16, 64


def local_solve(quick: bool) -> list[Row]:
    """A local Gaussian process for each query: the Rust body against the batched torch.linalg form."""
    queries = 200 if quick else 10_000
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, queries, _COLUMNS, generator=generator)
    kept = query[:, :, None] + torch.randn(1, queries, _KEPT, _COLUMNS, generator=generator)
    residual = torch.randn(1, queries, _KEPT, 1, generator=generator)
    distance = torch.ones(1, queries, _KEPT)
    scale = torch.ones(1)
    arguments = query, kept, residual, distance, torch.full((1, _COLUMNS), 1 / _COLUMNS), scale, 0.1 * scale
    assert math.isclose(
        float(ops.local_solve(*arguments)[0].sum()), float(definition(*arguments)[0].sum()), rel_tol=1e-2
    )
    return [
        paired(
            f"local_solve, {queries:,} queries, K = {_KEPT}, {_COLUMNS} columns",
            lambda: ops.local_solve(*arguments),
            lambda: definition(*arguments),
            amount=queries / 1e3,
            unit="k queries/s",
            peer_name="torch.linalg, batched",
            asked=3,
        )
    ]
