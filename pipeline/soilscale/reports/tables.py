"""Tables of the report: accuracy, consistency with the coarse product, and skill beside nearest and bilinear.

Every table is in the long form, one figure a row, and besides the seasons it has the season ``all``, in which the
pairs of all of them are pooled. What is of maps comes as `summaries` of their tiles, so that no table reads a map.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS

from soilscale import kernels
from soilscale.reports.scores import SCORES, Moments, moments, told
from soilscale.seasons import ALL, Months, Seasons

NEAREST, BILINEAR = "nearest", "bilinear"
"""Methods against which every algorithm is judged: they need no predictor at all."""

BEST = "best"
"""Name of a method that uses another algorithm in another season."""

TRUTH, STATIONS, UPSCALED = "truth", "stations", "upscaled"
"""What a method can be judged by."""

BLOCK_DIFFERENCE = "max_abs_block_difference"
"""Largest absolute difference between a coarse observation and the mean of the map's valid cells in it."""

Algorithm = str | Mapping[str, str]
"""Name of an algorithm, or season -> name."""

Tally = dict[tuple[str, ...], Moments]
"""Season and further keys -> moments of the pairs found so far."""

Piece = tuple[slice, slice]
"""Rows and columns of a part of a map."""

Fields = Mapping[str, NDArray[np.float64]]
"""Method -> its field on the cells of the reference."""


def method(algorithm: Algorithm) -> str:
    """Name under which the maps' own method stands in the tables: the algorithm's, or `BEST` if seasons differ."""
    if isinstance(algorithm, str):
        return algorithm
    names = set(algorithm.values())
    return names.pop() if len(names) == 1 else BEST


def accuracy(predictions: pd.DataFrame, seasons: Iterable[str] = ()) -> pd.DataFrame:
    """Accuracy of each model at the coarse scale on rows that it has not seen.

    Parameters
    ----------
    predictions
        Columns season, algorithm, model, split, observed, predicted (m3 m-3).
    seasons
        Order of the seasons; by default that in which they appear.

    Returns
    -------
    DataFrame
        season, algorithm, model, split, metric, value, n.
    """
    keys = ["season", "algorithm", "model", "split"]
    tally: Tally = {}
    scored = predictions[[*keys, "observed", "predicted"]]
    for (season, *labels), rows in scored.groupby(keys, sort=False, observed=True):
        add(tally, str(season), tuple(map(str, labels)), moments(rows["observed"], rows["predicted"]))
    order = dict.fromkeys([*seasons, *map(str, pd.unique(predictions["season"]))])
    return long_form(tally, keys, order, count=True)


def consistency(
    pairs: Mapping[np.datetime64, Moments],
    differences: Mapping[np.datetime64, float],
    season_of: Seasons,
    algorithm: Algorithm,
) -> pd.DataFrame:
    """Fine maps against the coarse observation, laid on the fine grid as nearest (Yan & Bai 2020, Table 5).

    Parameters
    ----------
    pairs
        Month -> moments of the observation and the map.
    differences
        Month -> largest absolute difference between an observation and the mean of the map's valid cells in it, m3 m-3,
        NaN where nothing is observed.
    algorithm
        With which the maps were made.

    Returns
    -------
    DataFrame
        season, algorithm, metric, value; beside the metrics `BLOCK_DIFFERENCE`, which is 0 but for rounding where
        maps conserve the observation.
    """
    name = method(algorithm)
    tally: Tally = {}
    largest: dict[str, float] = {}
    for month in sorted(pairs):
        season = season_of.name(month)
        add(tally, season, (name,), pairs[month])
        for key in (season, ALL):
            # fmax passes over NaN: with max a month without an observation would make the season's figure NaN.
            largest[key] = float(np.fmax(largest.get(key, math.nan), differences.get(month, math.nan)))
    table = long_form(tally, ["season", "algorithm"], season_of.names)
    extra = [(season, name, BLOCK_DIFFERENCE, largest[season]) for season in pd.unique(table["season"])]
    return pd.concat([table, pd.DataFrame(extra, columns=table.columns)], ignore_index=True)


def truth(parts: Iterable[tuple[np.datetime64, str, Moments]], season_of: Seasons) -> pd.DataFrame:
    """Score the maps, and the coarse product as nearest and bilinear, against the known fine truth.

    Parameters
    ----------
    parts
        Month, method and moments (`beside_truth`).

    Returns
    -------
    DataFrame
        season, method, metric, value.
    """
    tally: Tally = {}
    for month, name, part in parts:
        add(tally, season_of.name(month), (name,), part)
    return long_form(tally, ["season", "method"], season_of.names)


