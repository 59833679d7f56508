"""What every side-by-side script shares: paired timing, one row per piece of work, a table or JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """One piece of work done by both sides.

    Attributes:
        work: what is done.
        ours: our figure, the median over the repeats.
        peer: the peer's.
        peer_name: who the peer is.
        unit: of both figures; rates, so that more is better.
        ratio: the median over the repeats of ours / peer.
        asked: what the ratio should reach.
    """

    work: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    asked: float


def paired(
    work: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    amount: float,
    unit: str,
    peer_name: str,
    asked: float,
    peer_amount: float | None = None,
    repeats: int = 5,
) -> Row:
    """Time both sides in turns, so that a neighbour's load falls on both.

    Args:
        work: what is done.
        ours: does it once.
        peer: does it once, or a part of it where the whole would take too long.
        amount: how many units one call of ``ours`` does, such as millions of rows.
        unit: of the rate, per second.
        peer_name: who the peer is.
        asked: what the ratio should reach.
        peer_amount: how many units one call of ``peer`` does, where it is less.
        repeats: how often each side is run, after once for warming up.
    """
    ours(), peer()
    rates = [(amount / _seconds(ours), (peer_amount or amount) / _seconds(peer)) for _ in range(repeats)]
    mine, theirs = (statistics.median(side) for side in zip(*rates, strict=True))
    return Row(work, mine, theirs, peer_name, unit, statistics.median(a / b for a, b in rates), asked)


_CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
_clock = "wall"


def _seconds(call: Callable[[], object]) -> float:
    now = _CLOCKS[_clock]
    start = now()
    call()
    return now() - start


def main(description: str, works: Sequence[Callable[[bool], Sequence[Row]]]) -> None:
    """Run every piece of work and print it; each gets True where ``--quick`` asks for small sizes."""
    global _clock
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, not how fast")
    parser.add_argument("--only", default="", help="run the works whose function name contains this")
    parser.add_argument(
        "--clock", choices=list(_CLOCKS), default=_clock, help="processor: of all threads, on a machine that others use"
    )
    options = parser.parse_args()
    _clock = options.clock
    if not options.json:
        print(f"{os.cpu_count()} cores, numpy {np.__version__}\n")
        print("| work | ours | peer | unit | ratio | asked |\n|---|---|---|---|---|---|")
    for work in works:
        if options.only not in work.__name__:
            continue
        for row in work(options.quick):
            print(json.dumps(asdict(row)) if options.json else _line(row), flush=True)


def _line(row: Row) -> str:
    met = "" if row.ratio >= row.asked else " (short)"
    return (
        f"| {row.work} | {row.ours:.4g} | {row.peer:.4g} ({row.peer_name}) | {row.unit} "
        f"| {row.ratio:.2f}{met} | {row.asked:g} |"
    )
