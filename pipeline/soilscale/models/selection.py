"""The value of each predictor and parameter: ablation, forward selection and tuning by blocked error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from soilscale.errors import ConfigurationError, nearest
from soilscale.models.algorithms import find
from soilscale.models.fits import FOLDS, WITHIN, Job

NOTHING = "nothing"
"""What the first row of an ablation leaves out."""

FORESTS = ("random_forest", "trend_forest")
"""Algorithms that average trees, so that fewer of them give the same mean with more noise."""

TREES = 100
"""Trees, at most, of a forest that only compares sets of features: its error is that of a larger one within the
spread of the folds."""

FEW, STEPS = 150, 20
"""Rows and steps by which variances are learned where only sets of features are compared."""

Groups = Mapping[str, str]
"""Feature -> the group under which a reader knows it."""


@dataclass(frozen=True)
class Setup:
    """A season's rows, the algorithm that learns from them, and how."""

    season: str
    algorithm: str
    parameters: Mapping[str, Any]
    seed: int
    folds: int = FOLDS

    def quick(self, p: int) -> Setup:
        """Return the same task, a forest on `p` features with `TREES` trees at most, a joint fit with `FEW` rows."""
        if find(self.algorithm).joint:
            return replace(self, parameters={**self.parameters, "rows": FEW, "iterations": STEPS})
        if self.algorithm not in FORESTS:
            return self
        # It is measured, not chosen: `make` refuses it as a person's parameter.
        parameters = {name: value for name, value in self.parameters.items() if name != WITHIN}
        trees = find(self.algorithm).make(parameters, p, self.seed).get_params()["n_estimators"]
        return replace(self, parameters={**self.parameters, "n_estimators": min(trees, TREES)})


def members(name: str, groups: Groups) -> tuple[str, ...]:
    """Features of a group, or the one feature of that name.

    Raises
    ------
    ConfigurationError
        If there is neither.
    """
    matching = tuple(feature for feature, group in groups.items() if group == name)
    if matching or name in groups:
        return matching or (name,)
    names = dict.fromkeys([*groups.values(), *groups])
    raise ConfigurationError(f"models.ablation: there is no feature or group {name!r}{nearest(name, names)}")


def blocked(table: pd.DataFrame, features: Sequence[str], task: Setup) -> pd.DataFrame:
    """Observed and predicted values of a season's rows, each predicted by the fold that did not learn from its block.

    Parameters
    ----------
    table
        Training table.
    features
        Columns to learn from.
    """
    from soilscale.models.training import run

    fits = [Job(task.season, task.algorithm, "seasonal", "blocked", fold) for fold in range(task.folds)]
    held_out = [
        run(job, table, features, parameters=task.parameters, seed=task.seed, folds=task.folds)[1] for job in fits
    ]
    return pd.concat(held_out, ignore_index=True)[["observed", "predicted"]].astype("float64")


def error(table: pd.DataFrame, features: Sequence[str], task: Setup) -> float:
    """Root mean square error of `blocked`, m3 m-3; NaN if no row can be predicted."""
    held_out = blocked(table, features, task)
    return math.sqrt(((held_out["predicted"] - held_out["observed"]) ** 2).mean()) if len(held_out) else math.nan


def without(table: pd.DataFrame, groups: Groups, name: str, task: Setup) -> pd.DataFrame:
    """Predictions as of `blocked` without a feature or group (Yan & Bai 2020, Table 8); `NOTHING` leaves none out.

    Raises
    ------
    ConfigurationError
        If there is no such feature or group, or nothing is left without it.
    """
    left_out = () if name == NOTHING else members(name, groups)
    remaining = [feature for feature in groups if feature not in left_out]
    if not remaining:
        raise ConfigurationError(f"models.ablation: without {name!r} no feature remains; name a smaller group")
    return blocked(table, remaining, task.quick(len(remaining)))


def forward(table: pd.DataFrame, groups: Groups, task: Setup) -> pd.DataFrame:
    """Add one group of features after the other, each time the one that lowers the blocked error most.

    It ends when no further group lowers the error. The error of the last step is lower than that of a new year would
    be, for it has been chosen by it.

    Parameters
    ----------
    table
        Training table.
    groups
        All features.

    Returns
    -------
    pandas.DataFrame
        season, step (from 1), group (that was added), features (all of that step, separated by spaces), metric
        (``rmse``), value (m3 m-3).
    """
    chosen: list[str] = []
    least = math.inf
    rows = []
    candidates = list(dict.fromkeys(groups.values()))
    while candidates:
        errors = {}
        for name in candidates:
            features = _features(groups, [*chosen, name])
            errors[name] = error(table, features, task.quick(len(features)))
        # NaN is neither less nor greater than any number: where it came first, it would stay the least.
        best = min(errors, key=lambda name: math.inf if math.isnan(errors[name]) else errors[name])
        if not errors[best] < least:
            break
        least = errors[best]
        chosen.append(best)
        candidates.remove(best)
        rows.append((task.season, len(chosen), best, " ".join(_features(groups, chosen)), "rmse", least))
    return pd.DataFrame(rows, columns=["season", "step", "group", "features", "metric", "value"])


def _features(groups: Groups, chosen: Iterable[str]) -> list[str]:
    chosen_groups = set(chosen)
    return [feature for feature, group in groups.items() if group in chosen_groups]
