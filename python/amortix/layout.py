"""How the flat parameters θ of a predictor are cut into named blocks, and which of a larger predictor's they are.

>>> layout = Layout({"weight": (2, 1), "bias": (1,)}, {"weight": (3, 2), "bias": (2,)}, outputs=1)
>>> layout.places.tolist()
[0, 2, 6]
>>> {name: tuple(block.shape) for name, block in layout.split(torch.zeros(5, 3)).items()}
{'weight': (5, 2, 1), 'bias': (5, 1)}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The blocks of θ for one number of columns and outputs.

    What is learned for each parameter (a start, a rate) is learned for the largest predictor; a task with fewer
    columns or outputs has the beginning of each block, along every axis.

    Attributes:
        blocks: shapes by name, in the order of θ.
        largest: those of the largest predictor.
        outputs: O.
    """

    blocks: Mapping[str, tuple[int, ...]]
    largest: Mapping[str, tuple[int, ...]]
    outputs: int

    @property
    def size(self) -> int:
        """P."""
        return sum(map(prod, self.blocks.values()))

    @property
    def places(self) -> Tensor:
        """Where each parameter stands among those of the largest predictor, ``[P]`` int64."""
        places, start = [], 0
        for name, shape in self.largest.items():
            block = torch.arange(start, start + prod(shape)).view(shape)
            places.append(block[tuple(slice(length) for length in self.blocks[name])].flatten())
            start += prod(shape)
        return torch.cat(places)

    def split(self, value: Tensor) -> dict[str, Tensor]:
        """The blocks of θ ``[T, P]`` by name, ``[T, *shape]`` each; views."""
        parts = value.split([prod(shape) for shape in self.blocks.values()], dim=1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(self.blocks.items(), parts, strict=True)}

    def within(self, prefix: str) -> Tensor:
        """Which parameters belong to blocks whose name starts with ``prefix``, ``[P]`` bool."""
        return torch.cat([torch.full((prod(s),), n.startswith(prefix)) for n, s in self.blocks.items()])
