"""How much each feature, and each group of features, matters to a fitted forest, as R's randomForest defines it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.utils.validation import check_is_fitted

from soilscale.errors import ConfigurationError, DataError
from soilscale.forests.trees import LEAF, out_of_bag, permuted_errors
from soilscale.models.algorithms import Estimator
from soilscale.models.prediction import flat
from soilscale.models.trend import TrendForest

Float64s = NDArray[np.float64]

COLUMNS = ("feature", "group", "inc_mse", "inc_node_purity", "rank", "kind")
"""Columns of a table of importance; `kind` says which of the two a row is, and with what its rank compares."""

FEATURE, GROUP = "feature", "group"
"""Kinds of rows: a feature by itself, or all features of a group together."""

Bools = NDArray[np.bool_]

CERTAIN = float(np.finfo(float).eps)
"""Standard error below which R divides by 1 instead."""

MEANS = ("squared_error", "friedman_mse", "poisson")
"""Criteria whose trees hold the mean of their rows at the root."""


class Outside:
    """Which rows are out of each tree's bag, found when it is asked; all at once they would be trees times rows."""

    def __init__(self, bags: Sequence[NDArray[np.integer]], n: int) -> None:
        self._bags, self._n = bags, n

    def __len__(self) -> int:
        """Return the number of trees."""
        return len(self._bags)

    def __getitem__(self, tree: int) -> Bools:
        """Whether each row is out of a tree's bag, shape ``(n,)``."""
        out = np.ones(self._n, dtype=bool)
        out[self._bags[tree]] = False
        return out


def has_importance(estimator: Estimator) -> bool:
    """Whether `measure` knows the estimator: a random or trend forest whose trees were grown on bootstrap samples."""
    if isinstance(estimator, RandomForestRegressor):
        return bool(estimator.bootstrap)
    return isinstance(estimator, TrendForest)


