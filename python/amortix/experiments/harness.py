"""What experiments share: cells times seeds, resumption, where a number comes from, means with intervals."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

Cell = dict[str, Any]
"""The settings of one row of an experiment's table, fit for JSON; ``"name"`` is how the table calls it."""

#: 97.5 % quantiles of Student's t by degrees of freedom 1, 2, ...; beyond the last, that of the normal.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Experiment:
    """A table that is measured cell by cell.

    Attributes:
        title: what it asks.
        cells: the rows; given True, at sizes that take seconds.
        measure: from a cell and a seed to numbers by name; a pure function of both, but for seconds.
    """

    title: str
    cells: Callable[[bool], Sequence[Cell]]
    measure: Callable[[Cell, int], dict[str, float]]


def run(
    name: str,
    experiment: Experiment,
    *,
    quick: bool,
    seeds: Iterable[int],
    out: Path | None,
    command: str,
    commit: str,
    only: str = "",
    progress: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Measure what ``out`` does not hold yet, adding each result to it as soon as it is known.

    Args:
        name: of the experiment.
        experiment: what to measure.
        quick: small sizes.
        seeds: each cell is measured once for each.
        out: a file of one JSON object a line, or None to keep nothing.
        command: noted with each result.
        commit: noted with each result.
        only: measure the cells whose name contains this.
        progress: gets a line for each result.

    Returns:
        All results of the cells and seeds asked for, those found in the file among them.
    """
    cells = [cell for cell in experiment.cells(quick) if only in cell["name"]]
    wanted = [(cell, seed) for seed in seeds for cell in cells]
    known = {_key(one["cell"], one["seed"]): one for one in read(out)}
    results = []
    for index, (cell, seed) in enumerate(wanted, 1):
        if (line := known.get(_key(cell, seed))) is None:
            measured = {k: float(v) for k, v in experiment.measure(cell, seed).items()}
            line = {"experiment": name, "name": cell["name"], "seed": seed, "quick": quick, "measured": measured}
            line |= {"cell": cell} | _provenance(command, commit)
            if out is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
                with out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
        results.append(line)
        numbers = ", ".join(f"{k} {v:.4g}" for k, v in line["measured"].items())
        progress(f"[{index}/{len(wanted)}] {cell['name']}, seed {seed}: {numbers}")
    return results


def read(path: Path | None) -> list[dict[str, Any]]:
    """The results in a file; none where there is no file."""
    if path is None or not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Means over seeds with 95 % intervals (Student's t), but for seconds, a row for each cell, as Markdown."""
    names = list(dict.fromkeys(k for one in results for k in one["measured"]))
    rows: dict[str, list[dict[str, float]]] = {}
    for one in results:
        rows.setdefault(one["name"], []).append(one["measured"])
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for name, measured in rows.items():
        cells = [_printed(k, [one[k] for one in measured if k in one]) for k in names]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _printed(name: str, values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = float(np.mean(values))
    if name.startswith("seconds"):
        return f"{mean:.0f}"
    if len(values) == 1:
        return f"{mean:.4g}"
    quantile = _STUDENT[len(values) - 2] if len(values) - 2 < len(_STUDENT) else 1.96
    return f"{mean:.4g} ± {quantile * statistics.stdev(values) / math.sqrt(len(values)):.2g}"


def _key(cell: Cell, seed: int) -> str:
    return json.dumps([cell, seed], sort_keys=True)


def _provenance(command: str, commit: str) -> dict[str, Any]:
    return {
        "command": command,
        "commit": commit,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
