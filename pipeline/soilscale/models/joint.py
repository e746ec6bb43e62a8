"""Fits that learn all seasons together from means over cells: rows of the training table beside those of the basis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale.models.algorithms import find
from soilscale.models.area import Areas, Floats, Variances, level
from soilscale.models.basis import Basis, block_means
from soilscale.models.effects import Covariance
from soilscale.models.gaussian_process import GaussianProcess
from soilscale.models.training import FOLD, Job, ModelName, predictions
from soilscale.samples import TRAIN
from soilscale.schema import MAP
from soilscale.seasons import ALL

KEYS = ("time", "y", "x")
"""Columns by which a row of the basis finds that of the training table."""

PIXELS = 5
"""Pixels along the side of a cell that stand for all of it."""


@dataclass(frozen=True)
class Ground:
    """What the rows of a joint fit stand on."""

    features: tuple[str, ...]
    basis: Basis
    seasons: tuple[str, ...]
    """Names of the seasons, in order."""
    corner: tuple[float, float, float]
    """y and x of the centre of the first cell, and the side of a cell."""


def kept(job: Job, seasons: Sequence[str]) -> list[Job]:
    """Models that a job stores, each as the job that would store it alone: those of a random one.

    Parameters
    ----------
    seasons
        Seasons with enough rows for a model.
    """
    if job.split != "random":
        return []
    if not find(job.algorithm).joint:
        return [job]
    models: list[tuple[str, ModelName]] = [*((season, "seasonal") for season in seasons), (ALL, "comprehensive")]
    return [Job(season, job.algorithm, model, "random", None) for season, model in models]


def pixels(ratio: int) -> NDArray[np.intp]:
    """Rows, or columns, of a cell whose pixels stand for all of it, as evenly apart as can be."""
    number = min(PIXELS, ratio)
    return ((np.arange(number) + 0.5) * ratio / number).astype(np.intp)


def tabulate(ground: Basis, features: Sequence[str], values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Columns of the basis: the mean of each feature's line over a cell, and of its hat functions.

    Parameters
    ----------
    ground
        Basis of the features.
    features
        Their names.
    values
        Features of the cells' pixels, shape ``(n, m, p)``, NaN where missing.
    """
    line, hats = block_means(ground, values)
    columns = {f"{name}:line": line[:, place] for place, name in enumerate(features)}
    curved = [name for name, has in zip(features, ground.curved, strict=True) if has]
    columns |= {
        f"{name}:{knot}": hats[:, place, knot] for place, name in enumerate(curved) for knot in range(ground.knots)
    }
    return {name: column.astype(np.float32) for name, column in columns.items()}


def join(table: pd.DataFrame, basis: pd.DataFrame) -> pd.DataFrame:
    """Rows of the training table that have all of the basis, with it, by time, from north to south, west to east."""
    names = [name for name in basis if name not in KEYS]
    both = table.merge(basis, on=list(KEYS), how="inner", validate="one_to_one")
    both = both[np.isfinite(both[names].to_numpy()).all(axis=1)]
    order = np.lexsort((both["x"].to_numpy(), -both["y"].to_numpy(), both["time"].to_numpy()))
    return both.take(order).reset_index(drop=True)


def months_of(rows: pd.DataFrame) -> NDArray[np.int64]:
    """Months of the rows, each once, counted from January 1970."""
    return np.unique(rows["time"].to_numpy().astype("datetime64[M]").astype(np.int64))


def areas(rows: pd.DataFrame, ground: Ground) -> Areas:
    """Rows of `join` as the model takes them."""
    line = rows[[f"{name}:line" for name in ground.features]].to_numpy(np.float64)
    curved = [name for name, has in zip(ground.features, ground.basis.curved, strict=True) if has]
    names = [f"{name}:{knot}" for name in curved for knot in range(ground.basis.knots)]
    hats = rows[names].to_numpy(np.float64).reshape(len(rows), len(curved), ground.basis.knots)
    season = pd.Categorical(rows["season"].astype(str), list(ground.seasons)).codes.astype(np.intp)
    month = rows["time"].to_numpy().astype("datetime64[M]").astype(np.int64)
    top, left, side = ground.corner
    row = np.rint((top - rows["y"].to_numpy()) / side).astype(np.intp)
    column = np.rint((rows["x"].to_numpy() - left) / side).astype(np.intp)
    return Areas(line, hats, season, np.searchsorted(months_of(rows), month), row, column)


def observations(rows: pd.DataFrame) -> Floats:
    """Observation of each row, m3 m-3."""
    observed: Floats = rows[MAP].to_numpy(np.float64)
    return observed


def learn(
    job: Job,
    rows: pd.DataFrame,
    ground: Ground,
    variances: Variances,
    parameters: Mapping[str, Any],
    seasons: Sequence[str],
) -> tuple[dict[str, GaussianProcess], pd.DataFrame]:
    """Predict the rows that a job holds out, and of a random one make the models, which learn from all rows.

    The variances are the same for every job: only what the held-out rows observe is kept from their prediction.

    Parameters
    ----------
    job
        A joint one.
    rows
        Rows of `join`, with a column `training.FOLD`.
    ground
        What they stand on.
    variances
        Of the terms.
    parameters
        The algorithm's parameters that differ from the defaults.
    seasons
        Seasons with enough rows for a model of their own.

    Returns
    -------
    models : dict
        Season, and ``all`` for what all seasons share, -> estimator; none of a blocked job.
    predictions : pandas.DataFrame
        Columns `training.PREDICTIONS`: by the whole model (``seasonal``), and by what seasons share
        (``comprehensive``).
    """
    place, observed = areas(rows, ground), observations(rows)
    unit = level(observed)
    covariance = Covariance(place, variances, tuple(GaussianProcess(**parameters).lengths))
    z = (observed - unit[0]) / unit[1]
    learned = (rows["split"] == TRAIN).to_numpy() if job.split == "random" else (rows[FOLD] != job.fold).to_numpy()
    effects = covariance.effects(covariance.solve(z, learned))
    parts = []
    for own in (True, False):
        predicted = unit[0] + unit[1] * covariance.evaluate(effects, own=own)
        held_out = ~learned & (rows["season"].isin(seasons).to_numpy() | (not own))
        told = Job(ALL, job.algorithm, "seasonal" if own else "comprehensive", job.split, job.fold)
        parts.append(predictions(told, rows[held_out], predicted[held_out].astype(np.float32)))
    models: dict[str, GaussianProcess] = {}
    if job.split == "random":
        effects = covariance.effects(covariance.solve(z, np.ones(len(rows), bool)))
        for season in (*seasons, ALL):
            number = None if season == ALL else ground.seasons.index(season)
            models[season] = GaussianProcess(**parameters).of_season(
                ground.basis, effects, variances, unit, number, corner=ground.corner, months=months_of(rows)
            )
    return models, pd.concat(parts, ignore_index=True)