def beside_truth(
    truth: NDArray[np.float64],
    observed: NDArray[np.float64],
    ratio: int,
    fields: Fields,
    piece: Piece = (slice(None), slice(None)),
) -> dict[str, Moments]:
    """Moments of each method, nearest and bilinear among them, and the truth of one month.

    Parameters
    ----------
    truth
        True field of the piece, shape ``(Y, X)``, m3 m-3.
    observed
        The observation of the whole area, NaN where missing.
    fields
        Method -> its field, shape ``(Y, X)``.
    piece
        Rows and columns of the fine grid, whole coarse cells; by default all.

    Returns
    -------
    dict
        Method -> moments over the cells where all methods and the truth are finite.
    """
    lowest = {NEAREST: nearest(observed[below(piece, ratio)], ratio), BILINEAR: _bilinear(observed, ratio, piece)}
    return _on_shared_cells(truth, lowest | dict(fields))


def baselines(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of skill beside nearest and bilinear in one.

    Parameters
    ----------
    tables
        Reference (`TRUTH`, `STATIONS`, `UPSCALED`) -> season, method, metric, value.

    Returns
    -------
    DataFrame
        season, method, reference, metric, value.
    """
    columns = ["season", "method", "reference", "metric", "value"]
    parts = [table.assign(reference=reference)[columns] for reference, table in tables.items() if len(table)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def ablation(predictions: pd.DataFrame, seasons: Iterable[str]) -> pd.DataFrame:
    """Accuracy on held-out blocks without one factor (Yan & Bai 2020, Table 8).

    Parameters
    ----------
    predictions
        Columns season, without, observed, predicted (m3 m-3).
    seasons
        Seasons in their order.

    Returns
    -------
    DataFrame
        season, without, metric, value.
    """
    tally: Tally = {}
    for (season, without), rows in predictions.groupby(["season", "without"], sort=False) if len(predictions) else ():
        add(tally, str(season), (str(without),), moments(rows["observed"], rows["predicted"]))
    return long_form(tally, ["season", "without"], seasons)


def area_means(
    sums: Mapping[np.datetime64, tuple[float, float]],
    common: Mapping[np.datetime64, tuple[float, float, float]],
    crs: str,
    precipitation: xr.DataArray | None = None,
) -> pd.DataFrame:
    """Means over the area, weighted by the cells' size: of both products over their common cells, and of all maps.

    Means over cells of their own would differ where the observation has few, though the maps agree with it cell by
    cell.

    Parameters
    ----------
    sums
        Month -> weight and weighted sum of the cells of the maps (`area_sum`).
    common
        Month -> weight of the cells with a value and an observation, and the weighted sums of observation and map.
    crs
        CRS of the grid. On one in degrees a cell's size goes with the cosine of its latitude; any other is taken to be
        of equal area.
    precipitation
        Precipitation (time, y, x) on the coarse grid, mm per month.

    Returns
    -------
    DataFrame
        time, coarse, fine (of common cells), fine_all and, where given, precipitation; a row for every month of the
        maps.
    """
    months = sorted(sums)
    shared = [common.get(month, (0.0, 0.0, 0.0)) for month in months]
    columns = {
        "coarse": [_ratio(weight, of_coarse) for weight, of_coarse, _ in shared],
        "fine": [_ratio(weight, of_fine) for weight, _, of_fine in shared],
        "fine_all": [_ratio(*sums[month]) for month in months],
    }
    if precipitation is not None:
        columns["precipitation"] = field_means(precipitation, months, crs)
    return pd.DataFrame({"time": np.array(months, dtype="datetime64[ns]")} | columns)


def field_means(array: xr.DataArray, months: Sequence[np.datetime64], crs: str) -> list[float]:
    """Means of months over the valid cells of a field (time, y, x), weighted as by `area_sum`; NaN without any."""
    present = set(shared_months(array))
    latitude = array["y"].to_numpy() if CRS.from_user_input(crs).is_geographic else None
    return [_ratio(*area_sum(field(array, month), latitude)) if month in present else math.nan for month in months]


def area_sum(values: NDArray[np.float64], latitude: NDArray[np.float64] | None) -> tuple[float, float]:
    """Weight of the cells of a field that have a value, and their weighted sum.

    Parameters
    ----------
    values
        Shape ``(y, x)``, NaN where missing.
    latitude
        Of the rows, degrees; None on a grid of equal area.
    """
    size = np.ones(len(values)) if latitude is None else np.cos(np.radians(latitude))
    # Meridians converge: by plain means the cells near a pole would count too much.
    weight = np.where(np.isfinite(values), size[:, None], 0.0)
    # A weight of 0 does not silence NaN, since their product is NaN.
    return float(weight.sum()), float(np.where(weight > 0, values, 0.0).ravel() @ weight.ravel())


def shared_months(*arrays: xr.DataArray) -> list[np.datetime64]:
    """Months that every array has, ascending, as ``datetime64[M]``."""
    months = [set(array["time"].to_numpy().astype("datetime64[M]")) for array in arrays]
    return sorted(set.intersection(*months))


def representative(months: Months, cells: NDArray[np.integer], season_of: Seasons) -> list[np.datetime64]:
    """Month of each season in which most cells are observed, the latest of them; seasons in their order.

    Parameters
    ----------
    months
        Ascending, as ``datetime64[M]``.
    cells
        Number of observed cells in each.
    season_of
        Seasons of the months.
    """
    best: dict[str, tuple[int, np.datetime64]] = {}
    for month, count in zip(months, cells.tolist(), strict=True):
        season = season_of.name(month)
        if count and count >= best.get(season, (0, month))[0]:
            best[season] = (count, month)
    return [best[season][1] for season in season_of.names if season in best]


def field(array: xr.DataArray, month: np.datetime64, piece: Piece = (slice(None), slice(None))) -> NDArray[np.float64]:
    """Values of one month, or of some rows and columns of it, shape ``(y, x)``."""
    is_month = array["time"].to_numpy().astype("datetime64[M]") == month
    rows, columns = piece
    return array.isel(time=int(np.argmax(is_month)), y=rows, x=columns).to_numpy().astype("float64")


def below(piece: Piece, ratio: int) -> Piece:
    """Coarse rows and columns of a piece of the fine grid."""
    # None stands for a whole axis and stays None.
    rows, columns = (slice(part.start and part.start // ratio, part.stop and part.stop // ratio) for part in piece)
    return rows, columns


def _bilinear(observed: NDArray[np.float64], ratio: int, piece: Piece) -> NDArray[np.float64]:
    """Coarse values interpolated bilinearly on a piece of the fine grid, by the cells of it and those around them."""
    spans = [part.indices(n)[:2] for part, n in zip(below(piece, ratio), observed.shape, strict=True)]
    # One coarse cell more on each side, or the border of the piece would show as on the edge of the area.
    wide = tuple(slice(max(first - 1, 0), end + 1) for first, end in spans)
    inner = tuple(
        slice((first - part.start) * ratio, (end - part.start) * ratio)
        for (first, end), part in zip(spans, wide, strict=True)
    )
    return kernels.bilinear(observed[wide], ratio)[inner]


def nearest(coarse: NDArray[Any], ratio: int) -> NDArray[Any]:
    """Coarse values laid on the fine grid, ``(y, x)`` to ``(y * ratio, x * ratio)``."""
    return np.repeat(np.repeat(coarse, ratio, axis=0), ratio, axis=1)


def add(tally: Tally, season: str, keys: tuple[str, ...], part: Moments) -> None:
    """Add pairs to a season and to all seasons."""
    for name in (season, ALL):
        key = (name, *keys)
        tally[key] = tally.get(key, Moments()) + part


def compare(tally: Tally, season: str, reference: NDArray[np.float64], fields: Fields) -> None:
    """Add the pairs of each method with the reference, on the cells where all of them are finite."""
    for name, part in _on_shared_cells(reference, fields).items():
        add(tally, season, (name,), part)


def _on_shared_cells(reference: NDArray[np.float64], fields: Fields) -> dict[str, Moments]:
    # One set of cells for all, or a method that leaves out difficult ones would look the better for it.
    common = np.isfinite(reference)
    for values in fields.values():
        common &= np.isfinite(values)
    return {name: moments(reference[common], values[common]) for name, values in fields.items()}


def long_form(
    tally: Tally,
    keys: Sequence[str],
    seasons: Iterable[str],
    *,
    metrics: Iterable[str] = tuple(SCORES),
    count: bool = False,
) -> pd.DataFrame:
    """Table of what was found: the keys, metric, value and, if `count`, n; seasons in their order, ``all`` last."""
    rank = {season: i for i, season in enumerate([*seasons, ALL])}
    ordered = sorted(tally.items(), key=lambda entry: rank[entry[0][0]])
    chosen = tuple(metrics)
    rows: list[tuple[Any, ...]] = [
        (*key, metric, told(metric, stats), stats.n) for key, stats in ordered for metric in chosen
    ]
    table = pd.DataFrame(rows, columns=[*keys, "metric", "value", "n"])
    return table if count else table.drop(columns="n")


def _ratio(weight: float, total: float) -> float:
    return total / weight if weight else math.nan
