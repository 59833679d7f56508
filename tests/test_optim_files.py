"""Files of learned optimizers: written, read, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amortix.errors import ConfigError, FormatError
from amortix.optim import LearnedOptimizer, LearnedRule, load_rule, save_rule
from cases.learned_update import NETWORKS, draw_network
from test_optim import KINDS, model, same, train


@KINDS
def test_a_network_survives_its_file(kind: str, tmp_path: Path) -> None:
    network, path = draw_network(NETWORKS[kind]), tmp_path / "weights.safetensors"
    rule = LearnedRule(network, torch.tensor([-0.5, 0.75]))
    save_rule(path, rule)
    same(load_rule(path).network.tensors(), network.tensors())
    same([load_rule(path).shape_rate], [rule.shape_rate])
    net, other = model(), model()
    got = train(net, LearnedOptimizer(net.parameters(), path, lr=0.1), range(2))
    same(got, train(other, LearnedOptimizer(other.parameters(), rule, lr=0.1), range(2)))


def test_files_that_are_no_network_are_refused(tmp_path: Path) -> None:
    network = draw_network(NETWORKS["39-32-32-2"])
    from safetensors.torch import save_file

    with pytest.raises(ConfigError, match="no weights at huge"):
        LearnedOptimizer([torch.zeros(2)], "huge")
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(FormatError, match="holds no learned optimizer"):
        load_rule(path)
    save_rule(path, LearnedRule(network))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="is damaged"):
        load_rule(path)
