"""Prompts of a frozen language model: equal to peft and torch.optim, and a learner like any other."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tiny_language as tiny
from amortix import checkpoint, datasets, testing
from amortix.adapt import Adaptation
from amortix.batch import Batch, State, own
from amortix.data import Table, TableEncoder
from amortix.data.encoder import EncoderSettings
from amortix.errors import ArrayError, ConfigError, LearnerError
from amortix.experiments import prompt
from amortix.gradients import first_order
from amortix.language import tokens
from amortix.language.frozen import token_ids
from amortix.language.latents import SoftPrompt
from amortix.methods.prompts import tuning
from amortix.plan import Settings
from amortix.pretrained import Pretrained
from amortix.updates.adam import Adam
from amortix.updates.descent import Descent, FixedRate

UPDATES = [(Adam(0.05), torch.optim.Adam, 0.05), (Descent(FixedRate(0.5)), torch.optim.SGD, 0.5)]
RULES = ["adam", "descent"]
both_latents = pytest.mark.parametrize("latent", tiny.LATENTS, ids=tiny.NAMES)


def peft_twin(latent, initial):
    """peft's model around a frozen model of the same weights, with the same prompt."""
    peft = pytest.importorskip("peft", reason="the comparison needs peft, of the development tools")
    kind = peft.PromptTuningConfig if isinstance(latent, SoftPrompt) else peft.PrefixTuningConfig
    twin = peft.get_peft_model(tiny.model().eval(), kind(task_type="CAUSAL_LM", num_virtual_tokens=len(initial)))
    weight = twin.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight.copy_(initial)
    assert [p.shape for p in twin.parameters() if p.requires_grad] == [initial.shape]
    return twin, weight


def prompt_of(learner):
    """Where the prompt starts, ``[V, W]``."""
    return learner.adapter.start.value.detach().view(learner.predictor.start.shape)


def gradient_of(learner, state, x, y):
    """The loss of a mini-batch of one task and its gradient ``[1, P]``."""
    layout = learner.predictor.layout(x.shape[1], 3)

    def loss(value):
        return learner.adapter.likelihood.loss(learner.predictor(x[None], value, layout), y[None]).mean(1)

    return first_order(loss, state.value)


def peft_logits(twin, x, prompt):
    """Logits of the verbalisers at each row's last token: token ids and a mask, as peft's users give them."""
    lengths = (x > 0).sum(1)
    found = twin(input_ids=(x.long() - 1).clamp(min=0), attention_mask=(x > 0).long()).logits
    last = lengths - 1 + (found.shape[1] - x.shape[1])
    assert found.shape[1] - x.shape[1] in (0, prompt)
    return found[torch.arange(len(x)), last][:, list(tiny.VERBALISERS)]


@both_latents
def test_logits_are_those_of_peft(latent):
    learner = tiny.learner(latent, Adam(0.1))
    twin, _ = peft_twin(latent, prompt_of(learner))
    x, _ = tiny.texts(12)
    assert len(set((x > 0).sum(1).tolist())) > 3
    with torch.no_grad():
        expected = peft_logits(twin, x, 4)
        found = latent.logits(learner.predictor.frozen, prompt_of(learner).expand(12, -1, -1), x)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@both_latents
@pytest.mark.parametrize(("update", "optimizer", "rate"), UPDATES, ids=RULES)
def test_losses_are_those_of_peft_trained_by_torch(latent, update, optimizer, rate):
    learner = tiny.learner(latent, update)
    twin, weight = peft_twin(latent, prompt_of(learner))
    optimizer = optimizer([weight], lr=rate)
    state, losses, expected = learner.init(1, 7, 3), [], []
    for seed in range(10):
        x, y = tiny.texts(8, seed=seed)
        batch = Batch(x[None], y[None])
        losses.append(float(gradient_of(learner, state, x, y)[0]))
        state = learner.step(state, batch)
        loss = F.cross_entropy(peft_logits(twin, x, 4), y.long())
        expected.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert max(expected) - min(expected) > 0.1
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    torch.testing.assert_close(state.value[0], weight.detach().flatten(), rtol=1e-4, atol=1e-5)


