"""The nested grid: one coarse cell is exactly ``ratio`` x ``ratio`` fine cells, and tiles are whole coarse cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from soilscale import extents

if TYPE_CHECKING:  # it imports Dask, which a run that finds nothing to do has no use for
    from odc.geo.geobox import GeoBox

TILE_PIXELS = 768
"""Fine cells along the side of a tile, at most, where the configuration names no tile size."""

MOST_CELLS = 2_000_000
"""Coarse cells of the largest grid: more than the whole Earth at 25 km."""

SNAP = 1e-6
"""Share of a coarse cell by which an area may cross a cell's border without taking the cell."""

LONLAT = CRS.from_epsg(4326)

Slices = tuple[slice, slice]

MESH = 65
"""Points along each side of a mesh that shows where bounds lie in another CRS."""

HALF_EARTH = 20_004_000.0
"""Metres from pole to pole, and hardly less than half the equator."""

Bounds = tuple[float, float, float, float]
"""West, south, east and north, or left, bottom, right and top."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of whole coarse cells; the unit of space in which everything is read and written.

    Examples
    --------
    >>> Tile(0, 1, (slice(0, 2), slice(2, 4)), (slice(0, 50), slice(50, 100))).name
    'r000c001'
    """

    row: int
    column: int
    coarse: Slices
    """Rows and columns on the coarse grid."""
    fine: Slices
    """Rows and columns on the fine grid."""

    @property
    def name(self) -> str:
        """Name used in markers and messages, such as ``r000c001``."""
        return f"r{self.row:03d}c{self.column:03d}"


@dataclass(frozen=True)
class Grid:
    """A coarse grid and the fine grid nested in it.

    Parameters
    ----------
    crs
        Anything that pyproj understands, such as ``EPSG:3035``.
    side
        Side of a coarse cell, in units of the CRS.
    ratio
        Fine cells along the side of a coarse cell.
    left, top
        Outer corner of the first cell, in units of the CRS.
    shape
        Rows and columns of coarse cells.
    tile
        Coarse cells along the side of a tile.
    """

    crs: str
    side: float
    ratio: int
    left: float
    top: float
    shape: tuple[int, int]
    tile: int

    @cached_property
    def coarse(self) -> GeoBox:
        """Geometry of the coarse grid: shape, affine transform and CRS."""
        return self._geobox(1)

    @cached_property
    def fine(self) -> GeoBox:
        """Geometry of the fine grid: `ratio` times the rows and columns of the coarse one."""
        return self._geobox(self.ratio)

    @property
    def fine_axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of the fine rows, from the north, and columns."""
        # The names of a geobox's axes are latitude and longitude on a grid in degrees, else y and x.
        y, x = (self.fine.coords[axis].values for axis in self.fine.dims)
        return y, x

    def _geobox(self, factor: int) -> GeoBox:
        from odc.geo.geobox import GeoBox

        step = self.side / factor
        shape = self.shape[0] * factor, self.shape[1] * factor
        return GeoBox(shape, Affine(step, 0, self.left, 0, -step, self.top), self.crs)

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right and top, in units of the CRS."""
        rows, columns = self.shape
        return self.left, self.top - rows * self.side, self.left + columns * self.side, self.top

    @cached_property
    def tile_shape(self) -> tuple[int, int]:
        """Coarse rows and columns of a tile: the chunk of the coarse grid."""
        return min(self.tile, self.shape[0]), min(self.tile, self.shape[1])

    def tiles(self) -> Iterator[Tile]:
        """Every tile, row by row."""
        high, wide = self.tile_shape
        for row in range(math.ceil(self.shape[0] / high)):
            for column in range(math.ceil(self.shape[1] / wide)):
                rows = slice(row * high, min((row + 1) * high, self.shape[0]))
                columns = slice(column * wide, min((column + 1) * wide, self.shape[1]))
                yield Tile(row, column, (rows, columns), (_times(rows, self.ratio), _times(columns, self.ratio)))


