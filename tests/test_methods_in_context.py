"""In-context learners against torch's own transformer run on one sequence per query; masks; the prior-data loss."""

import pytest
import torch
import torch.nn.functional as F

from amortix.batch import Batch, Prediction
from amortix.likelihoods import Bars
from amortix.methods import METHODS
from amortix.networks import Causal, Everyone
from amortix.outer import NegativeLogLikelihood
from by_hand import drawn

TASKS = ("regression", "classification")
OUTPUTS = {"regression": 1, "classification": 3}
NAMES = ("gpt", "gpicl", "pfn", "markov-implicit")
BATCH = 5


def learner_of(name: str, task: str):
    torch.manual_seed(0)
    learner = METHODS[name].construct(task, features=2, classes=3, width=16, heads=2, layers=2)
    return learner.eval().requires_grad_(False)


def adapted(learner, task: str, contexts: list[Batch], query_x: torch.Tensor):
    state = learner.init(len(query_x), 2, OUTPUTS[task], query_x)
    for context in contexts:
        state = learner.step(state, context)
    return state


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def by_torch(refiner, tokens: torch.Tensor, *, causal: bool, hidden: bool = True) -> torch.Tensor:
    """Outputs of the last token, the query, of a sequence ``[L, W]`` by `torch.nn.TransformerEncoderLayer`."""
    length = len(tokens)
    mask = torch.zeros(length, length)
    mask[:, -1] = -torch.inf if hidden else 0.0  # the context sees no query
    mask[-1, -1] = 0.0
    if causal:
        mask += torch.full((length, length), -torch.inf).triu(1)
    for block in refiner.blocks:
        width = tokens.shape[1]
        layer = torch.nn.TransformerEncoderLayer(width, block.heads, 4 * width, 0.0, F.gelu, norm_first=True)
        pairs = {
            layer.self_attn.in_proj_weight: block.project.weight,
            layer.self_attn.in_proj_bias: block.project.bias,
        }
        modules = (layer.norm1, block.before), (layer.norm2, block.between), (layer.self_attn.out_proj, block.merge)
        for theirs, ours in (*modules, (layer.linear1, block.widen), (layer.linear2, block.narrow)):
            pairs |= {theirs.weight: ours.weight, theirs.bias: ours.bias}
        for theirs, ours in pairs.items():
            theirs.data.copy_(ours)
        tokens = layer(tokens.unsqueeze(1), src_mask=mask).squeeze(1)
    return refiner.readout(refiner.last(tokens[-1]))


def sequence_of(name: str, sequence, x, side, query) -> torch.Tensor:
    """The tokens of one task and one query, one after the other."""
    if name == "gpt":
        rows = [token for a, b in zip(x, side, strict=True) for token in (sequence.embed_x(a), sequence.embed_y(b))]
        return torch.stack([*rows, sequence.embed_x(query)]) + sequence.position.weight[: 2 * len(x) + 1]
    if name == "gpicl":
        before = [torch.zeros_like(side[0]), *side]
        rows = [sequence.embed(torch.cat(pair)) for pair in zip([*x, query], before, strict=True)]
        return torch.stack(rows) + sequence.position.weight[: len(x) + 1]
    rows = [sequence.embed_x(a) + sequence.embed_y(b) for a, b in zip(x, side, strict=True)]
    return torch.stack([*rows, sequence.embed_x(query)])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_one_mini_batch_is_a_transformer_over_context_and_query(name, task):
    learner, data = learner_of(name, task), drawn(task, tasks=2, rows=BATCH, queries=3)
    refiner, (x, y) = learner.refiner, (data.context.x, data.context.y)
    side = y.unsqueeze(2) if task == "regression" else F.one_hot(y.long(), 3).float()
    found = adapted(learner, task, [data.context], data.query_x).value
    for index in range(2):
        for at, query in enumerate(data.query_x[index]):
            tokens = sequence_of(name, refiner.sequence, x[index], side[index], query)
            expected = by_torch(refiner, tokens, causal=name != "pfn")
            close(found[index, at], expected[: found.shape[2]])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_second_mini_batch_is_read_with_what_the_first_predicted(name, task):
    learner, data = learner_of(name, task), drawn(task, tasks=2, rows=BATCH, queries=3)
    once = adapted(learner, task, [data.context], data.query_x)
    twice = learner.step(once, data.context)
    assert float((twice.value - once.value).abs().max()) > 1e-4
    with torch.no_grad():
        learner.refiner.carry.weight.zero_()
    close(learner.step(once, data.context).value, once.value)


