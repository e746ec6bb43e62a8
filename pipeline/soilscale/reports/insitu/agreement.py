"""How well the products agree with stations: pooled, station by station, and the gain of the fine maps.

Stations that measure volumetric soil moisture are compared as they are. Those that measure another quantity are
brought to 0..1, station by station and side by side, by the least and greatest value over the times that all sides have
(Yan & Bai 2020, section 3.4), and have R, K-L and anomaly R only. The two are never pooled as if they were of one
kind: where there are both, the pool's metrics are those of the volumetric stations, and `NORMALISED` names those of
all stations, each of them brought to 0..1. The unit says of what values a metric is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from soilscale.reports.insitu.files import VOLUME
from soilscale.reports.insitu.pairing import MIN_TIMES, STATION, VALUES
from soilscale.reports.insitu.screening import Account
from soilscale.reports.scores import NORMALISED, SCORES, Moments, moments, told
from soilscale.reports.tables import BILINEAR, NEAREST, Algorithm, method
from soilscale.seasons import ALL, Seasons

PRODUCTS: Mapping[str, str] = {"coarse": "coarse", "fine": "fine"}
"""Name of a product in the table -> its column in the pairs."""

OTHERS = VALUES[1:]
"""Columns that stand beside the stations' values."""

RELATIVE = ("r", "kl", "kl_paper")
"""Metrics that mean something where stations measure another quantity than the maps (Yan & Bai 2020, Table 6)."""

ANOMALY = "r_anomaly"
"""Correlation of the anomalies from the mean of each calendar month."""

ZERO_TO_ONE = "0 to 1"
"""Unit of values that were brought to 0..1."""

MIN_YEARS = 3
"""Fewest years of a calendar month of a station that make its mean."""

POOLED = "all stations"
"""Stands for a station where all of them are pooled."""

SLOPE, DOWN = "slope", "down"
"""Gain of the regression's slope; mean gain of slope, R and bias, G_DOWN of Merlin et al. (2015)."""

EMPTY: Mapping[str, pd.DataFrame] = MappingProxyType({})

Keys = tuple[Any, ...]


@dataclass(frozen=True)
class Pool:
    """Stations that are compared together, in one season."""

    unit: str
    """`VOLUME`, or `ZERO_TO_ONE` where each was brought there."""
    products: Mapping[str, tuple[Moments, Moments]]
    """Column of a product -> moments of its values and of their anomalies beside the stations'."""


def pooled(
    pairs: pd.DataFrame,
    season_of: Seasons,
    *,
    products: Mapping[str, str] = PRODUCTS,
    key: str = "product",
    min_years: int = MIN_YEARS,
) -> pd.DataFrame:
    """Scores of several products over all stations, on the pairs that all sides have.

    Parameters
    ----------
    pairs
        `pairing.PAIR`.
    products
        Name of a product -> its column.
    key
        Column that names the product.
    min_years
        Fewest years of a calendar month that count in `ANOMALY`.

    Returns
    -------
    DataFrame
        season, `key`, metric, value, n, unit (`VOLUME` or `ZERO_TO_ONE`, of the values that were compared); the metrics
        of `SCORES` that mean something, and `ANOMALY`; if some but not all stations are volumetric, `RELATIVE` and
        `ANOMALY` of all of them with the end `NORMALISED`.
    """
    rows = [
        (season, name, *score)
        for season, pools in _by_season(pairs, season_of, min_years)
        for name, column in products.items()
        for score in _scores(pools, column)
    ]
    return pd.DataFrame(rows, columns=["season", key, "metric", "value", "n", "unit"])


