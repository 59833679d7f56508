"""Adaptation to tables of text, dates and gaps, and the mixture of the regimes."""

import numpy as np
import pytest

import small
from amortix import metrics
from amortix.adapt import Adaptation
from amortix.data.table import Table
from amortix.errors import SourceError, StateError
from amortix.model import AdaptedModel
from amortix.pretrained import REGIMES
from small import SETTINGS, adapted, raw_held, stop_after


def mixed(rows=6000, seed=0):
    """A frame of numbers with gaps, text, dates and booleans; each bears on the target."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    size, town = rng.normal(size=rows), rng.choice(["Oslo", "Rome", "Lima"], rows, p=[0.5, 0.3, 0.2])
    day, new = rng.integers(0, 365, rows), rng.random(rows) < 0.5
    worth = 3 * size + 4 * (town == "Rome") + 2 * np.cos(2 * np.pi * day / 365) + 2 * new
    gone = rng.random(rows) < 0.2
    frame = {
        "size": np.where(gone, np.nan, size),
        "town": town,
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"),
        "new": new,
        "id": [f"n{i}" for i in range(rows)],
        "worth": worth + 0.3 * rng.normal(size=rows),
    }
    return pd.DataFrame(frame)


@pytest.mark.parametrize("regime", REGIMES)
def test_text_dates_and_gaps_are_learned_from_and_predicted_on(tmp_path, regime):
    frame = mixed()
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=1000)
    table = Table.open(tmp_path / "t.parquet", target="worth")
    run = adapted(table, small.learners(regimes=[regime]))
    # What no learner could explain: noise, and the sizes that are missing (variance 9 in a fifth of the rows), which
    # on 1,200 held-out rows gives a standard error of .013.
    bound = 1 - (0.3**2 + 0.2 * 9) / frame["worth"].var()
    assert run.results[0].metrics["r2"] == pytest.approx(bound, abs=3 * 0.013)
    assert run.notes == ["column 'id' is left out: it has so many labels that none is common"]
    run.save(tmp_path / "model")
    model = AdaptedModel.load(tmp_path / "model")
    new = mixed(200, seed=1)
    found = model.predict(new)
    assert np.corrcoef(found.mean, new["worth"])[0, 1] > 0.8
    new[["new", "town", "day", "size", "id"]].to_parquet(tmp_path / "new.parquet")
    assert np.array_equal(model.predict(tmp_path / "new.parquet").mean, found.mean)
    with pytest.raises(SourceError, match="town"):
        model.predict(new.drop(columns="town"))
    with pytest.raises(SourceError, match="town"):
        model.predict(new.assign(town=1.0))


def test_a_mixed_table_resumes_bitwise(tmp_path):
    mixed(1200).to_parquet(tmp_path / "t.parquet", row_group_size=300)
    table = Table.open(tmp_path / "t.parquet", target="worth")
    whole = adapted(table, small.learners(regimes=["parametric"]))
    part = Adaptation.start(table, small.learners(regimes=["parametric"]), SETTINGS)
    part.run(stop=stop_after(3))
    part.save(tmp_path / "state")
    again = Adaptation.resume(tmp_path / "state")
    assert again.run()
    assert again.results[0].metrics == whole.results[0].metrics


def test_weighted_tables_are_refused():
    x, y = small.regression(100)
    with pytest.raises(SourceError, match="weight"):
        Adaptation.start(Table.open((x, y, np.ones(100))), small.learners())


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_mixture_is_at_least_as_good_as_its_members_and_is_what_is_saved(tmp_path, task):
    run = adapted(Table.open(getattr(small, task)(4000)), small.learners(task), task=task)
    mixed = next(r for r in run.results if r.regime == "auto")
    loss = {"regression": "rmse", "classification": "log_loss"}[task]
    # The weights minimise this very loss on these rows but for the pull of ten rows, out of about 800.
    assert mixed.metrics[loss] < 1.01 * min(r.metrics[loss] for r in run.results if r.regime in REGIMES)
    assert sum(mixed.weights.values()) == pytest.approx(1)
    run.save(tmp_path / "model")
    model = AdaptedModel.load(tmp_path / "model")
    assert model.regimes == {regime: weight for regime, weight in mixed.weights.items() if weight}
    found = model.predict(raw_held(run))
    assert metrics.measure(task, run.split.held_y, found.mean)[loss] == pytest.approx(mixed.metrics[loss], rel=0.01)
    parts = [run.model(regime).predict(raw_held(run)[:9]) for regime in model.regimes]
    expected = sum(w * part.mean for w, part in zip(model.regimes.values(), parts, strict=True))
    assert found.mean[:9] == pytest.approx(expected, rel=1e-4)


def test_no_mixture_before_the_end():
    part = Adaptation.start(Table.open(small.regression()), small.learners(), SETTINGS)
    with pytest.raises(StateError, match="not finished"):
        part.model()


def test_the_index_of_a_frame_is_no_feature(tmp_path):
    frame = mixed(100).sample(frac=1, random_state=0)  # its index is now a column to Arrow, and tells the order
    frame.to_parquet(tmp_path / "t.parquet")
    for source in (frame, tmp_path / "t.parquet"):
        assert Table.open(source, target="worth").columns == ["size", "town", "day", "new", "id"]
    assert Table.open(frame, columns=["__index_level_0__"]).columns == ["__index_level_0__"]
