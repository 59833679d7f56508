"""Encoders of contexts against their published equations and closed forms; codes do not depend on order."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad

from amortix.batch import Batch
from amortix.methods import METHODS
from by_hand import drawn, mean_loss, perceptron

TASKS = ("regression", "classification")
OUTPUTS = {"regression": 1, "classification": 3}


def learner_of(name: str, task: str, **arguments):
    torch.manual_seed(0)
    return METHODS[name].construct(task, features=2, classes=3, **arguments).requires_grad_(False)


def adapted(learner, task: str, contexts: list[Batch]):
    state = learner.init(len(contexts[0].x), 2, OUTPUTS[task])
    for context in contexts:
        state = learner.step(state, context)
    return state


def rows_of(contexts: list[Batch], task: str) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = torch.cat([c.x for c in contexts], 1), torch.cat([c.y for c in contexts], 1)
    side = y.unsqueeze(2) if task == "regression" else F.one_hot(y.long(), 3).float()
    return x, torch.cat([x, side], 2)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_a_conditional_neural_process_is_its_equations(task):
    """r = mean of h(x, y); (μ, σ) = g(x*, r), σ = 0.1 + 0.9 softplus: Garnelo et al., equations 1 to 3."""
    learner, contexts = learner_of("cnp", task), [drawn(task, seed=s).context for s in range(3)]
    query = drawn(task).query_x
    _, rows = rows_of(contexts, task)
    code = learner.adapter.encoder.layers(rows).mean(1)
    decoded = learner.predictor.layers(torch.cat([query, code[:, None].expand(-1, 7, -1)], 2))
    found = learner.predict(adapted(learner, task, contexts), query)
    if task == "classification":
        close(found.mean, decoded.softmax(2))
        return
    close(found.mean, decoded[..., :1])
    close(found.variance, (0.1 + 0.9 * F.softplus(decoded[..., 1:])) ** 2)
    y = drawn(task).query_y
    normal = torch.distributions.Normal(decoded[..., 0], 0.1 + 0.9 * F.softplus(decoded[..., 1]))
    close(found.log_likelihood(y), normal.log_prob(y))


@pytest.mark.parametrize("task", TASKS)
def test_an_attentive_neural_process_is_its_equations(task):
    learner, contexts = (
        learner_of("attentive-np", task, heads=2, rows=64),
        [drawn(task, seed=s).context for s in (1, 2)],
    )
    query = drawn(task).query_x
    x, rows = rows_of(contexts, task)
    codes, predictor = learner.adapter.encoder.layers(rows), learner.predictor
    heads = []
    for part in (slice(0, 32), slice(32, 64)):
        score = predictor.embed(query)[..., part] @ predictor.embed(x)[..., part].mT / 32**0.5
        heads.append(score.softmax(2) @ codes[..., part])
    mean = codes.mean(1, keepdim=True).expand(-1, 7, -1)
    decoded = predictor.layers(torch.cat([query, *heads, mean], 2))
    found = learner.predict(adapted(learner, task, contexts), query)
    close(found.mean, decoded.softmax(2) if task == "classification" else decoded[..., :1])


def test_beyond_its_rows_an_attentive_neural_process_goes_on_by_its_mean_code():
    learner = learner_of("attentive-np", "regression", rows=12)
    contexts = [drawn("regression", seed=s).context for s in range(3)]
    state = adapted(learner, "regression", contexts)
    assert torch.equal(state.memory["sample_x"], torch.cat([c.x for c in contexts], 1)[:, :12])
    close(state.value, learner.adapter.encoder.layers(rows_of(contexts, "regression")[1]).mean(1))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["cnp", "attentive-np", "hypernetwork", "estimator", "gaussian-posterior"])
def test_neither_the_order_of_rows_nor_their_mini_batches_matter(name, task):
    learner, contexts = learner_of(name, task), [drawn(task, seed=s).context for s in range(3)]
    query = drawn(task).query_x
    x, y = torch.cat([c.x for c in contexts], 1), torch.cat([c.y for c in contexts], 1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    once = learner.predict(adapted(learner, task, [Batch(x[:, order], y[:, order])]), query)
    close(once.mean, learner.predict(adapted(learner, task, contexts), query).mean)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["hypernetwork", "estimator"])
def test_generated_weights_are_those_of_a_set_network(name, task):
    learner, data = learner_of(name, task), drawn(task)
    _, rows = rows_of([data.context], task)
    generated = learner.adapter.reading.linear(learner.adapter.encoder.layers(rows).mean(1))
    shapes = learner.predictor.blocks(2, OUTPUTS[task])
    expected = []
    for weights, query in zip(generated, data.query_x, strict=True):
        pieces = weights.split([torch.Size(shape).numel() for shape in shapes.values()])
        expected.append(perceptron({n: p.view(s) for (n, s), p in zip(shapes.items(), pieces, strict=True)}, query))
    outputs = torch.stack(expected)
    found = learner.predict(adapted(learner, task, [data.context]), data.query_x).mean
    close(found, outputs.softmax(2) if task == "classification" else outputs)


def test_an_untrained_gaussian_posterior_is_bayesian_linear_regression():
    learner, contexts = (
        learner_of("gaussian-posterior", "regression"),
        [drawn("regression", seed=s).context for s in (1, 2)],
    )
    adapter, query = learner.adapter, drawn("regression").query_x
    adapter.log_noise.fill_(-0.7)
    adapter.log_precision.copy_(torch.tensor([0.3, -0.4]))
    found = learner.predict(adapted(learner, "regression", contexts), query)
    x, y = (torch.cat([getattr(c, n) for c in contexts], 1).double() for n in ("x", "y"))
    noise, prior = torch.tensor(-0.7).exp().double(), torch.tensor([0.3, -0.4, -0.4]).exp().double().diag()
    for task in range(3):
        # The other way round than the adapter: as a Gaussian process with the kernel of the prior.
        features, asked = (torch.cat([torch.ones(len(r), 1), r], 1).double() for r in (x[task], query[task]))
        cross, gram = asked @ prior.inverse() @ features.T, features @ prior.inverse() @ features.T
        solved = torch.linalg.solve(gram + noise * torch.eye(20), torch.cat([y[task][:, None], cross.T], 1))
        mean = cross @ solved[:, :1]
        variance = (asked @ prior.inverse() @ asked.T - cross @ solved[:, 1:]).diagonal() + noise
        close(found.mean[task], mean.float())
        close(found.variance[task, :, 0], variance.float())


@pytest.mark.parametrize("task", TASKS)
def test_latent_embedding_optimization_is_its_inner_loop(task):
    learner, data = learner_of("leo", task, hidden=(8,), latent=4, steps=3, rate=0.1), drawn(task)
    _, rows = rows_of([data.context], task)
    shapes = learner.predictor.inner.blocks(2, OUTPUTS[task])
    decode = dict(learner.predictor.decode.named_parameters())

    def outputs(latent, x):
        weights = functional_call(learner.predictor.decode, decode, (latent,))
        pieces = weights.split([torch.Size(shape).numel() for shape in shapes.values()])
        return perceptron({n: p.view(s) for (n, s), p in zip(shapes.items(), pieces, strict=True)}, x)

    expected = []
    for index in range(3):
        latent = learner.adapter.propose(learner.adapter.encoder.layers(rows[index]).mean(0))
        for _ in range(2 * 3):  # two mini-batches, which are the same
            here = grad(lambda z, i=index: mean_loss(task, outputs(z, data.context.x[i]), data.context.y[i]))(latent)
            latent = latent - 0.1 * here
        expected.append(outputs(latent, data.query_x[index]))
    found = learner.predict(adapted(learner, task, [data.context] * 2), data.query_x).mean
    close(found, torch.stack(expected).softmax(2) if task == "classification" else torch.stack(expected))
