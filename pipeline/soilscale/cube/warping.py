"""From a file's own pixels to a grid: the pixels it needs, values between them, and their shares in cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from soilscale import kernels
from soilscale.cube import assets, mesh
from soilscale.cube.assets import Header
from soilscale.cube.georeference import ALIGNED
from soilscale.cube.mesh import on_ground, to_file
from soilscale.grid import MESH, Bounds

if TYPE_CHECKING:
    from soilscale.cube.interpolation import Interpolation

Floats = NDArray[np.floating]
Layer = tuple[Floats, Floats]
"""Values of shape ``(Y, X)`` or ``(layers, Y, X)``, and the share of each cell that is valid, ``(Y, X)``."""


@dataclass(frozen=True)
class Pixels:
    """Physical values in a file's own grid."""

    values: Floats
    """Shape ``(rows, columns)``, NaN where missing or masked."""
    header: Header
    bounds: Bounds

    @property
    def transform(self) -> Affine:
        """From columns and rows of the values to the file's CRS."""
        width, height = self.header.pixel
        return Affine(width, 0, self.bounds[0], 0, -height, self.bounds[3])

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the first pixel, counted from the file's corner."""
        (left, top), (width, height) = (self.header.transform.c, self.header.transform.f), self.header.pixel
        return round((top - self.bounds[3]) / height), round((self.bounds[0] - left) / width)


def bounds_on(geobox: GeoBox, lattice: Header) -> Bounds | None:
    """Bounds of a grid on a file's lattice, grown to whole pixels and a margin; None if they cannot be expressed."""
    bounds = _bounds_in(geobox, lattice.wkt, lattice.middle)
    return None if bounds is None else assets.snap(lattice, bounds)


@lru_cache(maxsize=1024)
def _bounds_in(geobox: GeoBox, crs: str, middle: float) -> Bounds | None:
    """Bounds in the CRS of a file of all that lies within a grid; remembered, since a tile lies where it did before."""
    left, bottom, right, top = geobox.boundingbox.bbox
    # Sides bend in another CRS, so the corners alone would cut off part of the area.
    x, y = np.meshgrid(np.linspace(left, right, MESH), np.linspace(bottom, top, MESH))
    places = np.stack(to_file(geobox, crs, middle, x, y)).reshape(2, -1)
    # A grid may reach beyond the edge of a map, where places are infinite; what lies on it still counts.
    places = places[:, np.isfinite(places).all(axis=0)]
    return (*places.min(axis=1).tolist(), *places.max(axis=1).tolist()) if places.size else None


def pixels_per_cell(geobox: GeoBox, lattice: Header) -> float:
    """Pixels that one step to the next column or row of a grid leads over, the longer of the two, at its centre."""
    rows, columns = geobox.shape
    # Both ways along each axis: one of them may leap over the edge of a map of the world.
    steps = np.array([(0, 1, -1, 0, 0), (0, 0, 0, 1, -1)])
    x, y = on_ground(geobox.transform, steps[0] + columns / 2, steps[1] + rows / 2)
    places = np.stack(to_file(geobox, lattice.wkt, lattice.middle, x, y))
    away = np.hypot(*((places[:, 1:] - places[:, :1]) / np.array(lattice.pixel)[:, None])).reshape(2, 2)
    longest = float(away.min(axis=1).max())
    return longest if np.isfinite(longest) else 1.0


def finer(geobox: GeoBox, factor: int) -> GeoBox:
    """Grid of `factor` times as many rows and columns over the same place."""
    rows, columns = geobox.shape
    coarse: Affine = geobox.transform
    transform = Affine(coarse.a / factor, 0, coarse.c, 0, coarse.e / factor, coarse.f)
    return GeoBox((rows * factor, columns * factor), transform, geobox.crs)


def interpolate(pixels: Pixels, geobox: GeoBox, method: Interpolation) -> Floats:
    """Values at the centres of a grid, shape ``(Y, X)``; missing where the nearest pixel is."""
    from soilscale.cube import interpolation

    rows, columns = geobox.shape
    lattice = pixels.header
    places = mesh.mesh(geobox, lattice.wkt, lattice.transform, lattice.middle)
    return interpolation.interpolate(pixels.values, places, pixels.corner, (rows, columns), method)


def needed(pixels: Pixels, geobox: GeoBox) -> NDArray[np.int64] | None:
    """Columns that the cells of a grid need of each row of pixels; None if that is not known.

    See `mesh.needed`.
    """
    rows, columns = pixels.values.shape
    lattice = pixels.header
    return mesh.needed(geobox, lattice.wkt, lattice.transform, lattice.middle, pixels.corner, (rows, columns))


def means(pixels: Pixels, geobox: GeoBox) -> Layer:
    """Mean of the valid pixels in each cell, weighted by the area that they share with it."""
    from soilscale.cube import areas

    totals, fraction = areas.overlay(
        pixels.values, np.zeros(pixels.values.shape, "int16"), 1, *_corners(pixels, geobox), pixels.header.turn
    )
    return kernels.weighted_mean(totals[0], fraction), fraction


def class_shares(pixels: Pixels, geobox: GeoBox, classes: tuple[int, ...]) -> Layer:
    """Share of each class in the valid area of each cell, shape ``(classes, Y, X)``."""
    from soilscale.cube import areas

    # Pixels of a class that is not asked for stay valid, so that shares are of all that is seen.
    layer = np.full(pixels.values.shape, -1, "int16")
    for number, code in enumerate(classes):
        layer[pixels.values == code] = number
    valid = np.where(np.isfinite(pixels.values), 1.0, np.nan)
    totals, fraction = areas.overlay(valid, layer, len(classes), *_corners(pixels, geobox), pixels.header.turn)
    return kernels.weighted_mean(totals, np.broadcast_to(fraction, totals.shape)), fraction


def _corners(pixels: Pixels, geobox: GeoBox) -> tuple[Floats, Floats]:
    """Corners of a grid's cells in columns and rows of the pixels, on the pixels' own corners where they nearly are."""
    rows, columns = geobox.shape
    x, y = on_ground(geobox.transform, *np.meshgrid(np.arange(columns + 1.0), np.arange(rows + 1.0)))
    x, y = to_file(geobox, pixels.header.wkt, pixels.header.middle, x, y)
    corners = np.stack(on_ground(~pixels.transform, x, y))
    near = np.round(corners)
    # Rounding would else cut slivers off whole pixels, and cells on the file's own lattice would be mixed from
    # several.
    column, row = np.where(np.abs(corners - near) < ALIGNED, near, corners)
    return column, row
