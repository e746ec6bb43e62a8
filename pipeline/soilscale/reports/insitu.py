"""The maps and the coarse product against stations in the ground."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer

from soilscale import kernels
from soilscale.errors import DataError
from soilscale.grid import LONLAT
from soilscale.reports.scores import SCORES, moments
from soilscale.reports.tables import BILINEAR, NEAREST, Algorithm, Tally, add, field, long_form, method, shared_months
from soilscale.seasons import Seasons

log = logging.getLogger(__name__)

COLUMNS = ("station", "longitude", "latitude", "time", "value")
"""Columns that a table of stations must have."""

VOLUMETRIC: Mapping[str, float] = {
    "m3 m-3": 1.0,
    "m3/m3": 1.0,
    "m³/m³": 1.0,
    "m³ m⁻³": 1.0,
    "cm3 cm-3": 1.0,
    "cm3/cm3": 1.0,
    "vol%": 0.01,
    "vol. %": 0.01,
}
"""Units of volumetric soil moisture, and the factor that turns them into m3 m-3."""

RELATIVE_METRICS = ("r", "kl")
"""Metrics that mean something where stations measure another quantity than the maps (Yan & Bai 2020, Table 6)."""

PRODUCTS: Mapping[str, str] = {"coarse": "coarse", "fine": "fine"}
"""Name of a product in the table -> its column in the pairs."""


def stations(
    records: pd.DataFrame,
    fine: xr.DataArray,
    coarse: xr.DataArray,
    ratio: int,
    crs: str,
    season_of: Seasons,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Monthly means of stations beside the maps and the coarse product, and the scores of both.

    Both products are scored on the same pairs: those for which each of them has a value. Where a station gives no
    volumetric soil moisture (its unit is not one of `VOLUMETRIC`; none given means m3 m-3), values are brought to
    0..1 by their least and greatest in the season, as in Yan & Bai 2020, and only R and K-L are given.

    Parameters
    ----------
    records
        Columns `COLUMNS` (degrees; time in UTC), and optionally unit, network and depth, of which the shallowest of
        each station counts.
    fine, coarse
        Soil moisture (time, y, x) of the monthly maps and of the observation, m3 m-3.
    ratio
        Fine cells along the side of a coarse cell.
    crs
        CRS of both grids.

    Returns
    -------
    pairs
        station, time, season, unit, observed, fine, coarse, bilinear; a row for every month of a station in which
        the maps exist.
    table
        season, product (coarse | fine), metric, value, n.

    Raises
    ------
    DataError
        If a column is missing.
    """
    monthly = _monthly(records)
    cells = _locate(monthly, fine, crs)
    pairs = _pair(monthly.join(cells, on="station", how="inner"), fine, coarse, ratio)
    pairs.insert(2, "season", season_of.names_of(pairs["time"].to_numpy()) if len(pairs) else [])
    return pairs, _scores(pairs, PRODUCTS, "product", season_of, count=True)


def station_baselines(pairs: pd.DataFrame, algorithm: Algorithm, season_of: Seasons) -> pd.DataFrame:
    """Score the maps, nearest and bilinear against stations.

    Parameters
    ----------
    pairs
        As `stations` gives them.
    algorithm
        With which the maps were made.

    Returns
    -------
    DataFrame
        season, method, metric, value.
    """
    columns = {NEAREST: "coarse", BILINEAR: "bilinear", method(algorithm): "fine"}
    return _scores(pairs, columns, "method", season_of, count=False)


@dataclass(frozen=True)
class _Axis:
    """An axis of cell centres."""

    first: float
    step: float
    size: int

    @classmethod
    def of(cls, centres: NDArray[np.float64]) -> _Axis:
        return cls(float(centres[0]), float(centres[1] - centres[0]), len(centres))

    def cell(self, values: NDArray[np.float64]) -> NDArray[np.int_]:
        """Cell in which each value lies, or -1."""
        with np.errstate(invalid="ignore"):
            at = np.floor((values - self.first) / self.step + 0.5)
            return np.where((at >= 0) & (at < self.size), at, -1).astype(int)


