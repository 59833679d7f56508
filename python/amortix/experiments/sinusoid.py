"""Sinusoids in ten shots, by the protocol of MAML: ten points of a task, five inner steps on them, error elsewhere.

Amplitude, phase and inputs as published (section 5.1 of the paper), 25 tasks an iteration. Different from it: five
inner steps in meta-training too, a one-cycle rate, fewer iterations. Each method trains as long as the others.

References:
    Finn, Abbeel and Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

from amortix.experiments.harness import Cell, Experiment
from amortix.experiments.meta import curve, trained

_SHOTS, _STEPS = 10, 5
_METHODS = {
    "MAML": {"method": "maml", "rate": 0.01},
    "first-order MAML": {"method": "fomaml", "rate": 0.01},
    "ANIL": {"method": "anil", "rate": 0.01},
    "Reptile": {"method": "reptile", "rate": 0.01},
    "Meta-SGD": {"method": "meta-sgd", "rate": 0.01},
}


def cells(quick: bool) -> Sequence[Cell]:
    """The gradient-based methods, all with the network of 40-40 units."""
    size = {"iterations": 30, "tasks": 8} if quick else {"iterations": 6000, "tasks": 600}
    return [{"name": name, "learner": learner, **size} for name, learner in _METHODS.items()]


def measure(cell: Cell, seed: int) -> dict[str, float]:
    """Mean squared error before and after the inner steps."""
    family = {"family": "sinusoid"}
    learner = {"task": "regression", "features": 1, "steps": _STEPS, **cell["learner"]}
    sizes = {"tasks": 25, "slots": 100, "points": 20, "batch": [_SHOTS, _SHOTS], "horizon": [1, 1], "rate": 3e-3}
    fitted, seconds = trained(learner, seed, families=[family], iterations=cell["iterations"], **sizes)
    found = curve(fitted, family, seed, steps=[1], tasks=cell["tasks"], batch=_SHOTS, points=100)
    return {"error after 5 steps": found[1][0], "seconds of training": seconds}


EXPERIMENT = Experiment("Error of a sinusoid after five steps on ten points", cells, measure)
