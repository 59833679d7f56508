"""`amortix.optim.LearnedOptimizer` as any optimizer of torch is used; expected values from the definition in a loop."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from amortix.errors import ArrayError, ConfigError, StateError
from amortix.ops import UpdateNetwork
from amortix.ops.learned_update import definition
from amortix.optim import VERSION, LearnedOptimizer, LearnedRule
from cases.learned_update import NETWORKS, draw_network

KINDS = pytest.mark.parametrize("kind", ["39-32-32-2", "tiny"])


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))


def loss_of(net: nn.Module, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 5, generator=generator)
    return (net(x) - x[:, :1]).square().mean()


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[Tensor]:
    for seed in steps:
        optimizer.zero_grad()
        loss_of(net, seed).backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in net.parameters()]


def by_hand(
    net: nn.Module, network: UpdateNetwork, steps: range, rate: float = 1.0, decay: float = 0.0
) -> list[Tensor]:
    """What the definition makes of the parameters, one tensor at a time."""
    momenta, factored = len(network.momentum_decay), len(network.factored_decay)
    states: list[list[list[Tensor]]] = []
    for p in net.parameters():
        rows, columns = (p.shape[0], p.numel() // p.shape[0]) if p.dim() > 1 else (1, p.numel())
        zeros = [torch.zeros_like(p) for _ in range(momenta)], [torch.zeros_like(p)]
        states.append([*zeros, [torch.zeros(factored, rows)], [torch.zeros(factored, columns)]])
    for step, seed in enumerate(steps):
        net.zero_grad()
        loss_of(net, seed).backward()
        with torch.no_grad():
            for i, p in enumerate(net.parameters()):
                assert p.grad is not None
                clock = torch.tensor([float(step)])
                (new,), *states[i] = definition([p], [p.grad], *states[i], clock, network.tensors(), rate, decay)
                p.copy_(new)
    return [parameter.detach().clone() for parameter in net.parameters()]


def close(got: list[Tensor], wanted: list[Tensor]) -> None:
    """A few steps of rounding apart: 1e-5 of parameters of order one."""
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def same(got: list[Tensor], wanted: list[Tensor]) -> None:
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


@KINDS
def test_steps_are_those_of_the_definition(kind: str) -> None:
    network, net = draw_network(NETWORKS[kind]), model()
    got = train(net, LearnedOptimizer(net.parameters(), network, lr=0.1, weight_decay=0.05), range(4))
    close(got, by_hand(model(), network, range(4), 0.1, 0.05))


@pytest.fixture
def network() -> UpdateNetwork:
    return draw_network(NETWORKS["39-32-32-2"])


def standing(network: UpdateNetwork) -> UpdateNetwork:
    """A network whose own step is zero."""
    return UpdateNetwork.of([*network.tensors()[:3], torch.zeros(2), *network.layers])


def test_groups_have_their_own_rate_and_decay(network: UpdateNetwork) -> None:
    net = model()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    groups = [
        {"params": [net.get_parameter("0.weight"), net.get_parameter("0.bias")], "lr": 0.5},
        {"params": [net.get_parameter("2.weight")], "weight_decay": 0.0},
        {"params": [net.get_parameter("2.bias")], "lr": 0.0},
    ]
    after = train(net, LearnedOptimizer(groups, standing(network), lr=0.25, weight_decay=0.1), range(1))
    for one, old, factor in zip(after, before, (0.95, 0.95, 1.0, 1.0), strict=True):
        torch.testing.assert_close(one, old * factor)


def test_a_group_can_be_added(network: UpdateNetwork) -> None:
    net = model()
    optimizer = LearnedOptimizer(net[0].parameters(), network, lr=0.1)
    train(net, optimizer, range(2))
    optimizer.add_param_group({"params": net[2].parameters(), "lr": 0.2})
    before = net.get_parameter("2.weight").detach().clone()
    train(net, optimizer, range(2, 3))
    assert not torch.equal(before, net.get_parameter("2.weight"))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]
    assert [int(optimizer.state[p]["step"]) for p in net.parameters()] == [3, 3, 1, 1]


def test_a_closure_is_called_with_gradients_on(network: UpdateNetwork) -> None:
    net, other = model(), model()
    optimizer = LearnedOptimizer(net.parameters(), network, lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(net, 0)
        loss.backward()
        return loss

    assert torch.equal(optimizer.step(closure), loss_of(other, 0))
    same(
        [p.detach() for p in net.parameters()],
        train(other, LearnedOptimizer(other.parameters(), network, lr=0.1), range(1)),
    )


@KINDS
def test_a_resumed_run_ends_in_the_same_bits(kind: str) -> None:
    network, whole, first = draw_network(NETWORKS[kind]), model(), model()
    wanted = train(whole, LearnedOptimizer(whole.parameters(), network, lr=0.1), range(6))
    optimizer = LearnedOptimizer(first.parameters(), network, lr=0.1)
    train(first, optimizer, range(3))
    memory = io.BytesIO()
    torch.save([first.state_dict(), optimizer.state_dict()], memory)
    memory.seek(0)
    saved = torch.load(memory, weights_only=True)
    second = model(1)
    second.load_state_dict(saved[0])
    resumed = LearnedOptimizer(second.parameters(), network)
    resumed.load_state_dict(saved[1])
    same(train(second, resumed, range(3, 6)), wanted)


def test_a_state_of_another_version_or_network_is_refused(network: UpdateNetwork) -> None:
    net = model()
    optimizer = LearnedOptimizer(net.parameters(), network)
    train(net, optimizer, range(1))
    saved = optimizer.state_dict()
    assert [group["version"] for group in saved["param_groups"]] == [VERSION]
    tiny = LearnedOptimizer(net.parameters(), draw_network(NETWORKS["tiny"]))
    with pytest.raises(StateError, match="this network needs"):
        tiny.load_state_dict(saved)
    for group in saved["param_groups"]:
        group["version"] = VERSION + 1
    with pytest.raises(StateError, match=f"version {VERSION + 1}"):
        optimizer.load_state_dict(saved)


def test_the_state_belongs_to_single_parameters(network: UpdateNetwork) -> None:
    net = model()
    optimizer = LearnedOptimizer(net.parameters(), network)
    net.get_parameter("0.bias").requires_grad_(False)
    train(net, optimizer, range(1))
    weight = optimizer.state[net.get_parameter("0.weight")]
    shapes = {name: tuple(value.shape) for name, value in weight.items()}
    like = dict.fromkeys(("square", "momentum_0", "momentum_1", "momentum_2"), (7, 5))
    assert shapes == {"step": (), **like, "row": (3, 7), "column": (3, 5)}
    assert net.get_parameter("0.bias") not in optimizer.state
    tiny = LearnedOptimizer(net.parameters(), draw_network(NETWORKS["tiny"]))
    train(net, tiny, range(1))
    assert set(tiny.state[net.get_parameter("0.weight")]) == {"step", "square", "momentum_0", "momentum_1"}


def test_bfloat16_parameters_have_a_float32_state_also_after_loading(network: UpdateNetwork) -> None:
    net = model().bfloat16()
    optimizer = LearnedOptimizer(net.parameters(), network, lr=0.1)

    def step(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).bfloat16()
        optimizer.step()

    before = net.get_parameter("0.weight").detach().float()
    step(0)
    got, gradient = net.get_parameter("0.weight"), net.get_parameter("0.weight").grad
    assert gradient is not None
    state = [[torch.zeros(7, 5)] * 3, [torch.zeros(7, 5)], [torch.zeros(3, 7)], [torch.zeros(3, 5)]]
    (wanted,), *_ = definition([before], [gradient.float()], *state, torch.zeros(1), network.tensors(), 0.1, 0.0)
    # Rounded to 8 bits once; float32 may fall on the other side of a tie.
    torch.testing.assert_close(got.float(), wanted, rtol=2**-8, atol=1e-6)
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(saved)
    for place, parameter in enumerate(net.parameters()):
        for name, value in optimizer.state[parameter].items():
            assert value.dtype == torch.float32
            assert torch.equal(value, saved["state"][place][name])
    step(1)


def test_any_scheduler_changes_the_rate(network: UpdateNetwork) -> None:
    net = model()
    optimizer = LearnedOptimizer(net.parameters(), standing(network), lr=1.0, weight_decay=0.5)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    before = net.get_parameter("0.weight").detach().clone()
    for seed in range(3):
        train(net, optimizer, range(seed, seed + 1))
        scheduler.step()
    torch.testing.assert_close(net.get_parameter("0.weight").detach(), before * (1 - 0.5) * (1 - 0.25) * (1 - 0.125))


def test_scaled_and_clipped_gradients_give_the_same_steps(network: UpdateNetwork) -> None:
    net, other = model(), model()
    optimizer = LearnedOptimizer(net.parameters(), network, lr=0.1)
    plain = LearnedOptimizer(other.parameters(), network, lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for seed in range(3):
        optimizer.zero_grad()
        scaler.scale(loss_of(net, seed)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        plain.zero_grad()
        loss_of(other, seed).backward()
        nn.utils.clip_grad_norm_(other.parameters(), 0.5)
        plain.step()
    same([p.detach() for p in net.parameters()], [p.detach() for p in other.parameters()])
    scaler.scale(loss_of(net, 3) * float("inf")).backward()
    scaler.step(optimizer)
    same([p.detach() for p in net.parameters()], [p.detach() for p in other.parameters()])
    assert optimizer.skipped == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_with_a_bad_gradient_is_left_out_and_counted(network: UpdateNetwork, bad: float) -> None:
    net, other = model(), model()
    optimizer = LearnedOptimizer(net.parameters(), network, lr=0.1)
    before = train(net, optimizer, range(2))
    state = copy.deepcopy(optimizer.state_dict()["state"])
    last = net.get_parameter("2.bias")
    last.grad = torch.full_like(last, bad)
    with pytest.warns(UserWarning, match="not finite"):
        optimizer.step()
    optimizer.step()
    assert optimizer.skipped == 2
    same([p.detach() for p in net.parameters()], before)
    torch.testing.assert_close(optimizer.state_dict()["state"], state, rtol=0, atol=0)
    wanted = train(other, LearnedOptimizer(other.parameters(), network, lr=0.1), range(4))
    same(train(net, optimizer, range(2, 4)), wanted)


def test_a_gradient_whose_square_overflows_is_finite(network: UpdateNetwork) -> None:
    parameter = torch.zeros(3, requires_grad=True)
    optimizer = LearnedOptimizer([parameter], network)
    parameter.grad = torch.full((3,), 1e30)
    optimizer.step()
    assert optimizer.skipped == 0
    assert int(optimizer.state[parameter]["step"]) == 1


def test_other_numbers_and_sparse_gradients_are_refused_by_name(network: UpdateNetwork) -> None:
    for dtype in (torch.float64, torch.float16, torch.complex64):
        with pytest.raises(ArrayError, match=f"parameter 1 of group 0 is {dtype}"):
            LearnedOptimizer([torch.zeros(2), torch.zeros(2, dtype=dtype)], network)
    with pytest.raises(ArrayError, match=r"parameter weight is torch\.int64"):
        LearnedOptimizer([("weight", torch.zeros(2, dtype=torch.int64))], network)
    table = nn.Embedding(4, 3, sparse=True)
    optimizer = LearnedOptimizer(table.parameters(), network)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ArrayError, match=r"shape \[4, 3\] is sparse"):
        optimizer.step()


@pytest.mark.parametrize("settings", [{"lr": -1.0}, {"lr": float("nan")}, {"weight_decay": -0.1}])
def test_settings_out_of_range_are_refused(network: UpdateNetwork, settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        LearnedOptimizer([torch.zeros(2)], network, **settings)
    with pytest.raises(ConfigError, match=next(iter(settings))):
        LearnedOptimizer([{"params": [torch.zeros(2)], **settings}], network)


def test_parameters_of_any_layout_and_size(network: UpdateNetwork) -> None:
    generator = torch.Generator().manual_seed(0)
    plain = [torch.randn(shape, generator=generator) for shape in [(4, 3, 2, 2), (6, 5), (), (0, 3)]]
    changed = [plain[0].to(memory_format=torch.channels_last), plain[1].T.contiguous().T, *plain[2:]]
    assert not changed[0].is_contiguous()
    assert not changed[1].is_contiguous()
    ends = []
    for tensors in (plain, changed):
        parameters = [nn.Parameter(tensor.clone()) for tensor in tensors]
        optimizer = LearnedOptimizer(parameters, network, lr=0.1)
        for _ in range(2):
            for parameter in parameters:
                parameter.grad = parameter.detach().sin()
            optimizer.step()
        ends.append([parameter.detach() for parameter in parameters])
    assert not ends[1][0].is_contiguous()
    same(*ends)


def test_compiled_models_train_alike(network: UpdateNetwork) -> None:
    net, other = model(), model()
    compiled = cast(nn.Module, torch.compile(net, backend="aot_eager"))
    got = train(compiled, LearnedOptimizer(compiled.parameters(), network, lr=0.1), range(2))
    close(got, train(other, LearnedOptimizer(other.parameters(), network, lr=0.1), range(2)))


def test_a_distributed_model_trains_alike(network: UpdateNetwork, tmp_path: Path) -> None:
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("torch was built without gloo")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        net, other = model(), model()
        wrapped = nn.parallel.DistributedDataParallel(net)
        got = train(wrapped, LearnedOptimizer(wrapped.parameters(), network, lr=0.1), range(3))
        sharded = distribute_tensor(torch.zeros(4), init_device_mesh("cpu", (1,)))
        with pytest.raises(ArrayError, match="parameter 0 of group 0 is sharded"):
            LearnedOptimizer([sharded], network)
    finally:
        dist.destroy_process_group()
    same(got, train(other, LearnedOptimizer(other.parameters(), network, lr=0.1), range(3)))


def test_a_copy_goes_on_alike(network: UpdateNetwork) -> None:
    net = model()
    optimizer = LearnedOptimizer(net.parameters(), network, lr=0.1)
    train(net, optimizer, range(2))
    copied = copy.deepcopy((net, optimizer))
    same(train(*copied, range(2, 4)), train(net, optimizer, range(2, 4)))


def test_autograd_notices_that_parameters_changed(network: UpdateNetwork) -> None:
    """The step bumps versions: a graph that still needs the old weights cannot be walked backwards."""
    net = model()
    optimizer = LearnedOptimizer(net.parameters(), network)
    loss = loss_of(net, 0)
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# Bodies and rates


@KINDS
def test_foreach_gives_the_steps_of_fused(kind: str) -> None:
    network = draw_network(NETWORKS[kind])
    ends = []
    for settings in ({"fused": True}, {"foreach": True}):
        net = model()
        ends.append(
            train(net, LearnedOptimizer(net.parameters(), network, lr=0.1, weight_decay=0.1, **settings), range(3))
        )
    close(*ends)
    with pytest.raises(ConfigError, match="give one of them"):
        LearnedOptimizer([torch.zeros(2)], network, foreach=True, fused=True)


def test_the_rate_depends_on_the_shape_and_the_decay_does_not(network: UpdateNetwork) -> None:
    """Vectors move at exp(a), matrices of C columns at (C / 16)^(−b), and all decay alike."""
    rule = LearnedRule(network, torch.tensor([0.7, 0.5]))
    shapes, factors = [(6, 64), (6, 4), (3, 8, 2, 4), (9,), ()], [0.5, 2.0, 0.5, math.exp(0.7), math.exp(0.7)]
    for shape, factor in zip(shapes, factors, strict=True):
        moved = []
        for weights in (network, rule):
            parameter = nn.Parameter(torch.ones(shape))
            parameter.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            LearnedOptimizer([parameter], weights, lr=0.1, weight_decay=0.5).step()
            moved.append(parameter.detach() - 0.95)
        torch.testing.assert_close(moved[1], moved[0] * factor, rtol=1e-4, atol=1e-6)
