"""Axes of a person's arrays: which they are, that they are regular, and how a coarse grid and a fine one nest."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo import xr as _odc  # noqa: F401 - registers the accessor that knows the CRS
from pyproj import CRS

from soilscale.errors import ConfigurationError, DataError
from soilscale.seasons import Months

NAMES: Mapping[str, tuple[str, ...]] = {
    "y": ("y", "lat", "latitude", "northing", "nav_lat"),
    "x": ("x", "lon", "longitude", "easting", "nav_lon"),
}
"""Axis -> the names by which it is known, whatever their case."""

DEGREES = frozenset({"lat", "latitude", "nav_lat"})
"""Names of an axis that is in degrees, so that the CRS goes without saying."""

OFF = 0.05
"""Share of a fine cell by which a centre may lie off its place: coordinates are often stored in single precision."""

STATED = ("scale_factor", "add_offset", "_FillValue", "missing_value")
"""Attributes of values that are still coded."""

FEW = 4
"""Names that a message lists."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One axis of a regular grid."""

    name: Hashable
    """As the person calls it."""
    centres: Floats
    """In the order of the products: y descends, x ascends."""
    flipped: bool
    """Whether the person's order is the other one."""

    @property
    def step(self) -> float:
        """Width of a cell; NaN of a single one."""
        centres = self.centres
        return float(abs(centres[-1] - centres[0]) / (len(centres) - 1)) if len(centres) > 1 else float("nan")


def axis(values: xr.DataArray | xr.Dataset, kind: str, label: str) -> Axis:
    """Axis of an array.

    Parameters
    ----------
    kind
        ``y`` or ``x``.
    label
        The array, as messages name it.

    Raises
    ------
    DataError
        If there is none, or it is not regular.
    """
    dimensions = [name for name in values.dims if str(name).lower() in NAMES[kind]]
    if len(dimensions) != 1 or dimensions[0] not in values.coords:
        dims = ", ".join(map(str, values.dims)) or "none"
        raise DataError(
            f"{label}: got the dimensions {dims}, expected one of {', '.join(NAMES[kind])} with a "
            f"coordinate for {kind}; rename it, or assign the cell centres with .assign_coords"
        )
    centres = values[dimensions[0]].to_numpy().astype("float64")
    steps = np.diff(centres)
    if not np.isfinite(centres).all() or (len(steps) and np.abs(steps - steps.mean()).max() > OFF * abs(steps.mean())):
        raise DataError(f"{label}: the cell centres along {dimensions[0]} are not equally far apart; regrid it first")
    ascends = bool(len(steps) and steps[0] > 0)
    flipped = bool(len(steps)) and ascends == (kind == "y")
    return Axis(dimensions[0], centres[::-1] if flipped else centres, flipped)


def crs_of(values: xr.DataArray | xr.Dataset, rows: Axis) -> CRS | None:
    """CRS of an array, as its coordinates tell it; of one in latitude and longitude it is EPSG:4326 without that."""
    crs: Any = values.odc.crs
    if crs is not None:
        return CRS.from_user_input(crs.to_wkt())
    return CRS.from_epsg(4326) if str(rows.name).lower() in DEGREES else None


def months_of(values: xr.DataArray | xr.Dataset, label: str) -> Months:
    """Months of an array with an axis ``time``, one each.

    Raises
    ------
    DataError
        If it has no dates, or several in one month.
    """
    times = values["time"].to_numpy() if "time" in values.coords else np.empty(0, object)
    if not np.issubdtype(times.dtype, np.datetime64) or np.isnat(times).any():
        raise DataError(
            f"{label}: got a time axis of {times.dtype}, expected datetime64 without gaps; decode its times"
        )
    months = times.astype("datetime64[M]")
    unique, counts = np.unique(months, return_counts=True)
    if (counts > 1).any():
        twice = unique[counts > 1]
        raise DataError(
            f"{label}: got {int(counts.max())} dates in {twice[0]}, expected one a month; take monthly means first: "
            ".resample(time='MS').mean()"
        )
    return months


