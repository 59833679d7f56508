"""Learners on real tables beside what others fit: score on rows held apart, over seeds with intervals.

Every learner sees the same rows. amortix reads them once in mini-batches, from a frame of text, numbers and gaps.
Linear models and neighbours get standardised numbers, a column for each label and the median for what is missing.
Boosted trees get their own categories and gaps. ``sgd`` is scikit-learn's, one pass of mini-batches. Nothing is tuned.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from _real import TABLES, Real
from sklearn import ensemble, linear_model, metrics, neighbors
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from amortix import Adaptation, Settings, Table

BATCH = 512


@dataclass(frozen=True)
class Split:
    """Training and test rows of a table, its target apart; classes in order, or none."""

    table: Real
    seed: int
    x: pd.DataFrame
    y: np.ndarray
    test_x: pd.DataFrame
    test_y: np.ndarray
    classes: np.ndarray | None

    @classmethod
    def of(cls, table: Real, seed: int, most: int) -> Split:
        """A fifth of the rows, and at most ``most`` of the others."""
        frame = table.frame()
        order = np.random.default_rng(seed).permutation(len(frame))
        test, train = order[: len(order) // 5], order[len(order) // 5 :][:most]
        y, classes = frame[table.target].to_numpy(), None
        if table.task == "c":
            classes, y = np.unique(y.astype(str), return_inverse=True)
        x = frame.drop(columns=table.target)
        return cls(table, seed, x.iloc[train], y[train], x.iloc[test], y[test], classes)


Scores = dict[str, float]


def _score(split: Split, found: np.ndarray) -> Scores:
    if split.classes is None:
        return {"r2": float(metrics.r2_score(split.test_y, found))}
    labels = np.arange(len(split.classes))
    return {
        "accuracy": float((found.argmax(1) == split.test_y).mean()),
        "log_loss": float(metrics.log_loss(split.test_y, np.clip(found, 1e-7, 1), labels=labels)),
    }


def ours(split: Split) -> Iterator[tuple[str, Scores, float]]:
    """The three regimes and their mixture."""
    frame = split.x.copy()
    frame["the target"] = split.y if split.classes is None else split.classes[split.y]
    table = Table.open(frame, target="the target")
    started = time.perf_counter()
    task = "regression" if split.classes is None else "classification"
    settings = Settings(batch=BATCH, seed=split.seed, holdout=0.1)
    run = Adaptation.start(
        table.with_classes(split.classes) if task == "classification" else table, settings=settings, task=task
    )
    run.run()
    shared = time.perf_counter() - started - sum(track.seconds for track in run.tracks.values())
    for regime in (*run.tracks, "auto"):
        learning = sum(track.seconds for name, track in run.tracks.items() if regime in (name, "auto"))
        model, started = run.model(regime), time.perf_counter()
        mean = model.predict(split.test_x).mean
        yield regime, _score(split, mean), shared + learning + time.perf_counter() - started


def _matrix(split: Split) -> tuple[Any, Any]:
    numeric = split.x.select_dtypes("number").columns
    text = split.x.columns.difference(numeric)
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numeric),
        (OneHotEncoder(handle_unknown="ignore", min_frequency=5), text),
    )
    matrices = prepared.fit_transform(split.x), prepared.transform(split.test_x)
    return tuple(m.toarray() if hasattr(m, "toarray") else m for m in matrices)


def _predict(split: Split, model: Any, test: Any) -> np.ndarray:
    if split.classes is None:
        return model.predict(test)
    full = np.zeros((len(split.test_y), len(split.classes)))
    full[:, model.classes_] = model.predict_proba(test)
    return full


def linear(split: Split) -> np.ndarray:
    """Ridge or logistic regression."""
    x, test = _matrix(split)
    model = linear_model.Ridge() if split.classes is None else linear_model.LogisticRegression(max_iter=1000)
    return _predict(split, model.fit(x, split.y), test)


def sgd(split: Split) -> np.ndarray:
    """Stochastic gradients, one pass of mini-batches."""
    x, test = _matrix(split)
    if split.classes is None:
        centre, scale = split.y.mean(), split.y.std()
        model = linear_model.SGDRegressor(random_state=0)
        for start in range(0, len(x), BATCH):
            model.partial_fit(x[start : start + BATCH], (split.y[start : start + BATCH] - centre) / scale)
        return model.predict(test) * scale + centre
    model = linear_model.SGDClassifier(loss="log_loss", random_state=0)
    for start in range(0, len(x), BATCH):
        rows = slice(start, start + BATCH)
        model.partial_fit(x[rows], split.y[rows], classes=np.arange(len(split.classes)))
    return _predict(split, model, test)


def knn(split: Split) -> np.ndarray:
    """Twenty nearest neighbours."""
    x, test = _matrix(split)
    kind = neighbors.KNeighborsRegressor if split.classes is None else neighbors.KNeighborsClassifier
    return _predict(split, kind(min(20, len(x))).fit(x, split.y), test)


def _categories(split: Split) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Text as categories; the 250 commonest, as trees of scikit-learn take no more."""
    x, test = split.x.copy(), split.test_x.copy()
    for name in x.columns.difference(x.select_dtypes("number").columns):
        common = x[name].value_counts().index[:250]
        x[name], test[name] = (pd.Categorical(f[name], categories=common) for f in (x, test))
    return x, test


