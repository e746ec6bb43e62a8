"""Tuning: parameters chosen by blocked error, from a grid or a random draw of it, and the gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from dask_ml.model_selection import GridSearchCV, RandomizedSearchCV
from numpy.typing import NDArray
from sklearn.model_selection import PredefinedSplit

from soilscale.models.fits import fold_of, matrix, seed_of
from soilscale.models.prediction import predict
from soilscale.models.selection import Setup
from soilscale.models.training import beside, make
from soilscale.samples import MIN_ROWS
from soilscale.schema import MAP
from soilscale.seasons import ALL

COLUMNS = ("season", "algorithm", "parameters", "score", "metric", "value")
"""Columns of a table of what was tried."""

BLOCKED, NESTED, UNTUNED = "blocked", "nested", "untuned"
"""Scores: of a combination on the folds by which it is chosen; of the choice on folds that had no part in it; and of
the parameters as they are configured."""

Choices = Mapping[str, Sequence[Any]]
"""Parameter -> the values to try."""


def tune(
    table: pd.DataFrame, features: Sequence[str], task: Setup, choices: Choices, draws: int | None = None
) -> pd.DataFrame:
    """Try combinations of parameters on the blocked folds.

    Parameters
    ----------
    table
        Training table.
    features
        Columns to learn from.
    choices
        Parameter -> the values to try.
    draws
        Combinations drawn at random (Bergstra & Bengio 2012, JMLR 13, 281-305), no combination twice; None tries all.

    Returns
    -------
    pandas.DataFrame
        One row for each combination, the one with the least error first: `COLUMNS`, with parameters as a dict, score
        `BLOCKED`, metric ``rmse``, value in m3 m-3. None where the season has too few rows or blocks to choose by.
    """
    rows, fold = _of_season(table, task)
    # The largest fold leaves the fewest rows to learn from.
    if len(rows) - _largest(fold, 1) < MIN_ROWS:
        return pd.DataFrame(columns=list(COLUMNS))
    results = _search(rows, fold, features, task, choices, draws).cv_results_
    # The root comes last: the mean of the folds' roots would be less than the error of all rows.
    pairs = zip(results["params"], np.sqrt(-results["mean_test_score"]), strict=True)
    combinations = _table(task, [(parameters, BLOCKED, value) for parameters, value in pairs])
    return combinations.sort_values("value", kind="stable", ignore_index=True)


def nested(
    table: pd.DataFrame, features: Sequence[str], task: Setup, choices: Choices, draws: int | None = None
) -> pd.DataFrame:
    """Score the choice itself: in turn a fold is left out, the others choose, and the choice predicts the fold.

    The least error of a search is too good, for it was chosen by it (Varma & Simon 2006, BMC Bioinformatics 7, 91).
    What tuning gains is the error of the parameters as they are configured, less that of the choice, both on the same
    rows; below 0 it is a loss.

    Parameters
    ----------
    table, features, task, choices, draws
        As of `tune`.

    Returns
    -------
    pandas.DataFrame
        Two rows: score `NESTED`, with the parameters that each fold's others chose as a list, and `UNTUNED`. None where
        the season has too few rows or blocks; it takes three folds.
    """
    rows, fold = _of_season(table, task)
    present = np.unique(fold)
    if len(present) < 3 or len(rows) - _largest(fold, 2) < MIN_ROWS:  # noqa: PLR2004 - one is left out, two choose
        return pd.DataFrame(columns=list(COLUMNS))
    X, observed = _values(rows, features)
    chosen, errors = [], np.empty((2, len(rows)))
    for number in present:
        left_out, training = fold == number, fold != number
        results = _search(rows[training], fold[training], features, task, choices, draws).cv_results_
        chosen.append(results["params"][int(np.argmax(results["mean_test_score"]))])
        for place, parameters in enumerate((chosen[-1], {})):
            estimator = make(task.algorithm, {**task.parameters, **parameters}, features, _seed(task))
            estimator.fit(X[training], observed[training], **beside(task.algorithm, rows[training]))
            errors[place, left_out] = predict(estimator, X[left_out]) - observed[left_out]
    scored = zip((chosen, {}), (NESTED, UNTUNED), np.sqrt((errors**2).mean(axis=1)), strict=True)
    return _table(task, list(scored))


def _of_season(table: pd.DataFrame, task: Setup) -> tuple[pd.DataFrame, NDArray[np.integer]]:
    """Rows of a task's season, and their folds."""
    of_season = (table["season"] == task.season).to_numpy() | (task.season == ALL)
    return table[of_season], fold_of(table, task.folds, task.seed)[of_season]


def _largest(fold: NDArray[np.integer], number: int) -> int:
    """Rows of the largest folds."""
    return int(np.sort(np.bincount(fold))[-number:].sum()) if len(fold) else 0


def _values(rows: pd.DataFrame, features: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    return matrix(rows, features).astype("float64"), rows[MAP].to_numpy()


def _seed(task: Setup) -> int:
    return seed_of(task.seed, "tune", task.season)


def _search(
    rows: pd.DataFrame,
    fold: NDArray[np.integer],
    features: Sequence[str],
    task: Setup,
    choices: Choices,
    draws: int | None,
) -> GridSearchCV | RandomizedSearchCV:
    """Search of all combinations, or of a draw of them, by folds of rows; nothing is refitted."""
    values = {name: list(candidates) for name, candidates in choices.items()}
    how: dict[str, Any] = {
        "scoring": "neg_mean_squared_error",
        # Folds count by their rows, so that the score is the error over all of them.
        "iid": True,
        "cv": PredefinedSplit(fold),
        "refit": False,
        "error_score": "raise",
        "return_train_score": False,
        # A search is a unit of work: threads of its own would come beside those of the worker.
        "scheduler": "synchronous",
    }
    estimator = make(task.algorithm, task.parameters, features, _seed(task))
    every = math.prod(map(len, values.values()))
    if draws is None or draws >= every:
        search = GridSearchCV(estimator, values, **how)
    else:
        search = RandomizedSearchCV(estimator, values, n_iter=draws, random_state=_seed(task), **how)
    X, y = _values(rows, features)
    search.fit(X, y, **beside(task.algorithm, rows))
    return search


def _table(task: Setup, rows: Sequence[tuple[Any, str, float]]) -> pd.DataFrame:
    """Table of parameters, scores and errors."""
    labels = (task.season, task.algorithm)
    entries = [(*labels, parameters, score, "rmse", float(value)) for parameters, score, value in rows]
    return pd.DataFrame(entries, columns=list(COLUMNS))
