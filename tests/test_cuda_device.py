"""The CUDA bodies on a real device, against the definitions."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from amortix import ops
from cases import case, every
from cases.context_merge import draw


def missing() -> str | None:
    """Why these tests cannot run here, if they cannot."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    return None


pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def moved(value: Any, device: str) -> Any:
    """Tensors of arguments or results, however nested, on another device."""
    if isinstance(value, Tensor):
        return value.to(device)
    return type(value)(moved(one, device) for one in value) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(("name", "label"), every())
def test_the_device_agrees_with_the_definition(name: str, label: str) -> None:
    arguments = case(name).cases()[label]
    got = getattr(torch.ops.amortix, name)(*moved(arguments, "cuda"))
    case(name).check(moved(got, "cpu"), arguments)


def test_kernels_run_on_the_current_stream() -> None:
    """Work queued before on the same stream is seen, without a synchronisation in between."""
    arguments = [argument.cuda() for argument in draw((8, 32, 64, 8, 1, 16))]
    wanted = ops.context_merge(*arguments)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        late = [argument * 1.0 for argument in arguments]
        got = ops.context_merge(*late)
    stream.synchronize()
    assert all(torch.equal(one, other) for one, other in zip(got, wanted, strict=True))
