"""Tasks from one set of labelled images: a random projection of the pixels and a random order of the classes.

Two sets of the same size, such as MNIST and Fashion-MNIST, make families inside and outside a training distribution.

>>> import numpy as np
>>> images = np.random.default_rng(0).integers(0, 256, (50, 4, 4), dtype=np.uint8)
>>> tasks = ImageTasks(images, np.arange(50) % 5, seed=0, dim=7)
>>> x, y = tasks.context([3, 8], [0, 0], batch=6)
>>> x.shape, y.shape, tasks.classes
((2, 6, 7), (2, 6), 5)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from amortix import _core
from amortix.data._arrays import Floats, Integers, IntegersLike, empty, integers, whole
from amortix.data.families import Family
from amortix.errors import ArrayError, ConfigError

_PIECE = 4096  # images at a time: bounds the memory of the moments


@dataclass(frozen=True)
class Images(Family):
    """A random linear projection of standardised images, the classes in a random order.

    Attributes:
        dim: columns of the projection.
        holdout: share of the images that only queries show.
    """

    name: ClassVar[str] = "images"
    dim: int = 100
    holdout: float = 0.2


class ImageTasks:
    """Draws tasks over images and rows of these tasks, by the calls of `TaskSampler`.

    A task is a matrix of independent normal numbers, by which the centred pixels are multiplied, and an order of the
    classes. Over all tasks and images a column has mean 0 and variance 1. Images are drawn with replacement.

    References:
        Kirsch, Harrison, Sohl-Dickstein, Metz, "General-purpose in-context learning by meta-learning
        transformers" (2022), section 4.

    Args:
        images: ``[N, ...]`` uint8.
        labels: ``[N]`` whole numbers.
        seed: from 0 to 2⁶⁴ - 1.
        dim: D.
        holdout: share of the images that only queries show, drawn at random by the seed.

    Raises:
        ArrayError: images and labels do not fit, or all images are equal.
        ConfigError: a setting is out of range, or leaves no images for contexts or queries.
    """

    def __init__(
        self, images: NDArray[np.uint8], labels: IntegersLike, *, seed: int, dim: int = 100, holdout: float = 0.2
    ) -> None:
        self.seed = whole("seed", seed, 0, 2**64 - 1)
        self.family = Images(whole("dim", dim, 1), float(holdout))
        given = integers("labels", labels)
        if images.dtype != np.uint8 or images.ndim < 2 or images.shape[0] != given.size:
            raise ArrayError(f"images must be uint8 [{given.size}, ...], not {images.dtype} {list(images.shape)}")
        self._pixels = np.ascontiguousarray(images).reshape(given.size, prod(images.shape[1:]))
        found, codes = np.unique(given, return_inverse=True)
        self._labels, self.classes = codes.astype(np.int64, copy=False), len(found)
        self._mean, self._scale = _moments(self._pixels)
        self._context, self._query = self._parts(given.size)

    @property
    def features(self) -> int:
        """D."""
        return self.family.dim

    @property
    def outputs(self) -> int:
        """O, the number of classes."""
        return self.classes

    def context(
        self, tasks: IntegersLike, steps: IntegersLike, batch: int, *, out: tuple[Floats, Floats] | None = None
    ) -> tuple[Floats, Floats]:
        """Context rows of each (task, step); a longer batch starts with the rows of a shorter one.

        Args:
            tasks: ``[T]``.
            steps: ``[T]``.
            batch: B.
            out: memory to write into, as the result.

        Returns:
            x ``[T, B, D]`` and y ``[T, B]``, the class index, float32.

        Raises:
            ArrayError: shapes do not fit, or ``out`` cannot be written.
        """
        ids, at = integers("tasks", tasks), integers("steps", steps)
        rows = whole("batch", batch, 0)
        x, y = out or (empty("x", (ids.size, rows, self.features)), empty("y", (ids.size, rows)))
        self._observe(self._context, 0, ids, at, x, y)
        return x, y

    def query(self, tasks: IntegersLike, points: int, *, draw: int = 0) -> tuple[Floats, Floats, Floats]:
        """Query rows of each task, of images that no context shows.

        Args:
            tasks: ``[T]``.
            points: M.
            draw: another number gives other rows.

        Returns:
            x ``[T, M, D]``, y ``[T, M]`` and signal ``[T, M, O]``: 1 for the class of the image, 0 for the others.
        """
        ids, rows = integers("tasks", tasks), whole("points", points, 0)
        x, y = empty("x", (ids.size, rows, self.features)), empty("y", (ids.size, rows))
        self._observe(self._query, 1, ids, np.full(ids.size, whole("draw", draw, -(2**63))), x, y)
        return x, y, np.eye(self.classes, dtype=np.float32)[y.astype(np.int64)]

    def dims(self, tasks: IntegersLike) -> Integers:
        """Columns of each task, ``[T]``."""
        return np.full(integers("tasks", tasks).size, self.features)

    def n_classes(self, tasks: IntegersLike) -> Integers:
        """Classes of each task, ``[T]``."""
        return np.full(integers("tasks", tasks).size, self.classes)

    def _observe(self, among: Integers, purpose: int, tasks: Integers, steps: Integers, x: Floats, y: Floats) -> None:
        images = (self._pixels, self._labels, self._mean, among)
        options: dict[str, Any] = {"classes": self.classes, "scale": self._scale, "seed": self.seed}
        _core.image_rows_into(*images, tasks, steps, x, y, purpose=purpose, **options)

    def _parts(self, n: int) -> tuple[Integers, Integers]:
        order = np.empty(n, np.int64)
        _core.pool_draw_into(self.seed, 0, n, order)
        held = round(self.family.holdout * n) if 0 < self.family.holdout < 1 else 0
        if not 0 < held < n:
            raise ConfigError(
                f"`holdout` of {self.family.holdout} leaves {held} of {n} images for queries: choose another"
            )
        return order[held:], order[:held]


def _moments(pixels: NDArray[np.uint8]) -> tuple[Floats, float]:
    """The mean of each pixel, and one over the standard deviation of a projection on standard normals."""
    total, squares = np.zeros(pixels.shape[1]), np.zeros(pixels.shape[1])
    for start in range(0, len(pixels), _PIECE):
        part = pixels[start : start + _PIECE].astype(np.float64)
        total += part.sum(0)
        squares += np.einsum("np,np->p", part, part)
    mean = total / max(len(pixels), 1)
    variance = float((squares / max(len(pixels), 1) - mean**2).sum())
    if not len(pixels) or variance <= 0:
        raise ArrayError("the images are all equal: there is nothing to tell them apart by")
    return mean.astype(np.float32), variance**-0.5
