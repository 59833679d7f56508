"""What a recipe of a learned optimizer says."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amortix.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """One TOML file; fields without a default are required.

    Attributes:
        name: of the weights.
        rule: arguments of `amortix.meta_optim.parametrisation.build_parametrisation`.
        tasks: arguments of `amortix.meta_optim.tasks.build_task`; one is drawn per iteration.
        validation: of tasks whose outer loss, over whole horizons, decides which iterate is kept.
        iterations: outer steps.
        start: the first numbers of the vector to begin with; the others are the parametrisation's own.
        estimator: ``es``, persistent evolution strategies, or ``unroll``, truncated backpropagation.
        problems: N of each task, twice as many copies with ``es``.
        truncation: inner steps of an iteration.
        horizon: least and largest number of inner steps; log-uniform.
        growth: share of the run during which the largest horizon grows from the least one, geometrically.
        cosine: share of problems whose rate falls to zero along a cosine.
        sigma: of the perturbations.
        rate: of Adam on the outer gradient; it falls to zero along a cosine.
        every: iterations between two validations.
        seed: of everything.
        limits: what the card warns of.
    """

    name: str
    rule: Mapping[str, Any]
    tasks: tuple[Mapping[str, Any], ...]
    validation: tuple[Mapping[str, Any], ...]
    iterations: int
    start: tuple[float, ...] = ()
    estimator: str = "es"
    problems: int = 16
    truncation: int = 20
    horizon: tuple[int, int] = (40, 400)
    growth: float = 0.5
    cosine: float = 0.75
    sigma: float = 0.1
    rate: float = 0.02
    every: int = 250
    seed: int = 0
    limits: str = ""

    @classmethod
    def read(cls, source: Mapping[str, Any] | str | Path) -> Recipe:
        """From a mapping or the path of a TOML file.

        Raises:
            ConfigError: no such file, no valid TOML, an unknown or missing field, or one out of its range.
        """
        fields = dict(source) if isinstance(source, Mapping) else _toml(Path(source))
        for name in ("tasks", "validation", "horizon", "start"):
            if name in fields:
                fields[name] = tuple(fields[name])
        try:
            recipe = cls(**fields)
        except TypeError as error:
            raise ConfigError(f"the recipe does not fit: {error}") from None
        recipe._check()
        return recipe

    def fingerprint(self) -> str:
        """Equal for equal recipes."""
        return json.dumps(asdict(self), sort_keys=True, default=list)

    def _check(self) -> None:
        for name in ("iterations", "problems", "truncation", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; give one or more")
        for name in ("tasks", "validation"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; give one or more")
        if self.estimator not in ("es", "unroll"):
            raise ConfigError(f"estimator={self.estimator!r}; choose es or unroll")
        if len(self.horizon) != 2 or not 1 <= self.horizon[0] <= self.horizon[1]:
            raise ConfigError(f"horizon={list(self.horizon)}; give the least and the largest number of steps")
        if not (self.sigma > 0 and self.rate > 0):
            raise ConfigError(f"sigma={self.sigma}, rate={self.rate}; give positive numbers")


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from None
