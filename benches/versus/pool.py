"""The state pool beside a plain copy of the same bytes: `python benches/versus/pool.py`."""

from __future__ import annotations

import numpy as np
from _table import Row, main, paired

from amortix.data import StatePool

_WIDTH = 256  # float32 numbers: states of 1 KiB


def pool(quick: bool) -> list[Row]:
    """Random slots out and back in, against `numpy.copyto` of as many bytes that lie in order."""
    slots = 4_096 if quick else 262_144
    states = StatePool(slots, {"state": ((_WIDTH,), np.float32)}, seed=0)
    drawn = states.draw(slots // 2)
    values = np.ones((len(drawn), _WIDTH), np.float32)
    out, source = np.empty_like(values), np.ones_like(values)

    def move() -> None:
        states.gather_into(drawn, {"state": out})
        states.scatter_from(drawn, {"state": values})

    def copy() -> None:
        np.copyto(out, source)
        np.copyto(values, source)

    return [
        paired(
            f"gather and scatter {len(drawn):,} of {slots:,} states of 1 KiB",
            move,
            copy,
            amount=2 * values.nbytes / 1e9,
            unit="GB/s",
            peer_name="numpy.copyto, one core",
            asked=0.6,
        )
    ]


if __name__ == "__main__":
    main(__doc__ or "", [pool])
