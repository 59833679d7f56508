"""Texts as rows of numbers, which streams, tables and batches carry.

>>> rows([[4, 7, 9], [2]], columns=4)
array([[ 5.,  8., 10.,  0.],
       [ 3.,  0.,  0.,  0.]], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amortix.errors import ArrayError
from amortix.language.frozen import PADDING

LARGEST = 2**24 - 1
"""The largest token id: float32 holds it, plus one, exactly."""


def rows(texts: Sequence[Sequence[int]], columns: int) -> NDArray[np.float32]:
    """Token ids plus one, padded by zeros behind.

    Args:
        texts: the token ids of each of N texts.
        columns: D.

    Returns:
        ``[N, D]``.

    Raises:
        ArrayError: a text is longer than D tokens, or a token id is out of range.
    """
    out = np.full((len(texts), columns), PADDING, dtype=np.float32)
    for row, ids in enumerate(texts):
        if len(ids) > columns:
            raise ArrayError(
                f"text {row} has {len(ids)} tokens and there are {columns} columns: cut it, or ask for more"
            )
        if len(ids) and not 0 <= min(ids) <= max(ids) <= LARGEST:
            raise ArrayError(f"text {row} has a token id outside 0 .. {LARGEST:,}: float32 would not hold it")
        out[row, : len(ids)] = np.asarray(ids, dtype=np.float32) + 1
    return out
