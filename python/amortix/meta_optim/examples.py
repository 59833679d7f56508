"""What inner problems learn from: rows of arrays, texts, and functions that are drawn. Nothing is downloaded."""

from __future__ import annotations

import abc
from typing import final

import numpy as np
import torch
from torch import Tensor

from amortix.errors import ConfigError
from amortix.meta_optim import counter

ALPHABET = "\n abcdefghijklmnopqrstuvwxyz.,"
"""The symbols of texts; what else occurs is a blank."""


class AbstractExamples(abc.ABC):
    """A source of mini-batches."""

    @abc.abstractmethod
    def draw(self, seed: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets, ``[B, ...]`` each, a pure function of two int64 scalars."""


@final
class Rows(AbstractExamples):
    """Rows of a table, drawn with replacement.

    Args:
        x: ``[N, D]``.
        y: ``[N]`` int64.
        batch: B.
    """

    def __init__(self, x: Tensor, y: Tensor, batch: int):
        self.x, self.y, self.batch = x, y, batch

    def draw(self, seed: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and labels."""
        places = counter.below(len(self.x), seed, step, self.batch)
        return self.x[places], self.y[places]


@final
class Text(AbstractExamples):
    """Windows of a text, each symbol's target being the next one.

    Args:
        symbols: ``[N]`` int64.
        length: L, of a window.
        batch: B.
    """

    def __init__(self, symbols: Tensor, length: int, batch: int):
        self.symbols, self.length, self.batch = symbols, length, batch

    def draw(self, seed: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Windows and windows one symbol on, ``[B, L]``."""
        starts = counter.below(len(self.symbols) - self.length, seed, step, self.batch)
        windows = self.symbols[starts[:, None] + torch.arange(self.length + 1)]
        return windows[:, :-1], windows[:, 1:]


@final
class Teacher(AbstractExamples):
    """Fresh rows of a function that the seed draws, a perceptron of one hidden layer, with noise.

    Args:
        features: D.
        units: of the hidden layer.
        noise: standard deviation beside a signal of about 1.
        batch: B.
    """

    def __init__(self, features: int, units: int, noise: float, batch: int):
        self.features, self.units, self.noise, self.batch = features, units, noise, batch

    def draw(self, seed: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Normal rows ``[B, D]`` of unlike scales, and numbers ``[B]``."""
        scales = torch.exp(counter.normal(seed, -1, (self.features,)) * 0.5)
        inner = counter.normal(seed, -2, (self.features, self.units)) * (2 / self.features**0.5)
        outer = counter.normal(seed, -3, (self.units,)) / self.units**0.5
        x = counter.normal(seed, 2 * step, (self.batch, self.features))
        noise = counter.normal(seed, 2 * step + 1, (self.batch,))
        return x * scales, torch.tanh(x @ inner) @ outer * 1.6 + self.noise * noise


def digits() -> tuple[Tensor, Tensor]:
    """The 1,797 images of 8 × 8 of scikit-learn, ``[N, 64]`` of about unit size, and their labels.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ConfigError("the digits come with scikit-learn: pip install 'amortix[sklearn]'") from None
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x.astype("float32")) / 8 - 1, torch.from_numpy(y.astype("int64"))


def images(name: str) -> tuple[Tensor, Tensor]:
    """The training images of MNIST or Fashion-MNIST, ``[60,000, 784]``, where their idx files are in the cache.

    Args:
        name: of the folder in `amortix.datasets.cache_folder`, such as ``fashion-mnist``.

    Raises:
        ConfigError: the files are not there.
    """
    from amortix.data.images import read_idx
    from amortix.datasets import cache_folder

    folder = cache_folder() / name
    found = [sorted(folder.glob(f"train-{kind}*")) for kind in ("images", "labels")]
    if not all(found):
        raise ConfigError(f"the idx files of {name} are not in {folder}: put them there, or choose other data")
    x, y = (read_idx(paths[0]) for paths in found)
    pixels = torch.from_numpy(x.reshape(len(x), -1).astype("float32"))
    return pixels / 127.5 - 1, torch.from_numpy(y.astype("int64"))


def manual(half: int) -> Tensor:
    """Half of the language reference that lies in Python's standard library, as places in `ALPHABET`, ``[N]``.

    Args:
        half: 0 for meta-training, 1 to judge by.
    """
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics)).lower()
    table = np.full(128, ALPHABET.index(" "), dtype=np.int64)
    for place, symbol in enumerate(ALPHABET):
        table[ord(symbol)] = place
    codes = table[np.frombuffer(text.encode("ascii", "replace"), np.uint8)]
    middle = len(codes) // 2
    return torch.from_numpy(codes[:middle] if half == 0 else codes[middle:])
