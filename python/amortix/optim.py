"""A learned optimizer in the place of any of `torch.optim`.

The step is `amortix.ops.learned_update` at the rates of `amortix.learned_rule`; `amortix.meta_optim` trains it.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any, cast, final

import torch
from torch import Tensor

from amortix.errors import ArrayError, ConfigError, StateError
from amortix.learned_rule import LearnedRule, bundled_rules, load_rule, save_rule
from amortix.ops import UpdateNetwork, UpdateState, learned_update_
from amortix.ops._learned import check_network, matrix
from amortix.ops.learned_update import definition

__all__ = ["VERSION", "LearnedOptimizer", "LearnedRule", "bundled_rules", "load_rule", "save_rule"]

VERSION = 1
"""Of what `LearnedOptimizer.state_dict` holds; raised when an older release could no longer read it."""


@final
class LearnedOptimizer(torch.optim.Optimizer):
    """A per-parameter learned optimizer; takes the place of any optimizer of torch.

    A step in which a gradient is not finite is left out: parameters and state stay, a warning is given once and
    ``skipped`` counts. Parameters may be float32 or bfloat16. The state is float32 and belongs to single parameters:
    ``step``, ``square`` and ``momentum_k`` of the parameter's shape, and, for networks with factored statistics,
    ``row`` and ``column``.

    Args:
        params: parameters or groups of them, named or not, as for any optimizer. Groups may differ in ``lr`` and
            ``weight_decay``.
        weights: name of bundled weights, path of a file that `save_rule` wrote, or a rule or network itself.
        lr: multiplies the learned step; 1 is what the network was trained with. Any scheduler of torch may change it.
        weight_decay: beside the gradient, as in AdamW: a step takes away ``lr · weight_decay`` of a parameter.
        foreach: True for the operation's definition in plain PyTorch, tensor by tensor; slower, for comparison.
        fused: True, as where neither is given, for the operation itself.

    Raises:
        ArrayError: a parameter is neither float32 nor bfloat16, or is sharded (DTensor); the message names it.
        ConfigError: ``lr`` or ``weight_decay`` is negative or not finite, the weights cannot be found, or both
            ``foreach`` and ``fused`` are given.
        FormatError: the file is no network, or damaged.

    References:
        See `amortix.ops.learned_update`.
    """

    def __init__(
        self,
        params: Any,
        weights: LearnedRule | UpdateNetwork | str | PathLike[str] = "tiny",
        *,
        lr: float = 1.0,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        if foreach and fused:
            raise ConfigError("foreach=True, fused=True; give one of them, or none")
        self.rule = _rule(weights)
        self.network = self.rule.network
        check_network(self.network)
        self.skipped = 0
        self._apply = _apply_definition if foreach else learned_update_
        self._copies: dict[torch.device, UpdateNetwork] = {}
        self._rates: dict[torch.Size, float] = {}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "version": VERSION})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; errors as in the constructor."""
        group = dict(param_group)
        params = group["params"]
        group["params"] = [params] if isinstance(params, Tensor) else list(params)
        for name in ("lr", "weight_decay"):
            value = float(group.get(name, self.defaults[name]))
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name}={value}; give a finite number that is not negative")
        for place, entry in enumerate(group["params"]):
            name, parameter = (
                entry if isinstance(entry, tuple) else (f"{place} of group {len(self.param_groups)}", entry)
            )
            if isinstance(parameter, Tensor):
                _check_parameter(name, parameter)
        super().add_param_group(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step; returns what the closure returns.

        Raises:
            ArrayError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        if not _finite([p.grad for parameters in groups for p in parameters]):
            self.skipped += 1
            if self.skipped == 1:
                warnings.warn("a gradient is not finite: the step is left out; see `skipped`", stacklevel=2)
            return loss
        for group, parameters in zip(self.param_groups, groups, strict=True):
            for multiplier, alike in self._alike(parameters):
                # What decays is not learned, and so not scaled by shape.
                self._update(alike, float(group["lr"]) * multiplier, float(group["weight_decay"]) / multiplier)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state that `state_dict` gave, on whatever device it is; the state stays float32.

        Raises:
            StateError: it is of another version or of another network; the message says of which.
        """
        for group in state_dict["param_groups"]:
            if group.get("version") != VERSION:
                raise StateError(f"the state has version {group.get('version')}; this release reads {VERSION}")
        super().load_state_dict(state_dict)
        saved = list(itertools.chain.from_iterable(group["params"] for group in state_dict["param_groups"]))
        mine = list(itertools.chain.from_iterable(group["params"] for group in self.param_groups))
        for key, parameter in zip(saved, mine, strict=True):
            if key in state_dict["state"]:
                self._load(key, parameter, state_dict["state"][key])

    def __getstate__(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("rule", "network", "skipped", "_apply")}
        return super().__getstate__() | own | {"_copies": {}, "_rates": {}}

    def _update(self, parameters: list[Tensor], rate: float, weight_decay: float) -> None:
        states = [self._state(parameter) for parameter in parameters]
        momenta = [f"momentum_{k}" for k in range(len(self.network.momentum_decay))]
        sizes = [matrix(parameter.shape) for parameter in parameters]
        lists = UpdateState(
            [state[name] for name in momenta for state in states],
            [state["square"] for state in states],
            *(
                [
                    state.get(name, torch.empty(0, size[axis], device=state["step"].device))
                    for state, size in zip(states, sizes, strict=True)
                ]
                for axis, name in enumerate(("row", "column"))
            ),
        )
        gradients = [cast(Tensor, parameter.grad).to(parameter.dtype) for parameter in parameters]
        step = torch.stack([state["step"] for state in states])
        network = self._on(parameters[0].device)
        self._apply(parameters, gradients, lists, step, network, rate=rate, weight_decay=weight_decay)
        for state in states:
            state["step"] += 1

    def _alike(self, parameters: Iterable[Tensor]) -> list[tuple[float, list[Tensor]]]:
        """The parameters by rate, dtype and device: one call of the operation each."""
        parts: dict[tuple[float, torch.dtype, torch.device], list[Tensor]] = {}
        for parameter in parameters:
            if parameter.shape not in self._rates:
                self._rates[parameter.shape] = float(self.rule.rate(parameter.shape))
            key = self._rates[parameter.shape], parameter.dtype, parameter.device
            parts.setdefault(key, []).append(parameter)
        return [(key[0], alike) for key, alike in parts.items()]

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter, made before its first step."""
        if not self.state[parameter]:
            self.state[parameter].update(_first(parameter, self.network))
        return self.state[parameter]

    def _on(self, device: torch.device) -> UpdateNetwork:
        if device not in self._copies:
            self._copies[device] = UpdateNetwork.of([one.detach().to(device) for one in self.network.tensors()])
        return self._copies[device]

    def _load(self, key: Any, parameter: Tensor, saved: dict[str, Tensor]) -> None:
        wanted = _first(parameter, self.network)
        shapes = [{name: list(one.shape) for name, one in state.items()} for state in (saved, wanted)]
        if shapes[0] != shapes[1]:
            raise StateError(f"the state of parameter {key} is {shapes[0]}; this network needs {shapes[1]}")
        self.state[parameter] = {name: one.copy_(saved[name]) for name, one in wanted.items()}


def _check_parameter(name: object, parameter: Tensor) -> None:
    if parameter.dtype not in (torch.float32, torch.bfloat16):
        raise ArrayError(f"parameter {name} is {parameter.dtype}; give torch.float32 or torch.bfloat16")
    if hasattr(parameter, "to_local"):
        raise ArrayError(f"parameter {name} is sharded; its statistics would be those of a shard. Give whole tensors")


def _finite(gradients: Sequence[Tensor | None]) -> bool:
    """Whether all are; one wait for the device where they are."""
    some = [gradient for gradient in gradients if gradient is not None and gradient.numel() > 0]
    for gradient in some:
        if gradient.layout != torch.strided:
            raise ArrayError(f"a gradient of shape {list(gradient.shape)} is sparse; make it with sparse=False")
    # The root of squares is finite only where all are. Squares may overflow where a maximum does not, which takes far
    # longer on a CPU.
    return _bounded(some, 2) or _bounded(some, math.inf)


def _bounded(gradients: Sequence[Tensor], order: float) -> bool:
    """Whether the norms of all gradients are finite."""
    sizes = [torch.linalg.vector_norm(gradient, order).float() for gradient in gradients]
    return not sizes or bool(torch.stack([size.to(sizes[0].device) for size in sizes]).isfinite().all())


def _rule(weights: LearnedRule | UpdateNetwork | str | PathLike[str]) -> LearnedRule:
    if isinstance(weights, LearnedRule):
        return weights
    return LearnedRule(weights) if isinstance(weights, UpdateNetwork) else load_rule(weights)


def _apply_definition(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: UpdateState,
    step: Tensor,
    network: UpdateNetwork,
    *,
    rate: float,
    weight_decay: float,
) -> None:
    """`learned_update_` by its definition."""
    wide = [[one.float() for one in some] for some in (parameters, gradients)]
    lists = [state.momentum, state.square, state.row, state.column]
    results = definition(*wide, *lists, step, network.tensors(), rate, weight_decay)  # pyright: ignore[reportCallIssue]
    for olds, news in zip((parameters, *lists), results, strict=True):
        for old, new in zip(olds, news, strict=True):
            old.copy_(new)


def _first(parameter: Tensor, network: UpdateNetwork) -> dict[str, Tensor]:
    """The state of one parameter before its first step."""
    momenta, factored = len(network.momentum_decay), len(network.factored_decay)
    zeros = UpdateState.zeros([parameter.detach()], momenta, factored)
    state = {"step": torch.zeros((), device=parameter.device), "square": zeros.square[0]}
    state |= {f"momentum_{k}": one for k, one in enumerate(zeros.momentum)}
    return state | ({"row": zeros.row[0], "column": zeros.column[0]} if factored else {})
