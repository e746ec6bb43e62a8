"""Pairs of stations with the maps and the coarse product: a row for each station and month."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from soilscale import kernels
from soilscale.extents import transformer, turn, turned
from soilscale.grid import LONLAT
from soilscale.reports.insitu.files import VOLUME
from soilscale.reports.insitu.screening import SAME_PLACE, Account, Measured
from soilscale.reports.tables import field, shared_months
from soilscale.schema import MAP
from soilscale.seasons import Seasons

log = logging.getLogger(__name__)

STATION = ["network", "station"]
"""What tells one station from another."""

VALUES = ["observed", "fine", "coarse", "bilinear"]
"""Columns of values that stand beside each other."""

PAIR = [*STATION, "time", "season", "unit", *VALUES]
"""Columns of the pairs."""

COMPANION = 0.8
"""Least share of the longest sensor's months that another one at its depth must have to be averaged with it."""

MIN_TIMES = 4
"""Fewest times of a station between whose least and greatest value the others are placed."""

Values = Callable[[str, np.datetime64, NDArray[np.int_], NDArray[np.int_]], NDArray[np.float64]]
"""Layer of the maps, month, rows and columns of fine cells -> their values, NaN where missing."""

Tell = Callable[..., None]
"""`Account.add` for one station."""


@dataclass(frozen=True)
class Paired:
    """Stations beside the products."""

    pairs: pd.DataFrame
    """`PAIR`, a row for every month of a station in which the maps exist; NaN where a product has no value."""
    seasonal: pd.DataFrame
    """`PAIR`, a row for every season of a station that has enough months; time is the season's first month."""
    places: pd.DataFrame
    """network, station, longitude, latitude, row, column (of the fine grid), of the stations inside the grid."""
    left_out: Account


@dataclass(frozen=True)
class Located:
    """Stations and the fine cells that hold them."""

    series: pd.DataFrame
    places: pd.DataFrame
    """As of `Paired`."""
    left_out: Account


def locate(measured: Measured, y: NDArray[np.float64], x: NDArray[np.float64], crs: str) -> Located:
    """Find the fine cell that holds each station.

    Parameters
    ----------
    measured
        Monthly means of sensors.
    y, x
        Centres of the rows and columns of the fine grid.
    crs
        CRS of the grid.
    """
    # A copy, so that the same measurements can be set beside other maps.
    account = Account(list(measured.left_out.rows))
    series = _series(measured.monthly, account)
    return Located(series, _located(series, y, x, crs, account), account)


def pair(
    located: Located,
    months: Collection[np.datetime64],
    at: Values,
    coarse: xr.DataArray,
    ratio: int,
    season_of: Seasons,
    *,
    min_valid_fraction: float = 0.5,
) -> Paired:
    """Set each station beside the fine cell and the coarse cell that hold it, and the coarse field interpolated there.

    Parameters
    ----------
    months
        Months of the maps.
    at
        Gives values of `MAP`, m3 m-3.
    coarse
        The observation (time, y, x), m3 m-3.
    ratio
        Fine cells along the side of a coarse cell.
    min_valid_fraction
        Least share of a season's months in a seasonal mean.
    """
    places, account = located.places, Account(list(located.left_out.rows))
    series = located.series.merge(places[[*STATION, "row", "column"]], on=STATION)
    pairs = _beside(series, sorted({*months} & {*shared_months(coarse)}), at, coarse, ratio, account)
    pairs["season"] = season_of.names_of(pairs["time"].to_numpy()) if len(pairs) else pd.Series(dtype=str)
    pairs = pairs[PAIR].sort_values([*STATION, "time"], ignore_index=True)
    _tell_of_values(pairs, account)
    return Paired(pairs, seasonal(pairs, season_of, min_valid_fraction, account), places, account)


