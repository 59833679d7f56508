"""Learners on real tables beside what others fit: score on rows held apart, over seeds with intervals.

Every learner sees the same rows. amortix reads them once in mini-batches, from a frame of text, numbers and gaps.
Linear models and neighbours get standardised numbers, a column for each label and the median for what is missing.
Boosted trees get their own categories and gaps. ``sgd`` is scikit-learn's, one pass of mini-batches. Nothing is tuned.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from amortix.errors import LearnerError

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


def score(split: Split, found: np.ndarray) -> Scores:
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
        yield regime, score(split, mean), shared + learning + time.perf_counter() - started


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


def measured(table: Real, seed: int, most: int) -> Iterator[dict[str, Any]]:
    """One line for each learner and metric on one split."""
    split = Split.of(table, seed, most)
    found = list(ours(split))
    for name, peer in PEERS.items():
        started = time.perf_counter()
        scores = score(split, peer(split))
        found.append((name, scores, time.perf_counter() - started))
    task = {"c": "classification", "r": "regression"}[table.task]
    for learner, scores, seconds in found:
        for metric, value in scores.items():
            line = {"table": table.name, "task": task, "rows": len(split.y), "learner": learner, "metric": metric}
            yield line | {"seed": seed, "score": round(value, 5), "seconds": round(seconds, 3)}


def summary(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line for each table, learner and metric: mean and 95 % interval over the seeds, median seconds."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["table"], line["learner"], line["metric"]), []).append(line)
    rows = []
    for some in groups.values():
        scores = np.array([line["score"] for line in some])
        error = 1.96 * scores.std(ddof=1) / len(scores) ** 0.5 if len(scores) > 1 else float("nan")
        mean, seconds = float(scores.mean()), float(np.median([line["seconds"] for line in some]))
        row = {name: some[0][name] for name in ("table", "task", "rows", "learner", "metric")}
        row |= {"score": round(mean, 5), "low": round(mean - error, 5), "high": round(mean + error, 5)}
        rows.append(row | {"seconds": round(seconds, 3), "seeds": len(scores)})
    return rows


def main() -> None:
    """Run the tables and print one line for each, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object for each table, learner and metric")
    parser.add_argument("--quick", action="store_true", help="two small tables, one seed")
    parser.add_argument("--only", default="", help="tables whose name contains this")
    parser.add_argument("--seeds", type=int, default=5, help="splits of each table")
    parser.add_argument("--rows", type=int, default=20_000, help="the most training rows")
    parser.add_argument("--out", type=Path, help="file of single splits; what it holds is not measured again")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    chosen = [table for table in TABLES if options.only in table.name]
    if options.quick:
        chosen, options.seeds = [table for table in TABLES if table.name in ("penguins", "car_prices")], 1
    lines: list[dict[str, Any]] = []
    if options.out and options.out.is_file():
        lines = [json.loads(line) for line in options.out.read_text().splitlines()]
    known = {(line["table"], line["seed"]) for line in lines}
    # Every table once, then every table again: an interrupted run has seen them all.
    for seed in range(options.seeds):
        for table in chosen:
            if (table.name, seed) in known:
                continue
            try:
                fresh = list(measured(table, seed, options.rows))
            except LearnerError as error:
                print(f"{table.name} is left out: {error}", file=sys.stderr, flush=True)
                continue
            lines += fresh
            if options.out:
                with options.out.open("a") as file:
                    file.writelines(json.dumps(line) + "\n" for line in fresh)
    results = [row for row in summary(lines) if row["table"] in {table.name for table in chosen}]
    for row in results if options.json else ():
        print(json.dumps(row), flush=True)
    for table, metric in () if options.json else dict.fromkeys((row["table"], row["metric"]) for row in results):
        some = [row for row in results if (row["table"], row["metric"]) == (table, metric)]
        scores = ", ".join(f"{row['learner']} {row['score']:.4f}" for row in some)
        print(f"{table} ({some[0]['rows']:,} rows) {metric}: {scores}", flush=True)


if __name__ == "__main__":
    main()
