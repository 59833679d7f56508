"""Inner problems in slots of mixed ages, unrolled side by side.

A slot trains a network of its own: it has a seed, which gives first parameters and mini-batches, an age in steps, and a
horizon, log-uniform, at which it starts anew. So short and long trainings, early and late steps come in every
iteration, at the cost of one truncation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from amortix.learned_rule import LearnedRule
from amortix.meta_optim import counter
from amortix.meta_optim.parametrisation import AbstractParametrisation
from amortix.meta_optim.tasks import AbstractInnerTask
from amortix.ops import UpdateNetwork, UpdateState

_FLOOR, _CEILING = 0.01, 2.0
_PROBES = 8


@dataclass(frozen=True)
class Slots:
    """S inner problems in progress.

    Attributes:
        parameters: of each tensor of the model, ``[S, ...]``.
        state: of the optimizer, as `amortix.ops.UpdateState`, in the same order of lists.
        seed, age, horizon, episode: ``[S]`` int64; the problem, steps taken, steps to take, problems finished.
        cosine: ``[S]`` bool, whether the rate falls to zero along a cosine, as by a scheduler, or is constant.
    """

    parameters: list[Tensor]
    state: UpdateState
    seed: Tensor
    age: Tensor
    horizon: Tensor
    episode: Tensor
    cosine: Tensor

    def finished(self) -> Tensor:
        """``[S]`` bool."""
        return self.age >= self.horizon

    def detached(self) -> Slots:
        """Without history."""
        parameters = [one.detach() for one in self.parameters]
        lists = ([one.detach() for one in some] for some in _lists(self.state))
        return replace(self, parameters=parameters, state=UpdateState(*lists))

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, for a checkpoint."""
        lists = dict(zip(("parameters", *_LISTS), (self.parameters, *_lists(self.state)), strict=True))
        named = {f"{name}.{i}": one for name, some in lists.items() for i, one in enumerate(some)}
        return named | {name: getattr(self, name) for name in _NUMBERS}

    def filled(self, tensors: dict[str, Tensor]) -> Slots:
        """The like of these from what `tensors` gave."""
        lists = {
            name: [tensors[f"{name}.{i}"] for i in range(len(some))]
            for name, some in zip(("parameters", *_LISTS), (self.parameters, *_lists(self.state)), strict=True)
        }
        state = UpdateState(*(lists[name] for name in _LISTS))
        return Slots(lists["parameters"], state, *(tensors[name] for name in _NUMBERS))


_LISTS = ("momentum", "square", "row", "column")
_NUMBERS = ("seed", "age", "horizon", "episode", "cosine")


def _lists(state: UpdateState) -> list[list[Tensor]]:
    return [getattr(state, name) for name in _LISTS]


