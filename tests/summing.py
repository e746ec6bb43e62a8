"""Whole maps summarised as a run does it: cut into tiles, each month of each summarised, and added up."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS

from soilscale.reports import summaries
from soilscale.reports.cartography import thinned
from soilscale.reports.scores import Moments
from soilscale.reports.summaries import stride
from soilscale.reports.tables import field, shared_months
from soilscale.schema import APPLICABILITY, LOWER, MAP, QUALITY, UPPER
from soilscale.seasons import Seasons

Rmse = dict[str, tuple[xr.DataArray, int]]
Months = dict[np.datetime64, summaries.Summary]


def summed(
    maps: xr.Dataset | xr.DataArray,
    coarse: xr.DataArray,
    ratio: int,
    known: xr.DataArray | None = None,
    *,
    crs: str = "EPSG:3035",
    tile: int | None = None,
) -> Months:
    """Summary of each month that maps (and their truth) have, of tiles of so many coarse cells a side."""
    layers = maps.to_dataset(name=MAP) if isinstance(maps, xr.DataArray) else maps
    side = (tile or max(coarse.shape)) * ratio
    geographic = CRS.from_user_input(crs).is_geographic
    months: Months = {month: {} for month in shared_months(layers[MAP])}
    for top in range(0, layers.sizes["y"], side):
        for left in range(0, layers.sizes["x"], side):
            rows, columns = (slice(first, first + side) for first in (top, left))
            part = layers.isel(y=rows, x=columns)
            for month in months:
                here = part.isel(time=shared_months(layers[MAP]).index(month))
                nothing = np.full(here[MAP].shape, np.nan)
                observed = field(coarse, month) if month in shared_months(coarse) else np.full(coarse.shape[1:], np.nan)
                truth = None
                if known is not None:
                    there = month in shared_months(known)
                    truth = field(known.isel(y=rows, x=columns), month) if there else nothing
                made = summaries.summarise(
                    summaries.Layers(
                        values=here[MAP].to_numpy(),
                        flags=here.get(QUALITY, xr.DataArray(np.zeros(nothing.shape))).to_numpy().astype("uint8"),
                        observed=observed,
                        piece=(slice(top, top + nothing.shape[0]), slice(left, left + nothing.shape[1])),
                        ratio=ratio,
                        latitude=here["y"].to_numpy() if geographic else None,
                        ends=(here[LOWER].to_numpy(), here[UPPER].to_numpy()) if LOWER in here else None,
                        index=here[APPLICABILITY].to_numpy() if APPLICABILITY in here else None,
                        known=truth,
                    )
                )
                months[month] = summaries.add(months[month], made)
    return months


def part(months: Months, name: str) -> dict[np.datetime64, NDArray[np.float64]]:
    """A part of each month's summary."""
    return {month: summary[name] for month, summary in months.items()}


def pairs(months: Months) -> tuple[dict[np.datetime64, Moments], dict[np.datetime64, float]]:
    """What `reports.consistency` takes."""
    moments = {month: Moments.of(row) for month, row in part(months, "pairs").items()}
    return moments, {month: float(value) for month, value in part(months, "difference").items()}


def methods(months: Months, name: str) -> list[tuple[np.datetime64, str, Moments]]:
    """What `reports.truth` takes, the maps being of a method."""
    named = [name if method == summaries.OURS else method for method in summaries.METHODS]
    rows = part(months, "truth").items()
    return [(month, method, Moments.of(row)) for month, truth in rows for method, row in zip(named, truth, strict=True)]


def sums(months: Months) -> dict[np.datetime64, tuple[float, float]]:
    """What `reports.area_means` takes."""
    return {month: (float(weight), float(total)) for month, (weight, total) in part(months, "area").items()}


def common(months: Months) -> dict[np.datetime64, tuple[float, float, float]]:
    """What `reports.area_means` takes of both products."""
    return {month: (float(w), float(c), float(f)) for month, (w, c, f) in part(months, "common").items()}


def values_of(maps: xr.Dataset | xr.DataArray) -> Callable[..., Any]:
    """What gives the values of whole maps at cells, as `insitu.Values`."""
    layers = maps.to_dataset(name=MAP) if isinstance(maps, xr.DataArray) else maps

    def at(name: str, month: np.datetime64, rows: NDArray[np.int_], columns: NDArray[np.int_]) -> NDArray[np.float64]:
        return field(layers[name], month)[rows, columns]

    return at


def season_rmse(fine: xr.DataArray, coarse: xr.DataArray, ratio: int, season_of: Seasons) -> Rmse:
    """RMSE of whole maps from the observation in each cell to be drawn, over a season's months, and their number."""
    shown = thinned(fine)
    step = stride((fine.sizes["y"], fine.sizes["x"]))
    at = np.ix_(*(np.arange(0, fine.sizes[axis], step) // ratio for axis in ("y", "x")))
    found: dict[str, list[NDArray[np.float64]]] = {}
    for month in shared_months(fine, coarse):
        error = field(shown, month) - field(coarse, month)[at]
        if np.isfinite(error).any():
            found.setdefault(season_of.name(month), []).append(error)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of cells without a pair
        roots = {name: np.sqrt(np.nanmean(np.square(found[name]), axis=0)) for name in season_of.names if name in found}
    coords = {axis: shown[axis] for axis in ("y", "x")}
    return {name: (xr.DataArray(root, coords, ("y", "x")), len(found[name])) for name, root in roots.items()}
