"""The CUDA bodies on a real device, against the definitions."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from amortix import ops
from amortix.data import Linear
from cases import case, every, outcome
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
    given = moved(arguments, "cuda")
    got = outcome(getattr(torch.ops.amortix, name)(*given), given)
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


def test_a_step_is_captured_in_a_graph_and_replayed() -> None:
    """Draw rows, take states out of a pool, refine, predict, put them back: with nothing but kernels in between."""
    family = Linear(dim=(4, 4), condition=(2.0, 9.0))
    slots, ages = torch.arange(3, device="cuda"), torch.zeros(3, dtype=torch.int64, device="cuda")
    ones, signal = torch.ones(3, device="cuda"), torch.full((3, 2), 0.5, device="cuda")
    pool = {
        "distance": torch.full((8, 5, 16), math.inf, device="cuda"),
        "kept_x": torch.zeros(8, 5, 16, 4, device="cuda"),
        "kept_y": torch.zeros(8, 5, 16, 1, device="cuda"),
    }

    def step() -> tuple[Tensor, ...]:
        query, _, _ = ops.task_linear_query(family, slots, 5, seed=3)
        x, y = ops.task_linear(family, slots, ages, 32, seed=3)
        state = tuple(ops.pool_gather(pool, slots).values())
        relevance = torch.ones_like(x[:, 0])
        distance, kept_x, kept_y = ops.context_merge(query, x, y[..., None], relevance, *state)
        ops.pool_scatter(pool, slots, {"distance": distance, "kept_x": kept_x, "kept_y": kept_y})
        return ops.local_solve(query, kept_x, kept_y, distance, relevance, signal, ones, ones)

    before = {name: field.clone() for name, field in pool.items()}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()  # compiles the kernels, which a capture cannot
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()

    outcomes = []
    for once in (graph.replay, step):
        for name, field in pool.items():
            field.copy_(before[name])
        for taken in range(3):
            slots.copy_(torch.tensor([5, taken, 7]))
            ages.fill_(taken)
            results = once() or captured
        outcomes.append([tensor.clone() for tensor in (*results, *pool.values())])
    assert all(torch.equal(one, other) for one, other in zip(*outcomes, strict=True))