def seasonal(pairs: pd.DataFrame, season_of: Seasons, least: float, account: Account) -> pd.DataFrame:
    """Seasonal means of the months in which every side has a value, the same months on every side.

    Parameters
    ----------
    pairs
        `PAIR`, monthly.
    least
        Least share of a season's months.
    account
        Is told of the seasons with fewer.
    """
    complete = pairs.dropna(subset=VALUES)
    if complete.empty:
        return complete[PAIR]
    starts = {time: season_of.start(np.datetime64(time)) for time in complete["time"].unique()}
    first = np.array([starts[time] for time in complete["time"]], dtype="datetime64[ns]")
    grouped = complete.assign(time=first).groupby([*STATION, "time", "season", "unit"], sort=True)[VALUES]
    means = grouped.mean().assign(months=grouped.size()).reset_index()
    needed = means["season"].map({name: least * len(months) for name, months in season_of.months.items()})
    # A share of a season, such as a third of 3 months, may come out a hair above the whole number.
    incomplete = means["months"] < needed - 1e-9
    for (network, station), rows in means[incomplete].groupby(STATION):
        account.add(str(network), str(station), "too few months in the season", len(rows), "seasons")
    return means.loc[~incomplete, PAIR].reset_index(drop=True)


def _series(monthly: pd.DataFrame, account: Account) -> pd.DataFrame:
    """One series for each station: network, station, unit, longitude, latitude, time, observed."""
    columns = [*STATION, "unit", "longitude", "latitude", "time", "observed"]
    parts = []
    for (network, station), rows in monthly.groupby(STATION, sort=True):
        tell = partial(account.add, str(network), str(station))
        if any(rows[axis].max() - rows[axis].min() > SAME_PLACE for axis in ("longitude", "latitude")):
            tell("several places under one name", len(rows), "months")
            continue
        chosen = _surface(rows, tell)
        place = {axis: float(chosen[axis].median()) for axis in ("longitude", "latitude")}
        means = _averaged(chosen, tell).rename("observed").rename_axis("time").reset_index()
        parts.append(
            means.assign(network=str(network), station=str(station), unit=chosen["unit"].iloc[0], **place)[columns]
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _surface(rows: pd.DataFrame, tell: Tell) -> pd.DataFrame:
    """Sensors of a station at its shallowest depth; of two units, those that measure volumetric soil moisture."""
    ranked = rows.assign(other=rows["unit"] != VOLUME)
    volumetric = ranked[ranked["other"] == ranked["other"].min()]
    unit = volumetric["unit"] == volumetric["unit"].min()
    tell("another unit beside the one that counts", len(rows) - int(unit.sum()), "months")
    same_unit = volumetric[unit]
    # Unknown depths count as the deepest; left NaN they would equal none, not even themselves.
    depths = same_unit[["depth_from", "depth_to"]].fillna(math.inf)
    first = depths.sort_values(["depth_from", "depth_to"]).iloc[0]
    shallowest = (depths == first).all(axis=1)
    tell("below a shallower sensor", int((~shallowest).sum()), "months")
    return same_unit[shallowest]


def _averaged(rows: pd.DataFrame, tell: Tell) -> pd.Series[float]:
    """Mean of the sensors at one depth over the months that all of them have, so that no step comes from their number.

    The sensor with the most months leads; those that have less than `COMPANION` of its months are left out.
    """
    table = rows.pivot_table(index="time", columns="sensor", values="observed", aggfunc="mean")
    months = table.count()
    led = table[table[months.idxmax()].notna()]
    together = led.columns[led.notna().mean() >= COMPANION]
    tell("another sensor at the same depth, with other months", int(months.drop(together).sum()), "months")
    means = led[together].dropna().mean(axis=1)
    tell("not every sensor at the depth has the month", len(led) - len(means), "months")
    return means


def _located(
    series: pd.DataFrame, rows: NDArray[np.float64], columns: NDArray[np.float64], crs: str, account: Account
) -> pd.DataFrame:
    """Row and column of each station's fine cell; those outside the grid are named in the log and left out."""
    places = series.groupby(STATION, sort=True)[["longitude", "latitude"]].first().reset_index()
    months = series.groupby(STATION, sort=True).size().to_numpy()
    x, y = on_grid(places, crs, float(columns.mean()))
    placed = places.assign(row=_cells(rows, y), column=_cells(columns, x))
    outside = (placed[["row", "column"]] < 0).any(axis=1)
    for place, n in zip(placed[outside].itertuples(index=False), months[outside], strict=True):
        where = f"longitude {place.longitude:.4f}, latitude {place.latitude:.4f}"
        account.add(str(place.network), str(place.station), "outside the grid", int(n), "months", where)
    if outside.any():
        log.warning("stations outside the grid, left out: %s", ", ".join(labels(placed[outside])))
    return placed[~outside].reset_index(drop=True)


def inside(places: pd.DataFrame, crs: str, bounds: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Whether each place lies within bounds of a CRS.

    Parameters
    ----------
    places
        Columns longitude and latitude, degrees.
    bounds
        Left, bottom, right, top.
    """
    left, bottom, right, top = bounds
    x, y = on_grid(places, crs, (left + right) / 2)
    within: NDArray[np.bool_] = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
    return within


def on_grid(places: pd.DataFrame, crs: str, middle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The x and y of places on a grid, whichever way their longitudes count and on whichever turn the grid lies.

    Parameters
    ----------
    places
        Columns longitude and latitude, degrees.
    middle
        x of the grid's middle.
    """
    to_grid = transformer(LONLAT, crs)
    x, y = to_grid.transform(places["longitude"].to_numpy(dtype=float), places["latitude"].to_numpy(dtype=float))
    return turned(x, middle, turn(crs)), np.asarray(y, dtype=float)


def labels(rows: pd.DataFrame) -> list[str]:
    """Name of each row's station, with its network where it has one."""
    return [f"{network}/{station}" if network else station for network, station in rows[STATION].to_numpy()]


def _cells(centres: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int_]:
    """Index of the cell in which each value lies, of an axis of cell centres, or -1."""
    first, step = float(centres[0]), float(centres[1] - centres[0])
    # A place that the CRS cannot show is infinite, and in no cell.
    with np.errstate(invalid="ignore"):
        # Not by rounding, which goes to even numbers and so would give every second border to the cell before it.
        at = np.floor((values - first) / step + 0.5)
        return np.where((at >= 0) & (at < len(centres)), at, -1).astype(int)


def _beside(
    series: pd.DataFrame,
    shared: Sequence[np.datetime64],
    at: Values,
    coarse: xr.DataArray,
    ratio: int,
    account: Account,
) -> pd.DataFrame:
    """Values of the products at each station's cell, month by month."""
    months = series["time"].to_numpy().astype("datetime64[M]")
    covered = np.isin(months, np.array(shared, "datetime64[M]")) if len(series) else np.zeros(0, dtype=bool)
    for (network, station), rows in series[~covered].groupby(STATION, sort=True):
        account.add(str(network), str(station), "outside the months of the maps", len(rows), "months")
    parts = []
    for time, rows in series[covered].groupby("time"):
        month = np.datetime64(pd.Timestamp(str(time)), "M")
        cells = rows["row"].to_numpy(), rows["column"].to_numpy()
        observed = field(coarse, month)
        parts.append(
            rows.assign(
                fine=at(MAP, month, *cells),
                coarse=observed[cells[0] // ratio, cells[1] // ratio],
                bilinear=_bilinear(observed, ratio, *cells),
            )
        )
    columns = [*STATION, "time", "unit", *VALUES]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _bilinear(
    observed: NDArray[np.float64], ratio: int, rows: NDArray[np.int_], columns: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Coarse field interpolated at fine cells, by the coarse cells around each: the whole field would be a map."""
    values = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        top, left = max(row // ratio - 1, 0), max(column // ratio - 1, 0)
        around = observed[top : row // ratio + 2, left : column // ratio + 2]
        values.append(kernels.bilinear(around, ratio)[row - top * ratio, column - left * ratio])
    return np.array(values)


def _tell_of_values(pairs: pd.DataFrame, account: Account) -> None:
    """Tell of the months without a value of a product, and of stations that measure another quantity."""
    relative = bool((pairs["unit"] != VOLUME).any())
    for (network, station), rows in pairs.groupby(STATION, sort=True):
        tell = partial(account.add, str(network), str(station))
        without = rows["fine"].isna()
        tell("no value of the fine map in its cell", int(without.sum()), "months")
        # Each month is counted under one reason, the first that holds.
        unobserved = ~without & rows[VALUES].isna().any(axis=1)
        tell("no coarse observation in its cell", int(unobserved.sum()), "months")
        complete = rows.dropna(subset=VALUES)
        unit = str(rows["unit"].iloc[0])
        if unit != VOLUME:
            tell("not scored by RMSE and bias, only by R and K-L", len(complete), "months", f"in {unit}, not {VOLUME}")
        if relative and (len(complete) < MIN_TIMES or (complete[VALUES].min() == complete[VALUES].max()).any()):
            detail = "left out of the metrics of values brought to 0..1 only" if unit == VOLUME else ""
            tell("too few or constant, so that there is no range from 0 to 1", len(complete), "months", detail)