def decoded(values: xr.DataArray, label: str) -> None:
    """Refuse an array that holds no numbers, or numbers that are still coded.

    Raises
    ------
    DataError
        Naming it.
    """
    if values.dtype.kind not in "biuf":
        raise DataError(f"{label}: got values of type {values.dtype}, expected numbers")
    if coded := [name for name in STATED if name in values.attrs]:
        raise DataError(
            f"{label}: its values are not decoded yet (it has the attribute {coded[0]}); open it with "
            "mask_and_scale=True"
        )


@dataclass(frozen=True)
class Nest:
    """How a coarse grid and a fine one share whole coarse cells."""

    coarse: tuple[slice, slice]
    """Rows and columns of the coarse cells that the fine grid covers wholly."""
    fine: tuple[slice, slice]
    """Rows and columns of the fine cells within them."""


def nest(coarse: tuple[Axis, Axis], fine: tuple[Axis, Axis], ratio: int) -> Nest:
    """Coarse cells that fine cells cover wholly; the rest of either grid is left out.

    Parameters
    ----------
    coarse, fine
        y and x of each.
    ratio
        Fine cells along the side of a coarse cell.

    Raises
    ------
    DataError
        If the fine grid is not nested in the coarse one, or they share no cell.
    """
    parts = [_nested(*pair, ratio) for pair in zip(coarse, fine, strict=True)]
    return Nest((parts[0][0], parts[1][0]), (parts[0][1], parts[1][1]))


def _nested(coarse: Axis, fine: Axis, ratio: int) -> tuple[slice, slice]:
    """Coarse and fine cells along one axis."""
    step = fine.step
    if not np.isfinite(step):
        raise DataError(f"predictors: got a single cell along {fine.name}, expected at least {ratio}")
    width = coarse.step if len(coarse.centres) > 1 else step * ratio
    if abs(width / step - ratio) * len(coarse.centres) > OFF:
        raise DataError(
            f"ratio: a coarse cell is {width:.6g} along {coarse.name} and a fine one {step:.6g}, so {width / step:.4g} "
            f"fine cells lie along it, but ratio is {ratio}; give the ratio that fits, or regrid the predictors"
        )
    # In fine cells from the first corner of the coarse grid, in the direction in which the cells are counted.
    sign = -1.0 if coarse.centres[0] > coarse.centres[-1] or fine.centres[0] > fine.centres[-1] else 1.0
    corner = coarse.centres[0] - sign * width / 2
    away = sign * (fine.centres[0] - corner) / step - 0.5
    first = round(away)
    if abs(away - first) > OFF:
        raise DataError(
            f"predictors: their cells along {fine.name} lie {away - first:+.2f} of a fine cell off those that would be "
            "nested in the coarse grid; regrid them so that every coarse cell is whole fine ones"
        )
    last = first + len(fine.centres)
    begin, end = max(0, -(-first // ratio)), min(len(coarse.centres), last // ratio)
    if end <= begin:
        raise DataError(
            f"predictors: along {fine.name} they cover no coarse cell wholly: they go from {fine.centres[0]:.6g} to "
            f"{fine.centres[-1]:.6g}, the coarse cells from {coarse.centres[0]:.6g} to {coarse.centres[-1]:.6g}"
        )
    return slice(begin, end), slice(begin * ratio - first, end * ratio - first)


def same_crs(coarse: CRS | None, fine: CRS | None) -> None:
    """Refuse grids that state different coordinate reference systems.

    Raises
    ------
    DataError
        Naming both.
    """
    if coarse is not None and fine is not None and not coarse.equals(fine, ignore_axis_order=True):
        raise DataError(
            f"predictors: their CRS is {fine.name}, that of the coarse field {coarse.name}; reproject one of them, for "
            "example with rioxarray's .rio.reproject_match"
        )


def checked_ratio(ratio: int) -> int:
    """Ratio as a whole number of at least 2.

    Raises
    ------
    ConfigurationError
        If it is something else.
    """
    if isinstance(ratio, bool) or int(ratio) != ratio or ratio < 2:  # noqa: PLR2004 - fewer is no finer grid
        raise ConfigurationError(f"ratio: got {ratio!r}, expected the fine cells along a coarse one, 2 or more")
    return int(ratio)


def listed(names: Any) -> str:
    """Some names as a message lists them."""
    words = [str(name) for name in names]
    return ", ".join(words[:FEW]) + (f" and {len(words) - FEW} more" if len(words) > FEW else "")
