"""Fitted models prepared to predict the cells of whole maps in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.utils.validation import check_is_fitted

from soilscale.forests import traversal
from soilscale.forests.traversal import Descent
from soilscale.forests.trees import LEAF, Forest
from soilscale.models.algorithms import Estimator
from soilscale.models.gaussian_process import GaussianProcess
from soilscale.models.trend import TrendForest

BATCH = 2**16
"""Rows that are predicted at once."""


class Predictor(Protocol):
    """What predicts: a fitted estimator, or what `ready` makes of it."""

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Predict the target, shape ``(n,)``, from features ``(n, p)``."""


class Trees:
    """A random forest laid out for prediction; its trees alone are kept.

    Parameters
    ----------
    laid
        The trees.
    p
        Number of features.
    threads
        Most threads of a prediction; the result does not depend on it.
    """

    def __init__(self, laid: Descent, p: int, threads: int = 1) -> None:
        self.n_features_in_ = p
        self.threads = threads
        self._descent = laid

    def predict(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Predict the target as scikit-learn does on one core, to the last bit.

        Parameters
        ----------
        X
            Features, shape ``(n, p)``, finite in float32; `n` may be 0.

        Raises
        ------
        ValueError
            If the number of features is another, or one is missing or infinite.
        """
        # What overflows becomes infinite, and is refused below in words.
        with np.errstate(over="ignore"):
            X = np.asarray(X).astype(np.float32, copy=False)
        if X.ndim != 2 or X.shape[1] != self.n_features_in_:  # noqa: PLR2004 - rows and columns
            raise ValueError(f"got features of shape {X.shape}, expected (rows, {self.n_features_in_})")
        if not np.isfinite(X).all():
            raise ValueError("a feature is missing, or infinite in float32; drop such rows")
        return traversal.mean(self._descent, X, self.threads)


@dataclass(frozen=True)
class Blend:
    """Weighted mean of several predictors.

    Parameters
    ----------
    members
        Each with the columns that it takes of the features, and its weight.
    """

    members: Sequence[tuple[Predictor, NDArray[np.intp], float]]

    def predict(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Predict the target, shape ``(n,)``, from features ``(n, p)``."""
        total = np.zeros(len(X))
        for member, columns, weight in self.members:
            total += weight * member.predict(X[:, columns])
        return total


def ready(estimator: Estimator, threads: int = 1) -> Predictor:
    """Make a fitted model ready to predict many rows.

    That takes a forest about as long as the prediction of some ten thousand rows, and is worth it for a map; nothing
    but its trees is kept. Other estimators are as they are.

    Parameters
    ----------
    estimator
        A fitted estimator; it is not changed.
    threads
        Most threads of a forest's prediction; the result does not depend on it.
    """
    if isinstance(estimator, RandomForestRegressor):
        check_is_fitted(estimator)
        return Trees(lay(estimator), int(estimator.n_features_in_), threads)
    if isinstance(estimator, TrendForest):
        check_is_fitted(estimator)
        changed = copy(estimator)
        changed.forest_ = ready(estimator.forest_, threads)
        return changed
    return estimator


def surface(
    predictor: Predictor, months: NDArray[np.datetime64], y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """What place and month add to a prediction of features; None of a model that knows of neither.

    Parameters
    ----------
    predictor
        A fitted estimator, or what `ready` makes of it.
    months
        Months over which the mean is taken, datetime64[M].
    y, x
        Centres of the rows and columns of pixels.

    Returns
    -------
    array
        Shape ``(len(y), len(x))``, in the target's units.
    """
    if isinstance(predictor, Blend):
        parts = [(surface(member, months, y, x), weight) for member, _, weight in predictor.members]
        weighted = [weight * part for part, weight in parts if part is not None]
        return np.sum(weighted, axis=0) if weighted else None
    return predictor.surface(months, y, x) if isinstance(predictor, GaussianProcess) else None


def predict(predictor: Predictor, X: NDArray[np.float32], *, rows: int = BATCH) -> NDArray[np.float32]:
    """Predict in batches, so that memory does not grow with the number of rows.

    Parameters
    ----------
    predictor
        A fitted estimator, or what `ready` makes of it.
    X
        Features, shape ``(n, p)``, finite; `n` may be 0.
    rows
        Rows of a batch.

    Returns
    -------
    array
        float32, shape ``(n,)``, in the target's units.
    """
    predicted = np.empty(len(X), dtype=np.float32)
    for start in range(0, len(X), rows):
        predicted[start : start + rows] = predictor.predict(X[start : start + rows])
    return predicted


def lay(forest: RandomForestRegressor) -> Descent:
    """Lay a fitted forest for one target out for prediction."""
    return traversal.lay(flat(forest), int(forest.n_features_in_))


def flat(forest: RandomForestRegressor) -> Forest:
    """Trees of a fitted forest, laid end to end."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    start = np.cumsum([0, *(tree.node_count for tree in trees)])
    nodes = int(start[-1])
    laid = Forest(
        start=start,
        feature=np.empty(nodes, np.int32),
        threshold=np.empty(nodes),
        child=np.empty((nodes, 2), np.int32),
        value=np.empty(nodes),
    )
    for tree, first, end in zip(trees, start[:-1], start[1:], strict=True):
        # scikit-learn writes -2 for the feature of a leaf.
        laid.feature[first:end] = np.maximum(tree.feature, LEAF)
        laid.threshold[first:end] = tree.threshold
        laid.child[first:end, 0], laid.child[first:end, 1] = tree.children_left, tree.children_right
        laid.value[first:end] = tree.value[:, 0, 0]
    return laid