def by_station(pairs: pd.DataFrame, season_of: Seasons, *, min_years: int = MIN_YEARS) -> pd.DataFrame:
    """Scores of every station by itself, of both products and of the coarse one interpolated bilinearly.

    Returns
    -------
    DataFrame
        network, station, season, product (coarse | fine | bilinear), metric, value, n, unit.
    """
    products = {**PRODUCTS, BILINEAR: BILINEAR}
    columns = [*STATION, "season", "product", "metric", "value", "n", "unit"]
    parts = [
        pooled(rows, season_of, products=products, min_years=min_years).assign(
            network=str(network), station=str(station)
        )
        for (network, station), rows in pairs.groupby(STATION, sort=True)
    ]
    parts = [part[columns] for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def gains(pairs: pd.DataFrame, season_of: Seasons, *, min_years: int = MIN_YEARS) -> pd.DataFrame:
    """Gain of the fine maps over the coarse product and over its bilinear interpolation, pooled and by station.

    A gain is (D - d) / (D + d), d the distance of the fine maps from a perfect score and D that of the other: from
    -1 to 1, and above 0 where the fine maps are nearer (Merlin et al. 2015, Remote Sens. 7, 3783-3807, Eqs 3-6).
    Distances are 1 - R, 1 - anomaly R, |1 - slope| (of the product over the station), |bias|, RMSE, ubRMSE, and K-L.

    Returns
    -------
    DataFrame
        network, station (`POOLED` for all of them, or for the volumetric ones where there are such), season, against
        (coarse | bilinear), metric, value, n, unit; `DOWN` is the mean gain of slope, R and bias.
    """
    groups: list[tuple[Keys, pd.DataFrame]] = [(("", POOLED), pairs), *pairs.groupby(STATION, sort=True)]
    rows = [
        (*key, season, against, metric, value, n, unit)
        for key, group_pairs in groups
        for season, pools in _by_season(group_pairs, season_of, min_years)
        for against in ("coarse", BILINEAR)
        for metric, value, n, unit in _gains(pools, against)
    ]
    return pd.DataFrame(rows, columns=[*STATION, "season", "against", "metric", "value", "n", "unit"])


def station_baselines(
    pairs: pd.DataFrame, algorithm: Algorithm, season_of: Seasons, baselines: Mapping[str, pd.DataFrame] = EMPTY
) -> pd.DataFrame:
    """Score the maps, nearest and bilinear against stations, and the algorithms that do not make the maps.

    Parameters
    ----------
    pairs
        `pairing.PAIR`.
    algorithm
        With which the maps were made.
    baselines
        Algorithm -> pairs whose column ``fine`` is of that algorithm.

    Returns
    -------
    DataFrame
        season, method, metric, value.
    """
    columns = {NEAREST: "coarse", BILINEAR: "bilinear", method(algorithm): "fine"}
    parts = [pooled(pairs, season_of, products=columns, key="method")]
    parts += [
        pooled(other_pairs, season_of, products={name: "fine"}, key="method") for name, other_pairs in baselines.items()
    ]
    # If all are empty, one remains for its columns: pandas joins no empty list.
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return table[table["metric"].isin(SCORES)].drop(columns=["n", "unit"]).reset_index(drop=True)


def normalised(rows: pd.DataFrame) -> pd.DataFrame:
    """Every side of every station brought to 0..1 by its least and greatest value.

    NaN where a side is constant, and at stations with fewer than `MIN_TIMES`, of which two would agree in any case.
    """
    grouped = rows.groupby(STATION)[VALUES]
    least, greatest = grouped.transform("min"), grouped.transform("max")
    reach = greatest - least
    is_valid = (reach > 0) & (grouped.transform("size") >= MIN_TIMES).to_numpy()[:, None]
    return rows.assign(**((rows[VALUES] - least) / reach.where(is_valid)))


def anomalies(rows: pd.DataFrame, min_years: int = MIN_YEARS) -> pd.DataFrame:
    """Every side less its station's mean of the calendar month; NaN where that month has too few years."""
    month = pd.DatetimeIndex(rows["time"]).month
    grouped = rows.groupby([*(rows[name] for name in STATION), month])[VALUES]
    enough = grouped.transform("size") >= min_years
    return rows.assign(**(rows[VALUES] - grouped.transform("mean")).where(enough))


def tell_of_years(pairs: pd.DataFrame, min_years: int, account: Account) -> None:
    """Tell of the months of each station that the anomaly correlation leaves out for want of years."""
    complete = pairs.dropna(subset=VALUES)
    is_short = anomalies(complete, min_years)["observed"].isna()
    for (network, station), rows in complete[is_short].groupby(STATION, sort=True):
        reason = f"not in the anomaly correlation: fewer than {min_years} years of the calendar month"
        account.add(str(network), str(station), reason, len(rows), "months")


def _by_season(pairs: pd.DataFrame, season_of: Seasons, min_years: int) -> Iterator[tuple[str, list[Pool]]]:
    """Pools of each season and of all of them; climatology and range are those of all seasons."""
    complete = pairs.dropna(subset=VALUES)
    if complete.empty:
        return
    volumetric = complete[complete["unit"] == VOLUME]
    pools = [(VOLUME, volumetric)] if len(volumetric) else []
    pools += [(ZERO_TO_ONE, normalised(complete))] if len(volumetric) < len(complete) else []
    # Before the seasons part: a calendar month's mean is of all its years either way, and is taken once.
    departures = [anomalies(rows, min_years) for _, rows in pools]
    present = set(complete["season"])
    for season in (*(name for name in season_of.names if name in present), ALL):
        yield (
            season,
            [
                Pool(
                    unit,
                    {
                        column: (_moments(rows, column, season), _moments(departure, column, season))
                        for column in OTHERS
                    },
                )
                for (unit, rows), departure in zip(pools, departures, strict=True)
            ],
        )


def _moments(rows: pd.DataFrame, column: str, season: str) -> Moments:
    """Moments of a product and the stations in a season."""
    season_rows = rows if season == ALL else rows[rows["season"] == season]
    return moments(season_rows["observed"].astype(float), season_rows[column].astype(float))


def _scores(pools: Sequence[Pool], column: str) -> Iterator[tuple[str, float, int, str]]:
    """Metric, value, n and unit of one product; what has a unit only of volumetric stations."""
    for number, pool in enumerate(pools):
        values, departures = pool.products[column]
        # Only a second pool is marked: if all stations measure another quantity, theirs is the first.
        end = NORMALISED if number else ""
        for name in SCORES:
            if pool.unit == VOLUME or name in RELATIVE:
                yield name + end, told(name, values), values.n, pool.unit
        yield ANOMALY + end, SCORES["r"].of(departures), departures.n, pool.unit


def _gains(pools: Sequence[Pool], against: str) -> Iterator[tuple[str, float, int, str]]:
    """Metric, gain, n and unit of the fine maps over another product, in the first pool."""
    pool = pools[0]
    ours, theirs = _distances(pool, "fine"), _distances(pool, against)
    values = {name: (gain(ours[name][0], theirs[name][0]), ours[name][1]) for name in ours}
    if pool.unit == VOLUME:
        parts = [values[name][0] for name in (SLOPE, "r", "bias")]
        values[DOWN] = sum(parts) / len(parts), values["bias"][1]
    for name, (value, n) in values.items():
        yield name, value, n, pool.unit


def _distances(pool: Pool, column: str) -> dict[str, tuple[float, int]]:
    """Distance of a product from a perfect score, and n, by metric."""
    values, departures = pool.products[column]
    distances = {
        "r": (1 - SCORES["r"].of(values), values.n),
        ANOMALY: (1 - SCORES["r"].of(departures), departures.n),
        "kl": (told("kl", values), values.n),
    }
    if pool.unit == VOLUME:
        distances |= {name: (abs(SCORES[name].of(values)), values.n) for name in ("bias", "rmse", "ubrmse")}
        distances[SLOPE] = abs(1 - slope(values)), values.n
    return distances


def slope(stats: Moments) -> float:
    """Slope of the least squares line that gives the product from the station; NaN where the station is constant."""
    # `r2` knows when a station is constant but for rounding; the sum of squares does not.
    is_valid = stats.n > 1 and not math.isnan(SCORES["r2"].of(stats))
    return stats.products / stats.observed_squares if is_valid else math.nan


def gain(ours: float, theirs: float) -> float:
    """(theirs - ours) / (theirs + ours) of two distances, 0 where both are perfect."""
    total = ours + theirs
    return (theirs - ours) / total if total else 0.0
