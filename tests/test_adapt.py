"""The main job as a library: adaptation and its curve, resumption, saved models, bounds of memory."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import small
from amortix.adapt import Adaptation
from amortix.data.encoder import TableEncoder
from amortix.data.table import Table
from amortix.errors import ConfigError, FormatError, LearnerError, SourceError, StateError
from amortix.model import AdaptedModel
from amortix.plan import HELD_ROWS, Settings, Split, check_rows, infer_task
from amortix.pretrained import REGIMES
from small import SETTINGS, adapted, raw_held, stop_after


def parted(source, settings=SETTINGS):
    table = Table.open(source)
    return Split.of(table, TableEncoder.fit(table), settings)


def assert_same(one, other):
    """The outcome is bitwise the same: scores, curves, states, predictions; only the clock may differ."""
    for a, b in zip(one.results, other.results, strict=True):
        assert dataclasses.replace(a, seconds=0) == dataclasses.replace(b, seconds=0)
    for regime in one.tracks:
        left, right = (run.tracks[regime].state.tensors() for run in (one, other))
        assert left.keys() == right.keys()
        for name in left:
            assert torch.equal(left[name], right[name]), (regime, name)
    x = raw_held(one)[:50]
    for regime in one.tracks:
        assert np.array_equal(one.model(regime).predict(x).mean, other.model(regime).predict(x).mean)


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("regime", REGIMES)
def test_resumed_is_bitwise_uninterrupted(tmp_path, regime, task):
    table = Table.open(getattr(small, task)())
    whole = adapted(table, small.learners(task, [regime]), task=task)
    batches = -(-whole.split.rows // SETTINGS.batch)
    for cut in (1, batches // 2, batches - 1, batches):
        part = Adaptation.start(table, small.learners(task, [regime]), SETTINGS, task=task)
        assert not part.run(stop=stop_after(cut))
        part.save(tmp_path / "state")
        again = Adaptation.resume(tmp_path / "state", table)
        assert again.rows == min(cut * SETTINGS.batch, whole.split.rows)
        assert again.run()
        assert_same(whole, again)


@pytest.mark.parametrize("write", [small.write_csv, small.write_parquet])
def test_all_regimes_resume_twice_from_the_file_alone(tmp_path, write):
    path = write(tmp_path / f"t.{write.__name__.removeprefix('write_')}", *small.regression(1100))
    table = Table.open(path, target="y", drop=["c3"])
    whole = adapted(table, small.learners())
    part = Adaptation.start(table, small.learners(), SETTINGS)
    part.run(stop=stop_after(2))
    part.save(tmp_path / "state")
    part = Adaptation.resume(tmp_path / "state")
    part.run(stop=stop_after(3))
    part.save(tmp_path / "state")
    part = Adaptation.resume(tmp_path / "state")
    assert part.run()
    assert_same(whole, part)


def test_an_exception_inside_a_step_loses_nothing(tmp_path, monkeypatch):
    table = Table.open(small.regression())
    whole = adapted(table, small.learners())
    part = Adaptation.start(table, small.learners(), SETTINGS)
    part.run(stop=stop_after(3))
    implicit = part.tracks["implicit"].learner
    with monkeypatch.context() as patch:
        patch.setattr(implicit, "step", lambda state, batch: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            part.run()
    assert part.rows == 3 * SETTINGS.batch
    part.save(tmp_path / "state")
    again = Adaptation.resume(tmp_path / "state", table)
    again.run()
    assert_same(whole, again)
    part.run()
    assert_same(whole, part)


def test_regimes_side_by_side_are_as_good_as_alone():
    table = Table.open(small.regression())
    together = adapted(table, small.learners())
    for regime in REGIMES:
        alone = adapted(table, small.learners(regimes=[regime]))
        assert alone.tracks[regime].curve == together.tracks[regime].curve


def test_curve_learns_and_the_best_is_kept(tmp_path):
    table = Table.open(small.regression(4000))
    run = adapted(table, small.learners(), Settings(batch=64, offline=True))
    scores = {r.regime: r.metrics["r2"] for r in run.results}
    for regime in REGIMES:
        curve = run.tracks[regime].curve
        assert [p["rows"] for p in curve] == sorted({p["rows"] for p in curve})
        assert curve[0]["rows"] == 64
        assert curve[-1]["rows"] == run.split.rows
        assert 8 <= len(curve) <= 20
        assert curve[-1]["r2"] > curve[0]["r2"]
    assert scores["mean"] == pytest.approx(0, abs=0.01)
    assert abs(scores["parametric"] - scores["ridge"]) < 0.02
    assert scores["implicit"] > scores["ridge"]
    assert {"ridge", "hist-gradient-boosting"} < scores.keys()
    assert scores[run.best] == max(scores[regime] for regime in REGIMES)
    run.model(run.best).save(tmp_path / "model")
    assert AdaptedModel.load(tmp_path / "model").regimes == {run.best: 1.0}


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("regime", REGIMES)
def test_a_saved_model_predicts_as_the_adaptation_did(tmp_path, regime, task):
    run = adapted(Table.open(getattr(small, task)()), small.learners(task, [regime]), task=task)
    run.save(tmp_path / "model")
    model = AdaptedModel.load(tmp_path / "model")
    x, y = raw_held(run), run.split.held_y
    found = model.predict(x)
    assert np.array_equal(found.mean, run.model(regime).predict(x).mean)
    if task == "regression":
        assert found.mean.shape == found.variance.shape == y.shape
        assert (found.variance > 0).all()
        r2 = 1 - np.mean((y - found.mean) ** 2) / np.var(y)
        assert r2 == pytest.approx(run.results[0].metrics["r2"], abs=1e-3)
        assert 0.5 < np.mean(np.abs(y - found.mean) < 1.645 * np.sqrt(found.variance)) <= 1
    else:
        assert found.mean.shape == (len(y), 3)
        assert found.mean.sum(axis=1) == pytest.approx(np.ones(len(y)), abs=1e-5)
        assert np.mean(found.mean.argmax(axis=1) == y) == pytest.approx(run.results[0].metrics["accuracy"], abs=0.01)
    assert model.predict(x[:0]).mean.shape == found.mean[:0].shape


def test_predictions_do_not_depend_on_their_neighbours(tmp_path):
    run = adapted(Table.open(small.regression()), small.learners())
    for regime in REGIMES:
        model = run.model(regime)
        one = np.concatenate([model.predict(row[None]).mean for row in raw_held(run)[:5]])
        assert one == pytest.approx(model.predict(raw_held(run)[:64]).mean[:5], rel=1e-4)


def test_held_out_rows_are_never_learned_from():
    x, y = small.regression(3000)
    x[:, 0] = np.arange(3000)
    split = parted((x, y))
    learned = np.concatenate([rows[:, 0] for rows, _ in split.stream()])
    assert len(learned) == split.rows
    assert len(np.unique(learned)) == len(learned)
    assert not set(learned) & set(split.held_x[:, 0])
    assert len(learned) + len(split.held_x) == 3000
    other_seed = parted((x, y), Settings(seed=5))
    assert set(other_seed.held_x[:, 0]) == set(split.held_x[:, 0])


def test_no_more_rows_are_held_out_than_needed():
    rng = np.random.default_rng(0)
    split = parted((rng.normal(size=(60_000, 2)).astype(np.float32), rng.random(60_000)))
    assert HELD_ROWS * 0.9 < len(split.held_y) <= HELD_ROWS
    tiny = parted(small.regression(20))
    assert len(tiny.held_y) >= 4
    assert tiny.rows >= 2


@pytest.mark.parametrize("budget", [200_000, 400_000])
def test_a_budget_bounds_the_saved_model_on_disk(tmp_path, budget):
    run = adapted(Table.open(small.regression(20_000)), small.learners(regimes=["implicit"]), Settings(budget=budget))
    run.save(tmp_path / "model")
    size = sum(file.stat().st_size for file in (tmp_path / "model").iterdir())
    assert budget / 3 < size <= budget
    model = AdaptedModel.load(tmp_path / "model")
    assert 256 <= len(model.store) < run.split.rows
    assert run.results[0].metrics["r2"] > 0.5


def test_a_budget_too_small_says_how_much_is_needed():
    for regime in REGIMES:
        with pytest.raises(ConfigError, match=rf"model of {regime}: it takes at least"):
            Adaptation.start(Table.open(small.regression()), small.learners(regimes=[regime]), Settings(budget=5_000))


def test_tasks_are_told_from_the_target():
    x, y = small.regression(100)
    assert infer_task(Table.open((x, y))) == "regression"
    assert infer_task(Table.open((x, np.arange(100)))) == "regression"
    assert infer_task(Table.open((x, np.arange(100) % 7))) == "classification"
    assert infer_task(Table.open((x, y > 50))) == "classification"
    assert infer_task(Table.open((x, np.arange(100) % 7)), "regression") == "regression"


def test_text_labels_become_classes(tmp_path):
    x, y = small.classification()
    path = small.write_csv(tmp_path / "t.csv", x, np.array(["ash", "birch", "cedar"])[y])
    run = adapted(Table.open(path, target="y"), small.learners("classification"))
    assert run.model().classes == ("ash", "birch", "cedar")
    scores = {r.regime: r.metrics["accuracy"] for r in run.results}
    assert max(scores.values()) > scores["majority"] + 0.2


def test_resuming_with_another_table_is_refused(tmp_path):
    run = Adaptation.start(Table.open(small.regression()), small.learners(regimes=["parametric"]), SETTINGS)
    run.run(stop=stop_after(1))
    run.save(tmp_path / "state")
    with pytest.raises(StateError, match="not the one"):
        Adaptation.resume(tmp_path / "state", Table.open(small.regression(1400)))
    with pytest.raises(StateError, match="pass the same table"):
        Adaptation.resume(tmp_path / "state")
    with pytest.raises(StateError, match="unfinished"):
        AdaptedModel.load(tmp_path / "state")


def test_a_finished_model_cannot_be_resumed(tmp_path):
    run = adapted(Table.open(small.regression(300)), small.learners(regimes=["parametric"]))
    run.save(tmp_path / "model")
    with pytest.raises(StateError, match="nothing to resume"):
        Adaptation.resume(tmp_path / "model")


def test_a_later_schema_and_damage_are_named(tmp_path):
    run = adapted(Table.open(small.regression(300)), small.learners(regimes=["parametric"]))
    run.save(tmp_path / "model")
    meta = tmp_path / "model" / "amortix.json"
    saved = json.loads(meta.read_text())
    meta.write_text(json.dumps(saved | {"schema": 99}))
    with pytest.raises(FormatError, match=r"schema 99.*upgrade"):
        AdaptedModel.load(tmp_path / "model")
    meta.write_text(json.dumps(saved | {"columns": ["a"]}))
    with pytest.raises(FormatError, match="model"):
        AdaptedModel.load(tmp_path / "model")
    meta.write_text("{")
    with pytest.raises(FormatError, match="damaged"):
        AdaptedModel.load(tmp_path / "model")
    meta.write_text(json.dumps(saved))
    tensors = tmp_path / "model" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-40])
    with pytest.raises(FormatError, match="damaged"):
        AdaptedModel.load(tmp_path / "model")
    with pytest.raises(FormatError, match="no saved model"):
        AdaptedModel.load(tmp_path / "absent")


def test_nothing_foreign_is_overwritten(tmp_path):
    run = adapted(Table.open(small.regression(300)), small.learners(regimes=["parametric"]))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="other files"):
        run.save(tmp_path / "mine")
    run.save(tmp_path / "model")
    run.save(tmp_path / "model")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "model"]


def test_learners_of_another_task_or_twice_the_same_are_refused():
    table = Table.open(small.regression(300))
    with pytest.raises(LearnerError, match="asks for regression"):
        Adaptation.start(table, small.learners("classification"))
    with pytest.raises(LearnerError, match="one learner per regime"):
        Adaptation.start(table, small.learners(regimes=["parametric", "parametric"]))


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="batch"):
        Settings(batch=0)
    with pytest.raises(ConfigError, match="holdout"):
        Settings(holdout=1.0)
    with pytest.raises(SourceError, match="1 row:"):
        check_rows(Table.open(small.regression(1)))


PEAK = """
    import sys
    import small
    from pathlib import Path
    from amortix.adapt import Adaptation
    from amortix.data.table import Table
    from amortix.plan import Settings
    table = Table.open(sys.argv[1], target="y")
    run = Adaptation.start(table, small.learners(), Settings(budget=2_000_000, holdout=300 / table.rows))
    run.run()
    status = Path("/proc/self/status").read_text()
    print(run.rows, next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_ten_times_the_rows_take_no_more_memory(tmp_path):
    peaks = []
    for rows in (100_000, 1_000_000):
        file = small.write_parquet(tmp_path / f"{rows}.parquet", *small.regression(rows, 8), group=20_000)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PEAK), str(file)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        seen, peak = map(int, done.stdout.split())
        assert seen > 0.9 * rows
        peaks.append(peak / 1024)
    table_growth = 900_000 * 9 * 4 / 2**20
    assert peaks[1] - peaks[0] < table_growth / 4, f"{peaks[0]:.0f} MiB, then {peaks[1]:.0f} MiB"
