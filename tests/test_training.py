"""Meta-training: it learns, it resumes bit by bit, it refuses what does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from amortix import checkpoint
from amortix.errors import ConfigError, FormatError, StateError
from amortix.training import Recipe, Trainer, one_cycle, train

TINY = {
    "name": "tiny",
    "learner": {"regime": "parametric", "task": "regression"},
    "families": [{"family": "linear", "dim": [2, 4]}, {"family": "mlp", "dim": [2, 2]}],
    "iterations": 12,
    "tasks": 8,
    "slots": 24,
    "points": 8,
    "batch": [4, 16],
    "horizon": [1, 4],
    "seed": 7,
    "evaluations": [{"family": "linear", "dim": [3, 3], "steps": [1, 2], "tasks": 4, "batch": 8}],
}
REGIMES = [("parametric", {}), ("explicit", {"size": 8, "sample": 32, "ascent": 2})]
REGIMES += [("implicit", {"rows": 8, "size": 8, "sample": 32, "ascent": 2})]


def recipe(regime: str, task: str, sizes: dict) -> dict:
    families = TINY["families"]
    if task == "classification":
        families = [{"family": "logistic", "dim": [2, 3], "classes": [2, 2]}]
    sizes = {k: v for k, v in sizes.items() if k != "rows" or regime == "implicit"}
    return TINY | {"learner": {"regime": regime, "task": task, **sizes}, "families": families, "evaluations": []}


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize(("regime", "sizes"), REGIMES)
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, regime, task, sizes):
    plan = recipe(regime, task, sizes)
    whole = train(plan, out=tmp_path / "whole")
    parts, stops = None, 0
    while parts is None:
        parts = train(plan, out=tmp_path / "parts", resume=True, seconds=0.0)
        stops += 1
    assert stops == plan["iterations"]
    assert whole is not None
    assert parts.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "parts" / "tiny.run").exists()


def test_training_changes_the_weights_and_the_card_tells_of_it(tmp_path: Path):
    path = train(TINY, out=tmp_path)
    assert path is not None
    _, trained = checkpoint.read(path)
    torch.manual_seed(TINY["seed"])
    untrained = checkpoint.build(TINY["learner"]).state_dict()
    assert any(not torch.equal(trained[name], untrained[name]) for name in untrained)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["iterations"] == 12
    assert card["failures"] == 0
    assert [row["step"] for row in card["curves"][0]["results"]] == [1, 2]
    assert card["parameters"] == sum(t.numel() for t in untrained.values())


MAML = {"method": "maml", "task": "regression", "features": 4, "hidden": [8]}


def test_a_learned_start_gets_its_gradient_where_tasks_begin():
    trainer = Trainer(Recipe.read(TINY | {"learner": MAML, "families": [{"family": "linear", "dim": [4, 4]}]}))
    for _ in range(6):
        trainer.advance()
    (workshop,), start = trainer.workshops, trainer.learner.adapter.start.value
    with torch.no_grad():
        start.add_(1.0)
    slots, state, _ = workshop.draw(24, 4)
    first = torch.from_numpy(workshop.pool.ages(slots) == 0)
    assert 0 < int(first.sum()) < 24
    assert torch.equal(state.value[first], start.expand(int(first.sum()), -1))
    (gradient,) = torch.autograd.grad(state.value.sum(), start)
    assert torch.equal(gradient, torch.full_like(gradient, float(first.sum())))


def test_a_resumed_run_of_a_learned_start_ends_in_the_same_bits(tmp_path: Path):
    plan = TINY | {"learner": MAML, "evaluations": []}
    whole, parts = train(plan, out=tmp_path / "whole"), None
    while parts is None:
        parts = train(plan, out=tmp_path / "parts", resume=True, seconds=0.0)
    assert whole is not None
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_training_helps_where_there_are_few_rows(tmp_path: Path):
    long = TINY | {"iterations": 250, "tasks": 48, "slots": 96, "points": 32, "batch": [6, 12], "horizon": [1, 3]}
    long |= {"families": [{"family": "linear", "dim": [8, 8], "noise": [0.5, 0.5]}], "evaluations": []}
    trainer = Trainer(Recipe.read(long))
    losses = [trainer.advance() for _ in range(250)]
    assert sum(losses[-50:]) < 0.95 * sum(losses[:50])
    assert trainer.failures == 0


def test_an_unfinished_run_is_not_overwritten(tmp_path: Path):
    assert train(TINY, out=tmp_path, seconds=0.0) is None
    with pytest.raises(ConfigError, match="--resume"):
        train(TINY, out=tmp_path)


def test_another_recipe_does_not_continue_a_run(tmp_path: Path):
    train(TINY, out=tmp_path, seconds=0.0)
    with pytest.raises(StateError, match="another recipe"):
        train(TINY | {"rate": 1e-4}, out=tmp_path, resume=True)


def test_a_damaged_run_is_named(tmp_path: Path):
    train(TINY, out=tmp_path, seconds=0.0)
    path = tmp_path / "tiny.run" / "run.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FormatError, match=r"run\.safetensors"):
        train(TINY, out=tmp_path, resume=True)


def test_interrupted_training_leaves_a_run_to_resume(tmp_path: Path):
    def interrupt(event: dict) -> None:
        if event["iteration"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, out=tmp_path / "a", progress=interrupt)
    resumed = train(TINY, out=tmp_path / "a", resume=True)
    whole = train(TINY, out=tmp_path / "b")
    assert resumed is not None
    assert whole is not None
    assert resumed.read_bytes() == whole.read_bytes()


def test_broken_states_are_counted_and_replaced():
    trainer = Trainer(Recipe.read(TINY | {"families": [{"family": "linear", "dim": [2, 2]}]}))
    pool = trainer.workshops[0].pool
    slots = pool.draw(24)
    shape, dtype = pool.fields["value"]
    pool.scatter_from(slots, {"value": np.full((24, *shape), np.nan, dtype)})
    for _ in range(8):
        trainer.advance()
    assert 8 <= trainer.failures <= 24
    assert all(bool(torch.isfinite(p).all()) for p in trainer.learner.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iteration": 3}, "iteration"),
        ({"learner": {"regime": "telepathic", "task": "regression"}}, "telepathic"),
        ({"learner": {"regime": "parametric", "task": "regression", "depth": 3}}, "depth"),
        ({"families": [{"family": "weather"}]}, "weather"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path: Path, change, message):
    with pytest.raises(ConfigError, match=message):
        train(TINY | change, out=tmp_path)


def test_a_recipe_file_is_read_or_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="missing"):
        Recipe.read(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="no valid TOML"):
        Recipe.read(tmp_path / "bad.toml")


def test_every_bundled_learner_has_its_recipe_and_card():
    folder = Path(checkpoint.__file__).parent
    recipes = {path.stem for path in (folder / "recipes").glob("*.toml")}
    assert recipes == set(checkpoint.bundled())
    assert len(recipes) == 6
    for name in recipes:
        plan, card = Recipe.read(folder / "recipes" / f"{name}.toml"), checkpoint.card(name)
        assert plan.name == name
        assert card["iterations"] == plan.iterations
        assert card["families"] == json.loads(json.dumps(plan.families))
        assert card["limits"] == plan.limits
        assert len(card["curves"]) == len(plan.evaluations) > 0
        assert (folder / "weights" / f"{name}.safetensors").stat().st_size < 4_000_000


def test_one_cycle_warms_up_and_fades():
    rates = [one_cycle(i / 100) for i in range(101)]
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[0] < 0.1
    assert rates[-1] < 0.01