@pytest.mark.parametrize(("mask", "changes"), [(Causal(), False), (Everyone(), True)])
def test_under_a_causal_mask_tokens_do_not_know_what_comes_later(mask, changes):
    block = learner_of("pfn", "regression").refiner.blocks[0]
    tokens = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(2))
    later = tokens.clone()
    later[:, 3] += 1.0
    there = torch.ones(1, 4, dtype=torch.bool)
    first, second = (block(t, mask(there, 2)) for t in (tokens, later))
    assert torch.equal(first[:, :3], second[:, :3]) != changes
    assert not torch.equal(first[:, 4:], second[:, 4:])  # queries see all of the context


def test_the_order_of_a_set_does_not_matter_and_that_of_a_sequence_does():
    data = drawn("regression", tasks=2, rows=BATCH, queries=3)
    turned = Batch(data.context.x.flip(1), data.context.y.flip(1))
    for name in ("gpt", "gpicl", "pfn"):
        learner = learner_of(name, "regression")
        one, other = (adapted(learner, "regression", [c], data.query_x).value for c in (data.context, turned))
        assert (float((one - other).abs().max()) < 1e-5) == (name == "pfn")


def test_the_density_of_bars_is_one_and_has_its_moments():
    bars, raw = Bars(8, 2.0), torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(1))
    prediction = bars(raw, torch.ones(1))
    grid = torch.linspace(-8, 8, 1_600_001, dtype=torch.float64)
    density = -bars.loss(raw.double().expand(1, len(grid), 8), grid[None].float()).double()
    weight = density.exp()[0] * (grid[1] - grid[0])
    mean = float((weight * grid).sum())
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-3)
    assert float(prediction.mean) == pytest.approx(mean, abs=2e-3)
    assert float(prediction.variance) == pytest.approx(float((weight * (grid - mean) ** 2).sum()), abs=5e-3)


@pytest.mark.parametrize("task", TASKS)
def test_the_prior_data_loss_is_the_cross_entropy_of_the_bar_or_class(task):
    learner, data = learner_of("pfn", task), drawn(task, tasks=2, rows=BATCH, queries=3)
    state = adapted(learner, task, [data.context], data.query_x)
    found = learner.outer(state, state, learner.predict(state), data)
    if task == "classification":
        target, shift = data.query_y.long(), 0.0
    else:
        # Bars of width 0.16 over [−8, 8]; these targets are in the inner ones.
        target, shift = ((data.query_y + 8.0) / 0.16).floor().long(), torch.tensor(0.16).log()
    expected = F.cross_entropy(state.value.flatten(0, 1), target.flatten(), reduction="none").view(2, 3).mean(1)
    close(found, expected + shift)


def test_the_likelihood_of_a_normal_prediction_is_that_of_the_normal_law():
    mean, variance, y = torch.tensor([[[1.0]]]), torch.tensor([[[4.0]]]), torch.tensor([[2.5]])
    data = drawn("regression", tasks=1, queries=1)
    data = type(data)(data.context, data.query_x, y, y.unsqueeze(2))
    found = NegativeLogLikelihood()(None, None, Prediction(mean, variance), data)
    close(found, -torch.distributions.Normal(1.0, 2.0).log_prob(y).mean(1))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("sees", ["observations", "gradients", "both"])
def test_the_markov_form_is_a_transformer_over_state_gradient_and_rows(sees, task):
    torch.manual_seed(0)
    learner = METHODS["markov-parametric"].construct(task, features=2, classes=3, width=16, heads=2, sees=sees)
    learner, data = learner.requires_grad_(False), drawn(task, tasks=1, rows=BATCH)
    adapter, (x, y) = learner.adapter, (data.context.x[0], data.context.y[0])
    side = y.unsqueeze(1) if task == "regression" else F.one_hot(y.long(), 3).float()
    outputs = OUTPUTS[task]
    start = adapter.start.value.clone().requires_grad_()
    raw = x @ start[: 2 * outputs].view(2, outputs) + start[2 * outputs :]
    loss = F.mse_loss(raw.squeeze(1), y) if task == "regression" else F.cross_entropy(raw, y.long())
    (gradient,) = torch.autograd.grad(loss, start)
    tokens = {"gradients": adapter.embed_gradient(gradient)[None]} if sees != "observations" else {}
    if sees != "gradients":
        tokens["observations"] = adapter.encoder.layers(torch.cat([x, side], 1))
    # Last instead of first, as `by_torch` reads it: there are no positions, and all see all.
    sequence = torch.cat([*tokens.values(), adapter.embed_value(start.detach())[None]])
    change = by_torch(adapter, sequence, causal=False, hidden=False)
    close(learner.step(learner.init(1, 2, outputs), data.context).value[0], start.detach() + change)
