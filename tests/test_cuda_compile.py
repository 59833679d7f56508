"""Every kernel is compiled by NVRTC for each architecture, without a driver, and its report is read."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from amortix.ops import _cuda
from cases import KERNELS, ROOT, case, operation
from cuda_emulator import signatures

ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]
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
        options = *_cuda.OPTIONS, "-ftz=true", f"-arch={architecture}", "--ptxas-options=-v"
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
        assert (files("amortix.ops") / "kernels" / link.name).read_text(encoding="utf-8") == _cuda.source(link.stem)


@pytest.mark.parametrize("name", KERNELS)
def test_a_file_describes_itself_and_its_kernels_bear_its_name(name: str) -> None:
    source = _cuda.source(name)
    assert all(kernel.startswith(name) for kernel in signatures(source))
    header = source.split("\n\n")[0]
    assert header.startswith(f"// {name}: ")
    for part in ("Launch:", f"Reference: amortix.ops.{name}, `definition`"):
        assert part in source.partition("#define")[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", KERNELS)
def test_no_register_spills_and_none_too_many(name: str, architecture: str) -> None:
    report = compile_report(_cuda.source(name), architecture)
    # One part of the report for each kernel; what stands before the first belongs to none.
    found = {}
    for part in report.split("Compiling entry function ")[1:]:
        kernel, compiled_for = re.findall(r"'(\w+)' for '(\w+)'", part)[0]
        assert compiled_for == architecture
        # A function that a kernel calls, such as a power, has a row of its own.
        assert set(stack_and_spills(part)) == {("0", "0", "0")}
        found[kernel] = int(*re.findall(r"Used (\d+) registers", part))
    allowed = case(name).REGISTERS
    assert set(found) == set(signatures(_cuda.source(name))) == set(allowed)
    assert all(registers <= allowed[kernel] for kernel, registers in found.items()), found


def test_a_spill_would_be_reported() -> None:
    fill = "float a[200]; for (int i = 0; i < 200; ++i) a[i] = x[i * n];"
    use = "for (int i = 0; i < 200; ++i) x[i] = a[(int)a[i] & 127];"
    source = f'extern "C" __global__ void spill(float* x, int n) {{ {fill} {use} }}'
    ((stack, _, _),) = stack_and_spills(compile_report(source, "sm_90"))
    assert int(stack) >= 800


@pytest.mark.parametrize("name", KERNELS)
def test_shared_memory_of_the_largest_launch_fits_every_architecture(name: str) -> None:
    launches, _ = operation(name).launch(*case(name).largest())
    assert {launch.file for launch in launches} == {name}
    assert max(launch.shared for launch in launches) <= SHARED
