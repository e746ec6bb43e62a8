"""A stack: the weighted mean of the predictions of several algorithms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils._param_validation import StrOptions

from soilscale.models.columns import FOLD, PREDICTIONS
from soilscale.samples import MIN_ROWS
from soilscale.seasons import ALL

KEYS = ("time", "season", "y", "x", "model", "split")
"""Columns by which predictions of several algorithms are found to be of one row."""

PLACE = ("time", "y", "x")


class Stack(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Weighted mean of the predictions of its members.

    Parameters
    ----------
    weights
        ``equal``, or ``nested``: those of non-negative least squares (Breiman 1996, Machine Learning 24, 49-64),
        brought to a sum of 1, by predictions of rows that the members did not learn from.

    Attributes
    ----------
    weights_ : ndarray of shape (members,)
        Weight of each member; their sum is 1.
    """

    _parameter_constraints: ClassVar[Mapping[str, Any]] = {"weights": [StrOptions({"equal", "nested"})]}

    def __init__(self, *, weights: str = "equal") -> None:
        self.weights = weights

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Stack:
        """Weigh the members; equally too if fewer than `samples.MIN_ROWS` rows tell, or no member is of any use.

        Parameters
        ----------
        X
            Predictions of the members, shape ``(n, members)``, of rows that they did not learn from.
        y
            Observations, shape ``(n,)``.
        """
        self.weights_ = np.full(X.shape[1], 1 / X.shape[1])
        if self.weights == "nested" and len(X) >= MIN_ROWS:
            weights, _ = nnls(np.asarray(X, np.float64), np.asarray(y, np.float64))
            # Where no member is of use all weights are 0, a sum that nothing can be divided by.
            self.weights_ = weights / weights.sum() if weights.any() else self.weights_
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Weighted mean, shape ``(n,)``, of the members' predictions, shape ``(n, members)``."""
        mean: NDArray[np.float64] = np.asarray(X, np.float64) @ self.weights_
        return mean


@dataclass(frozen=True)
class Judged:
    """What a stack makes of held-out rows, and how it weighs its members."""

    predictions: pd.DataFrame
    """Columns `training.PREDICTIONS`."""
    stacks: Mapping[str, Stack]
    """Season, and ``all`` for the comprehensive model -> stack, weighted by all blocked predictions."""


def together(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Predictions of several algorithms side by side: `KEYS`, the fold, what is observed, a column for each member.

    Rows that not every member predicts are left out.

    Parameters
    ----------
    parts
        Member -> its predictions, with a column `fits.FOLD` of the fold that was held out, -1 of the random split.
    """
    tables = [table.set_index(list(KEYS))["predicted"].rename(name).astype("float64") for name, table in parts.items()]
    first = next(iter(parts.values())).set_index(list(KEYS))[[FOLD, "observed"]]
    return first.join(pd.concat(tables, axis=1, join="inner"), how="inner").reset_index()


def judge(table: pd.DataFrame, members: Sequence[str], algorithm: str, seasons: Sequence[str], weights: str) -> Judged:
    """Predict every held-out row by weights that its own observation has no part in.

    A row of a fold is weighted by what the members made of the other folds, a row of the random split by what they
    made of the rows that this split does not hold out, each predicted by a model that did not learn from its block.

    Parameters
    ----------
    table
        Of `together`.
    members
        Its columns, in their order.
    algorithm
        Name of the stack.
    seasons
        Seasons with a model of their own.
    weights
        As of `Stack`.
    """
    names, parts, stacks = list(members), [], {}
    groups = [(season, "seasonal") for season in seasons] + [(ALL, "comprehensive")]
    for season, model in groups:
        rows = table[(table["model"] == model) & ((table["season"] == season) | (season == ALL))]
        X, y, fold = rows[names].to_numpy(), rows["observed"].to_numpy(np.float64), rows[FOLD].to_numpy()
        place = pd.MultiIndex.from_frame(rows[list(PLACE)])
        predicted = np.empty(len(rows))
        for number in np.unique(fold):
            held_out = fold == number
            # A row that the random split holds out is predicted by the blocked folds as well: it must not weigh itself.
            training = (fold >= 0) & ~held_out & (number >= 0 or ~place.isin(place[held_out]))
            predicted[held_out] = Stack(weights=weights).fit(X[training], y[training]).predict(X[held_out])
        stacks[season] = Stack(weights=weights).fit(X[fold >= 0], y[fold >= 0])
        parts.append(rows.assign(algorithm=algorithm, predicted=predicted.astype(np.float32)))
    return Judged(pd.concat(parts, ignore_index=True)[list(PREDICTIONS)], stacks)
