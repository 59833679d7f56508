"""Every foreseen bad input: one sentence that names the thing, status 1, nothing half-written."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import small
from amortix import checkpoint
from amortix.adapt import Adaptation
from amortix.cli import app
from amortix.data.table import Table
from amortix.pretrained import Pretrained

SMALL = "parametric"


def complaint(*arguments, after_results=False):
    """The one sentence on stderr of a call that must fail, with no traceback, and on stdout nothing or results."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1, (result.stdout, result.stderr, result.exception)
    assert isinstance(result.exception, SystemExit), result.exception
    assert bool(result.stdout) == after_results
    assert result.stderr.startswith("amortix: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    return small.learner_files(tmp_path_factory.mktemp("learners"), regimes=[SMALL])


def adapting(path, learner, *more, target="y"):
    """The sentence when adapting to ``path`` fails; nothing may be left of the --save directory."""
    save = Path(path).parent / "saved"
    said = complaint("adapt", path, "--target", target, "--regime", SMALL, *learner, "--save", save, *more)
    assert not save.exists()
    assert not list(Path(path).parent.glob(".*")) if Path(path).parent.exists() else True
    return said


def test_a_missing_file(tmp_path, learner):
    assert "absent.parquet" in adapting(tmp_path / "absent.parquet", learner)


def test_an_unknown_kind_of_file(tmp_path, learner):
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    assert "xlsx" in adapting(tmp_path / "t.xlsx", learner)


def test_a_truncated_parquet(tmp_path, learner):
    path = small.write_parquet(tmp_path / "t.parquet", *small.regression())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "t.parquet" in adapting(path, learner)


def test_a_parquet_with_damaged_pages(tmp_path, learner):
    path = small.write_parquet(tmp_path / "t.parquet", *small.regression())
    content = bytearray(path.read_bytes())
    content[100:2000] = b"\xff" * 1900
    path.write_bytes(content)
    assert "t.parquet" in adapting(path, learner)


def test_a_target_that_is_not_there(tmp_path, learner):
    path = small.write_csv(tmp_path / "t.csv", *small.regression(100), target="price")
    said = adapting(path, learner, target="prise")
    assert "prise" in said
    assert "price" in said


@pytest.mark.parametrize("write", ["csv", "parquet"])
def test_an_infinite_value_names_column_and_row(tmp_path, learner, write):
    x, y = small.regression(400)
    x[:, 2] = np.arange(400)
    x[137, 2] = np.inf
    path = getattr(small, f"write_{write}")(tmp_path / f"t.{write}", x, y)
    said = adapting(path, learner)
    assert "c2" in said
    assert "137" in said


def test_a_missing_target_value_is_counted(tmp_path, learner):
    x, y = small.regression(400)
    y[211] = np.nan
    path = small.write_parquet(tmp_path / "t.parquet", x, y)
    said = adapting(path, learner)
    assert "y" in said.replace("'", '"').split('"')
    assert "1 of 400 rows" in said


def test_nothing_but_an_empty_column(tmp_path, learner):
    _, y = small.regression(100)
    path = tmp_path / "t.csv"
    lines = ["hollow,y"] + [f",{target}" for target in y]
    path.write_text("\n".join(lines))
    assert "hollow" in adapting(path, learner)


def test_a_ragged_row_of_csv(tmp_path, learner):
    path = small.write_csv(tmp_path / "t.csv", *small.regression(100))
    lines = path.read_text().splitlines()
    lines[40] += ",7"
    path.write_text("\n".join(lines))
    assert "t.csv" in adapting(path, learner)


def test_one_row_and_no_row(tmp_path, learner):
    assert "1 row:" in adapting(small.write_csv(tmp_path / "t.csv", *small.regression(1)), learner)
    assert "0 rows" in adapting(small.write_csv(tmp_path / "t.csv", *small.regression(0)), learner)


def test_a_constant_target(tmp_path, learner):
    x, _ = small.regression(100)
    path = small.write_csv(tmp_path / "t.csv", x, np.full(100, 2.5))
    assert "'y' is 2.5" in adapting(path, learner)
    options = small.learner_files(tmp_path / "learners", "classification", [SMALL])
    path = small.write_csv(tmp_path / "t.csv", x, np.full(100, "oak"))
    assert "'y' is 'oak'" in adapting(path, options)


def test_more_features_than_the_learner_takes(tmp_path, learner):
    path = small.write_csv(tmp_path / "t.csv", *small.regression(100, 260))
    said = adapting(path, learner)
    assert "260" in said
    assert "256" in said
    assert "--drop" in said


def test_more_classes_than_the_learner_takes(tmp_path):
    x, y = small.classification(2000, classes=12)
    options = small.learner_files(tmp_path / "learners", "classification", [SMALL])
    path = small.write_csv(tmp_path / "t.csv", x, np.array([f"k{i}" for i in range(12)])[y])
    said = adapting(path, options)
    assert "12" in said
    assert "10" in said


def test_text_asked_to_be_a_number(tmp_path, learner):
    x, y = small.classification(100)
    path = small.write_csv(tmp_path / "t.csv", x, np.array(["a", "b", "c"])[y])
    assert "--task classification" in adapting(path, learner, "--task", "regression")


def test_a_budget_too_small(tmp_path, learner):
    path = small.write_csv(tmp_path / "t.csv", *small.regression(100))
    assert "budget" in adapting(path, learner, "--budget", "10kB")


def test_places_that_cannot_be_written(tmp_path, learner):
    path = small.write_csv(tmp_path / "t.csv", *small.regression(100))
    options = ["adapt", path, "--target", "y", "--regime", SMALL, *learner]
    assert "it is a file" in complaint(*options, "--save", path)
    assert "other files" in complaint(*options, "--save", tmp_path)
    assert "no directory" in complaint(*options, "--plot", tmp_path / "no" / "p.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv"]


@pytest.fixture
def model(tmp_path, learner):
    path = small.write_csv(tmp_path / "t.csv", *small.regression(300))
    Adaptation.start(Table.open(path, target="y"), [Pretrained.load(learner[1])])
    run = Adaptation.start(Table.open(path, target="y"), [Pretrained.load(learner[1])])
    run.run()
    run.save(tmp_path / "model")
    return tmp_path / "model"


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_predict_to_a_place_or_kind_that_does_not_exist(tmp_path, model):
    table = tmp_path / "t.csv"
    assert "no directory" in complaint("predict", model, table, "--out", tmp_path / "no" / "p.csv")
    assert ".parquet" in complaint("predict", model, table, "--out", tmp_path / "p.txt")
    assert "no saved model" in complaint("predict", tmp_path / "none", table, "--out", tmp_path / "p.csv")


def test_predict_stops_at_damage_and_leaves_nothing(tmp_path, model):
    path = small.write_parquet(tmp_path / "new.parquet", *small.regression(9000))
    content = bytearray(path.read_bytes())
    late = len(content) * 9 // 10
    content[late : late + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    assert "new.parquet" in complaint("predict", model, path, "--out", tmp_path / "p.csv")
    assert not list(tmp_path.glob("*p.*"))


def test_predict_from_columns_of_another_kind(tmp_path, model):
    x, y = small.regression(50)
    table = small.write_csv(tmp_path / "new.csv", x, y)
    table.write_text(table.read_text().replace("\n", "\ntall", 1))
    assert "c0" in complaint("predict", model, table, "--out", tmp_path / "p.csv")
    assert not list(tmp_path.glob("*p.*"))


def test_a_later_schema(tmp_path, model):
    meta = json.loads((model / "amortix.json").read_text())
    (model / "amortix.json").write_text(json.dumps(meta | {"schema": 7}))
    said = complaint("predict", model, tmp_path / "t.csv", "--out", tmp_path / "p.csv")
    assert "schema 7" in said
    assert "upgrade" in said


def test_tensors_of_wrong_shape(tmp_path, model):
    from safetensors.numpy import load_file, save_file

    file = model / "tensors.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if name.startswith(SMALL)]:
        save_file(tensors | {name: np.zeros((3, 2), tensors[name].dtype)}, file)
        said = complaint("predict", model, tmp_path / "t.csv", "--out", tmp_path / "p.csv")
        assert "model" in said
        assert not (tmp_path / "p.csv").exists()


def test_a_learner_file_of_wrong_shapes_or_later_schema(tmp_path, learner):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = small.write_csv(tmp_path / "t.csv", *small.regression(100))
    tensors = load_file(learner[1])
    with safe_open(learner[1], "pt") as file:
        metadata = file.metadata()
    name = next(iter(tensors))
    (tmp_path / "weights").mkdir()
    wrong = tmp_path / "weights" / "wrong.safetensors"
    save_file(tensors | {name: tensors[name].new_zeros(5, 7)}, wrong, metadata)
    said = adapting(path, ["--learner", wrong])
    assert "wrong.safetensors" in said
    assert name in said
    save_file(tensors, wrong, {"amortix": metadata["amortix"].replace('"schema": 1', '"schema": 99')})
    said = adapting(path, ["--learner", wrong])
    assert "99" in said
    assert "upgrade" in said
    wrong.write_bytes(b"not a tensor in sight")
    assert "wrong.safetensors" in adapting(path, ["--learner", wrong])
    assert "absent" in adapting(path, ["--learner", tmp_path / "absent.safetensors"])


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_while_saving(tmp_path, learner, monkeypatch, existing):
    path = small.write_csv(tmp_path / "t.csv", *small.regression(100))
    options = ["adapt", path, "--target", "y", "--regime", SMALL, *learner, "--save", tmp_path / "model"]
    if existing:
        assert CliRunner().invoke(app, [str(option) for option in options]).exit_code == 0
    before = sorted(tmp_path.iterdir()), content(tmp_path / "model") if existing else None
    write = Path.write_bytes

    def full(self, data):
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    said = complaint(*options, after_results=True)
    assert "No space left on device" in said
    assert str(tmp_path / "model") in said
    after = sorted(tmp_path.iterdir()), content(tmp_path / "model") if existing else None
    assert after == before


@pytest.mark.slow
def test_a_full_disk_while_predicting(tmp_path, model):
    """A real failure of the system's own write, by a limit on the size of files."""
    table = small.write_csv(tmp_path / "big.csv", *small.regression(3000))
    before = sorted(tmp_path.iterdir())

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    call = "import sys; sys.argv[0] = 'amortix'; from amortix.cli import main; main()"
    for name in ("p.csv", "p.npy", "p.parquet"):
        done = subprocess.run(
            [sys.executable, "-c", call, "predict", str(model), str(table), "--out", str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=limit,
        )
        assert done.returncode == 1, done.stderr
        assert name in done.stderr
        assert "File too large" in done.stderr
        assert done.stderr.count("\n") == 1
        assert sorted(tmp_path.iterdir()) == before


def test_unknown_names(tmp_path):
    assert "magic" in complaint("evaluate", "--family", "linear", "--regime", "magic")
    assert "circus" in complaint("evaluate", "--family", "circus", "--regime", "parametric")
    assert "opera" in complaint("train", "opera", "--out", tmp_path / "w.safetensors")
    assert "no saved model" in complaint("info", tmp_path)


def test_a_preview_that_cannot_be(tmp_path):
    preview = ["tasks", "preview"]
    assert "'circus'" in complaint(*preview, "circus")
    assert "tabular" in complaint(*preview, "circus"), "the families that there are"
    assert "'colour'" in complaint(*preview, "linear", "--set", "colour=3")
    assert "NAME=NUMBER" in complaint(*preview, "linear", "--set", "noise=0.1;2")
    assert "'dim'" in complaint(*preview, "sinusoid", "--dim", 4)
    assert "`noise`" in complaint(*preview, "linear", "--set", "noise=-1")
    assert "wrong type" in complaint(*preview, "linear", "--set", "dim=1.5")
    assert "ends in" in complaint(*preview, "linear", "--plot", tmp_path / "p.xyz")
    assert "no directory" in complaint(*preview, "linear", "--plot", tmp_path / "no" / "p.png")
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_drawn_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "amortix[plot]" in complaint("tasks", "preview", "linear", "--plot", tmp_path / "p.png")


def test_checkpoint_names_are_listed_when_one_is_unknown():
    with pytest.raises(checkpoint.ConfigError, match="no learner 'nobody'"):
        checkpoint.load("nobody")
