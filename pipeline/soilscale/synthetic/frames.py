"""The pixel grids of the sources: MODIS tiles, and rasters in degrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry import Polygon

SPHERE = 6371007.181
"""Radius of the sphere of MODIS' sinusoidal projection, m (MODIS Land grids, mod-land user guides)."""

TILE = 1111950.5196666666
"""Side of a MODIS tile, m: a thirty-sixth of the equator of that sphere."""

SINUSOIDAL = CRS.from_proj4(f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={SPHERE} +units=m +no_defs").to_wkt("WKT2_2019")
LONLAT = "EPSG:4326"

TILES = ((26, 5), (27, 5))
"""Horizontal and vertical numbers of the tiles that the area may lie in."""

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """A pixel grid and the part of it that holds data."""

    name: str
    crs: str
    """WKT 2, or a code of EPSG."""
    transform: Affine
    shape: tuple[int, int]
    inside: NDArray[np.bool_]
    """Pixels with data, shape `shape`; the others lie beyond the margin of the area."""
    lon: NDArray[np.float64]
    """Longitude of the pixels inside, degrees, shape ``(n,)``."""
    lat: NDArray[np.float64]

    def paint(self, values: NDArray[np.generic], fill: float, dtype: str) -> NDArray[np.generic]:
        """Raster of the frame's shape with `values` at the pixels inside and `fill` elsewhere."""
        raster = np.full(self.shape, fill, dtype=dtype)
        raster[self.inside] = values
        return raster

    @property
    def footprint(self) -> Polygon:
        """Outline in longitude and latitude; bent edges have many vertices."""
        rows, columns = self.shape
        edge = shapely.segmentize(shapely.box(0, 0, columns, rows), max(rows, columns) / 8)
        column, row = shapely.get_coordinates(edge).T
        x, y = self.transform.c + self.transform.a * column, self.transform.f + self.transform.e * row
        lon, lat = (x, y) if self.crs == LONLAT else unproject(x, y)
        return Polygon(np.column_stack([lon, lat]).round(6))


def unproject(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude, degrees, of sinusoidal metres (Snyder 1987, USGS PP 1395, equations 30-6 and 30-7)."""
    lat = y / SPHERE
    return np.degrees(x / (SPHERE * np.cos(lat))), np.degrees(lat)


def modis(bounds: Bounds, margin: float, pixels: int) -> Iterator[Frame]:
    """Parts of MODIS tiles that hold an area and a margin around it.

    Parameters
    ----------
    bounds
        West, south, east, north, degrees.
    margin
        Degrees.
    pixels
        Pixels along the side of a whole tile: 1200 (1 km) or 2400 (500 m).
    """
    step = TILE / pixels
    centre = (np.arange(pixels) + 0.5) * step
    for horizontal, vertical in TILES:
        left, top = (horizontal - 18) * TILE, (9 - vertical) * TILE
        lat = np.degrees((top - centre) / SPHERE)
        # Negated because latitude falls with the row, and `searchsorted` needs ascending values.
        first = int(np.searchsorted(-lat, -bounds[3] - margin))
        last = int(np.searchsorted(-lat, -bounds[1] + margin))
        lon, lat = unproject(*np.meshgrid(left + centre, top - centre[first:last]))
        inside = _within(lon, lat, bounds, margin)
        if not inside.any():
            continue
        rows, columns = (_span(np.asarray(inside.any(axis=axis))) for axis in (1, 0))
        part = inside[rows, columns]
        transform = Affine(step, 0, left + columns.start * step, 0, -step, top - (first + rows.start) * step)
        name = f"h{horizontal:02d}v{vertical:02d}"
        shape = (part.shape[0], part.shape[1])
        yield Frame(name, SINUSOIDAL, transform, shape, part, lon[rows, columns][part], lat[rows, columns][part])


def degrees(bounds: Bounds, margin: float, per_degree: int) -> Frame:
    """Raster in degrees that holds an area and a margin around it, its pixels aligned to whole degrees."""
    west, south, east, north = bounds
    # Rounding must not add a pixel where the border falls on a pixel edge.
    left, right = np.floor((west - margin) * per_degree + 1e-6), np.ceil((east + margin) * per_degree - 1e-6)
    bottom, top = np.floor((south - margin) * per_degree + 1e-6), np.ceil((north + margin) * per_degree - 1e-6)
    shape = (int(top - bottom), int(right - left))
    transform = Affine(1 / per_degree, 0, left / per_degree, 0, -1 / per_degree, top / per_degree)
    lon, lat = np.meshgrid(
        (left + np.arange(shape[1]) + 0.5) / per_degree, (top - np.arange(shape[0]) - 0.5) / per_degree
    )
    return Frame("", LONLAT, transform, shape, np.ones(shape, dtype=bool), lon.ravel(), lat.ravel())


def _within(lon: NDArray[np.float64], lat: NDArray[np.float64], bounds: Bounds, margin: float) -> NDArray[np.bool_]:
    west, south, east, north = bounds
    within: NDArray[np.bool_] = (
        (lon > west - margin) & (lon < east + margin) & (lat > south - margin) & (lat < north + margin)
    )
    return within


def _span(used: NDArray[np.bool_]) -> slice:
    where = np.flatnonzero(used)
    return slice(int(where[0]), int(where[-1]) + 1)