def _monthly(records: pd.DataFrame) -> pd.DataFrame:
    """Mean of each station and month: station, time, longitude, latitude, unit, observed."""
    missing = [name for name in COLUMNS if name not in records]
    if missing:
        raise DataError(
            f"the stations' table lacks the columns {missing}; it has {list(records.columns)}; "
            f"it needs {list(COLUMNS)} and may have unit, network and depth"
        )
    rows = records.dropna(subset=["value"]).copy()
    if "network" in rows:
        rows["station"] = rows["network"].astype(str) + "/" + rows["station"].astype(str)
    rows["station"] = rows["station"].astype(str)
    if "depth" in rows:
        shallowest = rows.groupby("station")["depth"].transform("min")
        rows = rows[rows["depth"].isna() | (rows["depth"] == shallowest)]
    rows["unit"] = rows["unit"].fillna("m3 m-3").astype(str) if "unit" in rows else "m3 m-3"
    factor = rows["unit"].map(VOLUMETRIC)
    rows["observed"] = rows["value"] * factor.fillna(1.0)
    rows["unit"] = rows["unit"].where(factor.isna(), "m3 m-3")
    times = pd.to_datetime(rows["time"], utc=True, format="ISO8601").dt.tz_localize(None)
    rows["time"] = times.to_numpy().astype("datetime64[M]").astype("datetime64[ns]")
    means = rows.groupby(["station", "time", "unit"], sort=True)[["longitude", "latitude", "observed"]].mean()
    return means.reset_index()


def _locate(monthly: pd.DataFrame, fine: xr.DataArray, crs: str) -> pd.DataFrame:
    """Row and column of each station's fine cell; those outside the grid are named in the log and left out."""
    places = monthly.groupby("station")[["longitude", "latitude"]].mean()
    to_grid = Transformer.from_crs(LONLAT, crs, always_xy=True)
    x, y = to_grid.transform(places["longitude"].to_numpy(), places["latitude"].to_numpy())
    cells = pd.DataFrame(
        {
            "row": _Axis.of(fine["y"].to_numpy()).cell(np.asarray(y, dtype=float)),
            "column": _Axis.of(fine["x"].to_numpy()).cell(np.asarray(x, dtype=float)),
        },
        index=places.index,
    )
    inside = (cells >= 0).all(axis=1)
    if not inside.all():
        log.warning("stations outside the grid, left out: %s", ", ".join(cells.index[~inside]))
    return cells[inside]


def _pair(monthly: pd.DataFrame, fine: xr.DataArray, coarse: xr.DataArray, ratio: int) -> pd.DataFrame:
    """Values of the products at each station's cell, month by month."""
    parts = []
    available = set(shared_months(fine, coarse))
    for time, rows in monthly.groupby("time"):
        month = np.datetime64(pd.Timestamp(str(time)), "M")
        if month not in available:
            continue
        at = rows["row"].to_numpy(), rows["column"].to_numpy()
        observed = field(coarse, month)
        parts.append(
            rows.assign(
                fine=field(fine, month)[at],
                coarse=observed[at[0] // ratio, at[1] // ratio],
                bilinear=kernels.bilinear(observed, ratio)[at],
            )
        )
    columns = ["station", "time", "unit", "observed", "fine", "coarse", "bilinear"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _scores(
    pairs: pd.DataFrame, products: Mapping[str, str], key: str, season_of: Seasons, *, count: bool
) -> pd.DataFrame:
    """Scores of several products on the pairs that all of them have."""
    columns = ["observed", *products.values()]
    complete = pairs.dropna(subset=columns)
    relative = bool((complete["unit"] != "m3 m-3").any())
    tally: Tally = {}
    for season, rows in complete.groupby("season", sort=False):
        values = _stretched(rows, columns) if relative else rows
        for name, column in products.items():
            add(tally, str(season), (name,), moments(values["observed"], values[column]))
    metrics = RELATIVE_METRICS if relative else tuple(SCORES)
    return long_form(tally, ["season", key], season_of.names, metrics=metrics, count=count)


def _stretched(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Columns brought to 0..1 by their least and greatest value among the rows of one unit."""
    grouped = rows.groupby("unit")[columns]
    least, greatest = grouped.transform("min"), grouped.transform("max")
    return (rows[columns] - least) / (greatest - least)
