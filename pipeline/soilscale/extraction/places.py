"""Places that a person asks for: the cells of the grid that each holds, and their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from soilscale import config, storage
from soilscale.errors import ConfigurationError, DataError
from soilscale.extents import turn
from soilscale.grid import Grid
from soilscale.grid import on_map as to_map
from soilscale.reports.insitu.files import rows_of, text_of
from soilscale.reports.insitu.pairing import on_grid

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "id", "station", "site"),
    "longitude": ("lon", "longitude", "lng", "long", "x"),
    "latitude": ("lat", "latitude", "y"),
}
"""What a table of points has -> the names of its columns that are accepted, whatever their case."""

MOST = {"longitude": 360.0, "latitude": 90.0}
"""Largest coordinates, degrees."""

SNAP = 1e-6
"""Share of a cell by which places and bounds may lie off a cell's border and still count as on it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A point or a polygon on the grid."""

    name: str
    longitude: float
    latitude: float
    """Of the point, or of a polygon's centroid; degrees."""
    rows: slice
    columns: slice
    """Cells that it may hold; none of a place outside."""
    weight: Floats
    """Of each of those cells: the area within the place."""
    total: float
    """Weight of the whole place, what lies beyond the grid included."""

    @property
    def outside(self) -> bool:
        """Whether it holds no cell of the grid."""
        return not self.weight.any()


NOWHERE = slice(0, 0)


def from_points(points: str | pd.DataFrame, grid: Grid) -> list[Place]:
    """Points of a table, each the cell that holds it.

    Parameters
    ----------
    points
        CSV, or a data frame, with columns as `COLUMNS` names them.

    Raises
    ------
    ConfigurationError
        If the file is not there.
    DataError
        If the table lacks a column, has no row, or a coordinate that is none.
    """
    table = _points(points)
    left, _, right, _ = grid.bounds
    x, y = on_grid(table, grid.crs, (left + right) / 2)
    rows = _cell((grid.top - y) / grid.side, grid.shape[0])
    columns = _cell((x - grid.left) / grid.side, grid.shape[1])
    places = []
    for name, longitude, latitude, row, column in zip(
        _distinct(list(table["name"])), table["longitude"], table["latitude"], rows, columns, strict=True
    ):
        is_inside = row >= 0 and column >= 0
        window = (slice(row, row + 1), slice(column, column + 1)) if is_inside else (NOWHERE, NOWHERE)
        weight = np.ones((1, 1)) if is_inside else np.empty((0, 0))
        places.append(Place(name, float(longitude), float(latitude), *window, weight, 1.0))
    return places


def _cell(at: Floats, size: int) -> list[int]:
    """Cell of each place on an axis, counted in cells; -1 of what lies beyond it, or nowhere on the map."""
    # The outermost border belongs to the grid, wherever rounding sets it.
    within = np.where(np.abs(at - size) < SNAP, size - 1, np.floor(at + SNAP))
    is_inside = np.isfinite(within) & (within >= 0) & (within < size)
    return [int(cell) if inside else -1 for cell, inside in zip(within, is_inside, strict=True)]


def _points(points: str | pd.DataFrame) -> pd.DataFrame:
    """Table of points with the columns name, longitude and latitude."""
    where = "points" if isinstance(points, pd.DataFrame) else f"points: {storage.shown(points)}"
    table = points if isinstance(points, pd.DataFrame) else _table(points, where)
    by_name = {str(column).strip().lower(): column for column in table.columns}
    chosen = {}
    for axis, accepted in COLUMNS.items():
        matches = [by_name[name] for name in accepted if name in by_name]
        if not matches:
            raise DataError(
                f"{where}: got the columns {', '.join(map(str, table.columns))}, expected one for the {axis}, called "
                f"{', '.join(accepted)}"
            )
        chosen[axis] = table[matches[0]]
    if table.empty:
        raise DataError(f"{where}: it has no row; write one for each point")
    columns: dict[str, Any] = {"name": [str(name).strip() for name in chosen["name"]]}
    for axis, most in MOST.items():
        text = chosen[axis].astype(str).str.strip()
        columns[axis] = pd.to_numeric(text, errors="coerce").to_numpy(float)
        wrong = np.flatnonzero(~(np.abs(columns[axis]) <= most))
        if wrong.size:
            raise DataError(
                f"{where}, {columns['name'][wrong[0]]}: got the {axis} {text.iloc[wrong[0]]!r}, "
                f"expected degrees, up to {most:g}; see that longitude and latitude are not exchanged"
            )
    return pd.DataFrame(columns)


