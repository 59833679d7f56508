"""The same draws on one thread and on two: they must have the same bits; what the second thread is worth."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from _table import Row, paired

#: Draws again for every line that it is sent, and answers with a hash of what was drawn first.
_CHILD = """
import hashlib, sys
import numpy as np
from amortix.data import EpisodeSampler, Linear, Tabular, TaskSampler

def context(family):
    ids = np.arange(tasks)
    sampler, steps = TaskSampler(family, seed=0), np.zeros(tasks, np.int64)
    memory = sampler.context(ids, steps, rows)
    return memory, lambda turn: sampler.context(ids + turn * tasks, steps, rows, out=memory)

def linear():
    return context(Linear(dim=(32, 32), noise=(0.5, 0.5)))

def tabular():
    return context(Tabular(dim=(20, 100)))

def episodes():
    x = np.random.default_rng(0).random((20 * rows, 784), np.float32)
    sampler = EpisodeSampler(x, np.arange(len(x)) // 20, ways=5, shots=5, queries=5, seed=0)
    memory = sampler.draw(0, tasks)
    return (memory.support_x, memory.query_x), lambda turn: sampler.draw(turn * tasks, tasks, out=memory)

work, tasks, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
memory, draw = {"linear": linear, "tabular": tabular, "episodes": episodes}[work]()
print(hashlib.sha256(b"".join(part.tobytes() for part in memory)).hexdigest(), flush=True)
for turn, _ in enumerate(sys.stdin, start=1):
    draw(turn)
    print(flush=True)
"""


def threads(quick: bool) -> list[Row]:
    """Tasks and episodes drawn by a process with one thread, and by one with two."""
    tasks, rows = (8, 64) if quick else (256, 1024)
    return [_row(work, tasks, rows) for work in ("linear", "tabular", "episodes")]


def _row(work: str, tasks: int, rows: int) -> Row:
    with ExitStack() as stack:
        one, two = (stack.enter_context(_process(count, work, tasks, rows)) for count in (1, 2))
        if _answer(one) != _answer(two):
            raise AssertionError(f"{work}: two threads draw other bits than one")
        return paired(
            f"{tasks} draws of {work}, the same bits on two threads",
            lambda: _again(two),
            lambda: _again(one),
            amount=tasks,
            unit="draws/s",
            peer_name="ours on one thread",
            asked=1,
        )


@contextmanager
def _process(count: int, work: str, tasks: int, rows: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _CHILD, work, str(tasks), str(rows)]
    environment = os.environ | {"RAYON_NUM_THREADS": str(count)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield process


def _again(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    _answer(process)


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process that draws has ended")
    return line
