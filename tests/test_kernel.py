"""The sample of first rows and the kernel that is inferred from it."""

import itertools

import torch

from amortix.batch import Batch
from amortix.kernel import fit
from amortix.latent import Latent
from amortix.sample import Sample, due


def test_a_sample_takes_rows_until_it_is_full_and_hands_back_the_rest():
    sample = Sample.zeros(1, 5, 1)
    x = torch.arange(1.0, 9.0).view(1, 8, 1)
    sample, beyond = sample.extend(Batch(x[:, :3], x[:, :3, 0]))
    assert beyond.tolist() == [[0, 0, 0]]
    sample, beyond = sample.extend(Batch(x[:, 3:], x[:, 3:, 0]))
    assert beyond.tolist() == [[0, 0, 1, 1, 1]]
    assert sample.x.flatten().tolist() == [1, 2, 3, 4, 5]
    assert sample.rows.tolist() == [5]


def test_tasks_of_different_fill_extend_together():
    ragged = Sample(torch.zeros(2, 4, 1), torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([0, 3]))
    sample, beyond = ragged.extend(Batch(torch.ones(2, 2, 1), torch.ones(2, 2)))
    assert sample.weight.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]
    assert beyond.tolist() == [[0, 0], [0, 1]]


def test_a_closed_sample_takes_nothing():
    closed = Sample.zeros(1, 4, 1).closed()
    sample, beyond = closed.extend(Batch(torch.ones(1, 2, 1), torch.ones(1, 2)))
    assert torch.equal(sample.x, closed.x)
    assert beyond.tolist() == [[1, 1]]


def test_a_kernel_is_due_at_doublings_and_when_the_sample_fills():
    before = torch.tensor([0, 0, 16, 16, 31, 90, 100])
    after = torch.tensor([8, 16, 24, 32, 32, 100, 100])
    assert due(before, after, 100).tolist() == [False, True, False, True, True, True, False]


def test_the_relevant_column_is_found():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 200, 4, generator=generator)
    y = torch.sin(3 * x[..., :1]) + 0.1 * torch.randn(2, 200, 1, generator=generator)
    kernel = fit(x, y, torch.ones(2, 200), ascent=30)
    others = kernel.relevance[:, 1:].amax(1)
    assert bool((kernel.relevance[:, 0] > others + 2).all())
    assert bool((kernel.noise < kernel.variance).all())


def test_rows_of_weight_zero_do_not_count():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 60, 2, generator=generator), torch.randn(1, 60, 1, generator=generator)
    weight = torch.cat([torch.ones(1, 40), torch.zeros(1, 20)], 1)
    short = fit(x[:, :40], y[:, :40], weight[:, :40], ascent=10)
    padded = fit(x, y, weight, ascent=10)
    torch.testing.assert_close(padded.relevance, short.relevance, atol=1e-3, rtol=1e-3)


def test_a_kernel_stays_once_its_sample_is_full():
    generator = torch.Generator().manual_seed(0)
    latent, kernels = Latent.begin(1, 48, 2, 8), []
    for _ in range(6):
        x = torch.randn(1, 16, 2, generator=generator)
        latent, _, _ = latent.extend(Batch(x, x[..., 0]), lambda y: y.unsqueeze(2), 3)
        kernels.append(latent.kernel.relevance)
    changed = [not torch.equal(a, b) for a, b in itertools.pairwise(kernels)]
    assert changed == [True, True, False, False, False]
