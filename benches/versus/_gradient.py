"""`prefix_gradient` and `two_term_update` beside their definitions, and beside the memory they go through."""

from __future__ import annotations

import torch
from _machine import bandwidth
from _table import Row, paired
from torch import Tensor

from amortix import ops
from amortix.ops.prefix_gradient import definition as prefix_definition
from amortix.ops.two_term_update import definition as update_definition

_COLUMNS, _BATCH, _PARAMETERS, _RANK = 32, 128, 64, 4


def prefix_gradient(quick: bool) -> list[Row]:
    """256 tasks of 128 rows and 32 columns: all prefixes, and the whole alone.

    The 4 MB of rows and 4 MB of prefixes lie in the cache, where one thread's copy through main memory is no bound: the
    bound is a copy of the rows on both threads for the prefixes, and their sum for the whole, which writes nothing. The
    share of main memory's bandwidth is printed too.
    """
    tasks = 8 if quick else 256
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(tasks, _COLUMNS, 1, generator=generator)
    x = torch.randn(tasks, _BATCH, _COLUMNS, generator=generator)
    y = torch.randn(tasks, _BATCH, generator=generator)
    target = torch.empty_like(x)
    read = 4 * (theta.numel() + x.numel() + y.numel())
    rows = []
    for name, function, prefixes, touch in (
        ("all prefixes", ops.prefix_gradient, _BATCH, lambda: target.copy_(x)),
        ("the whole", ops.mean_gradient, 1, x.sum),
    ):
        torch.testing.assert_close(
            function(theta, x, y).view(tasks, prefixes, _COLUMNS, 1),
            prefix_definition(theta, x, y, None, prefixes),
            rtol=1e-3,
            atol=1e-4,
        )
        work = f"prefix_gradient, {name}, {tasks} tasks x {_BATCH} x {_COLUMNS}"
        gigabytes = (read + 4 * tasks * prefixes * _COLUMNS) / 1e9
        touched = 4 * x.numel() * (2 if prefixes > 1 else 1) / 1e9

        def ours(function=function) -> Tensor:
            return function(theta, x, y)

        def reference(prefixes=prefixes) -> Tensor:
            return prefix_definition(theta, x, y, None, prefixes)

        rows.append(
            paired(work, ours, reference, amount=gigabytes, unit="GB/s", peer_name="definition", asked=3, repeats=31)
        )
        in_cache = paired(
            work,
            ours,
            touch,
            amount=gigabytes,
            peer_amount=touched,
            unit="GB/s",
            peer_name="torch copy_, in cache" if prefixes > 1 else "torch sum, in cache",
            asked=0.6,
            repeats=31,
        )
        main = bandwidth() / 1e9
        rows.append(in_cache)
        rows.append(
            Row(work, in_cache.ours, main, "copy, main memory, one core", "GB/s", in_cache.ours / main, 0.6),
        )
    return rows


def two_term_update(quick: bool) -> list[Row]:
    """4,096 states of 64 parameters, rank 4: forward, and forward with backward."""
    tasks = 64 if quick else 4096
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(tasks, _PARAMETERS, generator=generator) for _ in range(7)]
    leaves += [torch.randn(tasks, _PARAMETERS, _RANK, generator=generator), torch.randn(tasks, generator=generator)]
    leaves += [torch.rand(tasks, generator=generator) + 1]
    age = torch.arange(1.0, tasks + 1)
    for leaf in leaves:
        leaf.requires_grad_()
    upstream = [torch.randn(tasks, _PARAMETERS, generator=generator) for _ in range(3)]

    def forward(function) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return function(*leaves, age)

    def both(function) -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(*leaves, age), leaves, upstream)

    rows = []
    for name, run, asked in (("forward", forward, 1), ("forward and backward", both, 4)):
        pairs = zip(run(ops.two_term_update), run(update_definition), strict=True)
        assert all(float((a - b).abs().max()) <= 1e-3 * float(b.abs().max()) for a, b in pairs)
        rows.append(
            paired(
                f"two_term_update, {name}, {tasks:,} tasks x {_PARAMETERS}, rank {_RANK}",
                lambda run=run: run(ops.two_term_update),
                lambda run=run: run(update_definition),
                amount=tasks * _PARAMETERS / 1e6,
                unit="M parameters/s",
                peer_name="definition",
                asked=asked,
                repeats=21,
            )
        )
    return rows
