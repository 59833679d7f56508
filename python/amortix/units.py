"""A target's units: standardised for learners, and their predictions back in the target's own.

>>> import numpy as np
>>> units = Units.of(np.array([1.0, 2.0, 3.0], np.float32), "price")
>>> units.target(np.array([2.0], np.float32))
array([0.], dtype=float32)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amortix.errors import SourceError

ROWS = 4096
"""How many first rows of a shuffled stream a target's units are taken from."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Units:
    """Mean and standard deviation of a target; 0 and 1 for class indices, which stay as they are."""

    centre: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, y: Floats, target: str) -> Units:
        """Those of targets ``[N]``.

        Raises:
            SourceError: there is one value only; the message names the target.
        """
        wide = y.astype(np.float64)
        if wide.min() == wide.max():
            raise SourceError(
                f"target {target!r} is {wide[0]:g} in each of the first {len(y):,} rows read: "
                "there is nothing to learn; choose another target"
            )
        return cls(float(wide.mean()), float(wide.std()))

    def target(self, y: Floats) -> Floats:
        """Targets ``[B]`` in the learner's units."""
        return ((y - self.centre) / self.scale).astype(np.float32)

    def inverse(
        self, mean: NDArray[np.floating], variance: NDArray[np.floating] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Means and variances in the learner's units back in the target's own; any shape."""
        wide = mean.astype(np.float64) * self.scale + self.centre
        return wide, None if variance is None else variance.astype(np.float64) * self.scale**2
