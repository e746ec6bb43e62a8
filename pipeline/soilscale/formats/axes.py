"""Which dimensions of a variable are rows, columns and time, and their positions: CF's rules, and files' own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray

from soilscale import units
from soilscale.errors import DataError
from soilscale.formats import attributes, hdfeos
from soilscale.formats.contents import Contents, Variable
from soilscale.units import UnitError

Role = Literal["x", "y", "t"]

EVEN = 0.02
"""Share of a step by which steps of a coordinate may differ: they are often kept in single precision."""

SNAP = 1e-3
"""Share of a pixel by which the edge of a map in degrees may miss a whole number of half pixels."""

NAMES: Mapping[Role, re.Pattern[str]] = {
    "x": re.compile(r"n?lon(gitude)?s?|x|xdim|columns?|cols?|x_?c(oord)?|easting", re.IGNORECASE),
    "y": re.compile(r"n?lat(itude)?s?|y|ydim|rows?|y_?c(oord)?|northing", re.IGNORECASE),
    "t": re.compile(r"n?time|t|date|valid_time|time of .*", re.IGNORECASE),
}
STANDARD: Mapping[str, Role] = {
    "longitude": "x",
    "projection_x_coordinate": "x",
    "latitude": "y",
    "projection_y_coordinate": "y",
    "time": "t",
}
DEGREES = re.compile(r"degrees?_?(north|south|east|west|n|e)|degrees?", re.IGNORECASE)
SINCE = re.compile(r"\w+\s+since\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Axes:
    """Dimensions of a variable, by number; those that are none of these have length one."""

    rows: int
    columns: int
    time: int | None
    sides: Mapping[int, Variable]
    """Coordinates of those dimensions that have some."""


def axes(contents: Contents, variable: Variable, dimensions: tuple[str, ...]) -> Axes:
    """Find the axes of a variable.

    Parameters
    ----------
    dimensions
        Names of its dimensions.

    Raises
    ------
    DataError
        If it is no raster, or holds more than rows, columns and time.
    """
    sides = {
        number: side for number in range(len(dimensions)) if (side := _side(contents, variable, dimensions, number))
    }
    roles = {number: _role(name, sides.get(number)) for number, name in enumerate(dimensions)}
    time = next((number for number, role in roles.items() if role == "t"), None)
    rows = next((number for number, role in roles.items() if role == "y"), None)
    columns = next((number for number, role in roles.items() if role == "x"), None)
    if rows is None or columns is None:
        long_axes = [number for number, size in enumerate(variable.shape) if number != time and size > 1]
        if len(long_axes) != 2:  # noqa: PLR2004 - rows and columns
            raise DataError(_no_raster(variable, dimensions))
        # The one that is named, if one is, and the other; else rows come first.
        rows, columns = (
            (long_axes[0], long_axes[1])
            if rows != long_axes[1] and columns != long_axes[0]
            else (long_axes[1], long_axes[0])
        )
    singletons = [number for number in range(len(dimensions)) if number not in (rows, columns, time)]
    if any(variable.shape[number] != 1 for number in singletons):
        raise DataError(_no_raster(variable, dimensions))
    return Axes(rows, columns, time, sides)


def _no_raster(variable: Variable, dimensions: tuple[str, ...]) -> str:
    sizes = " x ".join(
        f"{name.rpartition('/')[2] or 'unnamed'} {size}" for name, size in zip(dimensions, variable.shape, strict=True)
    )
    expected = "rows and columns, at most a time axis, and other dimensions of length one"
    return f"{sizes or 'a single value'}; expected {expected}"


def _side(contents: Contents, variable: Variable, dimensions: tuple[str, ...], number: int) -> Variable | None:
    """Coordinates of a dimension: the variable of its name, in its group or above."""
    name, size = dimensions[number], variable.shape[number]
    if not name:
        return _unnamed(contents, variable, number)
    last, groups = name.rpartition("/")[2], variable.name.split("/")[:-1]
    # A group may use the dimensions of any group above it, so coordinates are looked for upwards.
    places = [name, *("/".join([*groups[:depth], last]) for depth in range(len(groups), -1, -1))]
    for place in dict.fromkeys(places):
        coordinates = contents.variable(place)
        # Dates may be texts, whose type HDF5 calls an object.
        kinds = "iufSUO" if NAMES["t"].fullmatch(last) else "iuf"
        if coordinates is not None and coordinates.shape == (size,) and coordinates.dtype.kind in kinds:
            return coordinates
    return None


def _unnamed(contents: Contents, variable: Variable, number: int) -> Variable | None:
    """Latitudes or longitudes beside a variable whose dimensions have no names, known by their length alone."""
    # Known by length alone, a square raster would be taken for its own transpose.
    if variable.shape[number] == 1 or variable.shape.count(variable.shape[number]) > 1:
        return None
    above = variable.name.rpartition("/")[0]
    for name in ("lat", "latitude", "lon", "longitude", "y", "x"):
        coordinates = contents.variable(f"{above}/{name}".lstrip("/"))
        if (
            coordinates is not None
            and coordinates.shape == (variable.shape[number],)
            and coordinates.dtype.kind in "iuf"
        ):
            return coordinates
    return None


def _role(name: str, side: Variable | None) -> Role | None:
    """What a dimension is, by its coordinates, else by its name."""
    attributes = {} if side is None else side.attributes
    unit = str(attributes.get("units", ""))
    standard = STANDARD.get(str(attributes.get("standard_name", "")).lower())
    axis = str(attributes.get("axis", "")).lower()
    if standard:
        return standard
    if SINCE.match(unit):
        return "t"
    if direction := {"north": "y", "n": "y", "east": "x", "e": "x"}.get(_direction(unit)):
        return direction  # type: ignore[return-value]  # of the roles above
    if axis in ("x", "y", "t"):
        return axis  # type: ignore[return-value]  # likewise
    last = (name or (side.name if side is not None else "")).rpartition("/")[2].partition(":")[0]
    return next((role for role, pattern in NAMES.items() if pattern.fullmatch(last)), None)


def _direction(unit: str) -> str:
    match = DEGREES.fullmatch(unit.strip())
    return (match.group(1) or "").lower() if match else ""


@dataclass(frozen=True)
class Place:
    """Where the pixels of a variable lie, as far as its file says."""

    crs: str | None
    transform: Affine | None
    mirrored: bool = False
    """Whether columns are stored from east to west; the transform is of those turned round."""
    curved: bool = False
    """Whether the file places each pixel alone, by longitudes and latitudes of rows and columns."""


def place(contents: Contents, variable: Variable, variable_axes: Axes, eos: hdfeos.EosGrid | None) -> Place:
    """Where pixels lie, as the format, HDF-EOS or coordinates say it.

    Raises
    ------
    DataError
        If coordinates are not evenly spaced.
    """
    # What the format itself says is exact; coordinates are often rounded to single precision.
    if variable.transform is not None:
        return Place(variable.crs, variable.transform)
    if eos is not None:
        return Place(eos.crs, eos.transform)
    crs, mapping = _crs(contents, variable, variable_axes)
    y, x = variable_axes.sides.get(variable_axes.rows), variable_axes.sides.get(variable_axes.columns)
    if x is None or y is None:
        return Place(crs, None, curved=crs is None and _is_curved(contents, variable))
    is_degrees = crs is not None and pyproj.CRS.from_user_input(crs).is_geographic
    centres = [_decoded(side) * (1.0 if is_degrees else _metres(side, crs, mapping)) for side in (x, y)]
    # Longitudes are unwrapped first: a map across 180 degrees is even but for one step of 360.
    left, width = _even(_unwrapped(centres[0]) if is_degrees else centres[0], x, is_degrees=is_degrees)
    top, height = _even(centres[1], y, is_degrees=is_degrees)
    mirrored = width < 0
    if mirrored:
        left, width = left + width * x.shape[0], -width
    # Numbers of rows and columns place nothing.
    curved = crs is None and _is_curved(contents, variable)
    return Place(crs, Affine(width, 0, left, 0, height, top), mirrored, curved)


def is_coordinate(variable: Variable) -> bool:
    """Whether a variable holds longitudes, latitudes, x or y."""
    return _role("", variable) in ("x", "y")


def _is_curved(contents: Contents, variable: Variable) -> bool:
    shape = tuple(size for size in variable.shape if size > 1)
    listed = str(variable.attributes.get("coordinates", "")).split()
    names = [*listed, "lat", "lon", "latitude", "longitude", "XLAT", "XLONG", "nav_lat", "nav_lon"]
    sides = [side for name in names if (side := _beside(contents, variable.name, name)) is not None]
    return any(side.shape[-2:] == shape[-2:] and len(side.shape) > 1 and side.dtype.kind == "f" for side in sides)


def _decoded(side: Variable) -> NDArray[np.float64]:
    """Coordinates, which may be packed as any values are."""
    coding = attributes.read(side.attributes, side.dtype, is_hdf4=False, is_eos=False)
    return side.values().astype("float64") * coding.scale + coding.offset


def _metres(side: Variable, crs: str | None, mapping: Mapping[str, Any]) -> float:
    """Metres of a unit of x or y; angles of a geostationary satellite are of its height."""
    unit = units.unit_text(side.attributes.get("units"))
    # Without a CRS, that of the item may be in degrees.
    if unit is None or units.canonical(unit) in ("m", "1") or (crs is None and DEGREES.fullmatch(unit)):
        return 1.0
    if unit.lower() in ("rad", "radian", "radians") and "perspective_point_height" in mapping:
        return float(mapping["perspective_point_height"])
    try:
        return units.linear(unit, "m").factor
    except UnitError as error:
        raise DataError(
            f"its coordinate {side.name} is in {unit!r}; expected metres, or a unit that leads to them"
        ) from error


def _unwrapped(degrees: NDArray[Any]) -> NDArray[np.float64]:
    """Longitudes without the step from 180 to -180, or from 360 to 0."""
    return np.unwrap(degrees.astype("float64"), period=360.0)


def _even(centres: NDArray[Any], side: Variable, *, is_degrees: bool) -> tuple[float, float]:
    """First edge and step of evenly spaced centres, rounding of single precision removed."""
    values = centres.astype("float64")
    if len(values) < 2:  # noqa: PLR2004
        raise DataError(f"its coordinate {side.name} has one value, so the pixel size is unknown")
    # Over the whole length, since a single step of rounded coordinates may be off by some per cent.
    step = (values[-1] - values[0]) / (len(values) - 1)
    if not step or not np.isfinite(values).all() or np.abs(np.diff(values) - step).max() > EVEN * abs(step):
        raise DataError(
            f"its coordinate {side.name} is not evenly spaced ({values[0]:g}, {values[1]:g} .. {values[-1]:g}); "
            "regrid the file first"
        )
    if is_degrees:
        around = 360 / abs(step)
        # A whole number of pixels around the Earth, so that a map of the world closes without a gap.
        if abs(around - round(around)) < SNAP * 2:
            step = math.copysign(360 / round(around), step)
        halves = (values[0] - step / 2) / (step / 2)
        if abs(halves - round(halves)) < max(SNAP, 2 * EVEN * 0.1):
            return round(halves) * step / 2, step
    return float(values[0] - step / 2), float(step)


def _crs(contents: Contents, variable: Variable, variable_axes: Axes) -> tuple[str | None, Mapping[str, Any]]:
    """CRS that a grid mapping states, else that of plain longitudes and latitudes; and attributes of the mapping."""
    y, x = variable_axes.sides.get(variable_axes.rows), variable_axes.sides.get(variable_axes.columns)
    mapping = str(variable.attributes.get("grid_mapping", "")).partition(":")[0].strip()
    mapping_variable = None if not mapping else _beside(contents, variable.name, mapping)
    if mapping_variable is not None and (crs := _of_mapping(mapping_variable.attributes)) is not None:
        return crs, mapping_variable.attributes
    if x is None or y is None or variable.crs is not None:
        return variable.crs, {}
    roles = [_direction(str(side.attributes.get("units", ""))) for side in (y, x)]
    names = [side.name.rpartition("/")[2].lower() for side in (y, x)]
    lonlat = all(roles) or (names[0].startswith("lat") and names[1].startswith("lon"))
    return ("EPSG:4326" if lonlat else None), {}


def _beside(contents: Contents, variable: str, name: str) -> Variable | None:
    """Variable of a name in the group of another, or at the root."""
    above = variable.rpartition("/")[0]
    return contents.variable(f"{above}/{name}".lstrip("/")) or contents.variable(name)


def _of_mapping(attributes: Mapping[str, Any]) -> str | None:
    for key in ("crs_wkt", "spatial_ref"):
        if isinstance(attributes.get(key), str):
            return str(attributes[key])
    try:
        return str(pyproj.CRS.from_cf(dict(attributes)).to_wkt())
    except (pyproj.exceptions.CRSError, KeyError, TypeError, ValueError):
        return None
