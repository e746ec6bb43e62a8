"""The maps and the coarse product against stations in the ground: records, monthly means, pairs, scores."""

from __future__ import annotations

import pandas as pd

from soilscale.reports.insitu.agreement import (
    MIN_YEARS,
    by_station,
    gains,
    pooled,
    station_baselines,
    tell_of_years,
)
from soilscale.reports.insitu.collocation import Collocation, collocation, triple_collocation
from soilscale.reports.insitu.files import SUFFIX, VOLUME, is_soil_moisture, read_csv, read_stm, unzipped
from soilscale.reports.insitu.pairing import (
    STATION,
    VALUES,
    Located,
    Paired,
    Values,
    inside,
    labels,
    locate,
    pair,
    seasonal,
)
from soilscale.reports.insitu.screening import UNREADABLE, Account, Measured, Rules, measured
from soilscale.seasons import Seasons


def tables(paired: Paired, season_of: Seasons, *, min_years: int = MIN_YEARS) -> dict[str, pd.DataFrame]:
    """Every table of stations, by the name of its file.

    Parameters
    ----------
    paired
        Stations beside the products.
    min_years
        Fewest years of a calendar month that count in the anomaly correlation.

    Returns
    -------
    dict
        ``stations`` (season, product, metric, value, n), ``station_scores`` (network, station, season, product, metric,
        value, n), ``station_gains`` (network, station, season, against, metric, value, n), ``station_seasons`` (as
        ``stations``, of seasonal means), ``station_pairs`` and ``station_seasonal_pairs`` (station, time, season,
        unit, observed, fine, coarse, bilinear), ``stations_left_out`` (network, station, reason, count, of, detail).
    """
    pairs, seasonal = paired.pairs, paired.seasonal
    # A copy, or a second call would find the entries of the first in it.
    account = Account(list(paired.left_out.rows))
    tell_of_years(pairs, min_years, account)
    return {
        "stations": pooled(pairs, season_of, min_years=min_years),
        "station_seasons": pooled(seasonal, season_of, min_years=min_years),
        "station_scores": by_station(pairs, season_of, min_years=min_years),
        "station_gains": gains(pairs, season_of, min_years=min_years),
        "station_pairs": _with_network(pairs),
        "station_seasonal_pairs": _with_network(seasonal),
        "stations_left_out": account.table(),
    }


def places(paired: Paired) -> pd.DataFrame:
    """Where the stations inside the grid lie.

    Returns
    -------
    DataFrame
        station, longitude, latitude (degrees), row, column (of its fine cell, from 0).
    """
    return _with_network(paired.places)[["station", "longitude", "latitude", "row", "column"]]


def _with_network(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of which the station's name holds its network."""
    return pairs.assign(station=labels(pairs)).drop(columns="network")


__all__ = [
    "STATION",
    "SUFFIX",
    "UNREADABLE",
    "VALUES",
    "VOLUME",
    "Account",
    "Collocation",
    "Located",
    "Measured",
    "Paired",
    "Rules",
    "Values",
    "collocation",
    "inside",
    "is_soil_moisture",
    "labels",
    "locate",
    "measured",
    "pair",
    "places",
    "read_csv",
    "read_stm",
    "seasonal",
    "station_baselines",
    "tables",
    "triple_collocation",
    "unzipped",
]