@final
class InnerProblems:
    """Problems of one task.

    Args:
        task: the task.
        parametrisation: of the optimizer.
        truncation: steps of one unroll.
        horizon: least and largest, rounded to whole truncations.
        cosine: share of slots whose rate falls to zero.
        seed: of everything.
    """

    def __init__(
        self,
        task: AbstractInnerTask,
        parametrisation: AbstractParametrisation,
        *,
        truncation: int,
        horizon: tuple[int, int],
        cosine: float,
        seed: int,
    ):
        self.task, self.parametrisation = task, parametrisation
        self.truncation, self.horizon, self.cosine, self.seed = truncation, horizon, cosine, torch.tensor(seed)
        network = parametrisation.rule(parametrisation.start()).network
        self.kind = len(network.momentum_decay), len(network.factored_decay)
        self.first_loss = self._first_loss()

    def begin(self, problems: int, copies: int = 1) -> Slots:
        """Fresh slots, ``copies`` of each problem: slot i and slot i + problems share theirs."""
        places = torch.arange(problems).repeat(copies)
        return self._fresh(places, torch.zeros_like(places))

    def renew(self, slots: Slots, which: Tensor, problems: int) -> Slots:
        """Start the problems of ``which``, ``[S]`` bool, anew."""
        if not bool(which.any()):
            return slots
        places = torch.arange(len(which)) % problems
        fresh = self._fresh(places, slots.episode + 1).tensors()
        old = slots.tensors()
        return slots.filled(
            {name: torch.where(which.view(-1, *[1] * (one.dim() - 1)), fresh[name], one) for name, one in old.items()}
        )

    def unroll(self, thetas: Tensor, slots: Slots) -> tuple[Tensor, Slots]:
        """One truncation of every slot.

        Args:
            thetas: ``[S, D]``, the optimizer of each slot.
            slots: where they stand.

        Returns:
            The outer loss of each slot, ``[S]``, and the slots after it. The outer loss is the mean over the steps of
            the logarithm of the mini-batch's loss before the step, against the task's first loss, weighted by three
            times the square of the share of the horizon: the end counts most. A hundredth of the first loss is added
            first, and what is not finite or above twice the first loss counts as that.
        """
        own = vmap(self._rule_tensors)(thetas)
        lists = [slots.parameters, *_lists(slots.state)]
        age, total = slots.age, torch.zeros(len(slots.age))
        for _ in range(self.truncation):
            loss, lists = vmap(self._step)(own, lists, slots.seed, age, slots.horizon, slots.cosine)
            share = loss.nan_to_num(math.inf) / self.first_loss
            weight = 3 * ((age + 1) / slots.horizon).square()
            total = total + weight * (share.clamp(max=_CEILING) + _FLOOR).log()
            age = age + 1
        after = replace(slots, parameters=lists[0], state=UpdateState(*lists[1:]), age=age)
        return total / self.truncation, after

    def broken(self, slots: Slots) -> Tensor:
        """``[S]`` bool: parameters that are not finite."""
        good = [one.isfinite().flatten(1).all(1) for one in slots.parameters]
        return ~torch.stack(good).all(0)

    def _rule_tensors(self, theta: Tensor) -> list[Tensor]:
        rule = self.parametrisation.rule(theta)
        return [rule.shape_rate, *rule.network.tensors()]

    def _step(
        self, own: list[Tensor], lists: list[list[Tensor]], seed: Tensor, age: Tensor, horizon: Tensor, cosine: Tensor
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The loss and one step of one slot."""
        rule = LearnedRule(UpdateNetwork.of(own[1:]), own[0])
        gradients, loss = grad_and_value(self.task.loss)(lists[0], seed, age)
        falling = 0.5 * (1 + torch.cos(math.pi * age / horizon))
        rate = torch.where(cosine, falling, 1.0)
        parameters, state = rule.step(lists[0], gradients, UpdateState(*lists[1:]), age.float(), rate)
        return loss, [parameters, *_lists(state)]

    def _fresh(self, places: Tensor, episode: Tensor) -> Slots:
        seed = counter.bits(self.seed, 0, 1) ^ (places * 2**32 + episode)
        drawn = vmap(lambda one: counter.uniform(one, -5, (2,)))(seed)
        low, high = (math.log(one / self.truncation) for one in self.horizon)
        horizon = self.truncation * torch.exp(low + drawn[:, 0] * (high - low)).round().long().clamp(min=1)
        parameters = vmap(self.task.init)(seed)
        shapes = [torch.zeros(one.shape[1:]) for one in parameters]
        zeros = UpdateState.zeros(shapes, *self.kind)
        lists = ([one.expand(len(seed), *one.shape).clone() for one in some] for some in _lists(zeros))
        return Slots(
            parameters, UpdateState(*lists), seed, torch.zeros_like(seed), horizon, episode, drawn[:, 1] < self.cosine
        )

    @torch.no_grad()
    def _first_loss(self) -> float:
        slots = self._fresh(torch.arange(_PROBES), torch.zeros(_PROBES, dtype=torch.int64))
        return float(vmap(self.task.loss)(slots.parameters, slots.seed, slots.age).mean())
