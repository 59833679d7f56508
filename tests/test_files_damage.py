"""Damaged files: each ends in an error that says so, or in all the rows that were promised."""

import subprocess
import sys
from pathlib import Path

import pytest

import damage


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("parquet", 23),
        ("feather", 23),
        ("lz4.feather", 23),
        ("zstd.feather", 23),
        ("csv", 1),
        ("csv.gz", 1),
        ("csv.zst", 1),
        ("npy", 1),
        pytest.param("parquet", 1, marks=pytest.mark.slow),
        pytest.param("feather", 1, marks=pytest.mark.slow),
        pytest.param("lz4.feather", 1, marks=pytest.mark.slow),
        pytest.param("zstd.feather", 1, marks=pytest.mark.slow),
    ],
)
def test_every_cut_and_every_changed_byte(tmp_path, kind, step):
    whole = tmp_path / f"whole.{kind}"
    damage.write(whole)
    assert damage.attempt(whole)
    command = [sys.executable, str(Path(damage.__file__)), str(whole), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stdout, done.stdout
