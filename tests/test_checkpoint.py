"""Learners on disk."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from amortix import checkpoint
from amortix.errors import ConfigError, FormatError

CONFIG = {"regime": "explicit", "task": "regression", "size": 16}


def saved(folder: Path) -> Path:
    path = folder / "mine.safetensors"
    checkpoint.save_learner(checkpoint.build(CONFIG), CONFIG, path, {"name": "mine"})
    return path


def test_what_is_saved_is_loaded(tmp_path: Path):
    torch.manual_seed(3)
    learner = checkpoint.build(CONFIG)
    path = tmp_path / "mine.safetensors"
    checkpoint.save_learner(learner, CONFIG, path, {"name": "mine"})
    loaded = checkpoint.load(path)
    assert loaded.state_dict().keys() == learner.state_dict().keys()
    for name, weight in learner.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert checkpoint.card(path) == {"name": "mine"}


def test_sizes_may_be_overridden_on_loading(tmp_path: Path):
    learner = checkpoint.load(saved(tmp_path), size=64)
    assert learner.init(1, 2, 1).value.shape == (1, 1 + 2 + 64, 1)


def test_no_other_file_is_left_behind(tmp_path: Path):
    saved(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"mine.safetensors", "mine.json"}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch):
    path = saved(tmp_path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write_atomically(path, b"new")
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ConfigError, match="parametric-regression"):
        checkpoint.load("paramertic-regression")


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match="depth"):
        checkpoint.build(CONFIG | {"depth": 3})
    with pytest.raises(ConfigError, match="regime"):
        checkpoint.build({"task": "regression"})
    with pytest.raises(ConfigError, match="task"):
        checkpoint.build({"regime": "explicit"})


def test_every_truncation_is_a_format_error(tmp_path: Path):
    path = saved(tmp_path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"mine\.safetensors"):
            checkpoint.load(path)


def test_a_strange_safetensors_file_is_refused(tmp_path: Path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(FormatError, match="not an amortix learner"):
        checkpoint.load(path)


def test_a_later_schema_asks_for_an_upgrade(tmp_path: Path):
    path = tmp_path / "late.safetensors"
    weights = checkpoint.build(CONFIG).state_dict()
    save_file(weights, path, {"amortix": json.dumps({"schema": 99, "config": CONFIG})})
    with pytest.raises(FormatError, match=r"schema 99.*upgrade"):
        checkpoint.load(path)


def test_a_wrong_shape_names_the_weight(tmp_path: Path):
    path = tmp_path / "odd.safetensors"
    weights = dict(checkpoint.build(CONFIG).state_dict())
    weights["adapter.prior.start"] = torch.zeros(9)
    save_file(weights, path, {"amortix": json.dumps({"schema": 1, "config": CONFIG})})
    with pytest.raises(FormatError, match=r"adapter\.prior\.start.*\(9,\)"):
        checkpoint.load(path)


def test_metadata_that_make_no_sense_are_refused(tmp_path: Path):
    path = tmp_path / "odd.safetensors"
    for words in ("not JSON", "[]", '{"schema": "x"}'):
        save_file(checkpoint.build(CONFIG).state_dict(), path, {"amortix": words})
        with pytest.raises(FormatError, match="damaged"):
            checkpoint.load(path)
