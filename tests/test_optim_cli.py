"""`amortix optim`: comparisons and meta-training from the command line, and how calls go wrong."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from amortix import optim_commands
from amortix.cli import app
from amortix.meta_optim import comparison
from amortix.meta_optim.tasks import build_task

SMALL = {"kind": "regression", "features": 2, "hidden": [3], "batch": 4}
RECIPE = """
name = "quick"
iterations = 4
problems = 2
truncation = 2
horizon = [4, 8]
every = 2
[rule]
momenta = 1
[[tasks]]
kind = "regression"
features = 2
hidden = [3]
batch = 4
[[validation]]
kind = "regression"
features = 2
hidden = [3]
batch = 4
"""


def amortix(*arguments: object, status: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.stdout, result.stderr, result.exception)
    return result


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(optim_commands.TASKS, "regression", SMALL)
    monkeypatch.setattr(comparison, "RATES", (1e-3, 1e-2))


@pytest.mark.usefixtures("small")
def test_a_comparison_prints_a_row_for_each_optimizer_and_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    plot = tmp_path / "losses.svg"
    done = amortix("optim", "compare", "--task", "regression", "--steps", 6, "--seeds", 2, "--plot", plot, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    names = [row["optimizer"] for row in rows]
    assert names[0] == "tiny"
    assert {"AdamW", "SGD, momentum .9"} <= set(names)
    assert ("schedule-free AdamW" in names) != ("schedulefree" in done.stderr)
    for row in rows:
        assert (row["task"], row["steps"], row["seeds"]) == ("regression", 6, 2)
        assert row["least"] <= row["loss"] <= row["largest"]
        assert row["seconds"] > 0
        assert math.isfinite(row["loss_at"])
    assert rows[0]["rate"] == 1.0
    text = plot.read_text()
    assert "steps" in text
    assert "seconds of training" in text


@pytest.mark.usefixtures("small")
def test_what_is_not_installed_is_left_out_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    done = amortix("optim", "compare", "--task", "regression", "--steps", 2, "--seeds", 1)
    assert "pip install schedulefree" in done.stderr
    assert "AdamW" in done.stdout


def test_wrong_calls_are_refused_in_a_sentence(tmp_path: Path) -> None:
    assert "choose from perceptron" in amortix("optim", "compare", "--task", "chess", status=1).stderr
    assert "one of tiny" in amortix("optim", "compare", "--weights", "huge", status=1).stderr.replace("\n", " ")
    assert "one of small, tiny" in amortix("optim", "train", "huge", status=1).stderr


def test_training_stops_goes_on_and_ends(tmp_path: Path) -> None:
    recipe = tmp_path / "quick.toml"
    recipe.write_text(RECIPE)
    stopped = amortix("optim", "train", recipe, "--out", tmp_path, "--seconds", "0", "--json")
    assert f"amortix optim train {recipe} --out {tmp_path} --resume" in stopped.stderr
    assert "--resume" in amortix("optim", "train", recipe, "--out", tmp_path, status=1).stderr
    done = amortix("optim", "train", recipe, "--out", tmp_path, "--resume", "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["iteration"], last["iterations"]) == (4, 4)
    assert (tmp_path / "quick.safetensors").is_file()


def test_a_run_is_the_training_by_hand() -> None:
    """SGD without a schedule beside the same steps in a loop, and AdamW under a cosine that ends at zero."""
    task, seed = build_task(SMALL), torch.tensor(3)
    curve = comparison.run(task, comparison.sgd(), 1e-3, "constant", 4, 3)
    parameters = [one.requires_grad_() for one in task.init(seed)]
    buffers = [torch.zeros_like(one) for one in parameters]
    for step in range(4):
        gradients = torch.autograd.grad(task.loss(parameters, seed, torch.tensor(step)), parameters)
        with torch.no_grad():
            for one, buffer, slope in zip(parameters, buffers, gradients, strict=True):
                buffer.mul_(0.9).add_(slope)
                one.sub_(10 * 1e-3 * buffer)
    assert curve.final == pytest.approx(comparison.judged(task, parameters, seed), rel=1e-5)
    assert curve.steps == (4,)
    rates = []

    class Spy(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    spy = comparison.Optimizer("spy", lambda params, lr: Spy(params, lr=lr), (1.0,))
    comparison.run(task, spy, 2.0, "cosine", 4, 3)
    assert rates == pytest.approx([1 + math.cos(math.pi * t / 4) for t in range(4)])


def test_tuning_takes_the_best_of_rates_and_schedules() -> None:
    task = build_task(SMALL)
    choices = comparison.adamw((1e-5, 3e-2))
    rate, schedule, loss = comparison.tune(task, choices, 30, [1])
    finals = {
        (one, how): comparison.run(task, choices, one, how, 30, 1).final
        for one in (1e-5, 3e-2)
        for how in comparison.SCHEDULES
    }
    assert loss == min(finals.values()) == finals[rate, schedule]
    assert max(finals.values()) > loss
