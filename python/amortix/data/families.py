"""Task families: the settings of each distribution over tasks. `TaskSampler` draws from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from amortix.errors import ConfigError

#: (low, high), both included; equal ends fix the value.
Range = tuple[float, float]
IntRange = tuple[int, int]


@dataclass(frozen=True)
class Family:
    """What all families share. Ranges are (low, high); a task's own value is drawn from them.

    Attributes:
        name: the family's name in recipes and on the command line.
    """

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The settings with the name under ``"family"``: what `family_from_dict` reads, fit for JSON."""
        return {"family": self.name, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Linear(Family):
    """w ~ N(0, s² I) with a bias, x ~ N(0, C), y = w·[1, x] + σ·N(0, 1).

    Attributes:
        dim: columns, uniform.
        noise: σ, log-uniform, or (0, 0).
        condition: largest over smallest eigenvalue of C, log-uniform. At 1, C is the identity; above, its
            axes are random, its eigenvalues log-uniform and its mean variance 1.
        sparsity: probability that a column has weight zero.
        weight_scale: s, log-uniform.
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "linear"
    dim: IntRange = (8, 8)
    noise: Range = (0.5, 0.5)
    condition: Range = (1.0, 1.0)
    sparsity: float = 0.0
    weight_scale: Range = (1.0, 1.0)
    query_scale: float = 1.0


@dataclass(frozen=True)
class Logistic(Family):
    """W ~ N(0, s²) with a bias for each class, x ~ N(0, C), y ~ softmax([1, x] W).

    Attributes:
        dim: columns, uniform.
        classes: uniform, at least 2.
        condition: as for `Linear`.
        sparsity: probability that a column has weight zero for every class.
        weight_scale: s, log-uniform.
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "logistic"
    dim: IntRange = (8, 8)
    classes: IntRange = (2, 2)
    condition: Range = (1.0, 1.0)
    sparsity: float = 0.0
    weight_scale: Range = (1.0, 1.0)
    query_scale: float = 1.0


@dataclass(frozen=True)
class Mlp(Family):
    """x ~ N(0, I), hidden units tanh(s (w·x/√d + b)), w, b ~ N(0, 1); outputs of variance about 1.

    Attributes:
        dim: columns, uniform.
        classes: (0, 0) for regression, else uniform, at least 2, with labels from
            the softmax of twice the outputs.
        hidden: hidden units.
        noise: σ, log-uniform, or (0, 0); for regression only.
        weight_scale: s, log-uniform: the larger, the further from linear.
        query_scale: what query inputs are multiplied by.
        irrelevant: share of the columns that have no effect, rounded; at least one column has.
    """

    name: ClassVar[str] = "mlp"
    dim: IntRange = (8, 8)
    classes: IntRange = (0, 0)
    hidden: int = 32
    noise: Range = (0.5, 0.5)
    weight_scale: Range = (2.0, 2.0)
    query_scale: float = 1.0
    irrelevant: float = 0.0


@dataclass(frozen=True)
class Sinusoid(Family):
    """y = a sin(x - φ) + σ·N(0, 1) of one input, x uniform in [low, high].

    References:
        Finn, Abbeel, Levine, "Model-agnostic meta-learning", ICML 2017, section 5.1.

    Attributes:
        amplitude: a, uniform.
        phase: φ, uniform.
        low: lower end of x.
        high: upper end of x.
        noise: σ, log-uniform, or (0, 0).
        query_scale: what query inputs are multiplied by.
    """

    name: ClassVar[str] = "sinusoid"
    amplitude: Range = (0.1, 5.0)
    phase: Range = (0.0, math.pi)
    low: float = -5.0
    high: float = 5.0
    noise: Range = (0.0, 0.0)
    query_scale: float = 1.0


#: Every family by its name.
FAMILIES: dict[str, type[Family]] = {cls.name: cls for cls in (Linear, Logistic, Mlp, Sinusoid)}


def family_from_dict(settings: Mapping[str, Any]) -> Family:
    """A family from ``{"family": name, setting: value}``; a single number may stand for a fixed range.

    Raises:
        ConfigError: an unknown family or setting.
    """
    rest = dict(settings)
    name = rest.pop("family", None)
    if name not in FAMILIES:
        raise ConfigError(f"`family` must be one of {', '.join(FAMILIES)}, not {name!r}")
    fields = {f.name: f for f in dataclasses.fields(FAMILIES[name])}
    if unknown := sorted(set(rest) - set(fields)):
        raise ConfigError(f"{name} has no setting {unknown[0]!r}: it has {', '.join(fields)}")
    return FAMILIES[name](**{key: _fit(value, fields[key].default) for key, value in rest.items()})


def _fit(value: Any, default: Any) -> Any:
    """A setting in the form of its default: lists to tuples, a number to a fixed range."""
    if not isinstance(default, tuple):
        return value
    return tuple(value) if isinstance(value, list | tuple) else (value, value)
