"""Upscaling test of the methods, where the truth is known: the observed coarse field itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from soilscale import kernels
from soilscale.reports.tables import (
    BEST,
    BILINEAR,
    NEAREST,
    Algorithm,
    Tally,
    compare,
    field,
    long_form,
    method,
    nearest,
    shared_months,
)
from soilscale.seasons import ALL, Seasons

UPSCALING = 3
"""Coarse cells along the side of a block that stands in for a coarser observation."""

LEAST_VALID = 0.5
"""Least share of observed cells in such a block."""


def upscaled(
    coarse: xr.DataArray,
    predictions: pd.DataFrame,
    season_of: Seasons,
    *,
    algorithm: Algorithm = "",
    limits: tuple[float, float] = (0.0, 0.6),
) -> pd.DataFrame:
    """Methods judged one scale up, where the truth is known: the observed coarse field itself.

    The field is averaged over blocks of 3 x 3 coarse cells and downscaled back: as nearest, bilinearly, and by each
    algorithm's out-of-fold predictions made consistent with the block means, as the maps are with the observation.
    Every method is scored on the same cells: those where all of them and the observation are finite.

    Parameters
    ----------
    coarse
        The observation (time, y, x) on the coarse grid, m3 m-3, NaN where missing.
    predictions
        Columns time, y, x, algorithm, model, split, predicted; the rows of the seasonal models in the blocked split
        are used.
    algorithm
        With which the maps are made; if that differs by season, the method `BEST` uses each season's own.
    limits
        Physical range, m3 m-3.

    Returns
    -------
    DataFrame
        season, method, metric, value.
    """
    tally: Tally = {}
    for season, observed, fields in _upscaled_fields(coarse, predictions, season_of, algorithm, limits):
        compare(tally, season, observed, fields)
    return long_form(tally, ["season", "method"], season_of.names)


def _upscaled_fields(
    coarse: xr.DataArray,
    predictions: pd.DataFrame,
    season_of: Seasons,
    algorithm: Algorithm,
    limits: tuple[float, float],
) -> Iterator[tuple[str, NDArray[np.float64], dict[str, NDArray[np.float64]]]]:
    """Season, observation and every method's field of each month, one scale up."""
    held_out = predictions[(predictions["split"] == "blocked") & (predictions["model"] == "seasonal")]
    for time, rows in held_out.groupby("time"):
        month = np.datetime64(pd.Timestamp(str(time)), "M")
        if month not in shared_months(coarse):
            continue
        season = season_of.name(month)
        observed = _whole_blocks(field(coarse, month))
        mean, valid = kernels.block_mean(observed, UPSCALING)
        means = np.where(valid >= LEAST_VALID, mean, np.nan)
        fields = {NEAREST: nearest(means, UPSCALING), BILINEAR: kernels.bilinear(means, UPSCALING)}
        for name, algorithm_rows in rows.groupby("algorithm", sort=False, observed=True):
            predicted = _whole_blocks(_on_grid(algorithm_rows, coarse))
            fields[str(name)], _ = kernels.conserve(predicted, means, UPSCALING, *limits)
        if method(algorithm) == BEST and not isinstance(algorithm, str):
            # `BEST` is no algorithm with predictions of its own, but that of the season.
            fields[BEST] = fields[algorithm[season]]
        yield season, observed, fields


def upscaled_errors(
    coarse: xr.DataArray,
    predictions: pd.DataFrame,
    season_of: Seasons,
    *,
    algorithm: Algorithm,
    limits: tuple[float, float],
) -> dict[str, NDArray[np.float64]]:
    """Observation minus the maps' own method one scale up, as of `upscaled`: season, and ``all``, -> errors."""
    name = method(algorithm)
    parts: dict[str, list[NDArray[np.float64]]] = {ALL: [np.empty(0)]}
    for season, observed, fields in _upscaled_fields(coarse, predictions, season_of, algorithm, limits):
        if name in fields:
            error = (observed - fields[name]).ravel()
            for key in (season, ALL):
                parts.setdefault(key, []).append(error[np.isfinite(error)])
    return {key: np.concatenate(errors) for key, errors in parts.items()}


def _whole_blocks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Field with missing cells added below and to the right until it is whole blocks of 3 x 3."""
    rows, columns = values.shape
    return np.pad(values, ((0, -rows % UPSCALING), (0, -columns % UPSCALING)), constant_values=np.nan)


def _on_grid(rows: pd.DataFrame, coarse: xr.DataArray) -> NDArray[np.float64]:
    """Predictions of one month at their cells of the coarse grid, NaN elsewhere, shape ``(y, x)``."""
    grid = np.full((coarse.sizes["y"], coarse.sizes["x"]), np.nan)
    at = [_positions(coarse[axis].to_numpy(), rows[axis].to_numpy()) for axis in ("y", "x")]
    on_grid = (at[0] >= 0) & (at[1] >= 0)
    grid[at[0][on_grid], at[1][on_grid]] = rows["predicted"].to_numpy()[on_grid]
    return grid


def _positions(centres: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Position of the cell centre that each value is, or -1."""
    if len(centres) == 1:
        return np.where(np.isclose(values, centres[0]), 0, -1)
    step = abs(float(centres[1] - centres[0]))
    # Coordinates of table and grid may differ by rounding; equality would lose whole rows of cells.
    return pd.Index(centres).get_indexer(pd.Index(values), method="nearest", tolerance=step / 4)
