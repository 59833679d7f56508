"""What the families of tasks are, and what some of their tasks look like in numbers."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from amortix.batch import Batch, own
from amortix.data import FAMILIES, Causal, Family, Gmm, Gp, TaskSampler
from amortix.data._arrays import Floats, Integers
from amortix.objectives import excess
from amortix.oracles import oracle

_POINTS = 256  # queries that an oracle's error is measured on

#: What `TaskSampler.parameters` holds, by family.
_PARAMETERS = {Gp: ("length_scale", "amplitude"), Gmm: ("variance", "mean_scale")}


def families() -> list[dict[str, Any]]:
    """One row for each family, with its default settings.

    Returns:
        ``family``, ``law`` (one sentence), ``columns`` and ``classes`` as (fewest, most), 0 classes for regression,
        ``oracle`` (whether one is known) and ``settings``.
    """
    return [_family(cls()) for cls in FAMILIES.values()]


def _family(family: Family) -> dict[str, Any]:
    sampler = TaskSampler(family, seed=0)
    settings = dataclasses.asdict(family)
    return {
        "family": family.name,
        "law": (inspect.getdoc(type(family)) or "").partition("\n")[0],
        "columns": settings.get("dim", (sampler.features,) * 2),
        "classes": settings.get("classes", (sampler.classes,) * 2),
        "oracle": oracle(sampler, np.arange(1)) is not None,
        "settings": settings,
    }


def describe(sampler: TaskSampler, tasks: Sequence[int] | Integers, rows: int) -> list[dict[str, Any]]:
    """One row for each task, from its first ``rows`` context rows.

    Args:
        sampler: of any family.
        tasks: ``[T]``.
        rows: at least 2.

    Returns:
        ``task``, ``rows``, ``columns``; for regression ``y_mean``, ``y_std``, ``y_skew`` and ``noise``; for
        classification ``classes`` and the ``shares`` of each; ``x_mean`` and ``x_std`` over all cells; what the family
        tells (of gp and gmm tasks their parameters, of causal ones edges and parents of y, of tabular ones kinds of
        columns and the share of missing cells); ``oracle``, the excess risk after these rows, or None where none is
        known.
    """
    ids = np.asarray(tasks, np.int64)
    x, y = sampler.context(ids, np.zeros_like(ids), rows)
    dims, errors = sampler.dims(ids), _oracle(sampler, ids, x, y)
    return [
        {"task": int(task), "rows": rows, "columns": int(dims[i])}
        | _target(sampler, int(task), y[i].astype(np.float64))
        | _inputs(x[i, :, : dims[i]].astype(np.float64))
        | _facts(sampler, int(task), x[i, :, : dims[i]])
        | {"oracle": errors[i]}
        for i, task in enumerate(ids)
    ]


def _target(sampler: TaskSampler, task: int, y: np.ndarray) -> dict[str, Any]:
    count = int(sampler.n_classes([task])[0])
    if count:
        shares = np.bincount(y.astype(np.int64), minlength=count) / len(y)
        return {"classes": count, "shares": shares.tolist()}
    mean, spread = float(y.mean()), float(y.std())
    skew = float((((y - mean) / spread) ** 3).mean()) if spread else 0.0
    return {"y_mean": mean, "y_std": spread, "y_skew": skew, "noise": float(sampler.noise([task])[0])}


def _inputs(x: np.ndarray) -> dict[str, Any]:
    known = x[~np.isnan(x)]
    moments = (known.mean(), known.std()) if known.size else (math.nan, math.nan)
    return dict(zip(("x_mean", "x_std"), map(float, moments), strict=True))


def _facts(sampler: TaskSampler, task: int, x: Floats) -> dict[str, Any]:
    """What only some families tell."""
    family = sampler.family
    if isinstance(family, Causal):
        graph = sampler.graph([task])[0]
        return {"edges": int(graph.sum()), "parents_of_y": int(graph[:, -1].sum())}
    if type(family) in _PARAMETERS:
        values = sampler.parameters([task])[0]
        return dict(zip(_PARAMETERS[type(family)], map(float, values), strict=True))
    if family.name != "tabular":
        return {}
    columns = sampler.columns(task)
    categorical = sum(column.levels > 0 for column in columns)
    roles = [column.role for column in columns]
    return {
        "numeric": len(columns) - categorical,
        "categorical": categorical,
        "redundant": roles.count("redundant"),
        "irrelevant": roles.count("irrelevant"),
        "missing": float(np.isnan(x).mean()),
    }


@torch.no_grad()
def _oracle(sampler: TaskSampler, tasks: Integers, x: Floats, y: Floats) -> list[float | None]:
    """The oracle's mean excess risk on queries, for each task."""
    best = oracle(sampler, tasks)
    if best is None:
        return [None] * len(tasks)
    query_x, _, signal = map(own, sampler.query(tasks, _POINTS))
    best.see(Batch(own(x), own(y)))
    risk = excess(best.predict(query_x), signal, classes=bool(sampler.classes)).mean(1)
    return risk.double().tolist()
