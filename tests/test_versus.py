"""The side-by-side scripts: each runs at small sizes and prints rows that say what was done, by whom and how fast."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from amortix.datasets import cache_folder

FOLDER = Path(__file__).parent.parent / "benches" / "versus"
SCRIPTS = sorted(path for path in FOLDER.glob("[a-z]*.py") if path.stem != "tables")
FIELDS = {"work": str, "ours": float, "peer": float, "peer_name": str, "unit": str, "ratio": float, "asked": float}


def test_there_are_scripts():
    assert SCRIPTS


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_quick_run_prints_one_object_a_row(script):
    # One thread a side: the sizes are small, and the machine may be busy with other tests.
    environment = os.environ | {"RAYON_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows
    for row in rows:
        assert set(row) == set(FIELDS)
        assert all(isinstance(row[name], (int, float) if kind is float else kind) for name, kind in FIELDS.items())
        assert min(row[name] for name in ("ours", "peer", "ratio", "asked")) > 0
        assert math.isfinite(row["ratio"])
        assert row["work"]
        assert row["peer_name"]
        # Rates; or memory or loss, where the ratio is the peer's over ours, so that more is better too.
        assert row["unit"].endswith("/s") or row["unit"].startswith("MB") or row["unit"] == "loss"


@pytest.mark.slow
def test_a_quick_run_on_real_tables_prints_one_object_a_score():
    pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    if len(list(cache_folder().glob("wheels/*/*.whl"))) < 2:
        pytest.skip("the tables are not in the cache: run benches/versus/tables.py once")
    command = [sys.executable, str(FOLDER / "tables.py"), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    # Nine learners; R² of one table, accuracy and log-loss of the other.
    assert len(rows) == 9 * 3
    for row in rows:
        assert list(row) == ["table", "task", "rows", "learner", "metric", "score", "low", "high", "seconds"]
        assert row["seconds"] > 0
        assert 0 < row["score"] <= 1 or row["metric"] == "log_loss"
