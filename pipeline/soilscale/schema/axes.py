"""The axes of the products: coordinates with CF attributes, bounds of time, chunks."""

from __future__ import annotations

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import CRS

from soilscale.grid import Grid, centres
from soilscale.schema.names import FINE, SPATIAL_REF
from soilscale.seasons import Months


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
        "long_name": "coordinate reference system",
        # All digits: what is rounded off a cell's side adds up over thousands of cells.
        "GeoTransform": " ".join(repr(float(v)) for v in (transform.c, transform.a, 0, transform.f, 0, transform.e)),
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
            # Left to xarray, days would count from the first month written, and months that are appended would not fit.
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
