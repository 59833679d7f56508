"""Experiments: each runs at small sizes, what is measured is not measured again, pages print what was measured.

Prompts run in their own tests, for they need a language model.
"""

import os
import re
import statistics
from pathlib import Path

import pytest
import torch

from amortix.errors import SourceError
from amortix.experiments import batches, images, omniglot
from amortix.experiments.__main__ import EXPERIMENTS, main
from amortix.experiments.harness import Experiment, read, run, table

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared/data"


@pytest.fixture
def data(monkeypatch):
    """Data sets that lie beside the checkout, where they do."""
    for name, folder in (("AMORTIX_OMNIGLOT", "omniglot"), ("AMORTIX_MNIST", "mnist")):
        if name not in os.environ and (SHARED / folder).is_dir():
            monkeypatch.setenv(name, str(SHARED / folder))
    if "AMORTIX_FASHION_MNIST" not in os.environ and (SHARED / "mnist").is_dir():
        # At small sizes any set of the same shape shows that it runs.
        monkeypatch.setenv("AMORTIX_FASHION_MNIST", str(SHARED / "mnist"))
    images._set.cache_clear()
    omniglot._drawings.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "prompt"])
def test_every_cell_runs_at_small_sizes(name, data):
    cells = EXPERIMENTS[name].cells(True)
    assert len({cell["name"] for cell in cells}) == len(cells) > 0
    for cell in cells:
        try:
            measured = EXPERIMENTS[name].measure(cell, 0)
        except SourceError as missing:
            pytest.skip(str(missing))
        assert measured
        assert all(value >= 0 for value in measured.values()), (cell["name"], measured)


def counted(calls: list[tuple[str, int]]) -> Experiment:
    def measure(cell, seed):
        calls.append((cell["name"], seed))
        return {"error": cell["base"] + seed}

    return Experiment("a test", lambda quick: [{"name": n, "base": b} for n, b in (("a", 1.0), ("b", 5.0))], measure)


def results(calls, path, seeds, **settings):
    lines = []
    found = run(
        "test", counted(calls), quick=False, seeds=seeds, out=path, command="c", commit="1", progress=lines.append,
        **settings,
    )  # fmt: skip
    assert len(lines) == len(found)
    return found


def test_what_a_file_holds_is_not_measured_again(tmp_path):
    calls, path = [], tmp_path / "new" / "found.jsonl"
    results(calls, path, range(2))
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    calls.clear()
    found = results(calls, path, range(3))
    assert calls == [("a", 2), ("b", 2)]
    assert [(one["name"], one["seed"], one["measured"]["error"]) for one in found] == [
        (name, seed, base + seed) for seed in range(3) for name, base in (("a", 1.0), ("b", 5.0))
    ]
    assert len(read(path)) == 6
    assert all({"command", "commit", "processor", "cores"} <= set(one) for one in read(path))


def test_cells_can_be_chosen_by_name(tmp_path):
    calls: list[tuple[str, int]] = []
    results(calls, None, range(1), only="b")
    assert calls == [("b", 0)]


def test_the_table_has_means_with_students_interval(tmp_path):
    rows = table(results([], None, range(5))).splitlines()
    assert rows[0] == "| | error |"
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    half = 2.776 * statistics.stdev(values) / len(values) ** 0.5
    name, mean, width = re.fullmatch(r"\| (\w) \| ([\d.]+) ± ([\d.]+) \|", rows[2]).groups()
    assert (name, float(mean)) == ("a", 3.0)
    assert float(width) == pytest.approx(half, rel=0.05)


def test_an_unknown_experiment_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "invalid choice" in capsys.readouterr().err


def test_the_page_prints_what_was_measured():
    text = "\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    found = re.findall(r"<!-- experiment: (\S+) -->\n+((?:\|.*\n?)+)", text)
    assert len(found) >= 2
    for name, printed in found:
        lines = read(ROOT / name)
        assert lines, name
        assert printed.strip() == table(lines), f"print the table of {name} anew"
        assert all(line["commit"] and line["command"].startswith("python -m amortix.experiments ") for line in lines)


def test_products_and_live_memory_are_counted():
    x = torch.ones(64, 32)
    with batches._Tally() as tally:
        for _ in range(3):
            y = x.T @ x
            del y
    assert tally.flop == 3 * 2 * 32 * 64 * 32
    assert tally.peak == 4 * (32 * 32 + 64 * 32)  # a product, and what it is a product of
    assert not tally.uncounted
