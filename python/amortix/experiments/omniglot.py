"""Omniglot: new characters from one or five drawings each, five at a time, of alphabets that training never saw.

The two small background sets: 242 characters of 8 alphabets, 20 drawings each, 28 × 28. Sanskrit and Tagalog (59
characters) are held out; the other 183, turned by 0, 90, 180 and 270 degrees, make 732 classes to train on. In each
episode of 60 classes each class is mirrored or not, sheared and stretched in its own way, and every drawing is
distorted by a random similarity. The published splits have 1,200 characters to train on and 423 to test.

References:
    Lake, Salakhutdinov and Tenenbaum, Science 350 (2015); Snell, Swersky and Zemel, NIPS 2017.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amortix import checkpoint
from amortix.batch import Batch, TaskBatch
from amortix.data import EpisodeSampler
from amortix.data.images import read_omniglot
from amortix.datasets import cache_folder
from amortix.errors import SourceError
from amortix.experiments.harness import Cell, Experiment
from amortix.experiments.meta import descend
from amortix.learner import AbstractLearner

_FILES = ("images_background_small1.zip", "images_background_small2.zip")
_HELD_OUT = ("Sanskrit", "Tagalog")
_SIDE = 28
_WAYS, _QUERIES = 5, 5
_TRAIN_SHOTS, _TRAIN_QUERIES = 1, 3


def folder() -> Path:
    """Where the two zip files are: ``$AMORTIX_OMNIGLOT``, or ``omniglot`` in the cache of data sets."""
    return Path(os.environ.get("AMORTIX_OMNIGLOT") or cache_folder() / "omniglot")


def cells(quick: bool) -> Sequence[Cell]:
    """Prototypes, trained on one drawing of each of many characters."""
    small, full = {"ways": 10, "episodes": 5, "tests": 20, "width": 8}, {"ways": 60, "episodes": 1000, "tests": 300}
    return [{"name": "prototypes", **(small if quick else {**full, "width": 64})}]


def measure(cell: Cell, seed: int) -> dict[str, float]:
    """Accuracy on unseen alphabets."""
    torch.manual_seed(seed)
    arguments = {"side": _SIDE, "width": cell["width"], "classes": cell["ways"]}
    learner = checkpoint.build({"method": "prototypes", "task": "classification", **arguments})
    learner.to(memory_format=torch.channels_last)  # convolutions take less time so
    shape = {"ways": cell["ways"], "shots": _TRAIN_SHOTS, "queries": _TRAIN_QUERIES}
    sampler, random = EpisodeSampler(*_drawings()[0], **shape, seed=seed), torch.Generator().manual_seed(seed)
    seconds = descend(learner, lambda i: _loss(learner, sampler, random, i), iterations=cell["episodes"], rate=2e-3)
    found = {f"accuracy, {shots}-shot": _accuracy(learner, shots, cell["tests"], seed) for shots in (1, 5)}
    return found | {"seconds of training": seconds}


def _loss(learner: AbstractLearner, sampler: EpisodeSampler, random: torch.Generator, episode: int) -> Tensor:
    drawn, ways = sampler.draw(episode, 1), sampler.ways
    shapes = _class_shapes(ways, random)
    support_x, query_x = (_distorted(torch.from_numpy(x), shapes, random) for x in (drawn.support_x, drawn.query_x))
    context, query_y = Batch(support_x, torch.from_numpy(drawn.support_y)), torch.from_numpy(drawn.query_y)
    with torch.autocast("cpu", torch.bfloat16):
        before = learner.init(1, support_x.shape[2], ways)
        after = learner.step(before, context)
        prediction = learner.predict(after, query_x)
    data = TaskBatch(context, query_x, query_y, F.one_hot(query_y.long(), ways).float())
    return learner.outer(before, after, prediction, data).mean()


@torch.no_grad()
def _accuracy(learner: AbstractLearner, shots: int, tests: int, seed: int) -> float:
    drawings, labels = _drawings()[1]
    sampler = EpisodeSampler(drawings, labels, ways=_WAYS, shots=shots, queries=_QUERIES, seed=2**40 + seed)
    right = []
    for start in range(0, tests, 20):
        drawn = sampler.draw(start, min(20, tests - start))
        state = learner.init(len(drawn.support_x), drawn.support_x.shape[2], _WAYS)
        state = learner.step(state, Batch(torch.from_numpy(drawn.support_x), torch.from_numpy(drawn.support_y)))
        guess = learner.predict(state, torch.from_numpy(drawn.query_x)).mean.argmax(2)
        right.append((guess == torch.from_numpy(drawn.query_y)).float().mean(1))
    return float(torch.cat(right).mean())


def _class_shapes(classes: int, random: torch.Generator) -> Tensor:
    """A matrix for each class: mirrored or not, turned by up to 23 degrees, stretched by up to 28 % and sheared."""
    angle, across, along, shear, side = (2 * torch.rand(5, classes, generator=random) - 1).unbind()
    stretched = torch.stack([side.sign() * (0.25 * across).exp(), 0.3 * shear, 0 * shear, (0.25 * along).exp()], 1)
    return _turn(0.4 * angle) @ stretched.view(-1, 2, 2)


def _distorted(x: Tensor, shapes: Tensor, random: torch.Generator) -> Tensor:
    """Images in the order of their classes, each in the shape of its class, then moved a little.

    By up to 14 degrees, 15 % of its size and 12 % of half its width.
    """
    images = x.reshape(-1, 1, _SIDE, _SIDE)
    angle, scale = ((torch.rand(len(images), generator=random) - 0.5) * width for width in (0.5, 0.3))
    shift = (torch.rand(len(images), 2, 1, generator=random) - 0.5) * 0.25
    turn = shapes.repeat_interleave(len(images) // len(shapes), 0) @ (_turn(angle) * (1 + scale).view(-1, 1, 1))
    grid = F.affine_grid(torch.cat([turn, shift], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).view(x.shape)


def _turn(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)


@cache
def _drawings() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Rows of pixels from 0 (paper) to 1 (ink) and their classes, to train on and to test on."""
    paths = [folder() / name for name in _FILES]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise SourceError(f"{missing[0]} is missing: set AMORTIX_OMNIGLOT to the folder of {' and '.join(_FILES)}")
    found = read_omniglot(*paths, size=_SIDE)
    held = np.isin(found.labels, found.of(_HELD_OUT))
    ink = 1 - np.asarray(found.images, np.float32) / 255
    seen = ~held
    turned = np.concatenate([np.rot90(ink[seen], turns, (1, 2)) for turns in range(4)])
    classes = np.concatenate([found.labels[seen] + turns * len(found.alphabets) for turns in range(4)])
    train = np.ascontiguousarray(turned).reshape(len(turned), -1), classes
    return train, (ink[held].reshape(held.sum(), -1), found.labels[held])


EXPERIMENT = Experiment("Accuracy on Omniglot, five ways, alphabets that training never saw", cells, measure)
