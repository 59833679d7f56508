"""The kernels on the emulator against their definitions; the emulator against kernels wrong on purpose."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from amortix.ops import cuda, reference
from cuda_emulator import ORDERS, EmulatorError, Kernel, compiler, signature
from ops_cases import MERGE_SIZES, SOLVE_SIZES, assert_solves, merge_case, solve_case

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler for the emulator")

Build = Callable[[str], Kernel]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    compiled: dict[str, Kernel] = {}

    def get(source: str) -> Kernel:
        if source not in compiled:
            compiled[source] = Kernel(source, tmp_path_factory.mktemp("kernel"))
        return compiled[source]

    return get


def carry_out(kernel: Kernel, launch: cuda.Launch, order: int, grid: int | None = None) -> None:
    blocks = launch.grid if grid is None else min(grid, launch.grid)
    kernel.run(blocks, launch.block, launch.shared, order, launch.arguments)


def check_merge(kernel: Kernel, arguments: tuple[Tensor, ...], order: int, grid: int | None = None) -> None:
    launch, outputs = cuda.launch_context_merge(*arguments)
    carry_out(kernel, launch, order, grid)
    for got, wanted in zip(outputs, reference.context_merge(*arguments), strict=True):
        assert torch.equal(got, wanted)


def check_solve(kernel: Kernel, arguments: tuple[Tensor, ...], order: int, grid: int | None = None) -> None:
    launch, outputs = cuda.launch_local_solve(*arguments)
    carry_out(kernel, launch, order, grid)
    assert_solves(outputs, arguments)


# Kernels. A grid of two blocks makes every block go over several queries.


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("sizes", MERGE_SIZES)
def test_context_merge_equals_the_definition_bit_by_bit(build: Build, sizes: tuple[int, ...], ties: bool) -> None:
    kernel = build(cuda.source("context_merge"))
    for steps in (0, 2):
        arguments = merge_case(sizes, ties=ties, steps=steps)
        for order in ORDERS:
            check_merge(kernel, arguments, order, grid=2)
        check_merge(kernel, (*arguments[:-1], None), order=0)


@pytest.mark.parametrize("empty", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sizes", SOLVE_SIZES)
def test_local_solve_agrees_with_the_definition(build: Build, sizes: tuple[int, ...], empty: float) -> None:
    kernel = build(cuda.source("local_solve"))
    arguments = solve_case(sizes, empty=empty)
    for order in ORDERS:
        check_solve(kernel, arguments, order, grid=2)
    check_solve(kernel, arguments, order=0)


def test_local_solve_holds_coincident_rows_without_noise(build: Build) -> None:
    query, kept_x, residual, distance, relevance, signal, _ = solve_case((1, 1, 256, 2, 1), empty=0.0)
    coincident = query[:, :, None].expand_as(kept_x)
    launch, (mean, variance) = cuda.launch_local_solve(
        query, coincident, torch.ones_like(residual), distance, relevance, signal, torch.zeros(1)
    )
    carry_out(build(cuda.source("local_solve")), launch, order=0)
    torch.testing.assert_close(mean, torch.ones_like(mean), rtol=0, atol=0.01)
    assert 0 <= float(variance) < 0.01 * float(signal)


def goes_wrong(kernel: Kernel, order: int) -> bool:
    """Whether a kernel fails its check or is reported where one block goes over three queries.

    Two chunks of rows: after an even number the merged list lies where the next query's is loaded.
    """
    try:
        if kernel.name == "context_merge":
            check_merge(kernel, merge_case((1, 3, 600, 2, 1, 64)), order, grid=1)
        else:
            check_solve(kernel, solve_case((1, 3, 40, 17, 2)), order, grid=1)
    except (AssertionError, EmulatorError):
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["context_merge", "local_solve"])
def test_each_barrier_of_the_kernels_is_needed_and_missed(build: Build, name: str) -> None:
    source, barrier = cuda.source(name), "__syncthreads();"
    places = [match.start() for match in re.finditer(re.escape(barrier), source)]
    assert len(places) >= 4
    for place in places:
        without = build(source[:place] + source[place + len(barrier) :])
        line = source[:place].count("\n") + 1
        assert any(goes_wrong(without, order) for order in ORDERS), f"line {line}: not missed"


# Launches


def test_without_cupy_the_definition_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_has_cupy", lambda: False)
    merge, solve = merge_case((2, 3, 5, 4, 2, 4)), solve_case((2, 3, 4, 7, 2))
    for got, wanted in zip(cuda.context_merge(*merge), reference.context_merge(*merge), strict=True):
        assert torch.equal(got, wanted)
    assert_solves(cuda.local_solve(*solve), solve)


def test_inputs_of_a_launch_are_contiguous_and_detached() -> None:
    arguments = [torch.stack([a, a], -1)[..., 0].requires_grad_() for a in merge_case((2, 3, 5, 4, 2, 4))]
    launch, _ = cuda.launch_context_merge(*arguments)
    tensors = [argument for argument in launch.arguments if isinstance(argument, Tensor)]
    assert len(tensors) == 11
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in tensors)


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

            def __call__(self, grid: tuple, block: tuple, arguments: tuple, shared_mem: int) -> None:
                assert shared_mem <= self.max_dynamic_shared_size_bytes
                emulated.run(grid[0], block[0], shared_mem, 0, arguments)

        return SimpleNamespace(get_function=lambda name: Function() if name == emulated.name else None)


def test_a_launch_goes_to_the_current_stream_and_is_compiled_once(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeCupy(build)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(cuda, "_compiled", functools.cache(cuda._compiled.__wrapped__))
    monkeypatch.setattr(cuda, "_has_cupy", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=70 + device))
    cuda.local_solve(*solve_case((0, 3, 4, 2, 1)))
    assert fake.record == []
    for slots in (4, 256):  # the second needs more shared memory than a launch has unasked
        arguments = solve_case((1, 2, slots, 3, 1))
        assert_solves(cuda.local_solve(*arguments), arguments)
    where = [("device", 3), ("stream", (0, 73))]
    assert fake.record == [*where, ("compile", cuda.OPTIONS), *where]


def test_cupy_has_what_a_launch_uses() -> None:
    cupy = pytest.importorskip("cupy")
    stream = cupy.cuda.Stream.from_external(cuda._TorchStream(SimpleNamespace(cuda_stream=0)))
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


def rotate(kernel: Kernel, order: int, shift: int) -> bool:
    """Whether the kernel turned two blocks of 64 elements by `shift`."""
    x, out = torch.arange(128.0), torch.empty(128)
    kernel.run(2, 64, 64 * 4, order, (x, out, np.int32(128)))
    return torch.equal(out.view(2, 64), x.view(2, 64).roll(-shift, 1))


@pytest.mark.parametrize("shift", [1, 63, 17])
def test_a_missing_barrier_is_caught(build: Build, shift: int) -> None:
    source = ROTATE.replace("SHIFT", str(shift))
    right, wrong = source.replace("BARRIER", "__syncthreads();"), source.replace("BARRIER", "")
    assert all(rotate(build(right), order, shift) for order in ORDERS)
    assert not all(rotate(build(wrong), order, shift) for order in ORDERS)


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
    ],
)
def test_what_cuda_leaves_undefined_is_reported(build: Build, barrier: str, message: str) -> None:
    kernel = build(ROTATE.replace("SHIFT", "1").replace("BARRIER", barrier))
    with pytest.raises(EmulatorError, match=message):
        rotate(kernel, 0, 1)


def test_what_was_never_written_is_nan(build: Build) -> None:
    source = ROTATE.replace("SHIFT", "1").replace("BARRIER", "__syncthreads();")
    x, out = torch.arange(128.0), torch.zeros(128)
    build(source).run(1, 64, 64 * 4, 0, (x, out, np.int32(128)))
    assert torch.isfinite(out[:64]).all()
    assert torch.isnan(out[64:]).all()
    unset = source.replace("shared[threadIdx.x] = i < n ? x[i] : 0.0f;", "")
    build(unset).run(2, 64, 64 * 4, 0, (x, out, np.int32(128)))
    assert torch.isnan(out).all()


def test_warps_exchange_values_in_any_order(build: Build) -> None:
    x = torch.randn(96, generator=torch.Generator().manual_seed(0))
    lanes = x.view(3, 32)
    before = torch.cat([lanes[:, :1], lanes[:, :-1]], 1)
    swapped = lanes.view(3, 16, 2).flip(-1).reshape(3, 32)
    votes = sum((lanes[:, lane] > 0).long() << lane for lane in range(32))
    for order in ORDERS:
        out, voted = torch.empty(96, 3), torch.empty(96, dtype=torch.int32)
        build(WARP).run(1, 96, 0, order, (x, out, voted))
        got = out.view(3, 32, 3)
        torch.testing.assert_close(got[..., 0], lanes.sum(1, keepdim=True).expand(3, 32))
        assert torch.equal(got[..., 1], swapped)
        assert torch.equal(got[..., 2], before)
        assert torch.equal(voted.view(3, 32).long() & 0xFFFFFFFF, votes[:, None].expand(3, 32))


def test_arguments_must_match_the_signature(build: Build) -> None:
    kernel = build(ROTATE.replace("SHIFT", "1").replace("BARRIER", "__syncthreads();"))
    assert signature(ROTATE) == ("rotate", [("const float*", "x"), ("float*", "out"), ("int", "n")])
    x, out = torch.zeros(64), torch.zeros(64)
    for wrong in (
        (x, out, 64),
        (x, out, np.int64(64)),
        (x.double(), out, np.int32(64)),
        (x, None, np.int32(64)),
    ):
        with pytest.raises(AssertionError):
            kernel.run(1, 64, 64 * 4, 0, wrong)


def test_kernel_sources_are_self_contained() -> None:
    for path in (Path(__file__).parent.parent / "cuda").glob("*.cu"):
        assert "#include" not in path.read_text(encoding="utf-8")
