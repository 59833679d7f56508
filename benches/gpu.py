"""Every kernel on the device that is found here, against what the device can do: `python benches/gpu.py`.

Times are between CUDA events, after warm-up: of a call among ten that a CUDA graph replays, which is what the kernels
take, and of a call from Python, which short kernels spend waiting for. An operation that cannot be captured fails
here. Bandwidth and float32 rate at most are measured in the same run, by a copy and a matrix product. Without a device,
or without CuPy, it says so and exits with code 69, so that a caller can tell this from a failure.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from _gpu_works import WORKS, Work

NO_DEVICE = 69
"""Exit code where there is nothing to measure on: EX_UNAVAILABLE of sysexits.h."""

_WARM_UP, _REPEATS = 10, 50
_CAPTURED = 10  # calls in a graph, so that its launch does not count


@dataclass(frozen=True)
class Row:
    """What was measured of one operation.

    Attributes:
        operation: its name.
        sizes: what it worked on.
        ms: median milliseconds of a call in a graph.
        low: first quartile.
        high: third quartile.
        eager_ms: median milliseconds of a call from Python.
        launches: kernels of a call.
        bandwidth_share: bytes that must move, at the bandwidth of a copy, as a share of the time.
        flop_share: operations of the formula, at the rate of a float32 matrix product, as a share of the time.
    """

    operation: str
    sizes: str
    ms: float
    low: float
    high: float
    eager_ms: float
    launches: int
    bandwidth_share: float
    flop_share: float


def missing() -> str | None:
    """Why nothing can be measured here, if nothing can."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed, so the kernels would not run"
    return None


def call(work: Work) -> object:
    """Run the operator of a work once, and import what registers it."""
    importlib.import_module("amortix.ops")
    return getattr(torch.ops.amortix, work.operation)(*work.arguments)


def launches(work: Work) -> int:
    """Kernels that a call launches."""
    planned, _ = importlib.import_module(f"amortix.ops.{work.operation}").launch(*work.arguments)
    return sum(launch.grid > 0 for launch in planned)


def milliseconds(once: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """First quartile, median and third quartile of the times between events around a call."""
    for _ in range(_WARM_UP):
        once()
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for start, end in pairs:
        start.record()
        once()
        end.record()
    torch.cuda.synchronize()
    low, median, high = statistics.quantiles([start.elapsed_time(end) for start, end in pairs], n=4)
    return low, median, high


def captured(once: Callable[[], object]) -> Callable[[], None]:
    """Replays some calls, captured after one that compiles what they launch."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        once()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_CAPTURED):
            once()
    return graph.replay


def bandwidth() -> float:
    """Bytes per millisecond of a copy of 1 GiB, read and written."""
    source = torch.ones(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * 4 * 2**28 / milliseconds(lambda: target.copy_(source), 20)[1]


def flops() -> float:
    """float32 operations per millisecond of a matrix product of 8,192 cubed, without tensor cores."""
    before, size = torch.backends.cuda.matmul.allow_tf32, 8192
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        a = torch.randn(size, size, device="cuda")
        return 2 * size**3 / milliseconds(lambda: a @ a, 5)[1]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def measure(work: Work, most_bytes: float, most_flop: float) -> Row:
    """Time the operator of a work."""
    eager = milliseconds(lambda: call(work), _REPEATS)[1]
    low, median, high = (each / _CAPTURED for each in milliseconds(captured(lambda: call(work)), _REPEATS))
    shares = work.bytes / most_bytes / median, work.flop / most_flop / median
    return Row(work.operation, work.sizes, median, low, high, eager, launches(work), *shares)


def main() -> int:
    """Measure every work and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, not how fast")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    options = parser.parse_args()
    if reason := missing():
        print(f"nothing was measured: {reason}", file=sys.stderr)
        return NO_DEVICE
    most = bandwidth(), flops()
    if not options.json:
        print(f"{torch.cuda.get_device_name()}: copy {most[0] / 1e6:.0f} GB/s, float32 {most[1] / 1e9:.1f} TFLOP/s\n")
        print("| operation | sizes | ms | quartiles | from Python | launches | of bandwidth | of float32 |")
        print("|---|---|---|---|---|---|---|---|")
    for make in WORKS:
        if options.only in make.__name__:
            row = measure(make("cuda", options.quick), *most)
            print(json.dumps(asdict(row)) if options.json else _line(row), flush=True)
    return 0


def _line(row: Row) -> str:
    return (
        f"| {row.operation} | {row.sizes} | {row.ms:.4f} | {row.low:.4f} to {row.high:.4f} "
        f"| {row.eager_ms:.4f} | {row.launches} "
        f"| {row.bandwidth_share:.0%} | {row.flop_share:.0%} |"
    )


if __name__ == "__main__":
    sys.exit(main())
