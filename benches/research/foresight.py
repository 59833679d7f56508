"""What it gains to move a kernel, once it explains a thousand rows, until it foretells them, and more of them.

    python benches/research/foresight.py --seeds 2

prints one JSON object a line: R² or accuracy and log-loss of the explicit and the implicit regime on real tables. The
kernel stays where the evidence of 1,024 rows put it (``explained``), or is moved on these rows (``foretold``), or on
4,096 rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "versus"))

from tables import BATCH, TABLES, Scores, Split, score

from amortix import Adaptation, Settings, Table, latent
from amortix.foresight import foresee
from amortix.pretrained import Pretrained, table_sizes

NAMES = "california_housing hotel_rates Computers diamonds movies CPS1988 adult magic spam7"
KINDS = {"explained": (1024, False), "foretold": (1024, True), "foretold, 4,096": (4096, True)}


def adapted(split: Split, sample: int) -> Iterator[tuple[str, Scores]]:
    """Score of each regime with a sample of so many rows."""
    task, frame = ("regression" if split.classes is None else "classification"), split.x.copy()
    frame["the target"] = split.y if split.classes is None else split.classes[split.y]
    table = Table.open(frame, target="the target")
    classes = 1 if split.classes is None else len(split.classes)
    learners = [
        Pretrained.load(f"{regime}-{task}", **(table_sizes(regime, task, classes) | {"sample": sample}))
        for regime in ("explicit", "implicit")
    ]
    settings = Settings(batch=BATCH, seed=split.seed, holdout=0.1)
    run = Adaptation.start(
        table if split.classes is None else table.with_classes(split.classes), learners, settings=settings, task=task
    )
    run.run()
    for regime in run.tracks:
        yield regime, score(split, run.model(regime).predict(split.test_x).mean)


def main() -> None:
    """Run the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="tables whose name contains this")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for table in TABLES:
        if table.name not in NAMES.split() or asked.only not in table.name:
            continue
        for seed in range(asked.seeds):
            split = Split.of(table, seed, 20_000)
            for kind, (sample, moved) in KINDS.items():
                latent.foresee = foresee if moved else lambda kernel, *_, **__: kernel
                for regime, scores in adapted(split, sample):
                    line = {"table": table.name, "rows": len(split.y), "seed": seed, "kernel": kind, "regime": regime}
                    print(json.dumps(line | {name: round(value, 5) for name, value in scores.items()}), flush=True)


if __name__ == "__main__":
    main()