def factors(features: Sequence[str], groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Gather features into the factors that a reader thinks of.

    Parameters
    ----------
    features
        Every feature of a model.
    groups
        Group of a feature, by its name; a feature without one stands for itself. Other names are ignored.

    Returns
    -------
    dict
        The features of each factor, in order; the factors in the order of their first features.

    Raises
    ------
    ConfigurationError
        If a group of several features has the name of a feature, so that a table could not tell them apart.
    """
    gathered: dict[str, list[str]] = {}
    for feature in features:
        gathered.setdefault(groups.get(feature, feature), []).append(feature)
    for name, members in gathered.items():
        if name in features and members != [name]:
            raise ConfigurationError(
                f"the group {name!r} of {', '.join(members)} has the name of a feature, expected a unique name: set "
                "`group` to another name"
            )
    return gathered


def measure(
    estimator: Estimator,
    X: pd.DataFrame,
    y: pd.Series[Any] | NDArray[Any],
    groups: Mapping[str, str],
    *,
    seed: int,
    threads: int = 1,
) -> pd.DataFrame:
    """Measure the importance of every feature and group to a fitted forest.

    %IncMSE is that of R's randomForest (Breiman 2001, Machine Learning 45, 5-32; ``importance(x, scale = TRUE)``):
    for each tree the increase `d` of its mean squared error on its out-of-bag rows when the feature is permuted among
    them; of these the mean over all trees, divided by ``sqrt((mean(d**2) - mean(d)**2) / trees)``, or by 1 where that
    is below `CERTAIN`. It is a number of standard errors, not a percentage, and grows with the number of trees. Trees
    without out-of-bag rows are left out. A group's features are permuted together, which keeps what they say of each
    other: its importance is no sum, and is often greater than each of theirs where they can stand in for one another.

    IncNodePurity is the decrease of the sum of squared errors by the splits on a feature, of a tree's bootstrap
    sample, mean over the trees; a group's is the sum of its features'.

    For a trend forest each tree predicts the trend plus itself, and the feature is permuted in both. The trend learned
    from every row, so that its part of the error is not out of bag; it has one slope a feature. IncNodePurity is that
    of its trees alone, which learn what the trend leaves.

    Parameters
    ----------
    estimator
        A fitted random or trend forest, as it was fitted or read back (see `has_importance`).
    X
        The rows that it was fitted on, in their order: a column a feature, in the order of the fit; finite.
    y
        Their target, shape ``(n,)``.
    groups
        Group of a feature, by its name (see `factors`).
    seed
        Seed of the permutations. A feature's do not depend on the groups.
    threads
        Most threads; the result does not depend on it.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`; `inc_mse` has no unit, `inc_node_purity` the target's squared. A row for every feature and
        one, before those of its members, for every group of several, with the group's name in `feature` and `group`;
        so the first row of each `group` is the factor. `rank` counts from 1, the greatest `inc_mse`: among the features
        where `kind` is `FEATURE`, among the factors where it is `GROUP`.

    Raises
    ------
    ConfigurationError
        If the estimator is no forest with out-of-bag rows, or a group has the name of a feature.
    DataError
        If the rows are not those that it was fitted on, or each tree learned from all of them.
    """
    features = list(X.columns)
    gathered = factors(features, groups)
    several = {name: members for name, members in gathered.items() if len(members) > 1}
    forest, slope, values, target, out = _prepare(estimator, X, y)
    names = [*features, *several]
    units = np.array([[feature in several.get(name, [name]) for feature in features] for name in names])
    seeds = np.column_stack([_seeds(seed, unit, len(out)) for unit in units])
    _, increase = permuted_errors(flat(forest), values, target, slope, out, units, seeds, threads)
    inc_mse = pd.Series(in_standard_errors(increase), index=names)
    purity = pd.Series(units @ _purity(forest), index=names)
    heads = [name if name in several else members[0] for name, members in gathered.items()]
    rank = _ranks(inc_mse, features, heads)
    rows = [
        (feature, group, inc_mse[feature], purity[feature], rank[feature], GROUP if feature in several else FEATURE)
        for group, members in gathered.items()
        for feature in ((group, *members) if group in several else members)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def oob_r2(estimator: Estimator, X: pd.DataFrame, y: pd.Series[Any] | NDArray[Any]) -> float:
    """Share of the target's variance that out-of-bag predictions explain, as R's randomForest prints it.

    ``1 - mean((y - p)**2) / mean((y - mean(y))**2)``; `p` is the mean prediction of a row by the trees that did not
    learn from it, and rows that all trees learned from are left out of the first mean. The trend of a trend forest
    learned from every row.

    Parameters
    ----------
    estimator, X, y
        As `measure` takes them.

    Returns
    -------
    float
        At most 1; NaN where the target is constant.

    Raises
    ------
    ConfigurationError, DataError
        As `measure`.
    """
    forest, _, values, target, out = _prepare(estimator, X, y)
    mean, count = out_of_bag(flat(forest), values, out)
    error = np.mean((target - mean)[count > 0] ** 2)
    variance = np.var(np.asarray(y, dtype=float))
    return float(1 - error / variance) if variance > 0 else float("nan")


def in_standard_errors(increase: Float64s) -> Float64s:
    """Scale increases of the error as R's randomForest does.

    Parameters
    ----------
    increase
        Increase of each tree's error by each feature, shape ``(trees, n)``; NaN in a tree without out-of-bag rows.

    Returns
    -------
    array
        Shape ``(n,)``: mean over the other trees, in standard errors of that mean (see `measure`).
    """
    valid = increase[~np.isnan(increase).any(axis=1)]
    mean = valid.mean(axis=0)
    # A variance by difference may come out a hair below 0.
    error = np.sqrt(np.maximum((valid**2).mean(axis=0) - mean**2, 0) / len(valid))
    return mean / np.where(error < CERTAIN, 1, error)


def _prepare(
    estimator: Estimator, X: pd.DataFrame, y: pd.Series[Any] | NDArray[Any]
) -> tuple[RandomForestRegressor, Float64s, NDArray[np.float32], Float64s, Outside]:
    """Forest, slope of the trend, features, what the forest learned of the target, and rows out of each tree's bag."""
    if not has_importance(estimator):
        raise ConfigurationError(
            f"importance: got a {type(estimator).__name__} without out-of-bag rows, expected a random or trend forest "
            "with bootstrap; choose random_forest or trend_forest"
        )
    check_is_fitted(estimator)
    forest: Any = estimator.forest_ if isinstance(estimator, TrendForest) else estimator
    values, target = X.to_numpy(), np.asarray(y, dtype=float)
    shape = forest._n_samples, forest.n_features_in_  # noqa: SLF001  # no public name says how many rows it learned from
    if values.shape != shape or target.shape != shape[:1]:
        raise DataError(
            f"importance: got {values.shape[0]} rows of {values.shape[1]} features and {target.size} targets, expected "
            f"the {shape[0]} rows of {shape[1]} features that the model was fitted on"
        )
    if not (np.isfinite(values).all() and np.isfinite(target).all()):
        raise DataError("importance: a feature or the target is missing or infinite; expected the rows of the fit")
    slope = np.zeros(shape[1])
    if isinstance(estimator, TrendForest):
        slope = estimator.coef_
        # Not in place: the array may be the caller's own.
        target = target - (values.astype(float) @ slope + estimator.intercept_)
    # Trees compare float32: a double may fall to the other side of a threshold.
    narrow = values.astype("float32", copy=False)
    bags = forest.estimators_samples_
    _check_rows(forest, narrow, target, np.bincount(bags[0], minlength=shape[0]))
    out = Outside(bags, shape[0])
    if not any(out[tree].any() for tree in range(len(out))):
        raise DataError("importance: every tree learned from every row; lower max_samples or train with more rows")
    return forest, slope, narrow, target, out


def _check_rows(forest: RandomForestRegressor, X: NDArray[np.float32], y: Float64s, times: NDArray[np.int64]) -> None:
    """Refuse rows that the first tree did not learn from, each as many times as its bag holds it."""
    first = forest.estimators_[0]
    fallen = np.bincount(first.apply(X), weights=times, minlength=first.tree_.node_count)
    leaf = first.tree_.children_left == LEAF
    agrees = np.allclose(fallen[leaf], first.tree_.weighted_n_node_samples[leaf])
    if agrees and forest.criterion in MEANS:
        root = first.tree_.value[0, 0, 0]
        agrees = abs(np.average(y, weights=times) - root) <= 1e-6 * (np.ptp(y) + abs(root))
    if not agrees:
        raise DataError(
            "importance: the rows are not those that the model was fitted on, or not in the same order, so the "
            "out-of-bag rows are unknown; pass the training rows in the order of the fit"
        )


def _seeds(seed: int, unit: NDArray[np.bool_], trees: int) -> NDArray[np.uint64]:
    """Seed of a unit's permutation in each tree, which the other units do not change."""
    words = np.random.SeedSequence([seed, *np.flatnonzero(unit)])
    return np.random.Generator(np.random.PCG64(words)).integers(0, 2**64, trees, dtype=np.uint64)


def _purity(forest: RandomForestRegressor) -> Float64s:
    """Decrease of the weighted impurity by each feature, mean over the trees, shape ``(p,)``."""
    total = np.zeros(forest.n_features_in_)
    for estimator in forest.estimators_:
        tree = estimator.tree_
        inner = tree.children_left != LEAF
        mass = tree.weighted_n_node_samples * tree.impurity
        drop = mass[inner] - mass[tree.children_left[inner]] - mass[tree.children_right[inner]]
        total += np.bincount(tree.feature[inner], drop, minlength=len(total))
    return total / len(forest.estimators_)


def _ranks(inc_mse: pd.Series[float], features: list[str], heads: list[str]) -> dict[str, int]:
    """Rank of each feature among features, and of each group among the heads of all factors."""
    rank_of: dict[str, int] = {}
    for names in (heads, features):
        ranks = inc_mse[names].rank(ascending=False, method="min").astype(int)
        # Features come second: one that is a factor by itself keeps its rank among features.
        rank_of |= dict(zip(names, ranks, strict=True))
    return rank_of
