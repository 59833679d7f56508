"""Cases of `amortix.ops.pool_gather`, drawn from a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from amortix.ops.pool_gather import definition

REGISTERS = {"pool_gather": 32, "pool_gather_wide": 32}

# S, N and the width of each field in numbers: nothing, one of everything, and either side of the 256 threads of a
# block, of the lanes that share a row and of the 1,024 words or vectors of a piece; float32 and int64 fields in turns.
SIZES = [
    (0, 0, (3, 1)),
    (5, 0, (3, 1)),
    (1, 1, (0, 1)),
    (7, 5, (1, 1, 2, 2, 3, 3, 4, 4, 5)),
    (300, 255, (1, 6)),
    (300, 256, (1, 4)),
    (300, 257, (2, 1)),
    (9, 6, (31, 16, 33, 17, 128, 64, 132)),
    (5, 4, (1020, 511, 1024, 512, 1028)),
    (5, 4, (1023, 513, 1025)),
    (4, 3, (4092, 2048, 4100)),
]


def cases() -> dict[str, tuple[list[Tensor], Tensor]]:
    """Every size at multiples of 16 bytes and beside them; gathered slots may repeat."""
    return {
        f"{height} slots, {rows} of them, widths {widths} offset={offset}": draw(height, rows, widths, offset)
        for height, rows, widths in SIZES
        for offset in (0, 1)
    }


def largest() -> tuple[list[Tensor], Tensor]:
    return draw(3, 3, (5000,), 0)


def crossing() -> tuple[list[Tensor], Tensor]:
    return draw(300, 290, (3, 2, 1030), 0)


def check(got: list[Tensor], arguments: tuple[list[Tensor], Tensor]) -> None:
    """Equal to the last bit, NaN included."""
    same(got, definition(*arguments))


def same(got: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert torch.equal(bits(one), bits(other))


def bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.int32)


def draw(height: int, rows: int, widths: tuple[int, ...], offset: int) -> tuple[list[Tensor], Tensor]:
    """Fields of random bits, each ``offset`` numbers beyond the start of its memory, and slots of them."""
    generator = torch.Generator().manual_seed(height + rows)
    fields = [random_bits((height, width), index % 2, offset, generator) for index, width in enumerate(widths)]
    return fields, torch.randint(0, max(height, 1), (rows,), generator=generator)


def random_bits(shape: tuple[int, int], long: int, offset: int, generator: torch.Generator) -> Tensor:
    """A tensor of the shape, of int64 where ``long`` is 1, else of float32 with all that its bits can mean."""
    words = (offset + shape[0] * shape[1]) * (1 + long)
    memory = torch.randint(-(2**31), 2**31, (words,), generator=generator).to(torch.int32)
    return memory.view(torch.int64 if long else torch.float32)[offset:].view(shape)
