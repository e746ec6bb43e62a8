"""Triple collocation: the errors of three products of one quantity, none of which is taken as the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from soilscale.reports.insitu.files import VOLUME
from soilscale.reports.insitu.pairing import STATION, Paired

FEWEST = 3
"""Fewest triplets that have a covariance matrix of their own."""

MIN_TRIPLETS = 30
"""Triplets below which no error is told: their estimates scatter too much."""

IN_SITU = "stations"
"""Name of the stations among the three products."""

COLUMNS = ["first", "second", "product", "metric", "value", "n"]


@dataclass(frozen=True)
class Collocation:
    """Errors of three products; NaN where the sample admits none."""

    n: int
    """Triplets in which all three are finite."""
    error_variance: tuple[float, float, float]
    """Variance of each product's random error, in its own unit squared."""
    r: tuple[float, float, float]
    """Correlation of each product with the unknown truth."""


def triple_collocation(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Collocation:
    """Error variances and correlations with the unknown truth by extended triple collocation.

    McColl et al. (2014, Geophys. Res. Lett. 41, 6229-6236), with Q the covariance matrix of the three:
    error variance of the first Q11 - Q12 Q13 / Q23, its R^2 Q12 Q13 / (Q11 Q23), likewise the others. Each product
    is taken to be a linear function of the truth with a random error that is independent of the truth and of the
    other products' errors. Each is taken to rise with the truth: where two do not rise together, everything is NaN.

    Parameters
    ----------
    a, b, c
        The products, arrays of one shape; triplets in which one is not finite do not count.

    Raises
    ------
    ValueError
        If the three do not have the same shape.
    """
    series = [np.asarray(values, dtype="float64") for values in (a, b, c)]
    if len({values.shape for values in series}) > 1:
        shapes = ", ".join(str(values.shape) for values in series)
        raise ValueError(f"the three products must have the same shape; got {shapes}")
    together = np.stack([values.ravel() for values in series])
    together = together[:, np.isfinite(together).all(axis=0)]
    n = together.shape[1]
    if n < FEWEST:
        return Collocation(n, (math.nan,) * 3, (math.nan,) * 3)
    covariance = np.cov(together)
    if not (covariance > 0).all():
        return Collocation(n, (math.nan,) * 3, (math.nan,) * 3)
    estimates = [_estimate(covariance, i, (i + 1) % 3, (i + 2) % 3) for i in range(3)]
    errors, correlations = zip(*estimates, strict=True)
    return Collocation(n, errors, correlations)


def _estimate(q: np.ndarray[tuple[int, int], np.dtype[np.float64]], i: int, j: int, k: int) -> tuple[float, float]:
    """Error variance and R of product i."""
    variance = float(q[i, i])
    signal = float(q[i, j] * q[i, k] / q[j, k])
    # More signal than variance would mean an error below 0, which is no estimate; a hair more is rounding.
    if not signal <= variance * (1 + 1e-12):
        return math.nan, math.nan
    return max(variance - signal, 0.0), min(math.sqrt(signal / variance), 1.0)


def collocation(paired: Paired, sensors: Mapping[str, xr.DataArray], ratio: int) -> pd.DataFrame:
    """Triple collocation of the stations with every two sensors of the target that share months.

    Each side of a station is taken less its mean over the station's triplets, so that lasting differences between a
    point and its cell do not count; then all stations are pooled. Stations that measure another quantity than
    volumetric soil moisture are left out.

    Parameters
    ----------
    paired
        Stations beside the products.
    sensors
        Sensor -> what it read (time, y, x) on the coarse grid, m3 m-3, before it was brought to another's level.
    ratio
        Fine cells along the side of a coarse cell.

    Returns
    -------
    DataFrame
        first, second (the sensors), product (`IN_SITU` or one of them), metric, value, n; ``error_sd`` is the
        standard deviation of the random error, m3 m-3, ``r`` the correlation with the unknown truth. No row for two
        sensors with fewer than `MIN_TRIPLETS`.
    """
    rows: list[tuple[object, ...]] = []
    for first, second in combinations(sensors, 2):
        triplets = _triplets(paired, {first: sensors[first], second: sensors[second]}, ratio)
        if len(triplets) < MIN_TRIPLETS:
            continue
        estimate = triple_collocation(triplets["observed"], triplets[first], triplets[second])
        for product, variance, r in zip((IN_SITU, first, second), estimate.error_variance, estimate.r, strict=True):
            rows.append((first, second, product, "error_sd", math.sqrt(variance), estimate.n))
            rows.append((first, second, product, "r", r, estimate.n))
    return pd.DataFrame(rows, columns=COLUMNS)


def _triplets(paired: Paired, sensors: Mapping[str, xr.DataArray], ratio: int) -> pd.DataFrame:
    """Months in which a station and both sensors have a value, less the station's means."""
    measured = paired.pairs[paired.pairs["unit"] == VOLUME]
    rows = measured.merge(paired.places[[*STATION, "row", "column"]], on=STATION)
    y, x = (rows[axis].to_numpy(dtype=int) // ratio for axis in ("row", "column"))
    months = rows["time"].to_numpy().astype("datetime64[M]")
    values = {"observed": rows["observed"].to_numpy(dtype=float)}
    for name, read in sensors.items():
        at = pd.Index(read["time"].to_numpy().astype("datetime64[M]").astype("datetime64[ns]")).get_indexer(
            pd.Index(months.astype("datetime64[ns]"))
        )
        # Where a sensor lacks the month, -1 reads its last one, which the condition then leaves out.
        values[name] = np.where(at >= 0, read.to_numpy()[at, y, x], np.nan)
    complete = rows[STATION].assign(**values).dropna()
    return complete[list(values)] - complete.groupby(STATION)[list(values)].transform("mean")
