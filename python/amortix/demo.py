"""``python -m amortix.demo``: the main job on California housing, beside ridge and boosted trees.

Every number that it prints is computed in that run: fetch the table (once, then from the cache), stream it
through the bundled learner of each regime, score on the held-out rows, draw the learning curve.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from amortix import datasets, plot, report
from amortix.adapt import AUTO, Adaptation
from amortix.checkpoint import write_atomically
from amortix.data.stream import Stream
from amortix.data.table import Table
from amortix.errors import AmortixError
from amortix.model import AdaptedModel
from amortix.plan import HELD_ROWS, Settings, first_rows


def main() -> int:
    """Run the demonstration; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m amortix.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--plot", type=Path, default=Path("build/california.png"), help="picture to draw")
    parser.add_argument("--results", type=Path, help="file for the results, a JSON object a line")
    arguments = parser.parse_args()
    try:
        arguments.plot.parent.mkdir(parents=True, exist_ok=True)
        plot.check_plot(arguments.plot)
        results = demonstrate(arguments.plot)
        if arguments.results is not None:
            write_atomically(arguments.results, results.encode())
    except (AmortixError, OSError) as error:
        print(f"amortix: {error}", file=sys.stderr)
        return 1
    return 0


def demonstrate(picture: Path) -> str:
    """Fetch, adapt, compare, save, predict and draw; the results as JSON lines."""
    started = time.perf_counter()
    table = Table.open(datasets.fetch("california_housing"), target=datasets.CALIFORNIA.target)
    run = Adaptation.start(table, settings=Settings(offline=True))
    with report.adapt_bar(run.split.rows, 0, shown=True) as progress:
        run.run(progress)
    held = len(run.split.held_y)
    title = f"California housing: one pass over {run.rows:,} rows, {held:,} held out"
    console = Console()
    console.print(report.result_grid(run.results, AUTO, title=title))
    for note in run.notes:
        console.print(note)
    _round_trip(run)
    plot.plot_curves(run.results, picture, title=f"California housing, {held:,} rows held out")
    print(f"drew {picture}; {time.perf_counter() - started:.0f} s in all")
    rows = (report.result_row(result, selected=result.regime == AUTO) for result in run.results)
    return "".join(report.json_line(row) + "\n" for row in rows)


def _round_trip(run: Adaptation) -> None:
    """Save the mixture, load it, and show that it predicts without the table."""
    with tempfile.TemporaryDirectory() as folder:
        run.save(Path(folder) / "model")
        size = sum(file.stat().st_size for file in (Path(folder) / "model").iterdir())
        model = AdaptedModel.load(Path(folder) / "model")
    started = time.perf_counter()
    held_x, held_y = first_rows(Stream(run.split.table, holdout=run.split.share, part="held"), HELD_ROWS)
    found = model.predict(held_x)
    seconds = time.perf_counter() - started
    error = ((found.mean - held_y) ** 2).mean()
    r2 = 1 - error / held_y.astype("float64").var()
    print(
        f"saved model ({', '.join(model.regimes)}): {size / 1e6:.1f} MB, "
        f"R² {r2:.4f} on the held-out rows, {len(found.mean):,} predictions in {seconds:.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
