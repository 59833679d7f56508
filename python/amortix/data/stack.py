"""Tables of different lengths and widths that step together, for adapting many tasks in one pass.

>>> import numpy as np
>>> from amortix.data.table import Table
>>> tables = [Table.open((np.ones((n, d)), np.zeros(n))) for n, d in ((5, 2), (3, 4))]
>>> stack = StreamStack([Stream(table, batch=2) for table in tables])
>>> [(x.shape, weight.tolist()) for x, y, weight in stack][-1]
((2, 2, 4), [[1.0, 0.0], [0.0, 0.0]])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from amortix.data._arrays import Floats
from amortix.data.stream import Stream
from amortix.errors import ConfigError, StateError


class StreamStack:
    """Iterates over (x ``[T, B, D]``, y ``[T, B]``, weight ``[T, B]``), one slice for each of T streams.

    D is that of the widest stream. Rows and columns that a stream does not have are zeros, and the weight of such rows
    is zero: that is what padding is to a learner. It ends with the longest stream.

    Args:
        streams: with a target each, and mini-batches of one size.

    Attributes:
        dims: columns of each stream, ``[T]``.

    Raises:
        ConfigError: there is no stream, or they differ in their mini-batches, or one has no target.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = list(streams)
        if not self.streams:
            raise ConfigError("`streams` must be one stream or more")
        sizes = {stream.batch for stream in self.streams}
        if len(sizes) > 1:
            raise ConfigError(f"`streams` must have mini-batches of one size, not {sorted(sizes)}")
        if any(stream.table.target is None for stream in self.streams):
            raise ConfigError("`streams` must have a target each: name it when the table is opened")
        self.dims = np.array([len(stream.columns) for stream in self.streams], np.int64)

    def __iter__(self) -> Iterator[tuple[Floats, Floats, Floats]]:
        passes = [iter(stream) for stream in self.streams]
        while any(parts := [next(one, None) for one in passes]):
            shape = (len(parts), self.streams[0].batch)
            x = np.zeros((*shape, int(self.dims.max())), np.float32)
            y, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
            for place, part in enumerate(parts):
                if part is not None:
                    rows, width = part[0].shape
                    x[place, :rows, :width] = part[0]
                    y[place, :rows] = part[1]
                    weight[place, :rows] = 1.0 if len(part) == 2 else part[2]
            yield x, y, weight

    def state_dict(self) -> dict[str, Any]:
        """The places of all streams; fit for JSON."""
        return {"streams": [stream.state_dict() for stream in self.streams]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next ``for`` go on where ``state`` was taken.

        Raises:
            StateError: the state is of other streams.
        """
        states = state.get("streams", ())
        if len(states) != len(self.streams):
            raise StateError(f"the state is of {len(states)} streams, but there are {len(self.streams)}")
        for stream, one in zip(self.streams, states, strict=True):
            stream.load_state_dict(one)
