"""``python -m amortix.experiments NAME [--quick]``: run an experiment by name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from amortix.errors import AmortixError
from amortix.experiments import baselines, batches, functions, images, linear, omniglot, prompt, sinusoid
from amortix.experiments.harness import run, table

EXPERIMENTS = {
    "baselines": baselines.EXPERIMENT,
    "batches": batches.EXPERIMENT,
    "functions": functions.EXPERIMENT,
    "images": images.EXPERIMENT,
    "linear": linear.EXPERIMENT,
    "omniglot": omniglot.EXPERIMENT,
    "prompt": prompt.EXPERIMENT,
    "sinusoid": sinusoid.EXPERIMENT,
}


def main(arguments: list[str]) -> int:
    """Run what the command line asks for and print the table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m amortix.experiments", description="Measure and print a table.")
    parser.add_argument("name", choices=EXPERIMENTS, help="which experiment")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, not what comes out")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 (default: 5; 1 with --quick)")
    parser.add_argument("--only", default="", help="the cells whose name contains this")
    parser.add_argument("--out", type=Path, help="file that results are added to; what it holds is not measured again")
    parser.add_argument("--commit", default="", help="noted with the results")
    asked = parser.parse_args(arguments)
    seeds = range(1 if asked.quick else asked.seeds)
    command = " ".join(["python -m amortix.experiments", *arguments])
    experiment = EXPERIMENTS[asked.name]
    try:
        results = run(
            asked.name,
            experiment,
            quick=asked.quick,
            seeds=seeds,
            out=asked.out,
            command=command,
            commit=asked.commit,
            only=asked.only,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except (AmortixError, OSError) as error:
        print(f"amortix: {error}", file=sys.stderr)
        return 1
    print(f"\n{experiment.title}\n\n{table(results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
