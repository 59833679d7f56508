"""Few-shot episodes beside learn2learn's way of making them, which goes through Python item by item."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from _table import Row, paired

from amortix.data import EpisodeSampler

_WAYS, _SHOTS = 5, 5
#: Episodes that one call of ours draws, new ones each time, into the same memory.
_AT_ONCE = 64


class _Items(torch.utils.data.Dataset):
    """A data set of (row, label) pairs, as torch's are; pixels become numbers from 0 to 1 as an item is fetched."""

    def __init__(self, x: torch.Tensor, labels: Sequence[int]) -> None:
        self.x, self.labels = x, labels

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row = self.x[index]
        return row.float().mul_(1 / 255) if row.dtype == torch.uint8 else row, self.labels[index]

    def __len__(self) -> int:
        return len(self.labels)


class _ItemByItem:
    """What `learn2learn.data.Taskset` with NWays, KShots, LoadData and RemapLabels does for each task.

    An index of rows by label is made once; a task is a list of indices, each of which is fetched, and given its
    new label, by itself; the rows are stacked at the end.
    """

    def __init__(self, items: _Items, seed: int) -> None:
        self.items, self.random = items, random.Random(seed)
        self.indices: dict[int, list[int]] = defaultdict(list)
        for index in range(len(items)):
            self.indices[items.labels[index]].append(index)

    def sample(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows ``[N·2K, D]`` and labels of an episode, to learn from and to be asked about together."""
        classes = self.random.sample(list(self.indices), _WAYS)
        chosen = [i for label in classes for i in self.random.sample(self.indices[label], 2 * _SHOTS)]
        pairs = [self.items[i] for i in chosen]
        new = {label: way for way, label in enumerate(classes)}
        return torch.stack([row for row, _ in pairs]), torch.tensor([new[label] for _, label in pairs])


def _learn2learn(items: _Items) -> tuple[object, str] | None:
    """A learn2learn task set over the items, where it is installed."""
    try:
        import learn2learn as l2l
    except ImportError:
        return None
    data = l2l.data.MetaDataset(items)
    steps = [
        l2l.data.transforms.NWays(data, _WAYS),
        l2l.data.transforms.KShots(data, 2 * _SHOTS),
        l2l.data.transforms.LoadData(data),
        l2l.data.transforms.RemapLabels(data),
    ]
    return l2l.data.Taskset(data, steps), f"learn2learn {l2l.__version__}"


def episodes(quick: bool) -> list[Row]:
    """5 ways, 5 shots and 5 queries from rows of 784 in memory, 20 of each class: numbers, and pixels to be scaled.

    Both sides hand out float32 rows; the bytes of an episode alone, at the speed of a copy, bound what is possible.
    """
    rows = 2_000 if quick else 32_000
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 784), dtype=np.uint8)
    return [_row(name, x, quick) for name, x in (("float32", pixels.astype(np.float32) / 255), ("uint8", pixels))]


def _row(kind: str, x: np.ndarray, quick: bool) -> Row:
    ours, theirs = (64, 4) if quick else (2048, 64)
    labels = np.arange(len(x)) // 20
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    sampler = EpisodeSampler(x, labels, ways=_WAYS, shots=_SHOTS, queries=_SHOTS, seed=0, scale=scale)
    memory, first = sampler.draw(0, _AT_ONCE), itertools.count(0, _AT_ONCE)
    items = _Items(torch.from_numpy(x), labels.tolist())
    plain = _ItemByItem(items, 0)
    taskset, name = _learn2learn(items) or (None, "its work item by item")

    def draw() -> None:
        for _ in range(0, ours, _AT_ONCE):
            sampler.draw(next(first), _AT_ONCE, out=memory)

    def peer() -> None:
        for _ in range(theirs):
            plain.sample() if taskset is None else taskset.sample()

    return paired(
        f"5-way 5-shot episodes from {len(x):,} {kind} rows of 784",
        draw,
        peer,
        amount=ours,
        peer_amount=theirs,
        unit="episodes/s",
        peer_name=name,
        asked=50,
    )
