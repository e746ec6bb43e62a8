"""Tables of the report: accuracy, consistency with the coarse product, and skill beside nearest and bilinear.

Every table is in the long form, one figure a row, and besides the seasons it has the season ``all``, in which the
pairs of all of them are pooled. Maps are read month by month and chunk by chunk, so that a table needs the memory of
one chunk, whatever the area.
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

from soilscale import kernels, schema
from soilscale.reports.scores import SCORES, Moments, moments, told
from soilscale.seasons import ALL, Seasons

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
    for (season, *rest), rows in scored.groupby(keys, sort=False, observed=True):
        add(tally, str(season), tuple(map(str, rest)), moments(rows["observed"], rows["predicted"]))
    order = dict.fromkeys([*seasons, *map(str, pd.unique(predictions["season"]))])
    return long_form(tally, keys, order, count=True)


def consistency(
    months: xr.Dataset, coarse: xr.DataArray, ratio: int, season_of: Seasons, algorithm: Algorithm
) -> pd.DataFrame:
    """Fine maps against the coarse observation, laid on the fine grid as nearest (Yan & Bai 2020, Table 5).

    Parameters
    ----------
    months
        Monthly maps, with `soil_moisture` of dimensions (time, y, x) on the fine grid, m3 m-3.
    coarse
        The observation (time, y, x) on the coarse grid, m3 m-3, NaN where missing.
    ratio
        Fine cells along the side of a coarse cell.
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
    for month in shared_months(months[schema.MAP], coarse):
        season = season_of.name(month)
        whole = field(coarse, month)
        for piece in pieces(months[schema.MAP], ratio):
            fine, observed = field(months[schema.MAP], month, piece), whole[below(piece, ratio)]
            add(tally, season, (name,), moments(nearest(observed, ratio), fine))
            difference = np.abs(kernels.block_mean(fine, ratio)[0] - observed)
            for key in (season, ALL):
                # fmax passes over NaN: with max one unobserved coarse cell would make the season's figure NaN.
                largest[key] = float(np.fmax.reduce(difference, axis=None, initial=largest.get(key, math.nan)))
    table = long_form(tally, ["season", "algorithm"], season_of.names)
    extra = [(season, name, BLOCK_DIFFERENCE, largest[season]) for season in pd.unique(table["season"])]
    return pd.concat([table, pd.DataFrame(extra, columns=table.columns)], ignore_index=True)


def truth(
    maps: Mapping[str, xr.DataArray],
    known: xr.DataArray,
    coarse: xr.DataArray,
    ratio: int,
    season_of: Seasons,
    others: Iterable[tuple[np.datetime64, str, Moments]] = (),
) -> pd.DataFrame:
    """Score the maps, and the coarse product as nearest and bilinear, against the known fine truth.

    Every method is scored on the same fine cells: those where all of them and the truth are finite.

    Parameters
    ----------
    maps
        Method -> monthly maps (time, y, x) on the fine grid, m3 m-3.
    known
        True field (time, y, x) on the fine grid, m3 m-3.
    coarse
        The observation (time, y, x) on the coarse grid, m3 m-3, NaN where missing.
    others
        Month, method and moments (`beside_truth`) of methods whose maps are not kept.

    Returns
    -------
    DataFrame
        season, method, metric, value.
    """
    tally: Tally = {}
    for month in shared_months(known, coarse, *maps.values()):
        observed = field(coarse, month)
        # By the chunks of the maps: read across them, each would be decoded several times.
        for piece in pieces(next(iter(maps.values()), known), ratio):
            fields = {name: field(array, month, piece) for name, array in maps.items()}
            by_method = beside_truth(field(known, month, piece), observed, ratio, fields, piece)
            for name, part in by_method.items():
                add(tally, season_of.name(month), (name,), part)
    for month, name, part in others:
        add(tally, season_of.name(month), (name,), part)
    return long_form(tally, ["season", "method"], season_of.names)


def beside_truth(
    known: NDArray[np.float64],
    observed: NDArray[np.float64],
    ratio: int,
    fields: Fields,
    piece: Piece = (slice(None), slice(None)),
) -> dict[str, Moments]:
    """Moments of each method, nearest and bilinear among them, and the truth of one month.

    Parameters
    ----------
    known
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
    return _on_shared_cells(known, lowest | dict(fields))


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
    fine: xr.DataArray, coarse: xr.DataArray, crs: str, precipitation: xr.DataArray | None = None
) -> pd.DataFrame:
    """Means over the area, each over its own valid cells, weighted by the cells' size.

    Parameters
    ----------
    fine, coarse
        Soil moisture (time, y, x) of the maps and of the observation, m3 m-3.
    crs
        CRS of both grids. On one in degrees a cell's size goes with the cosine of its latitude; any other is taken
        to be of equal area.
    precipitation
        Precipitation (time, y, x), mm per month, on either grid.

    Returns
    -------
    DataFrame
        time, coarse, fine and, where given, precipitation; a row for every month of the maps.
    """
    products = {"coarse": coarse, "fine": fine} | ({} if precipitation is None else {"precipitation": precipitation})
    geographic = CRS.from_user_input(crs).is_geographic
    months = shared_months(fine)
    columns = {name: [_mean(array, month, geographic) for month in months] for name, array in products.items()}
    return pd.DataFrame({"time": np.array(months, dtype="datetime64[ns]")} | columns)


def shared_months(*arrays: xr.DataArray) -> list[np.datetime64]:
    """Months that every array has, ascending, as ``datetime64[M]``."""
    months = [set(array["time"].to_numpy().astype("datetime64[M]")) for array in arrays]
    return sorted(set.intersection(*months))


def field(array: xr.DataArray, month: np.datetime64, piece: Piece = (slice(None), slice(None))) -> NDArray[np.float64]:
    """Values of one month, or of some rows and columns of it, shape ``(y, x)``."""
    here = array["time"].to_numpy().astype("datetime64[M]") == month
    rows, columns = piece
    return array.isel(time=int(np.argmax(here)), y=rows, x=columns).to_numpy().astype("float64")


def pieces(array: xr.DataArray, ratio: int = 1) -> list[Piece]:
    """Rows and columns of each chunk of a map as it is stored; all of one that is in memory.

    A chunk is taken with what follows it up to whole coarse cells of `ratio` fine ones.
    """
    spans = []
    for axis in ("y", "x"):
        lengths = array.chunks[array.dims.index(axis)] if array.chunks else (array.sizes[axis],)
        ends = [end for end in np.cumsum(lengths).tolist() if end % ratio == 0 or end == array.sizes[axis]]
        spans.append([slice(first, end) for first, end in zip([0, *ends], ends, strict=False)])
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


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


def _mean(array: xr.DataArray, month: np.datetime64, geographic: bool) -> float:
    """Mean of a month's valid cells, weighted by their size; NaN if the array has none."""
    if month not in shared_months(array):
        return float("nan")
    total = sum_ = 0.0
    for rows, columns in pieces(array):
        values = field(array, month, (rows, columns))
        latitude = array["y"].to_numpy()[rows] if geographic else np.zeros(len(values))
        # Meridians converge: by plain means the cells near a pole would count too much.
        weight = np.where(np.isfinite(values), np.cos(np.radians(latitude))[:, None], 0.0)
        total += float(weight.sum())
        # A weight of 0 does not silence NaN, since their product is NaN.
        sum_ += float(np.where(weight > 0, values, 0.0).ravel() @ weight.ravel())
    return sum_ / total if total else float("nan")
