"""The kernels on the emulator against their definitions; the emulator against kernels wrong on purpose."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amortix.ops import _cuda
from cases import KERNELS, case, every, operation, outcome
from cases.local_solve import check as check_solve
from cases.local_solve import draw as solve_case
from cuda_emulator import ORDERS, EmulatorError, Kernels, compiler, signatures

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler for the emulator")

Build = Callable[[str], Kernels]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    compiled: dict[str, Kernels] = {}

    def get(source: str) -> Kernels:
        if source not in compiled:
            compiled[source] = Kernels(source, tmp_path_factory.mktemp("kernel"))
        return compiled[source]

    return get


def check(kernels: Kernels, name: str, arguments: tuple[Any, ...], order: int, grid: int = _cuda.MAX_BLOCKS) -> None:
    given = copy.deepcopy(arguments)
    launches, outputs = operation(name).launch(*given)
    for launch in launches:
        if launch.grid:
            kernels.run(launch.kernel, min(grid, launch.grid), launch.block, launch.shared, order, launch.arguments)
    case(name).check(outcome(outputs, given), arguments)


# Kernels. A grid of two blocks makes every block go over several units of work.


@pytest.mark.parametrize(("name", "label"), every())
def test_the_kernels_agree_with_the_definition(build: Build, name: str, label: str) -> None:
    kernels, arguments = build(_cuda.source(name)), case(name).cases()[label]
    for order in ORDERS:
        check(kernels, name, arguments, order, grid=2)
    check(kernels, name, arguments, order=0)


def test_local_solve_holds_coincident_rows_without_noise(build: Build) -> None:
    query, kept_x, residual, distance, *kernel, _ = solve_case((1, 1, 256, 2, 1), empty=0.0)
    coincident = query[:, :, None].expand_as(kept_x)
    (launch,), (mean, variance) = operation("local_solve").launch(
        query, coincident, torch.ones_like(residual), distance, *kernel, torch.zeros(1)
    )
    build(_cuda.source("local_solve")).run(launch.kernel, launch.grid, launch.block, launch.shared, 0, launch.arguments)
    torch.testing.assert_close(mean, torch.ones_like(mean), rtol=0, atol=0.01)
    assert 0 <= float(variance) < 0.01 * float(kernel[1].sum())


def goes_wrong(kernels: Kernels, name: str, order: int) -> bool:
    """Whether the kernels fail their check, or are reported, where one block goes over all units."""
    try:
        check(kernels, name, case(name).crossing(), order, grid=1)
    except (AssertionError, EmulatorError):
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_each_barrier_of_the_kernels_is_needed_and_missed(build: Build, name: str) -> None:
    source, barrier = _cuda.source(name), "__syncthreads();"
    assert not any(goes_wrong(build(source), name, order) for order in ORDERS)
    for place in (match.start() for match in re.finditer(re.escape(barrier), source)):
        without = build(source[:place] + source[place + len(barrier) :])
        line = source[:place].count("\n") + 1
        assert any(goes_wrong(without, name, order) for order in ORDERS), f"line {line}: not missed"


# Launches


@pytest.mark.parametrize(("name", "label"), every())
def test_without_cupy_the_definition_runs(monkeypatch: pytest.MonkeyPatch, name: str, label: str) -> None:
    monkeypatch.setattr(_cuda, "_has_cupy", lambda: False)
    arguments, module = case(name).cases()[label], operation(name)
    given = copy.deepcopy(arguments)
    case(name).check(outcome(_cuda.on_device(module.definition, module.launch)(*given), given), arguments)


# The fields of a pool are refused instead: tests/test_op_pool.py.
@pytest.mark.parametrize("name", [name for name in KERNELS if not name.startswith("pool_")])
def test_inputs_of_a_launch_are_contiguous_and_detached(name: str) -> None:
    def changed(value: Any) -> Any:
        if isinstance(value, Tensor):
            twice = torch.stack([value, value], -1)[..., 0]
            return twice.requires_grad_() if value.is_floating_point() else twice
        return type(value)(map(changed, value)) if isinstance(value, list | tuple) else value

    launches, _ = operation(name).launch(*changed(case(name).crossing()))
    tensors = [value for launch in launches for value in launch.arguments if isinstance(value, Tensor)]
    assert len(tensors) >= 2
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in tensors)


@pytest.mark.parametrize("name", KERNELS)
def test_a_launch_is_planned_without_a_look_at_any_number(name: str) -> None:
    """A look would wait for the device, and a step could not be captured in a graph."""

    def empty(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to("meta")
        return type(value)(map(empty, value)) if isinstance(value, list | tuple) else value

    launches, _ = operation(name).launch(*empty(case(name).crossing()))
    assert [launch.grid for launch in launches] == [
        launch.grid for launch in operation(name).launch(*case(name).crossing())[0]
    ]
    tensors = [value for launch in launches for value in launch.arguments if isinstance(value, Tensor)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


class FakeCupy:
    """What `_run` uses of CuPy, with the emulator behind it; keeps a record of what was asked for."""

    def __init__(self, build: Build) -> None:
        self.build, self.record = build, []
        self.cuda = SimpleNamespace(Device=self.device, Stream=SimpleNamespace(from_external=self.stream))

    def device(self, index: int) -> contextlib.nullcontext[None]:
        self.record.append(("device", index))
        return contextlib.nullcontext()

    def stream(self, stream: object) -> contextlib.nullcontext[None]:
        self.record.append(("stream", stream.__cuda_stream__()))
        return contextlib.nullcontext()

    def asarray(self, tensor: Tensor) -> Tensor:
        return tensor

    def RawModule(self, code: str, options: tuple[str, ...]) -> SimpleNamespace:
        self.record.append(("compile", options))
        emulated = self.build(code)

        class Function:
            max_dynamic_shared_size_bytes = 48 * 1024

            def __init__(self, name: str) -> None:
                self.name = name

            def __call__(self, grid: tuple, block: tuple, arguments: tuple, shared_mem: int) -> None:
                assert shared_mem <= self.max_dynamic_shared_size_bytes
                emulated.run(self.name, grid[0], block[0], shared_mem, 0, arguments)

        return SimpleNamespace(get_function=Function)


def test_a_launch_goes_to_the_current_stream_and_is_compiled_once(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeCupy(build)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    for name in ("_module", "_kernel"):
        monkeypatch.setattr(_cuda, name, functools.cache(getattr(_cuda, name).__wrapped__))
    monkeypatch.setattr(_cuda, "_has_cupy", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=70 + device))
    module = operation("local_solve")
    body = _cuda.on_device(module.definition, module.launch)
    body(*solve_case((0, 3, 4, 2, 1)))
    assert fake.record == []
    for slots in (4, 256):  # the second needs more shared memory than a launch has unasked
        arguments = solve_case((1, 2, slots, 3, 1))
        check_solve(body(*arguments), arguments)
    where = [("device", 3), ("stream", (0, 73))]
    assert fake.record == [*where, ("compile", _cuda.OPTIONS), *where]


def test_cupy_has_what_a_launch_uses() -> None:
    cupy = pytest.importorskip("cupy")
    stream = cupy.cuda.Stream.from_external(_cuda._TorchStream(SimpleNamespace(cuda_stream=0)))
    assert stream.ptr == 0
    assert hasattr(cupy.RawKernel, "max_dynamic_shared_size_bytes")


# The emulator itself

ROTATE = """
extern "C" __global__ void __launch_bounds__(256) rotate(const float* x, float* out, int n) {
    extern __shared__ float shared[];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    shared[threadIdx.x] = i < n ? x[i] : 0.0f;
    BARRIER
    if (i < n) out[i] = shared[(threadIdx.x + SHIFT) % blockDim.x];
}
"""

WARP = """
extern "C" __global__ void warp(const float* x, float* out, int* votes) {
    float sum = x[threadIdx.x];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(~0u, sum, step);
    const float all = __shfl_sync(~0u, sum, 0);
    const float swapped = __shfl_xor_sync(~0u, x[threadIdx.x], 1);
    const float before = __shfl_up_sync(~0u, x[threadIdx.x], 1);
    votes[threadIdx.x] = __ballot_sync(~0u, x[threadIdx.x] > 0.0f);
    out[3 * threadIdx.x] = all;
    out[3 * threadIdx.x + 1] = swapped;
    out[3 * threadIdx.x + 2] = before;
}
"""


def rotate(kernel: Kernels, order: int, shift: int) -> bool:
    """Whether the kernel turned two blocks of 64 elements by `shift`."""
    x, out = torch.arange(128.0), torch.empty(128)
    kernel.run("rotate", 2, 64, 64 * 4, order, (x, out, np.int32(128)))
    return torch.equal(out.view(2, 64), x.view(2, 64).roll(-shift, 1))


@pytest.mark.parametrize("shift", [1, 63, 17])
def test_a_missing_barrier_is_caught(build: Build, shift: int) -> None:
    source = ROTATE.replace("SHIFT", str(shift))
    right, wrong = source.replace("BARRIER", "__syncthreads();"), source.replace("BARRIER", "")
    assert all(rotate(build(right), order, shift) for order in ORDERS)
    assert not all(rotate(build(wrong), order, shift) for order in ORDERS)


RELAY = """
extern "C" __global__ void relay(const float* x, float* out, float* inout_seen) {
    out[blockIdx.x] = x[blockIdx.x] + (WAITS && blockIdx.x ? inout_seen[blockIdx.x - 1] : 0.0f);
    inout_seen[blockIdx.x] = 1.0f;
}
"""


def test_a_block_that_relies_on_another_is_caught(build: Build) -> None:
    def relayed(source: str, order: int) -> Tensor:
        out = torch.empty(9)
        build(source).run("relay", 9, 1, 0, order, (torch.zeros(9), out, torch.zeros(9)))
        return out

    for waits, caught in (("true", True), ("false", False)):
        outcomes = [relayed(RELAY.replace("WAITS", waits), order) for order in ORDERS]
        assert caught != all(torch.equal(outcome, outcomes[0]) for outcome in outcomes)


@pytest.mark.parametrize(
    ("barrier", "message"),
    [
        ("if (threadIdx.x < 32) __syncthreads();", "a barrier was not reached"),
        ("if (threadIdx.x == 5) return; __syncthreads();", "a barrier was not reached"),
        ("if (threadIdx.x == 5) return; __shfl_sync(~0u, 1, 0);", "a barrier was not reached"),
        ("shared[blockDim.x] = 1.0f; __syncthreads();", "beyond the dynamic shared memory"),
        ("out[n] = 1.0f; __syncthreads();", "beyond out"),
        ("out[-1] = 1.0f; __syncthreads();", "beyond out"),
        ("out[1ll << 40] = 1.0f; __syncthreads();", "outside all buffers"),
        ("((float*)x)[i] = -1.0f; __syncthreads();", "x is an input"),
        ("out[i] = ((const float4*)(x + 1))->x; __syncthreads();", "not aligned"),
    ],
)
def test_what_cuda_leaves_undefined_is_reported(build: Build, barrier: str, message: str) -> None:
    kernel = build(ROTATE.replace("SHIFT", "1").replace("BARRIER", barrier))
    with pytest.raises(EmulatorError, match=message):
        rotate(kernel, 0, 1)


def test_what_was_never_written_is_nan(build: Build) -> None:
    source = ROTATE.replace("SHIFT", "1").replace("BARRIER", "__syncthreads();")
    x, out = torch.arange(128.0), torch.zeros(128)
    build(source).run("rotate", 1, 64, 64 * 4, 0, (x, out, np.int32(128)))
    assert torch.isfinite(out[:64]).all()
    assert torch.isnan(out[64:]).all()
    unset = source.replace("shared[threadIdx.x] = i < n ? x[i] : 0.0f;", "")
    build(unset).run("rotate", 2, 64, 64 * 4, 0, (x, out, np.int32(128)))
    assert torch.isnan(out).all()


def test_warps_exchange_values_in_any_order(build: Build) -> None:
    x = torch.randn(96, generator=torch.Generator().manual_seed(0))
    lanes = x.view(3, 32)
    before = torch.cat([lanes[:, :1], lanes[:, :-1]], 1)
    swapped = lanes.view(3, 16, 2).flip(-1).reshape(3, 32)
    votes = sum((lanes[:, lane] > 0).long() << lane for lane in range(32))
    for order in ORDERS:
        out, voted = torch.empty(96, 3), torch.empty(96, dtype=torch.int32)
        build(WARP).run("warp", 1, 96, 0, order, (x, out, voted))
        got = out.view(3, 32, 3)
        torch.testing.assert_close(got[..., 0], lanes.sum(1, keepdim=True).expand(3, 32))
        assert torch.equal(got[..., 1], swapped)
        assert torch.equal(got[..., 2], before)
        assert torch.equal(voted.view(3, 32).long() & 0xFFFFFFFF, votes[:, None].expand(3, 32))


WIDE = """
extern "C" __global__ void wide(const long long* x, const float4* rows, long long* inout_sum, double* out, long long a,
                                double b) {
    const int i = threadIdx.x;
    inout_sum[i] += __umul64hi((unsigned long long)x[i], (unsigned long long)a) + __umulhi((unsigned)x[i], (unsigned)a);
    out[i] = __dadd_rn(__dmul_rn(b, rows[i].y), __uint_as_float(__float_as_uint(rows[i].w) ^ 0x80000000u));
}
"""


def test_64_bit_numbers_and_vectors(build: Build) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-(2**62), 2**62, (40,), generator=generator)
    rows, total, out = torch.randn(40, 4, generator=generator), torch.arange(40), torch.empty(40, dtype=torch.float64)
    by = 0x123456789ABCDEF
    build(WIDE).run("wide", 1, 40, 0, 0, (x, rows, total, out, np.int64(by), np.float64(1 / 3)))
    unsigned = [one % 2**64 for one in x.tolist()]
    low = [(one % 2**32) * (by % 2**32) >> 32 for one in unsigned]
    assert total.tolist() == [i + (one * by >> 64) + low[i] for i, one in enumerate(unsigned)]
    assert torch.equal(out, 1 / 3 * rows[:, 1].double() - rows[:, 3].double())


def test_a_buffer_lies_as_its_tensor_does(build: Build) -> None:
    memory = torch.randn(161)
    arguments = torch.zeros(40, dtype=torch.long), torch.zeros(40, dtype=torch.float64), np.int64(0), np.float64(1)
    build(WIDE).run("wide", 1, 40, 0, 0, (arguments[0], memory[:160], *arguments[0:1], *arguments[1:]))
    with pytest.raises(EmulatorError, match="not aligned"):
        build(WIDE).run("wide", 1, 40, 0, 0, (arguments[0], memory[1:], *arguments[0:1], *arguments[1:]))


def test_vectors_lie_in_memory_as_their_numbers_do(build: Build) -> None:
    source = """
    extern "C" __global__ void vectors(const float* x, float* out) {
        const float4 four = ((const float4*)x)[threadIdx.x];
        ((float2*)out)[threadIdx.x] = {four.x + four.w, four.y * four.z};
    }
    """
    x, out = torch.arange(8.0), torch.empty(2, 2)
    build(source).run("vectors", 1, 2, 0, 0, (x, out))
    assert out.tolist() == [[3, 2], [11, 30]]


def test_arguments_must_match_the_signature(build: Build) -> None:
    kernel = build(ROTATE.replace("SHIFT", "1").replace("BARRIER", "__syncthreads();"))
    assert signatures(ROTATE) == {"rotate": [("const float*", "x"), ("float*", "out"), ("int", "n")]}
    x, out = torch.zeros(64), torch.zeros(64)
    for wrong in (
        (x, out, 64),
        (x, out, np.int64(64)),
        (x.double(), out, np.int32(64)),
        (x, None, np.int32(64)),
    ):
        with pytest.raises(AssertionError):
            kernel.run("rotate", 1, 64, 64 * 4, 0, wrong)


def test_kernel_sources_are_self_contained() -> None:
    for path in (Path(__file__).parent.parent / "cuda").glob("*.cu"):
        assert "#include" not in path.read_text(encoding="utf-8")
