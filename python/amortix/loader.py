"""A stream as an iterable data set of PyTorch, for `torch.utils.data.DataLoader`.

>>> import numpy as np
>>> from torch.utils.data import DataLoader
>>> from amortix.data import Table
>>> stream = Stream(Table.open((np.ones((5, 2)), np.zeros(5))), batch=2)
>>> [tuple(x.shape) for x, y in DataLoader(StreamDataset(stream), batch_size=None)]
[(2, 2), (2, 2), (1, 2)]
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, distributed
from torch.utils.data import IterableDataset, get_worker_info

from amortix.data import Stream
from amortix.data._arrays import whole
from amortix.errors import ConfigError, StateError

#: The worker number and the count where there are no workers.
ALONE = (0, 1)


@final
class StreamDataset(IterableDataset[Any]):
    """Iterates over one epoch of a stream: mini-batches (x ``[B, D]``, y ``[B]``), and a weight ``[B]`` where there is.

    For a ``DataLoader`` with ``batch_size=None``. Every worker reads an equal range of the rows, so that all of them
    together yield each row once, and the last batch of each may be smaller. With several processes that train, give
    the stream ``shard=(rank, world)``: each worker takes a part of that shard. Their numbers of rows differ by one, or
    by more where rows are held out. Workers shuffle within their ranges, so that their number changes the order.

    Workers may be forked or spawned. Spawned ones need a table that can be pickled, so not one that was read from an
    Arrow stream, and open its files again; arrays are copied to each.

    The epoch is in shared memory: `set_epoch` reaches workers that persist, at their next ``for``. Without it every
    epoch has the same order.

    To resume, save `state_dict` between batches. In workers only ``torchdata``'s ``StatefulDataLoader`` can ask for it
    and give it back: with ``DataLoader`` and workers, whose copies of this object do the reading, `state_dict` is
    refused, and so is the ``for`` after `load_state_dict`.

    A warning tells where ``torch.distributed`` has several ranks and the stream is not sharded.

    Args:
        stream: of one epoch.

    Raises:
        ConfigError: the stream has another number of epochs.
    """

    def __init__(self, stream: Stream) -> None:
        if stream.epochs != 1:
            raise ConfigError(
                f"a data set shows one epoch at a time: make the stream with epochs=1, not {stream.epochs}"
            )
        self.stream = stream
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        # Whether copies of this object in workers, and not it, have begun the latest pass.
        self._elsewhere = torch.zeros((), dtype=torch.bool).share_memory_()
        # The epoch and stream of the latest pass, the worker that it is of, and whether the next one goes on with it.
        self._of, self._current, self._by, self._resume = 0, stream, ALONE, False
        _warn_of_ranks(stream)

    @property
    def epoch(self) -> int:
        """Which epoch the next ``for`` shows, from 0."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next ``for``; a place that was loaded is kept where it is of this epoch."""
        self._epoch.fill_(whole("epoch", epoch, 0, 2**62))
        self._resume = self._resume and self._of == epoch

    def __iter__(self) -> Iterator[tuple[Tensor | None, ...]]:
        if not self._resume:
            self._begin(self.epoch)
        elif self._by != _worker():
            raise StateError(
                "the place was loaded outside of the workers, each of which would read all rows from there on: "
                "resume with torchdata's StatefulDataLoader or with num_workers=0"
            )
        self._elsewhere.fill_(get_worker_info() is not None)
        self._resume = False
        return map(_tensors, self._current)

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch of this process or worker; fit for JSON.

        Raises:
            StateError: workers do the reading, and this is asked outside of them.
        """
        if get_worker_info() is None and self._elsewhere:
            raise StateError(
                "the workers of the loader know the place, and this process does not: "
                "save the state of torchdata's StatefulDataLoader, or read with num_workers=0"
            )
        return {"epoch": self._of, "stream": self._current.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next ``for`` go on where ``state`` was taken, and the one after it be another epoch.

        Raises:
            StateError: the state is of another table, of other settings or of another number of workers.
        """
        try:
            epoch, place = whole("epoch", state["epoch"], 0, 2**62), state["stream"]
        except (KeyError, TypeError, ConfigError) as error:
            raise StateError(f"this is no state of a stream's data set: {error}") from error
        current = self._part(epoch)
        current.load_state_dict(place)
        self._of, self._current, self._by, self._resume = epoch, current, _worker(), True
        if get_worker_info() is None:
            self._epoch.fill_(epoch)
            self._elsewhere.fill_(False)

    def _begin(self, epoch: int) -> None:
        current = self._part(epoch)
        current.load_state_dict(current.state_dict() | {"epoch": epoch})
        self._of, self._current = epoch, current

    def _part(self, epoch: int) -> Stream:
        """What this worker, or the only process, reads up to the end of an epoch."""
        index, count = _worker()
        return self.stream.split(index, count, epochs=epoch + 1)


def _worker() -> tuple[int, int]:
    """The number of this worker and how many there are."""
    worker = get_worker_info()
    return ALONE if worker is None else (worker.id, worker.num_workers)


def _warn_of_ranks(stream: Stream) -> None:
    ranks = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    if ranks > 1 and stream.shard == (0, 1):
        warnings.warn(f"each of the {ranks} ranks reads all rows: give the stream shard=(rank, {ranks})", stacklevel=3)


def _tensors(batch: tuple[Any, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if part is None else torch.from_numpy(part) for part in batch)
