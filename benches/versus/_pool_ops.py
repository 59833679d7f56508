"""`pool_gather` and `pool_scatter` beside PyTorch's own operations."""

from __future__ import annotations

import torch
from _table import Row, paired

from amortix import ops


def pool_ops(quick: bool) -> list[Row]:
    """Random states of 1 KiB out of a pool and into it: the Rust bodies against index_select and index_copy_."""
    slots, width = (4_096 if quick else 262_144), 256
    field = torch.ones(slots, width)
    drawn = torch.randperm(slots, generator=torch.Generator().manual_seed(0))[: slots // 2]
    values = torch.full((len(drawn), width), 2.0)
    amount = 2 * 4 * values.numel() / 1e9

    def scatter() -> None:
        ops.pool_scatter({"state": field}, drawn, {"state": values})

    what = f"{len(drawn):,} of {slots:,} states of 1 KiB"
    both = {"amount": amount, "unit": "GB/s", "asked": 1.0}
    rows = [
        paired(
            f"pool_gather, {what}",
            lambda: ops.pool_gather({"state": field}, drawn),
            lambda: field.index_select(0, drawn),
            peer_name="torch.index_select",
            **both,
        ),
        paired(
            f"pool_scatter, {what}",
            scatter,
            lambda: field.index_copy_(0, drawn, values),
            peer_name="torch.index_copy_",
            **both,
        ),
    ]
    assert torch.equal(field[drawn], values)
    return rows