@both_latents
def test_a_prompt_made_of_words_does_what_the_words_do(latent):
    frozen = tiny.frozen()
    sentence = torch.tensor([5, 9, 3])
    x, _ = tiny.texts(6)
    with torch.no_grad():
        z = latent.of_text(frozen, sentence)
        found = latent.logits(frozen, z.expand(6, -1, -1), x)
        written = [torch.cat([sentence, row[row > 0].long() - 1]) for row in x]
        expected = torch.stack([frozen.model(input_ids=ids[None]).logits[0, -1, :3] for ids in written])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@both_latents
@pytest.mark.parametrize(
    "check",
    [
        testing.check_shapes,
        testing.check_purity,
        testing.check_determinism,
        testing.check_tasks_are_independent,
        testing.check_queries_are_independent,
        testing.check_padding_is_inert,
        testing.check_saved_state_continues,
    ],
)
def test_a_random_model_keeps_the_contract(latent, check):
    """All of the suite but that more data help: random weights know of no tasks that a prompt could name."""
    check(tiny.InWords(tiny.learner(latent, Adam(0.05))))


@both_latents
def test_only_the_prompt_is_a_parameter_and_only_it_moves(latent):
    learner = tiny.learner(latent, Adam(0.05))
    before = copy.deepcopy(learner.predictor.frozen.model.state_dict())
    assert [name for name, _ in learner.named_parameters()] == ["adapter.start.value"]
    x, y = tiny.texts(8)
    state = learner.step(learner.init(1, 7, 3), Batch(x[None], y[None]))
    assert not torch.equal(state.value[0], learner.adapter.start.value)
    for name, tensor in learner.predictor.frozen.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.grad is None and not p.requires_grad for p in learner.predictor.frozen.model.parameters())


def test_the_start_can_be_trained_through_a_step_to_first_order():
    """The change of a step is a constant: the gradient at the start is the loss's own at the stepped prompt."""
    learner = tiny.learner(SoftPrompt(), Descent(FixedRate(0.5)))
    (x, y), (query, target) = tiny.texts(8), tiny.texts(8, seed=1)
    state = learner.step(learner.init(1, 7, 3), Batch(x[None], y[None]))
    loss = F.nll_loss(learner.predict(state, query[None]).mean[0].log(), target.long())
    loss.backward()
    stepped = replace(state, value=state.value.detach())
    _, expected = gradient_of(learner, stepped, query, target)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(learner.adapter.start.value.grad, expected[0], rtol=1e-4, atol=1e-6)


def test_weights_of_rows_weigh_the_loss():
    learner = tiny.learner(SoftPrompt(), Descent(FixedRate(0.5)))
    x, y = tiny.texts(6)
    twice = Batch(x[None], y[None], torch.tensor([[2.0, 1, 1, 0, 1, 0]]))
    rows = [0, 0, 1, 2, 4]
    state = learner.init(1, 7, 3)
    weighed, repeated = learner.step(state, twice), learner.step(state, Batch(x[None, rows], y[None, rows]))
    torch.testing.assert_close(weighed.value, repeated.value, rtol=1e-5, atol=1e-6)


def test_the_main_job_streams_texts_through_a_prompt():
    """The engine's prompt is that of a loop over the same stream, bit by bit; saved and loaded too."""
    generator = np.random.default_rng(0)
    x = tokens.rows([list(generator.integers(0, tiny.WORDS, generator.integers(1, 7))) for _ in range(200)], 6)
    y = generator.integers(0, 3, 200)
    table = Table.open((x, y))
    encoder = TableEncoder.fit(table, EncoderSettings(scale="none"))
    learner = tiny.learner(SoftPrompt(), Adam(0.05))
    origin = Pretrained(learner, {"regime": "explicit", "task": "classification"})
    run = Adaptation.start(table, [origin], Settings(batch=16), task="classification", encoder=encoder)
    assert not run.run(stop=lambda: run.rows >= 48)
    assert run.run()
    state, count = learner.init(1, 6, 3), 0
    for rows, targets in run.split.stream():
        assert set(map(tuple, rows.tolist())) <= set(map(tuple, x.tolist()))
        state = learner.step(state, Batch(own(rows)[None], own(targets)[None]))
        state = State.from_tensors({name: t.clone() for name, t in state.tensors().items()})
        count += len(rows)
    assert run.rows == count > 150
    for name, tensor in run.tracks["explicit"].state.tensors().items():
        assert torch.equal(tensor, state.tensors()[name])
    expected = learner.predict(state, own(x[:5])[None]).mean[0].detach()
    np.testing.assert_array_equal(run.model("explicit").predict(x[:5]).mean, expected.double().numpy())


