"""Linear tasks drawn on the device: beside the Rust sampler, number by number."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amortix import ops
from amortix.data import Linear, TaskSampler
from amortix.errors import ArrayError, ConfigError
from amortix.ops import _cuda
from cases import operation
from cases.task_linear import draw
from cuda_emulator import ORDERS, Kernels, compiler

FAMILY = Linear(dim=(2, 7), noise=(0.1, 1.0), condition=(1.0, 30.0), sparsity=0.3, query_scale=2.0)
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler for the emulator")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(_cuda.source("task_linear"), tmp_path_factory.mktemp("task_linear"))


def run(kernels: Kernels, arguments: tuple[Any, ...], order: int = 0) -> tuple[dict[str, Any], list[Tensor]]:
    """Every argument of every launch by its name, and the outputs."""
    launches, outputs = operation("task_linear").launch(*arguments)
    named: dict[str, Any] = {}
    for launch in launches:
        kernels.run(launch.kernel, launch.grid, launch.block, launch.shared, order, launch.arguments)
        names = (name for _, name in kernels.parameters[launch.kernel])
        named |= dict(zip(names, launch.arguments, strict=True))
    return named, outputs


@pytest.mark.parametrize("seed", [0, 7, 2**63, 2**64 - 1])
def test_rows_are_those_of_the_sampler(seed: int) -> None:
    sampler = TaskSampler(FAMILY, seed=seed)
    tasks, steps = torch.tensor([3, -5, 2**62]), torch.tensor([0, 9, -1])
    x, y = ops.task_linear(FAMILY, tasks, steps, 11, seed=seed)
    wanted = sampler.context(tasks.numpy(), steps.numpy(), 11)
    assert np.array_equal(x.numpy(), wanted[0])
    assert np.array_equal(y.numpy(), wanted[1])
    query = ops.task_linear_query(FAMILY, tasks, 5, seed=seed, draw=4)
    for one, other in zip(query, sampler.query(tasks.numpy(), 5, draw=4), strict=True):
        assert np.array_equal(one.numpy(), other)


@needs_compiler
def test_every_integer_and_setting_of_many_tasks_is_the_samplers(kernels: Kernels) -> None:
    """Of 2,000 tasks: columns exactly; noise and weights too, but where the last bit of a power shows."""
    family = replace(FAMILY, dim=(1, 33), condition=(1.0, 1.0), weight_scale=(0.1, 10.0))
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(family).items()}
    tasks, _, *rest = draw(settings, 2000, 1, query=True, seed=3)
    sampler = TaskSampler(family, seed=rest[2] % 2**64)
    named, _ = run(kernels, (tasks, None, *rest))
    dims = torch.from_numpy(sampler.dims(tasks.numpy()))
    assert torch.equal(named["dims"].long(), dims)
    assert len(set(dims.tolist())) == 33
    ulp = {"rtol": torch.finfo(torch.float32).eps, "atol": 0}
    torch.testing.assert_close(named["noises"], torch.from_numpy(sampler.noise(tasks.numpy())), **ulp)
    own = torch.arange(34) < 1 + dims[:, None]
    weights = torch.from_numpy(sampler.weights(tasks.numpy()))[..., 0]
    torch.testing.assert_close(named["weights"][own], weights[own], **ulp)
    absent = (weights == 0) & own
    assert 0.25 < float(absent.sum() / dims.sum()) < 0.35
    assert torch.equal(named["weights"][own] == 0, absent[own])


@needs_compiler
def test_many_normals_are_equal_to_the_last_bit(kernels: Kernels) -> None:
    arguments = draw({"dim": [8, 8], "noise": [1.0, 1.0]}, 2, 20_000, query=False)
    _, (x, y) = run(kernels, arguments)
    wanted = operation("task_linear").definition(*arguments)
    assert torch.equal(x.view(torch.int32), wanted[0].view(torch.int32))
    assert torch.equal(y.view(torch.int32), wanted[1].view(torch.int32))
    assert float(x.abs().max()) > 4  # far tails are among them
    assert x.unique().numel() > 0.95 * x.numel()


@needs_compiler
@pytest.mark.parametrize("order", ORDERS)
def test_a_longer_batch_starts_with_a_shorter_one(kernels: Kernels, order: int) -> None:
    """Though tiles of rows begin elsewhere: a short batch is one tile, a long one is cut."""
    for settings in ({"dim": [3, 30], "condition": [2.0, 9.0]}, {"dim": [5, 5]}):
        long = draw(settings, 3, 300, query=False)
        _, (x, y) = run(kernels, long, order)
        for rows in (1, 37, 299):
            _, (x_short, y_short) = run(kernels, (*long[:3], rows, *long[4:]), order)
            assert torch.equal(x[:, :rows], x_short)
            assert torch.equal(y[:, :rows], y_short)


@needs_compiler
def test_columns_beyond_a_task_are_zero_and_the_signal_is_that_of_its_weights(kernels: Kernels) -> None:
    arguments = draw({"dim": [1, 12], "condition": [1.0, 9.0], "noise": [0.5, 2.0]}, 40, 50, query=True)
    named, (x, y, signal) = run(kernels, arguments)
    beyond = torch.arange(12) >= named["dims"][:, None]
    assert 0 < int(beyond.sum()) < beyond.numel()
    assert not x.mT[beyond].any()
    assert x.mT[~beyond].all()
    weights = torch.where(beyond, 0.0, named["weights"][:, 1:]).double()
    exact = named["weights"][:, :1] + torch.einsum("td,tbd->tb", weights, x.double())
    torch.testing.assert_close(signal[..., 0].double(), exact, rtol=1e-5, atol=1e-5)
    residual = (y - signal[..., 0]) / named["noises"][:, None]
    # Five standard errors of the mean and variance of 2,000 normals.
    assert abs(float(residual.mean())) < 5 / 2000**0.5
    assert abs(float(residual.var()) - 1) < 5 * (2 / 2000) ** 0.5


def ptx(source: str) -> dict[str, str]:
    """The instructions of each kernel, as the library's options make them, before registers are given out."""
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except (ImportError, RuntimeError) as missing:
        pytest.skip(f"NVRTC is not installed: {missing}")
    program = nvrtc.createProgram(source, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*_cuda.OPTIONS, "-ftz=true", "-arch=compute_90"))
        text = nvrtc.getPTX(program)
    finally:
        nvrtc.destroyProgram(program)
    text = text.decode() if isinstance(text, bytes) else text
    # Functions that kernels call, such as the power, stand between and behind them.
    bodies = (part.partition("\n}")[0] for part in text.split(".entry ")[1:])
    return {body.partition("(")[0]: body for body in bodies}


