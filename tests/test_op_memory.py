"""Memory of outputs that nobody holds is used again, and of no others."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from amortix import ops
from amortix.ops import _memory

ROWS = _memory.LEAST // 4 // 32


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    _memory._kept.clear()


def test_memory_comes_back_aligned_when_the_last_holder_is_gone() -> None:
    first = _memory.new(ROWS, 32)
    place, part = first.data_ptr(), first[3:].T
    assert place % 64 == 0
    assert not first._is_view()
    del first
    assert _memory.new(ROWS, 32).data_ptr() != place
    array = part.numpy()
    del part
    assert _memory.new(32, ROWS).data_ptr() != place
    _memory._kept.clear()
    del array
    assert _memory.new(32, ROWS).data_ptr() == place


def test_small_outputs_and_other_sizes_get_memory_of_their_own() -> None:
    _memory.new(ROWS, 31)
    assert not _memory._kept
    place = _memory.new(ROWS, 32).data_ptr()
    assert _memory.new(ROWS, 33).data_ptr() != place
    assert [one.nbytes for one in _memory._kept] == [_memory.LEAST * 33 // 32, _memory.LEAST]


def test_no_more_is_kept_than_stated() -> None:
    quarter = _memory.MOST // 16
    held = [_memory.new(quarter + 1) for _ in range(5)]
    held.append(_memory.new(_memory.MOST // 4 + 1))
    del held
    assert len(_memory._kept) == 3
    assert sum(one.nbytes for one in _memory._kept) <= _memory.MOST


def _prefixes(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    theta, x = (torch.randn(shape, generator=generator) for shape in ((8, 32, 1), (8, 256, 32)))
    y = torch.zeros(8, 256)
    return ops.prefix_gradient(theta, x, y), (x * (x @ theta)).cumsum(1) / torch.arange(1.0, 257)[:, None]


def test_an_output_that_is_held_keeps_its_numbers() -> None:
    held = [_prefixes(seed) for seed in range(3)]
    for _ in range(3):
        _prefixes(7)
    for got, wanted in held:
        torch.testing.assert_close(got[..., 0], wanted, rtol=1e-4, atol=1e-5)


def test_gradients_keep_what_they_read() -> None:
    theta = torch.ones(8, 32, 1, requires_grad=True)
    x = torch.randn(8, 256, 32, generator=torch.Generator().manual_seed(0))
    result = ops.prefix_gradient(theta, x, torch.zeros(8, 256)).square().sum()
    for seed in range(3):
        _prefixes(seed)
    prefixes = (x * (x @ theta)).cumsum(1) / torch.arange(1.0, 257)[:, None]
    wanted = torch.autograd.grad(prefixes.square().sum(), theta)[0]
    torch.testing.assert_close(torch.autograd.grad(result, theta)[0], wanted, rtol=1e-3, atol=1e-3)


def test_threads_never_share_an_output() -> None:
    wrong: list[int] = []

    def run(number: int) -> None:
        for _ in range(200):
            one = _memory.new(ROWS, 32).fill_(number)
            if not bool((one == number).all()):
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_lent_memory_is_the_tensors_own() -> None:
    tensor = _memory.new(ROWS, 32)
    assert np.shares_memory(_memory.lend(tensor), tensor.numpy())
