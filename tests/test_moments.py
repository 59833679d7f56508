"""Running moments: sums in disguise."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amortix.moments import Moments, of_rows


def rows(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, count, 3, generator=generator)
    return features, torch.randn(2, count, 2, generator=generator), torch.rand(2, count, generator=generator)


def test_of_rows_are_weighted_means():
    features, y, weight = rows(7)
    moments = of_rows(features, y, weight)
    share = (weight / weight.sum(1, keepdim=True)).unsqueeze(2)
    torch.testing.assert_close(moments.count, weight.sum(1))
    torch.testing.assert_close(moments.second, (share * features).mT @ features)
    torch.testing.assert_close(moments.cross, (share * features).mT @ y)
    torch.testing.assert_close(moments.power, (share * y.square()).sum((1, 2)))


@given(cut=st.integers(0, 20), seed=st.integers(0, 50))
def test_merging_the_parts_gives_the_whole(cut: int, seed: int):
    whole = rows(20, seed)
    first, second = ([t[:, :cut] for t in whole], [t[:, cut:] for t in whole])
    merged = of_rows(*first).merge(of_rows(*second))
    for name, expected in of_rows(*whole).memory().items():
        torch.testing.assert_close(merged.memory()[name], expected, atol=1e-5, rtol=1e-5)


def test_nothing_merged_with_nothing_is_nothing():
    empty = Moments.zeros(2, 3, 1)
    assert all(bool((t == 0).all()) for t in empty.merge(empty).memory().values())


def test_many_small_batches_do_not_drift():
    unit = Moments(torch.ones(1), torch.ones(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1))
    moments = Moments.zeros(1, 1, 1)
    for _ in range(20_000):
        moments = moments.merge(unit)
    assert moments.count.item() == 20_000
    assert moments.second.item() == pytest.approx(1.0, abs=1e-6)
