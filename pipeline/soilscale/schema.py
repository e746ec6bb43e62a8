"""The words of the products: dimensions, variable names, CF attributes, quality bits."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import CRS

from soilscale.grid import Grid, centres
from soilscale.seasons import Months

DIMS = ("time", "y", "x")
FINE, COARSE = "fine", "coarse"
MAP = "soil_moisture"
"""Variable of the maps and of the target's column in the training table."""
PREDICTION, RESIDUAL = "prediction", "residual"
PREDICTION_QUALITY, QUALITY = "prediction_quality", "quality"
LOWER, UPPER = "lower", "upper"
"""Ends of the interval of a map."""
VALID_FRACTION = "valid_fraction"
SPATIAL_REF = "spatial_ref"
ROLE, PART = "soilscale_role", "part"
"""Attribute of a coarse variable that is no feature, and its value: one of the sensors that the target is made from."""
CONVENTIONS = "CF-1.11"

KEYS = ("time", "season", "y", "x", "block", "split")
"""Columns of the training table that are not features; `MAP` is the target's."""


class Quality(IntFlag):
    """Bits of the quality layer of a map."""

    OBSERVED = 1
    PREDICTED = 2
    """Predicted where the coarse product has no observation."""
    GAP_FILLED = 4
    """A predictor was missing in this month and filled from its neighbours in time."""
    CLAMPED = 8
    """The value stood outside the physical range and was brought back to it."""
    OUTSIDE = 16
    """Outside the area that was asked for."""
    COMPREHENSIVE = 32
    """Predicted by the comprehensive model: the season has too few training rows for one of its own."""


QUALITY_ATTRS: Mapping[str, Any] = {
    "standard_name": "quality_flag",
    "long_name": "origin and state of the soil moisture value",
    "flag_masks": np.array([bit.value for bit in Quality], dtype="uint8"),
    "flag_meanings": " ".join(str(bit.name).lower() for bit in Quality),
}

MAP_ATTRS: Mapping[str, Any] = {
    "standard_name": "volume_fraction_of_condensed_water_in_soil",
    "long_name": "surface soil moisture",
    "units": "m3 m-3",
    "cell_methods": "area: mean time: mean",
}


def coordinates(geobox: GeoBox, times: Months | None = None) -> dict[str, xr.Variable]:
    """Coordinates of a grid, and of months where given, with CF attributes and the CRS.

    Returns
    -------
    dict
        ``y``, ``x``, ``spatial_ref`` and, with `times`, ``time`` and ``time_bounds``.
    """
    crs = CRS.from_user_input(str(geobox.crs))
    y, x = centres(geobox)
    axes = {axis["axis"]: axis for axis in crs.cs_to_cf() if "axis" in axis}
    transform = geobox.transform
    reference = crs.to_cf() | {
        "GeoTransform": " ".join(repr(float(v)) for v in (transform.c, transform.a, 0, transform.f, 0, transform.e))
    }
    coords = {
        "y": xr.Variable("y", y, axes.get("Y", {})),
        "x": xr.Variable("x", x, axes.get("X", {})),
        SPATIAL_REF: xr.Variable((), np.int32(0), reference),
    }
    if times is not None:
        starts = times.astype("datetime64[ns]")
        coords["time"] = xr.Variable(
            "time",
            starts,
            {"standard_name": "time", "axis": "T", "bounds": "time_bounds"},
            {"units": "days since 1970-01-01", "calendar": "standard", "dtype": "int64"},
        )
    return coords


def time_bounds(starts: Months, ends: Months) -> xr.Variable:
    """First instants of each period and of the one after it, dimensions ``(time, bounds)``."""
    bounds = np.stack([starts, ends], axis=1).astype("datetime64[ns]")
    return xr.Variable(
        ("time", "bounds"),
        bounds,
        {},
        {"units": "days since 1970-01-01", "calendar": "standard", "dtype": "int64"},
    )


def chunks(grid: Grid, scale: str) -> tuple[int, int]:
    """Rows and columns of a chunk: a tile, so that a fine chunk is a coarse chunk x ratio."""
    high, wide = grid.tile_shape
    factor = grid.ratio if scale == FINE else 1
    return high * factor, wide * factor
