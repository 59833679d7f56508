"""The measurements on a device: every kernel has one, its arguments fit, and where there is no device it says so."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

from cases import KERNELS, ROOT

FOLDER = ROOT / "benches"


def script() -> ModuleType:
    """`benches/gpu.py`, which is no part of a package."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module("gpu")
    finally:
        sys.path.remove(str(FOLDER))


gpu = script()


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "gpu.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | environment)


def test_without_a_device_it_says_so_with_a_code_of_its_own() -> None:
    done = run(CUDA_VISIBLE_DEVICES="")
    assert done.returncode == gpu.NO_DEVICE == 69
    assert done.stderr == "nothing was measured: torch sees no CUDA device\n"
    assert not done.stdout


def test_every_kernel_has_a_work() -> None:
    assert sorted(make.__name__ for make in gpu.WORKS) == KERNELS, "list the operation in benches/_gpu_works.py"


@pytest.mark.parametrize("make", gpu.WORKS, ids=lambda make: make.__name__)
def test_a_work_is_a_call_of_its_operation(make) -> None:
    """On the CPU, where the operator checks shapes; sizes in full are only named and counted."""
    work = make("cpu", True)
    assert work.operation == make.__name__
    outputs = gpu.call(work)
    assert outputs is None or len(outputs)
    assert work.bytes > 0
    assert work.flop >= 0
    assert gpu.launches(work) >= 1


def test_a_call_launches_no_more_than_it_must() -> None:
    counts = {make.__name__: gpu.launches(make("cpu", True)) for make in gpu.WORKS}
    # One for each of the two fields; settings, weights and rows of the tasks.
    known = {"context_merge": 1, "local_solve": 1, "pool_gather": 2, "pool_scatter": 2, "task_linear": 3}
    assert {name: counts[name] for name in known} == known


@pytest.mark.skipif(gpu.missing() is not None, reason=gpu.missing() or "")
def test_on_a_device_a_quick_run_prints_one_object_an_operation() -> None:
    done = run("--quick", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(row["operation"] for row in rows) == KERNELS
    for row in rows:
        assert 0 < row["low"] <= row["ms"] <= row["high"]
        assert row["eager_ms"] > 0
        assert row["launches"] >= 1
