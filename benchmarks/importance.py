#!/usr/bin/env python
"""Time %IncMSE of a random forest beside a plain implementation with scikit-learn and NumPy, in one run.

Run as ``python benchmarks/importance.py``; ``--help`` lists the sizes. Both follow the same definition on the same
forest with the same number of threads, by turns; the first round of each, which compiles, is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale.models import ALGORITHMS, importance


def table(rows: int, features: int) -> tuple[pd.DataFrame, pd.Series[float]]:
    """Features of graded effect on a target, with noise."""
    rng = np.random.default_rng(20200831)
    X = pd.DataFrame(rng.random((rows, features)).astype("float32"), columns=[f"x{i}" for i in range(features)])
    effect = np.sin(4 * X.to_numpy(dtype=float)) @ (0.7 ** np.arange(features))
    return X, pd.Series(effect + rng.normal(0, 0.1, rows))


def plain(forest: Any, X: NDArray[Any], y: NDArray[Any], threads: int) -> NDArray[np.float64]:
    """%IncMSE by the definition: every tree predicts its out-of-bag rows anew for each permuted feature."""

    def increases(index: int) -> list[float]:
        tree, rng = forest.estimators_[index], np.random.default_rng(index)
        outside = np.setdiff1d(np.arange(len(X)), bags[index])
        rows, target = X[outside], y[outside]
        before = np.mean((tree.tree_.predict(rows)[:, 0] - target) ** 2)
        found = []
        for feature in range(X.shape[1]):
            mixed = rows.copy()
            mixed[:, feature] = rng.permutation(rows[:, feature])
            found.append(np.mean((tree.tree_.predict(mixed)[:, 0] - target) ** 2) - before)
        return found

    bags = forest.estimators_samples_
    with ThreadPoolExecutor(threads) as pool:
        each = np.array(list(pool.map(increases, range(len(bags)))))
    mean: NDArray[np.float64] = each.mean(axis=0) / (each.std(axis=0) / np.sqrt(len(each)))
    return mean


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it returns."""
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def main() -> None:
    """Print seconds of both (median, least and greatest), their ratio, and how well they agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("trees", 500), ("rows", 9600), ("features", 12), ("threads", 2), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    sizes = parser.parse_args()
    X, y = table(sizes.rows, sizes.features)
    forest: Any = ALGORITHMS["random_forest"].make({"n_estimators": sizes.trees}, sizes.features, 0)
    forest.set_params(n_jobs=sizes.threads).fit(X.to_numpy(), y.to_numpy())
    ways: dict[str, Callable[[], Any]] = {
        "soilscale": lambda: np.asarray(importance.measure(forest, X, y, {}, seed=0, threads=sizes.threads)["inc_mse"]),
        "plain": lambda: plain(forest, X.to_numpy(), y.to_numpy(), sizes.threads),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for _ in range(sizes.rounds + 1):
        for name, way in ways.items():
            taken, found[name] = timed(way)
            seconds[name].append(taken)
    lines = [f"{sizes.trees} trees, {sizes.rows} rows, {sizes.features} features, {sizes.threads} threads"]
    for name, all_of_it in seconds.items():
        warm = all_of_it[1:]
        lines.append(
            f"{name:10} {np.median(warm):7.2f} s  ({min(warm):.2f}-{max(warm):.2f} of {len(warm)}; first "
            f"{all_of_it[0]:.2f})"
        )
    ratios = np.divide(seconds["plain"][1:], seconds["soilscale"][1:])
    lines.append(f"ratio      {np.median(ratios):7.2f}    ({ratios.min():.2f}-{ratios.max():.2f})")
    lines.append(f"correlation of the two %IncMSE {np.corrcoef(found['soilscale'], found['plain'])[0, 1]:.5f}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
