"""The bundled learned optimizer beside AdamW: time of a step, memory of the state, and whole trainings.

Trainings are of held-out tasks, the mean of the last losses over five seeds; there the ratio is the peer's loss over
ours, so that more is better. AdamW has the best of a ladder of rates, found on a sixth seed, ours its own rate;
both fall to zero along a cosine. ``--runs FILE`` keeps single trainings, and repeats none it holds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from _held_out import held_out
from _table import Row, main, paired
from _trainings import Trainings, mean

from amortix.optim import LearnedOptimizer

_WEIGHTS = "tiny"
_RUNS: list[Path] = []


def step(quick: bool) -> list[Row]:
    """A whole step on matrices of the same size, the search for bad gradients with ours."""
    ours, adam, millions = _both(quick)
    name = f"step of {_WEIGHTS}, {millions:g} M parameters in 100 tensors"
    unit, peer = "M parameters/s", "AdamW(fused=True)"
    return [paired(name, ours.step, adam.step, amount=millions, unit=unit, peer_name=peer, asked=1 / 8, repeats=9)]


def memory(quick: bool) -> list[Row]:
    """What the state takes after a step."""
    ours, adam, millions = _both(quick)
    sizes = []
    for optimizer in (ours, adam):
        optimizer.step()
        state = [value for one in optimizer.state.values() for value in one.values()]
        sizes.append(sum(value.numel() * value.element_size() for value in state) / 1e6)
    name = f"state of {_WEIGHTS}, {millions:g} M parameters in 100 tensors"
    return [Row(name, sizes[0], sizes[1], "AdamW", "MB", sizes[1] / sizes[0], 1 / 1.5)]


def training(quick: bool) -> list[Row]:
    """Held-out tasks at equal steps, and at the seconds that AdamW takes."""
    rows = []
    for case in held_out():
        trainings = Trainings(case, quick, _RUNS[0] if _RUNS else None)
        theirs, equal, peer = trainings.both(_WEIGHTS)
        timed = trainings.equal_seconds(_WEIGHTS)
        for ours, how in ((equal, "equal steps"), (timed, f"equal seconds, {timed[0]['steps']:,} steps of ours")):
            label = f"{case.name}, {trainings.steps:,} steps, {how}"
            rows.append(Row(label, mean(ours), mean(theirs), peer, "loss", mean(theirs) / mean(ours), 1.0))
    return rows


def _both(quick: bool) -> tuple[LearnedOptimizer, torch.optim.AdamW, float]:
    shape = (10, 40) if quick else (250, 400)
    sides = [[torch.randn(shape, requires_grad=True) for _ in range(100)] for _ in range(2)]
    for parameter in (one for side in sides for one in side):
        parameter.grad = torch.randn(shape)
    adam = torch.optim.AdamW(sides[1], fused=True)
    return LearnedOptimizer(sides[0], _WEIGHTS), adam, 100 * shape[0] * shape[1] / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--runs", type=Path)
    own, rest = parser.parse_known_args()
    _RUNS += [own.runs] if own.runs else []
    sys.argv[1:] = rest
    main("a learned optimizer", [step, memory, training])