def test_the_compiler_fuses_no_product_with_a_sum() -> None:
    """As the emulator cannot show; the power, a function of the compiler's own, does."""
    fused = re.compile(r"\b(?:fma|mad)\.\w+(?:\.ftz)?\.f(?:32|64)")
    kernels = ptx(_cuda.source("task_linear"))
    assert set(kernels) == {"task_linear_settings", "task_linear_draw", "task_linear_rows"}
    for body in kernels.values():
        assert "mul.rn" in body
        assert not fused.search(body)
    assert fused.search(ptx(_cuda.source("local_solve"))["local_solve"])  # where fusing is allowed, it happens


def test_the_operator_is_sound() -> None:
    family = operation("task_linear")
    for query in (False, True):
        torch.library.opcheck(family._operator, draw({"dim": [1, 3]}, 2, 4, query=query))


@pytest.mark.parametrize(
    ("tasks", "steps", "message"),
    [
        (torch.tensor([1.0]), torch.tensor([1]), r"tasks is torch.float32 \[1\] on cpu; give torch.int64 \[T\]"),
        (torch.tensor([[1]]), torch.tensor([[1]]), r"\[1, 1\]"),
        (torch.tensor([1, 2]), torch.tensor([1]), r"steps is torch.int64 \[1\] on cpu; give torch.int64 \[T\]"),
        (torch.tensor([1]), torch.tensor([1]).to("meta"), "steps is torch.int64 .* on meta"),
    ],
)
def test_tasks_and_steps_that_do_not_fit_are_named(tasks: Tensor, steps: Tensor, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        ops.task_linear(FAMILY, tasks, steps, 3, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": (0, 4)}, "`dim`"),
        ({"dim": (-1, 4)}, "wrong type or sign"),
        ({"noise": (1.0, 0.5)}, "`noise`"),
        ({"condition": (0.5, 1.0)}, "`condition`"),
        ({"sparsity": 1.0}, "`sparsity`"),
    ],
)
def test_settings_out_of_range_are_named(change: dict[str, Any], message: str) -> None:
    one = torch.tensor([1])
    with pytest.raises(ConfigError, match=message):
        ops.task_linear(replace(FAMILY, **change), one, one, 3, seed=0)


def test_seeds_and_rows_out_of_range_are_refused() -> None:
    one = torch.tensor([1])
    for seed, rows in ((-1, 3), (2**64, 3), (0, -1)):
        with pytest.raises(ConfigError, match="give a seed from 0"):
            ops.task_linear(FAMILY, one, one, rows, seed=seed)


def test_a_tile_fits_the_shared_memory_of_a_launch_as_far_as_8_rows_do() -> None:
    tile = operation("task_linear").tile_of
    assert (tile(1000, 8, 1), tile(1000, 600, 1), tile(1000, 1024, 2), tile(5, 8, 1)) == (256, 16, 8, 5)
