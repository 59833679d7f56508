"""Cases of `amortix.ops.pool_scatter`, drawn from a seed: those of `pool_gather`, the other way."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from amortix.ops.pool_scatter import definition
from cases.pool_gather import SIZES, random_bits, same

REGISTERS = {"pool_scatter": 32, "pool_scatter_wide": 32}

Arguments = tuple[list[Tensor], Tensor, list[Tensor]]


def cases() -> dict[str, Arguments]:
    """Every size at multiples of 16 bytes and beside them."""
    return {
        f"{height} slots, {rows} of them, widths {widths} offset={offset}": draw(height, rows, widths, offset)
        for height, rows, widths in SIZES
        for offset in (0, 1)
    }


def largest() -> Arguments:
    return draw(3, 3, (5000,), 0)


def crossing() -> Arguments:
    return draw(300, 290, (3, 2, 1030), 0)


def check(got: Arguments, arguments: Arguments) -> None:
    """The arguments that were written into are those that the definition writes into, to the last bit."""
    wanted = copy.deepcopy(arguments)
    definition(*wanted)
    same(got[0], wanted[0])
    same(got[2], arguments[2])


def draw(height: int, rows: int, widths: tuple[int, ...], offset: int) -> Arguments:
    """Fields and values of random bits, each ``offset`` numbers beyond the start of its memory; different slots."""
    generator = torch.Generator().manual_seed(height + rows)
    fields = [random_bits((height, width), index % 2, offset, generator) for index, width in enumerate(widths)]
    values = [random_bits((rows, width), index % 2, offset, generator) for index, width in enumerate(widths)]
    return fields, torch.randperm(height, generator=generator)[:rows], values
