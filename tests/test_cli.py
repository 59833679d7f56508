"""The command line: machine-readable forms, files, interruption by a real signal, exit statuses."""

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import small
from amortix import report
from amortix.cli import app
from amortix.data import FAMILIES, family_from_dict
from amortix.options import parse_bytes, parse_setting, parse_steps

REGIMES = {"parametric", "explicit", "implicit"}


def amortix(*arguments, status=0):
    """Run the program in this process and return its stdout, stderr and status."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.stdout, result.stderr, result.exception)
    return result


def rows_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def learners(tmp_path_factory):
    return small.learner_files(tmp_path_factory.mktemp("learners"))


@pytest.fixture
def table(tmp_path):
    return small.write_csv(tmp_path / "t.csv", *small.regression())


@pytest.fixture
def model(tmp_path, table, learners):
    amortix("adapt", table, "--target", "y", *learners, "--save", tmp_path / "model")
    return tmp_path / "model"


def test_json_of_all_regimes_and_baselines(table, learners):
    rows = rows_of(amortix("adapt", table, "--target", "y", "--regime", "all", "--json", *learners))
    assert [row["regime"] for row in rows[:4]] == ["parametric", "explicit", "implicit", "auto"]
    assert {row["regime"] for row in rows[4:]} == {"mean", "ridge", "hist-gradient-boosting"}
    for row in rows:
        assert list(row)[:6] == ["regime", "rows", "seconds", "rows_per_s", "metric", "score"]
        assert row["metric"] == "r2"
        assert row["rows"] == rows[0]["rows"] > 1000
        assert row["rows_per_s"] > 0
        assert row["baseline"] == (row["regime"] not in REGIMES | {"auto"})
    assert [row["regime"] for row in rows if row["selected"]] == ["auto"]
    assert set(rows[3]["weights"]) == REGIMES


def test_json_of_the_mixture_the_best_and_of_one_regime(table, learners):
    mixed = rows_of(amortix("adapt", table, "--target", "y", "--json", *learners))
    assert [row["regime"] for row in mixed] == ["auto"]
    assert mixed[0]["selected"]
    best = rows_of(amortix("adapt", table, "--target", "y", "--regime", "best", "--json", *learners))
    assert len(best) == 1
    assert best[0]["regime"] in REGIMES
    one = rows_of(amortix("adapt", table, "--target", "y", "--regime", "parametric", "--json", *learners))
    assert [row["regime"] for row in one] == ["parametric"]


def test_json_of_classification(tmp_path):
    x, y = small.classification()
    table = small.write_csv(tmp_path / "t.csv", x, np.array(["low", "mid", "high"])[y])
    options = small.learner_files(tmp_path, "classification")
    rows = rows_of(amortix("adapt", table, "--target", "y", "--regime", "all", "--json", *options))
    assert {row["regime"] for row in rows} == REGIMES | {"auto", "majority", "logistic", "hist-gradient-boosting"}
    for row in rows:
        assert row["metric"] == "accuracy"
        assert 0 <= row["score"] <= 1
        assert row["log_loss"] > 0


def test_the_table_for_people_marks_the_choice(table, learners):
    shown = amortix("adapt", table, "--target", "y", "--regime", "all", *learners).stdout
    assert "✓" in shown
    assert "ridge" in shown
    assert "✓ auto: a mixture of" in shown
    best = amortix("adapt", table, "--target", "y", "--regime", "best", *learners).stdout
    assert "held-out rows, which also made the choice" in best


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".parquet"])
def test_predictions_keep_the_order_of_the_rows(tmp_path, table, model, suffix):
    out = tmp_path / f"out{suffix}"
    summary = rows_of(amortix("predict", model, table, "--out", out, "--json"))
    assert summary[0]["rows"] == 1500
    if suffix == ".csv":
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        mean = np.array([float(row["prediction"]) for row in rows])
        assert list(rows[0]) == ["prediction", "variance"]
    elif suffix == ".npy":
        mean = np.load(out)[:, 0]
    else:
        from pyarrow import parquet

        mean = parquet.read_table(out)["prediction"].to_numpy()
    truth = small.regression()[1]
    assert len(mean) == 1500
    assert np.corrcoef(mean, truth)[0, 1] > 0.8
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["model", "t.csv", out.name])


def test_predict_finds_columns_by_name(tmp_path, model):
    x, y = small.regression()
    straight = tmp_path / "straight.npy"
    amortix("predict", model, small.write_csv(tmp_path / "a.csv", x, y), "--out", straight)
    shuffled = small.write_csv(
        tmp_path / "b.csv", x[:, ::-1], np.full(len(x), "text"), names=["c3", "c2", "c1", "c0"], target="note"
    )
    other = tmp_path / "other.npy"
    amortix("predict", model, shuffled, "--out", other)
    assert np.array_equal(np.load(straight), np.load(other))
    lacking = small.write_csv(tmp_path / "c.csv", x[:, :3], y)
    assert "c3" in amortix("predict", model, lacking, "--out", tmp_path / "none.npy", status=1).stderr


def test_class_predictions_carry_labels_and_probabilities(tmp_path):
    x, y = small.classification(600)
    table = small.write_csv(tmp_path / "t.csv", x, np.array(["low", "mid", "high"])[y])
    options = small.learner_files(tmp_path, "classification", ["parametric"])
    amortix("adapt", table, "--target", "y", "--regime", "parametric", *options, "--save", tmp_path / "m")
    amortix("predict", tmp_path / "m", table, "--out", tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["prediction", "probability_high", "probability_low", "probability_mid"]
    for row in rows[:20]:
        shares = {name: float(row[f"probability_{name}"]) for name in ("high", "low", "mid")}
        assert row["prediction"] == max(shares, key=shares.get)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


def test_ctrl_c_saves_and_resume_ends_as_if_never_interrupted(tmp_path, table, learners, monkeypatch):
    options = ["adapt", table, "--target", "y", "--regime", "all", "--batch", "64", *learners, "--json"]
    whole = rows_of(amortix(*options))

    def pressing(total, done, *, shown):
        from contextlib import nullcontext

        def progress(at):
            if at.batches == 7:
                os.kill(os.getpid(), signal.SIGINT)

        return nullcontext(progress)

    with monkeypatch.context() as patch:
        patch.setattr(report, "adapt_bar", pressing)
        stopped = amortix(*options, "--save", tmp_path / "state", status=130)
    assert stopped.stdout == ""
    assert f"amortix adapt --resume {tmp_path / 'state'}" in stopped.stderr
    resumed = rows_of(amortix("adapt", "--resume", tmp_path / "state", "--json"))
    clock = ("seconds", "rows_per_s")
    assert [{k: v for k, v in row.items() if k not in clock} for row in resumed] == [
        {k: v for k, v in row.items() if k not in clock} for row in whole
    ]
    assert "finished model" in amortix("adapt", "--resume", tmp_path / "state", status=1).stderr
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_picture_is_drawn(tmp_path, table, learners):
    amortix("adapt", table, "--target", "y", "--regime", "all", *learners, "--plot", tmp_path / "p.png")
    content = (tmp_path / "p.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000
    assert (
        "ends in" in amortix("adapt", table, "--target", "y", *learners, "--plot", tmp_path / "p.xyz", status=1).stderr
    )


def test_info_describes_a_model_and_the_installation(model):
    described = rows_of(amortix("info", model, "--json"))
    assert described[0]["target"] == "y"
    assert described[0]["columns"] == ["c0", "c1", "c2", "c3"]
    assert {row["regime"] for row in described[1:]} >= REGIMES
    installed = rows_of(amortix("info", "--json"))
    assert installed[0]["amortix"]
    assert installed[0]["torch"]
    assert {row["name"] for row in installed[1:]} >= {f"{regime}-regression" for regime in REGIMES}


def test_evaluate_prints_one_object_per_step(tmp_path):
    options = small.learner_files(tmp_path, "regression", ["parametric"])
    call = ["evaluate", "--regime", "parametric", "--family", "linear", "--dim", 4, "--tasks", 8, *options]
    rows = rows_of(amortix(*call, "--batch", 16, "--steps", "1,5", "--set", "noise=0.2,0.9", "--json"))
    assert [row["step"] for row in rows] == [1, 5]
    for row in rows:
        assert set(row) >= {"regime", "family", "step", "rows", "excess", "low", "high", "oracle", "ratio"}
        assert row["rows"] == 16 * row["step"]


def test_evaluate_takes_words_as_settings(tmp_path):
    options = small.learner_files(tmp_path, "regression", ["parametric"])
    call = ["evaluate", "--family", "gp", "--regime", "parametric", *options, "--tasks", 4, "--steps", 1, "--json"]
    (rough,), (smooth,) = (rows_of(amortix(*call, "--set", f"kernel={name}")) for name in ("matern12", "rbf"))
    assert 0 < smooth["oracle"] < rough["oracle"]
    assert "kernel" in amortix(*call, "--set", "kernel=cubic", status=1).stderr


def test_training_stops_resumes_and_ends(tmp_path):
    recipe = tmp_path / "tiny.toml"
    head = 'name = "tiny"\niterations = 40\ntasks = 4\nslots = 8\npoints = 4\n'
    learner = '[learner]\nregime = "parametric"\ntask = "regression"\n'
    recipe.write_text(f'{head}{learner}[[families]]\nfamily = "linear"\ndim = [1, 3]\n')
    stopped = amortix("train", recipe, "--out", tmp_path, "--seconds", "0", "--json")
    assert f"amortix train {recipe} --out {tmp_path} --resume" in stopped.stderr
    assert not (tmp_path / "tiny.safetensors").exists()
    assert "--resume" in amortix("train", recipe, "--out", tmp_path, status=1).stderr
    last = rows_of(amortix("train", recipe, "--out", tmp_path, "--resume", "--json"))[-1]
    assert last["iteration"] == last["iterations"] == 40
    call = ["evaluate", "--learner", tmp_path / "tiny.safetensors", "--family", "linear", "--dim", 3, "--tasks", 8]
    assert rows_of(amortix(*call, "--steps", "3", "--json"))[0]["rows"] == 96
    assert "excess" in amortix(*call, "--steps", "3").stdout


def test_tasks_list_tells_every_family_with_its_settings():
    rows = {row["family"]: row for row in rows_of(amortix("tasks", "list", "--json"))}
    assert set(rows) == set(FAMILIES)
    assert rows["tabular"]["columns"] == [3, 20]
    assert rows["gmm"]["classes"] == [5, 5]
    assert rows["sinusoid"]["columns"] == [1, 1]
    assert {name for name, row in rows.items() if row["oracle"]} == {"linear", "logistic", "sinusoid", "gp", "gmm"}
    for name, row in rows.items():
        assert row["law"].endswith("."), name
        assert family_from_dict({"family": name, **row["settings"]}) == FAMILIES[name]()
    shown = amortix("tasks", "list").stdout
    assert all(name in shown for name in FAMILIES)
    assert "length_scale=0.3,1" in shown


def test_tasks_preview_takes_the_settings_of_evaluate(tmp_path):
    call = ["tasks", "preview", "linear", "--dim", 3, "--set", "noise=0.2", "--seed", 7, "--tasks", 8, "--rows", 50]
    rows = rows_of(amortix(*call, "--json"))
    assert [row["task"] for row in rows] == list(range(8))
    assert all((row["columns"], row["rows"]) == (3, 50) for row in rows)
    assert all(row["noise"] == pytest.approx(0.2) for row in rows)
    shown = amortix(*call).stdout
    assert f"{rows[7]['y_std']:.2f}" in shown
    assert "…" not in shown


@pytest.mark.parametrize("name", [*FAMILIES, "gp --dim 2", "gmm --dim 1", "tabular --classes 3 --set missing=0.1,0.4"])
def test_tasks_preview_draws_every_family(tmp_path, name):
    picture = tmp_path / "p.png"
    amortix("tasks", "preview", *name.split(), "--tasks", 2, "--rows", 60, "--plot", picture)
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000
    assert list(tmp_path.iterdir()) == [picture]


def test_sizes_steps_and_settings_are_read():
    assert parse_bytes("64MB") == 64_000_000
    assert parse_bytes("1.5 GiB") == 3 << 29
    assert parse_bytes("100_000") == 100_000
    assert parse_steps("10,1,100") == [1, 10, 100]
    assert parse_setting("noise=0.1,1") == ("noise", (0.1, 1))
    assert parse_setting("sparsity=0.5") == ("sparsity", 0.5)
    assert parse_setting("kernel=matern32") == ("kernel", "matern32")


@pytest.mark.parametrize(
    "arguments",
    [
        ["adapt"],
        ["adapt", "t.csv"],
        ["adapt", "t.csv", "--target", "y", "--budget", "much"],
        ["adapt", "t.csv", "--target", "y", "--budget", "-3MB"],
        ["adapt", "t.csv", "--target", "y", "--regime", "magic"],
        ["evaluate", "--family", "linear", "--regime", "implicit", "--steps", "0"],
        ["evaluate", "--family", "linear"],
        ["tasks", "preview"],
        ["tasks", "preview", "linear", "--tasks", "0"],
        ["tasks", "preview", "linear", "--rows", "1"],
        ["tasks", "nothing"],
        ["nothing"],
    ],
)
def test_a_wrong_call_has_status_two(arguments):
    assert amortix(*arguments, status=2).stdout == ""


def test_help_and_version_need_no_torch():
    program = "import sys; sys.argv[0] = 'amortix'; from amortix.cli import main\n"
    program += "try: main()\nexcept SystemExit: pass\n"
    program += "assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules), 'imported too early'"
    for option in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", program, option], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "amortix" in done.stdout
