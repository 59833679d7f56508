"""Every kernel is compiled by NVRTC for each architecture, without a driver, and its report is read."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from amortix.ops import MAX_KEPT, cuda
from cuda_emulator import signature
from ops_cases import merge_case, solve_case

ROOT = Path(__file__).parent.parent
KERNELS = sorted(path.stem for path in (ROOT / "cuda").glob("*.cu"))
ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]
# Registers of a thread, measured; more would lower the number of resident blocks: growth is a decision.
REGISTERS = {"context_merge": 32, "local_solve": 32}
# The largest opt-in shared memory of a block on compute capability 8.0, the smallest of the three.
SHARED = 163 * 1024


def compile_report(source: str, architecture: str) -> str:
    """Compile with the options of the library and those that CuPy adds; returns what ptxas says."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as missing:
        pytest.skip(f"NVRTC is not installed: {missing}")
    program = nvrtc.createProgram(source, "kernel.cu", (), ())
    try:
        options = *cuda.OPTIONS, "-ftz=true", f"-arch={architecture}", "--ptxas-options=-v"
        nvrtc.compileProgram(program, options)
        return nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    finally:
        nvrtc.destroyProgram(program)


def stack_and_spills(report: str) -> list[tuple[str, str, str]]:
    """Bytes of stack, spill stores and spill loads of every kernel."""
    return re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)


def test_the_package_holds_exactly_the_kernels() -> None:
    shipped = ROOT / "python" / "amortix" / "ops" / "kernels"
    links = sorted(shipped.iterdir())
    assert KERNELS
    assert [link.name for link in links] == [f"{name}.cu" for name in KERNELS]
    for link in links:
        assert link.is_symlink()
        assert link.resolve() == ROOT / "cuda" / link.name
        assert (files("amortix.ops") / "kernels" / link.name).read_text(encoding="utf-8") == cuda.source(link.stem)


@pytest.mark.parametrize("name", KERNELS)
def test_a_file_holds_one_kernel_of_its_name_and_describes_it(name: str) -> None:
    source = cuda.source(name)
    assert signature(source)[0] == name
    header = source.split("\n\n")[0]
    assert header.startswith(f"// {name}: ")
    for part in ("Launch:", f"Reference: amortix.ops.reference.{name}"):
        assert part in source.partition("#define")[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", KERNELS)
def test_no_register_spills_and_none_too_many(name: str, architecture: str) -> None:
    report = compile_report(cuda.source(name), architecture)
    assert re.findall(r"Compiling entry function '(\w+)' for '(\w+)'", report) == [(name, architecture)]
    assert stack_and_spills(report) == [("0", "0", "0")]
    (registers,) = re.findall(r"Used (\d+) registers", report)
    assert int(registers) <= REGISTERS[name]


def test_a_spill_would_be_reported() -> None:
    fill = "float a[200]; for (int i = 0; i < 200; ++i) a[i] = x[i * n];"
    use = "for (int i = 0; i < 200; ++i) x[i] = a[(int)a[i] & 127];"
    source = f'extern "C" __global__ void spill(float* x, int n) {{ {fill} {use} }}'
    ((stack, _, _),) = stack_and_spills(compile_report(source, "sm_90"))
    assert int(stack) >= 800


def test_shared_memory_of_the_largest_launch_fits_every_architecture() -> None:
    merge, _ = cuda.launch_context_merge(*merge_case((1, 1, 1, 128, 10, MAX_KEPT), steps=0))
    solve, _ = cuda.launch_local_solve(*solve_case((1, 1, MAX_KEPT, 128, 10)))
    assert {merge.kernel, solve.kernel} == set(KERNELS)
    assert merge.shared <= 48 * 1024
    assert solve.shared <= SHARED