def cover(
    area: BaseGeometry,
    crs: str,
    side: float,
    ratio: int,
    *,
    origin: tuple[float, float] = (0.0, 0.0),
    tile: int | None = None,
) -> Grid:
    """Grid of every coarse cell that an area touches, aligned to `origin`.

    Parameters
    ----------
    area
        Polygon in longitude and latitude, degrees, cut at the antimeridian or not; longitudes may count 0..360.
    crs, side, ratio
        As in `Grid`.
    origin
        x, y of a corner with which the coarse grid is aligned. On EPSG:6933 the default of 0, 0 is the
        EASE-Grid 2.0 itself: its rows and columns are even in number and symmetric about 0 (Brodzik et al. 2012,
        ISPRS Int. J. Geo-Inf. 1, 32-45).
    tile
        Coarse cells along the side of a tile; by default so many that a tile has about `TILE_PIXELS` fine cells.

    Raises
    ------
    ValueError
        If the CRS is unknown, or the area is empty or cannot be expressed in it.

    Examples
    --------
    >>> from shapely.geometry import box
    >>> grid = cover(box(108.5, 34.25, 109.25, 35.0), "EPSG:4326", 0.25, 25)
    >>> grid.shape, grid.left, grid.top
    ((3, 3), 108.5, 35.0)
    >>> grid.fine.shape
    Shape2d(x=75, y=75)
    """
    try:
        parsed = CRS.from_user_input(crs)
    except CRSError as error:
        raise ValueError(f"the CRS {crs!r} is unknown; use a code such as EPSG:3035 or EPSG:4326") from error
    if area.is_empty or not area.area:
        raise ValueError(f"the area {area.wkt} (degrees) covers nothing; give a box or a polygon")
    west, south, east, north = on_map(area, crs).bounds
    if not all(map(math.isfinite, (west, south, east, north))):
        raise ValueError(f"the area {area.bounds} (degrees) cannot be expressed in {crs}; choose another CRS")
    unit = parsed.axis_info[0]
    if side * unit.unit_conversion_factor > (math.pi if parsed.is_geographic else HALF_EARTH):
        raise ValueError(
            f"a coarse cell of {side:g} {unit.unit_name} is larger than the Earth; is `coarse` given in the unit of "
            f"{crs}, the {unit.unit_name}?"
        )
    x0, y0 = origin
    # Sides such as 0.1 have no exact binary form: without `SNAP` an area ending on a cell border could take an extra
    # row.
    first = math.floor((west - x0) / side + SNAP)
    last = math.ceil((east - x0) / side - SNAP)
    bottom = math.floor((south - y0) / side + SNAP)
    top = math.ceil((north - y0) / side - SNAP)
    if (top - bottom) * (last - first) > MOST_CELLS:
        raise ValueError(
            f"the area takes {top - bottom} x {last - first} coarse cells of {side:g} {unit.unit_name}; "
            f"is `coarse` given in the unit of {crs}, the {unit.unit_name}?"
        )
    return Grid(
        crs=crs,
        side=side,
        ratio=ratio,
        left=x0 + first * side,
        top=y0 + top * side,
        # `SNAP` could reduce a very small area to no cells.
        shape=(max(top - bottom, 1), max(last - first, 1)),
        tile=tile or max(1, TILE_PIXELS // ratio),
    )


def project(shape: BaseGeometry, source: CRS | str, target: CRS | str, points: int = 512) -> BaseGeometry:
    """Shape in another CRS, its edges densified first so that straight lines may bend.

    Parameters
    ----------
    points
        Least number of vertices along the longer side of the shape's bounds.
    """
    west, south, east, north = shape.bounds
    dense = shapely.segmentize(shape, max(east - west, north - south, 1e-9) / points)
    transformer = extents.transformer(source, target)
    return shapely.transform(dense, transformer.transform, interleaved=False)


def on_map(area: BaseGeometry, crs: str) -> BaseGeometry:
    """Area given in longitude and latitude as it lies on a map: in one piece, also where it crosses the map's edge.

    On a map that repeats itself (`extents.turn`) x goes on beyond the edge.

    Raises
    ------
    ValueError
        If another map tears it apart.
    """
    joint = extents.joined(area)
    shape, width = project(joint, LONLAT, crs), extents.turn(crs)
    if width is None:
        if _torn(shape):
            raise ValueError(
                f"the area, longitudes {joint.bounds[0]:.6g} to {joint.bounds[2]:.6g}, crosses the edge of the map in "
                f"{crs}, which splits it; choose a CRS whose edge is elsewhere, such as EPSG:4326 or EPSG:6933"
            )
        return shape
    middle = (joint.bounds[0] + joint.bounds[2]) / 2
    # Any latitude will do: on a map that repeats itself x depends on longitude alone.
    near, _ = extents.transformer(LONLAT, crs).transform(middle, 0.0)
    return shapely.transform(shape, lambda x, y: (extents.turned(x, near, width), y), interleaved=False)


def _torn(shape: BaseGeometry) -> bool:
    """Whether neighbouring points of a shape with many of them lie at both ends of it."""
    width = shape.bounds[2] - shape.bounds[0]
    rings = (shapely.get_coordinates(ring)[:, 0] for ring in shapely.get_parts(shapely.get_rings(shape)))
    return math.isfinite(width) and any(np.abs(np.diff(x)).max() > width / 2 for x in rings)


@lru_cache(maxsize=1024)
def lonlat_bounds(bounds: Bounds, crs: str) -> extents.Box:
    """Box in degrees of everything inside bounds in a CRS; west > east where it crosses the antimeridian.

    Remembered since every scene is held to it.

    Raises
    ------
    ValueError
        If nothing of it lies on the Earth.

    Examples
    --------
    >>> lonlat_bounds((170.0, -20.0, 190.0, -10.0), "EPSG:4326")
    (170.0, -20.0, -170.0, -10.0)
    """
    left, bottom, right, top = bounds
    to_lonlat = extents.transformer(crs, LONLAT)
    edges = np.linspace(0, 1, 8 * MESH)
    # The interior too: the edges of wide bounds may lie off the Earth.
    inner_x, inner_y = np.meshgrid(np.linspace(0, 1, MESH), np.linspace(0, 1, MESH))
    across = np.concatenate([inner_x.ravel(), edges, edges, np.zeros_like(edges), np.ones_like(edges)])
    along = np.concatenate([inner_y.ravel(), np.zeros_like(edges), np.ones_like(edges), edges, edges])
    points = np.stack(to_lonlat.transform(left + across * (right - left), bottom + along * (top - bottom)))
    points = points[:, np.isfinite(points).all(axis=0)]
    if not points.size:
        raise ValueError(f"no point within {bounds} of {crs} has a longitude and latitude")
    west, south, east, north = extents.around(*points)
    poles = [pole for pole in (-90.0, 90.0) if _holds_pole(bounds, crs, pole)]
    if poles:
        return -180.0, min(south, *poles), 180.0, max(north, *poles)
    return west, south, east, north


def _holds_pole(bounds: Bounds, crs: str, pole: float) -> bool:
    """Whether a pole lies within bounds; where a map shows it as a line, if all of that lies within them."""
    x, y = extents.transformer(LONLAT, crs).transform(np.array([-179.0, -90.0, 0.0, 90.0, 179.0]), np.full(5, pole))
    left, bottom, right, top = bounds
    return bool(((left <= x) & (x <= right) & (bottom <= y) & (y <= top)).all())


def centres(geobox: GeoBox) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Cell centres in the CRS's units: y descending, shape ``(rows,)``, and x ascending, shape ``(columns,)``.

    Examples
    --------
    >>> from shapely.geometry import box
    >>> y, x = centres(cover(box(0, 0, 0.5, 0.5), "EPSG:4326", 0.25, 25).coarse)
    >>> y.tolist(), x.tolist()
    ([0.375, 0.125], [0.125, 0.375])
    """
    transform: Affine = geobox.transform
    rows, columns = geobox.shape
    return (
        transform.f + transform.e * (np.arange(rows) + 0.5),
        transform.c + transform.a * (np.arange(columns) + 0.5),
    )


def inside(geobox: GeoBox, area: BaseGeometry) -> NDArray[np.bool_]:
    """Cells whose centre lies in an area given in longitude and latitude, shape ``(rows, columns)``.

    Examples
    --------
    >>> from shapely.geometry import box
    >>> grid = cover(box(0, 0, 0.5, 0.25), "EPSG:4326", 0.25, 25)
    >>> inside(grid.coarse, box(0, 0, 0.2, 0.25)).tolist()
    [[True, False]]
    """
    y, x = centres(geobox)
    grid_x, grid_y = np.meshgrid(x, y)
    shape = on_map(area, str(geobox.crs))
    shapely.prepare(shape)
    cells: NDArray[np.bool_] = shapely.contains_xy(shape, grid_x, grid_y)
    return cells


def metres_per_cell(geobox: GeoBox) -> NDArray[np.float64]:
    """Metres east and north that one step along a column or a row of a geobox leads to, at each cell.

    On a grid in degrees, and on any projection that is not true to scale, a step in the CRS's units is not a
    distance on the ground. The steps are geodesics on WGS 84 to the next cell (Karney 2013, J. Geodesy 87, 43-55).

    Returns
    -------
    array
        Shape ``(2, 2, rows, columns)``: [east, north] x [step to the next column, step to the next row].
    """
    transform: Affine = geobox.transform
    y, x = centres(geobox)
    # A projection's scale changes slowly: every 16th cell is measured, the others are interpolated.
    at_y, at_x = _knots(y), _knots(x)
    to_lonlat = extents.transformer(str(geobox.crs), LONLAT)
    knot_x, knot_y = np.meshgrid(x[at_x], y[at_y])
    origin = to_lonlat.transform(knot_x, knot_y)
    geod = Geod(ellps="WGS84")
    steps = np.empty((2, 2, len(at_y), len(at_x)))
    for step, (dx, dy) in enumerate(((transform.a, 0.0), (0.0, transform.e))):
        shifted = to_lonlat.transform(knot_x + dx, knot_y + dy)
        azimuth, _, distance = geod.inv(*origin, *shifted)
        steps[0, step] = distance * np.sin(np.radians(azimuth))
        steps[1, step] = distance * np.cos(np.radians(azimuth))
    return _interpolate(steps, at_y, at_x, (len(y), len(x)))


def _knots(values: NDArray[np.floating]) -> NDArray[np.int_]:
    return np.unique(np.append(np.arange(0, len(values), 16), len(values) - 1))


def _interpolate(
    steps: NDArray[np.float64], rows: NDArray[np.int_], columns: NDArray[np.int_], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Linear interpolation of the last two axes from knots to every cell."""
    wide = _along(steps, columns, shape[1])
    return np.moveaxis(_along(np.moveaxis(wide, -2, -1), rows, shape[0]), -1, -2)


def _along(values: NDArray[np.float64], knots: NDArray[np.int_], size: int) -> NDArray[np.float64]:
    """Linear interpolation along the last axis."""
    if len(knots) == 1:
        return np.repeat(values, size, axis=-1)
    cell = np.clip(np.searchsorted(knots, np.arange(size), side="right") - 1, 0, len(knots) - 2)
    weight = (np.arange(size) - knots[cell]) / (knots[cell + 1] - knots[cell])
    result: NDArray[Any] = values[..., cell] * (1 - weight) + values[..., cell + 1] * weight
    return result


def _times(part: slice, ratio: int) -> slice:
    return slice(part.start * ratio, part.stop * ratio)