def test_tokens_are_read_back_and_bounds_are_named():
    x = torch.from_numpy(tokens.rows([[0, tokens.LARGEST], [], [7]], 3))
    ids, lengths = token_ids(x)
    assert lengths.tolist() == [2, 0, 1]
    assert ids.tolist() == [[0, tokens.LARGEST], [0, 0], [7, 0]]
    with pytest.raises(ArrayError, match="text 1 has 4 tokens and there are 3 columns"):
        tokens.rows([[1], [1, 2, 3, 4]], 3)
    for beyond in (-1, tokens.LARGEST + 1):
        with pytest.raises(ArrayError, match="outside 0"):
            tokens.rows([[beyond]], 3)


def test_what_does_not_fit_is_named():
    learner = tiny.learner(SoftPrompt(), Adam(0.1))
    with pytest.raises(LearnerError, match="2 classes and the language model 3 verbalisers"):
        learner.init(1, 5, 2)
    with pytest.raises(LearnerError, match="give them to predict"):
        learner.init(1, 5, 3, query_x=torch.zeros(1, 2, 5))
    with pytest.raises(LearnerError, match="needs the points"):
        learner.predict(learner.init(1, 5, 3))
    with pytest.raises(LearnerError, match=r"starts at \[V, 32\].*not at \[4, 31\]"):
        tuning(learner.predictor.frozen, SoftPrompt(), torch.zeros(4, 31), Adam(0.1))


@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning"])
def test_a_learner_is_made_anew_from_its_checkpoint(method, tmp_path):
    tiny.model().save_pretrained(tmp_path / "model")
    settings = {"model": str(tmp_path / "model"), "verbalisers": [0, 1, 2], "start": [5, 9, 3], "rate": 0.05}
    config = {"method": method, "task": "classification", **settings}
    learner = checkpoint.build(config)
    with torch.no_grad():
        learner.adapter.start.value.mul_(1.5)
    checkpoint.save_learner(learner, config, tmp_path / "l.safetensors", {})
    assert (tmp_path / "l.safetensors").stat().st_size < 10_000
    again = checkpoint.load(tmp_path / "l.safetensors")
    x, y = tiny.texts(8)
    batch = Batch(x[None], y[None])
    found, expected = (one.predict(one.step(one.init(1, 7, 3), batch), batch.x).mean for one in (again, learner))
    assert torch.equal(found, expected)
    with pytest.raises(ConfigError, match="not for regression"):
        checkpoint.build(config | {"task": "regression"})


@pytest.mark.slow
@pytest.mark.parametrize("latent", ["soft", "prefix"])
def test_a_real_model_learns_newsgroups_from_a_stream(latent):
    for needed in (datasets.SMOLLM2, datasets.NEWSGROUPS_TRAIN, datasets.NEWSGROUPS_TEST):
        if not needed.path.is_file():
            pytest.skip(f"{needed.path} is not there: python -m amortix.experiments prompt --quick fetches it")
    pytest.importorskip("gguf", reason="language models need amortix[llm]")
    (cell,) = [cell for cell in prompt.cells(True) if cell["latent"] == latent]
    found = prompt.measure(cell, 0)
    assert found["mini-batches"] >= 9
    assert found["log-loss after"] < found["log-loss before"]
    assert found["accuracy after"] > found["accuracy before"]