def _table(url: str, where: str) -> pd.DataFrame:
    try:
        data = storage.read_bytes(url)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigurationError(f"{where}: there is no such file") from error
    return rows_of(text_of(data), where, tuple(COLUMNS))


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which none occurs twice: the second ``a`` is ``a (2)``."""
    counts: dict[str, int] = {}
    distinct = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        distinct.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return distinct


def from_polygons(polygons: str | Mapping[str, Any], grid: Grid) -> list[Place]:
    """Polygons of a GeoJSON, each the cells that it touches, weighted by their area within it.

    Parameters
    ----------
    polygons
        File, or its content; each feature is a place, named by its property ``name`` or its ``id``.

    Raises
    ------
    ConfigurationError
        If it is no GeoJSON of polygons; the message names the feature.
    """
    shapes = config.polygons(polygons)
    names = _distinct([name for name, _ in shapes])
    return [_polygon(name, shape, grid) for name, (_, shape) in zip(names, shapes, strict=True)]


def _polygon(name: str, shape: BaseGeometry, grid: Grid) -> Place:
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    centre = shape.centroid
    on_map = _near(to_map(shape, grid.crs), grid)
    left, bottom, right, top = on_map.bounds
    first, last = _cells((left - grid.left) / grid.side, (right - grid.left) / grid.side, grid.shape[1])
    upper, lower = _cells((grid.top - top) / grid.side, (grid.top - bottom) / grid.side, grid.shape[0])
    total = _area(on_map, grid)
    if first >= last or upper >= lower:
        return Place(name, centre.x, centre.y, NOWHERE, NOWHERE, np.empty((0, 0)), total)
    west, north = grid.left + first * grid.side, grid.top - upper * grid.side
    edges = west, north - (lower - upper) * grid.side, west + (last - first) * grid.side, north
    empty = NumPyRasterSource(np.zeros((lower - upper, last - first), "int8"), *edges)
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(on_map)}
    ((properties),) = (shares["properties"] for shares in exact_extract(empty, feature, ["cell_id", "coverage"]))
    weight = np.zeros((lower - upper, last - first))
    weight.flat[properties["cell_id"]] = properties["coverage"]
    weight *= _row_area(grid, upper, lower)[:, None]
    return Place(name, centre.x, centre.y, slice(upper, lower), slice(first, last), weight, total)


def _cells(begin: float, end: float, size: int) -> tuple[int, int]:
    """Cells of an axis between two places on it, counted in cells."""
    return max(0, math.floor(begin + SNAP)), min(size, math.ceil(end - SNAP))


def _near(shape: BaseGeometry, grid: Grid) -> BaseGeometry:
    """Shape moved by whole turns of the Earth to where it meets the grid, on a map that repeats itself."""
    width = turn(grid.crs)
    if width is None:
        return shape
    left, _, right, _ = grid.bounds
    middle = (shape.bounds[0] + shape.bounds[2]) / 2
    turns = round(((left + right) / 2 - middle) / width)
    return shapely.transform(shape, lambda x, y: (x + turns * width, y), interleaved=False) if turns else shape


def _row_area(grid: Grid, first: int, last: int) -> Floats:
    """Area of a cell of each row, in cells of the first row; in degrees they go with the sine of the latitude."""
    if not _geographic(grid):
        return np.ones(last - first)
    edges = np.sin(np.radians(grid.top - grid.side * np.arange(first, last + 1)))
    areas: Floats = (edges[:-1] - edges[1:]) / np.radians(grid.side)
    return areas


def _area(shape: BaseGeometry, grid: Grid) -> float:
    """Area of a shape in the unit of `_row_area`."""
    if not _geographic(grid):
        return float(shape.area) / grid.side**2
    # On the cylindrical equal-area map, whose y is the sine of the latitude, a plane area is one of the sphere.
    dense = shapely.segmentize(shape, grid.side)
    plane = shapely.transform(dense, lambda x, y: (x, np.sin(np.radians(y))), interleaved=False)
    return float(plane.area) / (grid.side * math.radians(grid.side))


def _geographic(grid: Grid) -> bool:
    """Whether the grid is in degrees, so that its cells shrink towards the poles."""
    return bool(CRS.from_user_input(grid.crs).is_geographic)
