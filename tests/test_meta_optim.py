"""Meta-training of optimizers: each part against a closed form or by hand, and a small recipe from start to weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from amortix.errors import ConfigError, StateError
from amortix.learned_rule import bundled_rules, load_rule
from amortix.meta_optim.estimators import PersistentES, Pool, TruncatedUnroll
from amortix.meta_optim.parametrisation import LinearRule, PerceptronRule, build_parametrisation
from amortix.meta_optim.problems import InnerProblems, Slots
from amortix.meta_optim.recipe import Recipe
from amortix.meta_optim.tasks import Rescaled, build_task
from amortix.meta_optim.trainer import Trainer, train
from amortix.ops import UpdateState
from amortix.ops.learned_update import definition
from amortix.optim import LearnedOptimizer

REGRESSION = {"kind": "regression", "features": 2, "hidden": [3], "batch": 4}
QUICK: dict[str, Any] = {
    "name": "quick",
    "rule": {"momenta": 1},
    "tasks": [REGRESSION, REGRESSION | {"batch": 8}],
    "validation": [REGRESSION],
    "iterations": 6,
    "problems": 4,
    "truncation": 2,
    "horizon": [4, 8],
    "every": 3,
}


def problems(task: dict[str, Any] = REGRESSION, momenta: int = 1, **settings: Any) -> InnerProblems:
    own = {"truncation": 3, "horizon": (3, 12), "cosine": 0.5, "seed": 0} | settings
    return InnerProblems(build_task(task), LinearRule(momenta), **own)


# Tasks


@pytest.mark.parametrize(
    "task",
    [
        REGRESSION,
        {"kind": "logistic", "batch": 4},
        {"kind": "perceptron", "hidden": [5], "batch": 4, "activation": "tanh"},
        {"kind": "convnet", "channels": [2, 3], "batch": 2},
        {"kind": "transformer", "width": 4, "length": 5, "batch": 2},
        {"kind": "transformer", "width": 4, "length": 5, "batch": 2, "half": 1, "rescale": 0.5},
    ],
    ids=lambda task: "-".join(map(str, task.values())),
)
def test_slots_side_by_side_are_slots_alone(task: dict[str, Any]) -> None:
    built, seeds, steps = build_task(task), torch.tensor([1, 2, 9]), torch.tensor([0, 5, 7])
    together = vmap(built.init)(seeds)
    losses = vmap(built.loss)(together, seeds, steps)
    for i in range(3):
        alone = built.init(seeds[i])
        assert len({one.data_ptr() for one in alone}) == len(alone), "parameters share memory"
        torch.testing.assert_close([one[i] for one in together], alone)
        torch.testing.assert_close(losses[i], built.loss(alone, seeds[i], steps[i]), rtol=1e-4, atol=1e-5)
    assert len(losses.unique()) == 3


def test_a_causal_network_does_not_see_what_it_predicts() -> None:
    from amortix.meta_optim.models import Transformer

    model, x = Transformer(7, 6, 4, 2), torch.tensor([[0, 1, 2, 3, 4, 5]])
    parameters = model.init(torch.tensor(3))
    other = x.clone()
    other[0, 4:] = 6
    before, after = model.forward(parameters, x), model.forward(parameters, other)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_a_rescaled_task_has_the_first_loss_of_the_task() -> None:
    task = build_task(REGRESSION)
    other, seed, step = Rescaled(task, 1.0), torch.tensor(4), torch.tensor(0)
    first = other.init(seed)
    assert not torch.allclose(first[0], task.init(seed)[0])
    torch.testing.assert_close(other.loss(first, seed, step), task.loss(task.init(seed), seed, step))


def test_unknown_tasks_and_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of perceptron"):
        build_task({"kind": "forest"})
    with pytest.raises(ConfigError, match="logistic does not take"):
        build_task({"kind": "logistic", "batch": 4, "depth": 2})


# Parametrisations


def test_the_start_is_adam_divided_by_its_size() -> None:
    """With a rate constant in time: p − r·(C/16)^(−1/2)·u/rms(u), where u = m/√(v + 10⁻⁶) as the operation has it."""
    linear = LinearRule(1)
    theta = linear.start()
    theta[sum(linear.sizes[:2]) : sum(linear.sizes[:3])] = 0
    rule = linear.rule(theta)
    parameter = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = LearnedOptimizer([parameter], rule)
    wanted, m, v = parameter.detach().clone(), torch.zeros(3, 4), torch.zeros(3, 4)
    for _ in range(5):
        parameter.grad = wanted.sin()
        m, v = 0.9 * m + 0.1 * wanted.sin(), 0.99 * v + 0.01 * wanted.sin().square()
        u = m / (v + 1e-6).sqrt()
        wanted = wanted - 0.004 * 2 * u / u.square().mean().sqrt()
        optimizer.step()
        # Features are divided by √(mean + 10⁻⁵), which is of relative size 10⁻⁵ / (2 mean) here.
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("momenta", "factored"), [(2, 0), (3, 3)])
def test_a_perceptron_starts_as_the_linear_rule(momenta: int, factored: int) -> None:
    linear = LinearRule(momenta, factored)
    rules = linear.rule(linear.start()), None
    both = PerceptronRule(linear, (8, 6))
    rules = rules[0], both.rule(both.start())
    ends = []
    for rule in rules:
        parameter = torch.ones(5, 3)
        state = UpdateState.zeros([parameter], momenta, factored)
        parameters = [parameter]
        for step in range(3):
            gradients = [one.sin() + torch.arange(15.0).reshape(5, 3) for one in parameters]
            parameters, state = rule.step(parameters, gradients, state, torch.tensor(float(step)), torch.tensor(1.0))
        ends.append(parameters[0])
    torch.testing.assert_close(ends[0], ends[1])
    assert not torch.equal(ends[0], torch.ones(5, 3))


def test_the_step_is_odd_in_gradients_and_parameters() -> None:
    linear = LinearRule(3, 3)
    theta = linear.start() + 0.3 * torch.randn(len(linear.start()), generator=torch.Generator().manual_seed(1))
    rule = linear.rule(theta)
    p, g = (torch.randn(4, 6, generator=torch.Generator().manual_seed(i)) for i in (2, 3))
    ends = []
    for sign in (1, -1):
        state = UpdateState.zeros([p], 3, 3)
        (new,), _ = rule.step([sign * p], [sign * g], state, torch.tensor(4.0), torch.tensor(1.0))
        ends.append(sign * new)
    torch.testing.assert_close(ends[0], ends[1])


def test_small_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match="four units"):
        build_parametrisation({"momenta": 1, "hidden": [3]})
    with pytest.raises(ConfigError, match="does not take"):
        build_parametrisation({"momentum": 1})


# Pools


def test_slots_share_problems_and_start_anew_at_their_horizon() -> None:
    own = problems()
    slots = own.begin(4, copies=2)
    assert torch.equal(slots.seed[:4], slots.seed[4:])
    assert len(slots.seed.unique()) == 4
    assert bool((slots.horizon % 3 == 0).all())
    assert 3 <= int(slots.horizon.min()) <= int(slots.horizon.max()) <= 12
    aged = replace(slots, age=slots.horizon.clone())
    which = torch.tensor([True, False, False, True] * 2)
    after = own.renew(aged, which, 4)
    assert torch.equal(after.age == 0, which)
    assert torch.equal(after.episode, which.long())
    assert torch.equal(after.seed == slots.seed, ~which)
    assert torch.equal(after.seed[:4], after.seed[4:])


# Outer gradients


class Ramp:
    """s moves by theta, and the loss is ½|s − 1|²: after T truncations its gradient is Σ t·(t·theta − 1)."""

    steps = 3

    def begin(self, count: int, copies: int = 1) -> Slots:
        zeros = torch.zeros(count * copies, dtype=torch.int64)
        state = UpdateState([], [], [], [])
        return Slots([torch.zeros(len(zeros), 2)], state, zeros, zeros, zeros + self.steps, zeros, zeros > 0)

    def unroll(self, thetas: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        moved = slots.parameters[0] + thetas
        return 0.5 * (moved - 1).square().sum(1), replace(slots, parameters=[moved], age=slots.age + 1)

    def renew(self, slots: Slots, which: Tensor, count: int) -> Slots:
        return slots

    def broken(self, slots: Slots) -> Tensor:
        return torch.zeros(len(slots.age), dtype=torch.bool)


def test_persistent_evolution_strategies_are_unbiased() -> None:
    """Of a quadratic the odd part is linear, so the estimate is unbiased at any width; five standard errors."""
    theta, runs = torch.tensor([0.7, -0.4]), 200
    wanted = sum(t * (t * theta - 1) for t in (1, 2, 3))
    estimator, generator, ramp, sums = PersistentES(50, 0.3), torch.Generator().manual_seed(0), Ramp(), []
    for _ in range(runs):
        pool, total = estimator.begin(ramp, 2), torch.zeros(2)  # type: ignore[arg-type]
        for _ in range(Ramp.steps):
            gradient, _, pool = estimator.estimate(theta, ramp, pool, generator)  # type: ignore[arg-type]
            total += gradient
        sums.append(total)
    found = torch.stack(sums)
    error = found.std(0) / math.sqrt(runs)
    assert bool((error < 0.15 * wanted.abs()).all()), "the test could not tell"
    assert bool(((found.mean(0) - wanted).abs() < 5 * error).all())
    # Without persistence only the last truncation's own perturbation counts: Σ (t·theta − 1).
    truncated = sum((t * theta - 1) for t in (1, 2, 3))
    assert bool(((found.mean(0) - truncated).abs() > 5 * error).any())
    assert torch.equal(pool.drift, torch.zeros(50, 2)), "perturbations outlive their problems"


def test_a_truncated_unroll_is_autograd_through_the_definition() -> None:
    own = problems(cosine=1.0, horizon=(12, 12))
    slots, theta = own.begin(2), own.parametrisation.start()
    gradient, loss, after = TruncatedUnroll(2).estimate(theta, own, Pool(slots, torch.zeros(2, 0)), torch.Generator())
    leaf = theta.clone().requires_grad_()
    rule, total = own.parametrisation.rule(leaf), torch.zeros(())
    for slot in range(2):
        parameters = [one[slot].requires_grad_() for one in slots.parameters]
        zeros = UpdateState.zeros([one.detach() for one in parameters], 1, 0)
        state = [zeros.momentum, zeros.square, zeros.row, zeros.column]
        for age in range(3):
            value = own.task.loss(parameters, slots.seed[slot], torch.tensor(age))
            total = total + 3 * ((age + 1) / 12) ** 2 * (value / own.first_loss + 0.01).log() / (2 * 3)
            gradients = torch.autograd.grad(value, parameters, create_graph=True)
            falling = 0.5 * (1 + math.cos(math.pi * age / 12))
            news: list[Any] = []
            for i, (one, slope) in enumerate(zip(parameters, gradients, strict=True)):
                lists = [[some[i]] for some in state]
                rate = falling * rule.rate(one.shape)
                news.append(
                    definition([one], [slope], *lists, torch.tensor([float(age)]), rule.network.tensors(), rate, 0.0)
                )
            parameters, *state = ([new[place][0] for new in news] for place in range(5))
        torch.testing.assert_close([one[slot] for one in after.slots.parameters], [one.detach() for one in parameters])
    (wanted,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(torch.tensor(loss), total.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5)
    assert float(wanted.abs().max()) > 1e-3


# Training


@pytest.mark.parametrize("estimator", ["es", "unroll"])
def test_a_resumed_run_ends_in_the_same_bits(estimator: str, tmp_path: Path) -> None:
    recipe = Recipe.read(QUICK | {"estimator": estimator})
    whole, first = Trainer(recipe), Trainer(recipe)
    for _ in range(6):
        whole.advance()
    for _ in range(3):
        first.advance()
    first.save(tmp_path)
    second = Trainer(recipe)
    second.restore(tmp_path)
    for _ in range(3):
        second.advance()
    assert torch.equal(second.theta, whole.theta)
    assert torch.equal(second.best, whole.best)
    assert (second.lowest, second.first, second.iteration) == (whole.lowest, whole.first, 6)
    for one, other in zip(second.pools, whole.pools, strict=True):
        torch.testing.assert_close(one.slots.tensors(), other.slots.tensors(), rtol=0, atol=0)
    with pytest.raises(StateError, match="another recipe"):
        Trainer(Recipe.read(QUICK | {"seed": 5, "estimator": estimator})).restore(tmp_path)


def test_a_recipe_improves_on_a_bad_start_and_its_weights_train(tmp_path: Path) -> None:
    """From a rate of e⁻⁸, at which eight steps change next to nothing."""
    start = LinearRule(1).start()
    start[-5] = -8.0
    recipe = QUICK | {"start": start.tolist(), "iterations": 40, "every": 20, "rate": 0.2, "sigma": 0.2}
    path = train(recipe, out=tmp_path)
    assert path is not None
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["validation"]["end"] < card["validation"]["start"] - 0.02
    parameter = torch.ones(4, requires_grad=True)
    parameter.grad = torch.ones(4)
    LearnedOptimizer([parameter], path).step()
    assert bool((parameter < 1).all())
    assert not (tmp_path / "quick.run").exists()


def test_a_run_that_ran_out_of_time_goes_on(tmp_path: Path) -> None:
    assert train(QUICK, out=tmp_path, seconds=0.0) is None
    with pytest.raises(ConfigError, match="--resume"):
        train(QUICK, out=tmp_path)
    assert train(QUICK, out=tmp_path, resume=True) == tmp_path / "quick.safetensors"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"iterations": 0}, "iterations=0"),
        ({"tasks": []}, "tasks is empty"),
        ({"estimator": "guess"}, "choose es or unroll"),
        ({"horizon": [8, 4]}, "least and the largest"),
        ({"sigma": 0.0}, "positive"),
        ({"colour": 1}, "does not fit"),
        ({"start": [1.0] * 50}, "this rule has"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Trainer(Recipe.read(QUICK | change))


# Bundled recipes and weights


def test_bundled_recipes_fit_their_rules() -> None:
    paths = sorted((Path(__file__).parent.parent / "python/amortix/recipes/optimizers").glob("*.toml"))
    assert [path.stem for path in paths] == ["small", "tiny"]
    for path in paths:
        recipe = Recipe.read(path)
        assert recipe.name == path.stem
        start = build_parametrisation(recipe.rule).start()
        assert len(recipe.start) <= len(start)
        assert recipe.tasks
        for task in (*recipe.tasks, *recipe.validation):
            build_task(task)


def test_small_begins_as_tiny() -> None:
    """On matrices of 16 columns, where no rate depends on the shape."""
    folder, ends = Path(__file__).parent.parent / "python/amortix/recipes/optimizers", []
    for name in ("small", "tiny"):
        recipe = Recipe.read(folder / f"{name}.toml")
        parametrisation = build_parametrisation(recipe.rule)
        theta = parametrisation.start()
        theta[: len(recipe.start)] = torch.tensor(recipe.start)
        parameter = torch.ones(3, 16, requires_grad=True)
        optimizer = LearnedOptimizer([parameter], parametrisation.rule(theta))
        for _ in range(3):
            parameter.grad = parameter.detach().cumsum(1).sin()
            optimizer.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ends[0], torch.ones(3, 16), atol=1e-3)


def test_bundled_weights_are_small_and_load_by_name() -> None:
    rules = bundled_rules()
    assert "tiny" in rules
    assert sum(path.stat().st_size for path in rules.values()) <= 100_000
    folder = Path(__file__).parent.parent / "python/amortix/recipes/optimizers"
    for name in rules:
        network = load_rule(name).network
        recipe = Recipe.read(folder / f"{name}.toml")
        assert recipe.name == name
        assert recipe.rule["momenta"] == len(network.momentum_decay)
        parameter = torch.ones(3, 4, requires_grad=True)
        parameter.grad = parameter.detach().sin()
        LearnedOptimizer([parameter], name).step()
        assert bool((parameter < 1).all())
    tiny = load_rule("tiny").network
    assert len(tiny.momentum_decay) + 1 <= 3, "more than three numbers of state for a parameter"
    with pytest.raises(ConfigError, match=r"one of .*tiny"):
        load_rule("huge")
