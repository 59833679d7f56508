"""The CUDA bodies on a real device, against the definitions."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from amortix import ops
from amortix.ops import reference
from ops_cases import MERGE_SIZES, SOLVE_SIZES, assert_solves, merge_case, solve_case


def missing() -> str | None:
    """Why these tests cannot run here, if they cannot."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    return None


pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("sizes", [*MERGE_SIZES, (64, 32, 32, 8, 1, 64), (1, 4000, 512, 16, 1, 64)])
def test_context_merge_equals_the_definition_bit_by_bit(sizes: tuple[int, ...], ties: bool) -> None:
    for steps in (0, 2):
        arguments = merge_case(sizes, ties=ties, steps=steps)
        got = ops.context_merge(*(argument.cuda() for argument in arguments))
        for one, other in zip(got, reference.context_merge(*arguments), strict=True):
            assert one.is_cuda
            assert torch.equal(one.cpu(), other)


@pytest.mark.parametrize("empty", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sizes", [*SOLVE_SIZES, (64, 32, 64, 8, 1)])
def test_local_solve_agrees_with_the_definition(sizes: tuple[int, ...], empty: float) -> None:
    arguments = solve_case(sizes, empty=empty)
    mean, variance = ops.local_solve(*(argument.cuda() for argument in arguments))
    assert mean.is_cuda
    assert_solves((mean.cpu(), variance.cpu()), arguments)


def test_kernels_run_on_the_current_stream() -> None:
    """Work queued before on the same stream is seen, without a synchronisation in between."""
    arguments = [argument.cuda() for argument in merge_case((8, 32, 64, 8, 1, 16))]
    wanted = ops.context_merge(*arguments)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        late = [argument * 1.0 for argument in arguments]
        got = ops.context_merge(*late)
    stream.synchronize()
    assert all(torch.equal(one, other) for one, other in zip(got, wanted, strict=True))