def trees(split: Split) -> np.ndarray:
    """The histogram gradient boosting of scikit-learn."""
    x, test = _categories(split)
    name = "HistGradientBoostingRegressor" if split.classes is None else "HistGradientBoostingClassifier"
    model = getattr(ensemble, name)(categorical_features="from_dtype", random_state=0)
    return _predict(split, model.fit(x, split.y), test)


def lightgbm(split: Split) -> np.ndarray:
    """LightGBM, a hundred rounds."""
    import lightgbm

    x, test = _categories(split)
    kind = lightgbm.LGBMRegressor if split.classes is None else lightgbm.LGBMClassifier
    plain = {name: f"f{i}" for i, name in enumerate(x.columns)}
    model = kind(verbose=-1, random_state=0, n_jobs=torch.get_num_threads())
    return _predict(split, model.fit(x.rename(columns=plain), split.y), test.rename(columns=plain))


PEERS: dict[str, Callable[[Split], np.ndarray]] = {
    "linear": linear,
    "sgd": sgd,
    "knn": knn,
    "hist-gradient-boosting": trees,
    "lightgbm": lightgbm,
}


def runs(table: Real, seeds: int, most: int) -> Iterator[dict[str, Any]]:
    """One row for each learner and metric: mean and 95 % interval over the seeds."""
    found: dict[str, list[tuple[Scores, float]]] = {}
    rows = 0
    for seed in range(seeds):
        split = Split.of(table, seed, most)
        rows = len(split.y)
        for name, scores, seconds in ours(split):
            found.setdefault(name, []).append((scores, seconds))
        for name, peer in PEERS.items():
            started = time.perf_counter()
            scores = _score(split, peer(split))
            found.setdefault(name, []).append((scores, time.perf_counter() - started))
    for learner, results in found.items():
        for metric in results[0][0]:
            values = np.array([scores[metric] for scores, _ in results])
            error = 1.96 * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
            yield {
                "table": table.name,
                "task": {"c": "classification", "r": "regression"}[table.task],
                "rows": rows,
                "learner": learner,
                "metric": metric,
                "score": round(float(values.mean()), 5),
                "low": round(float(values.mean() - error), 5),
                "high": round(float(values.mean() + error), 5),
                "seconds": round(float(np.median([seconds for _, seconds in results])), 3),
            }


def main() -> None:
    """Run the tables and print one line for each, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object for each table, learner and metric")
    parser.add_argument("--quick", action="store_true", help="two small tables, one seed")
    parser.add_argument("--only", default="", help="tables whose name contains this")
    parser.add_argument("--seeds", type=int, default=5, help="splits of each table")
    parser.add_argument("--rows", type=int, default=20_000, help="the most training rows")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    chosen = [table for table in TABLES if options.only in table.name]
    if options.quick:
        chosen, options.seeds = [table for table in TABLES if table.name in ("penguins", "car_prices")], 1
    for table in chosen:
        results = list(runs(table, options.seeds, options.rows))
        if options.json:
            for row in results:
                print(json.dumps(row), flush=True)
            continue
        for metric in dict.fromkeys(row["metric"] for row in results):
            scores = (f"{row['learner']} {row['score']:.4f}" for row in results if row["metric"] == metric)
            print(f"{table.name} ({results[0]['rows']:,} rows) {metric}: {', '.join(scores)}", flush=True)


if __name__ == "__main__":
    main()
