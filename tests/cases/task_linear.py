"""Cases of `amortix.ops.task_linear`, drawn from a seed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortix.ops.task_linear import definition

REGISTERS = {"task_linear_settings": 64, "task_linear_draw": 72, "task_linear_rows": 72}

Arguments = tuple[Any, ...]

FIXED = {
    "dim": [8, 8],
    "noise": [0.5, 0.5],
    "condition": [1.0, 1.0],
    "sparsity": 0.0,
    "weight_scale": [1.0, 1.0],
    "query_scale": 1.0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "one column": {"dim": [1, 1], "noise": [0.0, 0.0]},
    "as by default": {},
    "ranges of all": {"dim": [1, 9], "noise": [0.1, 2.0], "sparsity": 0.3, "weight_scale": [0.5, 3.0]},
    "an axis of its own": {"dim": [1, 1], "condition": [1.0, 50.0]},
    "any axes": {"dim": [1, 9], "condition": [1.0, 50.0], "noise": [0.1, 2.0], "query_scale": 2.5},
    "long axes": {"dim": [32, 32], "condition": [20.0, 20.0], "sparsity": 0.5},
    "columns between 7 and 33": {"dim": [7, 33], "condition": [2.0, 1e4], "query_scale": 0.5},
    "wide": {"dim": [600, 1024], "noise": [0.1, 0.2]},
    "wide axes": {"dim": [120, 150], "condition": [3.0, 30.0]},
}
# T and B: nothing, one of everything, and either side of the 32 draws of a group and the 256 rows of a tile.
SIZES = [(0, 3), (2, 0), (1, 1), (5, 7), (3, 31), (3, 32), (3, 33), (2, 255), (2, 257)]
FEW = [(2, 9)]  # where rows are wide


def cases() -> dict[str, Arguments]:
    """Every family at every size, contexts and queries; seeds, tasks and steps of all signs and lengths."""
    drawn = {}
    for name, settings in FAMILIES.items():
        for count, rows in FEW if name.startswith("wide") else SIZES:
            for query in (False, True):
                label = f"{name}, {count} tasks of {rows} {'queries' if query else 'rows'}"
                drawn[label] = draw(settings, count, rows, query=query, seed=len(drawn))
    return drawn


def largest() -> Arguments:
    return draw({"dim": [1024, 1024], "condition": [2.0, 2.0]}, 1, 300, query=True)


def crossing() -> Arguments:
    return draw({"dim": [5, 40], "condition": [2.0, 50.0]}, 3, 300, query=True)


def check(got: list[Tensor], arguments: Arguments) -> None:
    """Equal to the last bit, of zeros but for their sign: the tests draw too few settings to meet `pow`'s last bit."""
    wanted = definition(*arguments)
    assert len(got) == len(wanted) == (3 if arguments[1] is None else 2)
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        assert torch.equal(one, other)


def draw(settings: dict[str, Any], count: int, rows: int, *, query: bool, seed: int = 0) -> Arguments:
    """Arguments of the operation for some tasks; with ``query`` without steps."""
    generator = torch.Generator().manual_seed(seed)
    tasks, steps = (torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator) for _ in range(2))
    tasks[1::2] = torch.arange(count)[1::2]
    own_seed, own_draw = int(steps.sum()) if seed % 2 else seed, -seed if query else 0
    return tasks, None if query else steps, own_draw, rows, own_seed, *(FIXED | settings).values()
