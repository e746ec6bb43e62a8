"""Prediction intervals: offsets from errors on held-out rows, and how often they contain the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale.reports.insitu import STATION, VOLUME, Values
from soilscale.schema import LOWER, QUALITY, UPPER, Quality
from soilscale.seasons import ALL, Seasons

CELLS: Mapping[str, Quality] = {"observed": Quality.OBSERVED, "predicted": Quality.PREDICTED}
"""Cells that are counted apart, and the bit that they carry."""

Tally = dict[tuple[str, str], NDArray[np.float64]]
"""Season and kind of cells -> how many values lie within, the sum of widths, and how many values there are."""


def interval(errors: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Offsets between which a share `level` of errors lies, equally many beyond either end.

    The ends are the order statistics of split conformal prediction (Lei et al. 2018, J. Am. Stat. Assoc. 113,
    1094-1111): an error of the same kind that is not among these lies between them with a probability of `level` at
    least. They hold 0, so that an interval holds its map.

    Parameters
    ----------
    errors
        Observed minus predicted, m3 m-3, shape ``(n,)``.
    level
        Nominal level, between 0 and 1.

    Returns
    -------
    lower, upper : float
        m3 m-3; NaN where there are too few errors for the level.
    """
    tail = (1 - level) / 2
    # One more than there are errors, for the next one has a rank among them too: by their number alone the interval
    # would hold too little.
    rank = math.ceil((len(errors) + 1) * (1 - tail))
    if rank > len(errors):
        return math.nan, math.nan
    ordered = np.sort(errors)
    return min(float(ordered[len(errors) - rank]), 0.0), max(float(ordered[rank - 1]), 0.0)


def blocked_errors(predictions: pd.DataFrame, algorithms: Mapping[str, str]) -> dict[str, NDArray[np.float64]]:
    """Observed minus predicted on held-out blocks, m3 m-3: season, and ``all``, -> errors of its maps' algorithm.

    Parameters
    ----------
    predictions
        Columns season, algorithm, model, split, observed, predicted; a season without a model of its own is judged by
        the comprehensive one.
    algorithms
        Season -> algorithm.
    """
    blocked = predictions[predictions["split"] == "blocked"]
    errors = {}
    for season, algorithm in algorithms.items():
        rows = blocked[(blocked["season"] == season) & (blocked["algorithm"] == algorithm)]
        seasonal = rows[rows["model"] == "seasonal"]
        rows = seasonal if len(seasonal) else rows
        errors[season] = (rows["observed"] - rows["predicted"]).to_numpy("float64")
    # The empty array is for a run without any season: NumPy joins no empty list.
    return errors | {ALL: np.concatenate([np.empty(0), *errors.values()])}


def coverage(counts: Mapping[np.datetime64, NDArray[np.float64]], level: float, season_of: Seasons) -> pd.DataFrame:
    """How often the known truth lies between the lower and the upper layer.

    Parameters
    ----------
    counts
        Month -> what `count` finds.
    level
        Nominal level.

    Returns
    -------
    DataFrame
        season, cells (``observed`` or ``predicted``: whether the coarse cell has an observation), level, coverage
        (share of the values within), width (mean, m3 m-3), n.
    """
    tally: Tally = {}
    for month in sorted(counts):
        _add(tally, season_of.name(month), counts[month])
    return _table(tally, level, season_of)


def station_coverage(
    pairs: pd.DataFrame, places: pd.DataFrame, at: Values, level: float, season_of: Seasons
) -> pd.DataFrame:
    """How often what stations measure, as volumetric soil moisture, lies between the lower and the upper layer.

    Parameters
    ----------
    pairs, places
        Of `insitu.Paired`.
    at
        Gives values of `LOWER`, `UPPER` and `QUALITY`.
    level
        As `coverage` takes it.

    Returns
    -------
    DataFrame
        As `coverage`.
    """
    tally: Tally = {}
    volumetric = pairs[pairs["unit"] == VOLUME].merge(places[[*STATION, "row", "column"]], on=STATION)
    for time, rows in volumetric.groupby("time"):
        month = np.datetime64(pd.Timestamp(str(time)), "M")
        cells = rows["row"].to_numpy(), rows["column"].to_numpy()
        lower, upper, flags = (at(name, month, *cells) for name in (LOWER, UPPER, QUALITY))
        observed = rows["observed"].to_numpy("float64")
        _add(tally, season_of.name(month), count(observed, lower, upper, flags.astype("uint8")))
    return _table(tally, level, season_of)


def count(
    truth: NDArray[np.floating],
    lower: NDArray[np.floating],
    upper: NDArray[np.floating],
    flags: NDArray[np.uint8],
) -> NDArray[np.float64]:
    """Values within an interval, the sum of widths and all values, a row for each of `CELLS`; NaN is missing."""
    rows = []
    for bit in CELLS.values():
        use = np.isfinite(truth) & np.isfinite(lower) & ((flags & bit) > 0)
        within = (truth[use] >= lower[use]) & (truth[use] <= upper[use])
        rows.append([within.sum(), (upper[use] - lower[use]).sum(), use.sum()])
    return np.array(rows, "float64")


def _add(tally: Tally, season: str, counts: NDArray[np.float64]) -> None:
    """Add what `count` found of one month to its season's and to all."""
    for cells, part in zip(CELLS, counts, strict=True):
        for name in (season, ALL):
            tally[name, cells] = tally.get((name, cells), np.zeros(3)) + part


def _table(tally: Tally, level: float, season_of: Seasons) -> pd.DataFrame:
    rank = {name: place for place, name in enumerate((*season_of.names, ALL))}
    rows = [
        (season, cells, level, inside / n, width / n, int(n))
        for (season, cells), (inside, width, n) in sorted(tally.items(), key=lambda entry: rank[entry[0][0]])
        if n
    ]
    return pd.DataFrame(rows, columns=["season", "cells", "level", "coverage", "width", "n"])
