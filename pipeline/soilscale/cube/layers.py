"""One date of a source on the grid: masked and scaled in its own pixels, laid side by side, then warped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from soilscale import kernels
from soilscale.catalog import Scene
from soilscale.cube import assets
from soilscale.cube.assets import Bounds, Header
from soilscale.errors import DataError
from soilscale.grid import LONLAT, lonlat_bounds, metres_per_cell
from soilscale.sources import QualityRule, Source

SUBGRID = 2048
"""Cells along the side of the largest grid that is warped in one piece; bounds the memory of a unit."""

TOLERANCE = 0.01
"""Largest error of GDAL's approximate transformer, in pixels."""

FIT = 0.02
"""Share by which a source's pixel may exceed a cell and still count as not coarser."""

COARSE_DEM = 0.5
"""Pixels of an elevation model per cell below which its terrain is derived in the grid's own cells."""

CLASS_SAMPLES = 4
"""Sample points per pixel along each axis, from which the shares of classes are counted."""

Floats = NDArray[np.floating]
Layer = tuple[Floats, Floats]
"""Values of shape ``(Y, X)`` or ``(layers, Y, X)``, and the share of each cell that is valid, ``(Y, X)``."""

Method = Literal["bilinear", "nearest", "cubic"]


@dataclass(frozen=True)
class Pixels:
    """Physical values in a file's own grid."""

    values: Floats
    """Shape ``(rows, columns)``, NaN where missing or masked."""
    header: Header
    bounds: Bounds


@dataclass(frozen=True)
class Reading:
    """A source and the way to its assets: what every function below needs to know."""

    source: Source
    sign: Callable[[str], str]

    def header(self, scene: Scene, asset: str) -> Header:
        """Header of one of a scene's assets.

        Raises
        ------
        DataError
            If the item has no such asset, or its file lies elsewhere than the item says.
        """
        if asset not in scene.hrefs:
            have = ", ".join(sorted(scene.hrefs)) or "none of those wanted"
            raise DataError(f"item {scene.item} has no asset {asset!r} (it has {have}); check the key `asset`")
        found = assets.header(self.sign(scene.hrefs[asset]), self._band(asset))
        _check_place(scene, found)
        return found

    def windows(self, scenes: Sequence[Scene], asset: str, lattice: Header, bounds: Bounds) -> Floats:
        """Stored values of one asset of several scenes on one lattice, shape ``(scenes, rows, columns)``."""
        hrefs = [self.sign(scene.hrefs[asset]) for scene in scenes]
        return assets.windows(hrefs, lattice, bounds, self._band(asset))

    def _band(self, asset: str) -> int:
        return self.source.band if asset == self.source.asset else 1


def _check_place(scene: Scene, header: Header) -> None:
    """Refuse a file that lies nowhere near the place its item tells."""
    west, south, east, north = transform_bounds(header.crs, LONLAT.to_wkt(), *header.bounds, densify_pts=21)
    if west > east or scene.bbox[0] > scene.bbox[2]:
        return
    pad = max(east - west, north - south, 1.0)
    if assets.overlap((west - pad, south - pad, east + pad, north + pad), scene.bbox) is None:
        raise DataError(
            f"item {scene.item} says that it lies within {[round(v, 3) for v in scene.bbox]} (degrees), but its file "
            f"lies within {[round(v, 3) for v in (west, south, east, north)]}; correct the item or the file's CRS"
        )


def layer(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> Layer | None:
    """Scenes of one date on a grid: continuous values, or the shares of classes.

    Parameters
    ----------
    reading
        The source and the way to its assets.
    scenes
        Tiles of one date; where they overlap, the first valid one counts.
    geobox
        Grid to fill.

    Returns
    -------
    values, fraction
        Float64; values have shape ``(Y, X)``, or ``(classes, Y, X)`` of a categorical source. None if no scene
        meets the grid.
    """
    source = reading.source
    if source.kind == "categorical":
        classes = source.classes or ()

        def reduce(codes: Floats, _: GeoBox, factor: int) -> Layer:
            return kernels.class_fractions(codes, classes, factor)

        return _piecewise(reading, scenes, geobox, reduce, len(classes))

    def mean(values: Floats, _: GeoBox, factor: int) -> Layer:
        return kernels.block_mean(values, factor)

    return _piecewise(reading, scenes, geobox, mean, None)


def terrain(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> Layer | None:
    """Slope, northness and eastness of an elevation source, from the mean gradient within each cell.

    The gradient is taken in the pixels of the source where they are finer than the grid, and averaged before the
    slope is: so neither the noise nor the resolution of the source steepens a cell.

    Returns
    -------
    values, fraction
        As `layer`, with values of shape ``(3, Y, X)``.
    """

    def derive(elevation: Floats, fine: GeoBox, factor: int) -> Layer:
        rise = kernels.gradient(elevation, metres_per_cell(fine))
        inner = slice(factor, -factor)
        mean, fraction = kernels.block_mean(rise[:, inner, inner], factor)
        return kernels.terrain(mean), fraction[0]

    return _piecewise(reading, scenes, geobox, derive, 3, halo=1)


def codes(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> set[int]:
    """Class codes that a categorical source holds within a grid."""
    found: set[int] = set()
    for scene in scenes:
        for pixels in _mosaics(reading, [scene], geobox):
            values = pixels.values
            found |= {int(code) for code in np.unique(values[np.isfinite(values)])}
    return found


def _piecewise(
    reading: Reading,
    scenes: Sequence[Scene],
    geobox: GeoBox,
    reduce: Callable[[Floats, GeoBox, int], Layer],
    depth: int | None,
    halo: int = 0,
) -> Layer | None:
    """Fill a grid in pieces small enough to be sampled `factor` times finer, each reduced to its cells."""
    values = np.full((*((depth,) if depth is not None else ()), *geobox.shape), np.nan)
    fraction = np.zeros(geobox.shape)
    for headers in _lattices(reading, scenes):
        method, factor = _sampling(reading.source, headers[0][1], geobox, derive=halo > 0)
        members = [scene for scene, _ in headers]
        for rows, columns in _pieces((geobox.shape.y, geobox.shape.x), max(SUBGRID // factor, 1)):
            piece = geobox[rows, columns].pad(halo) if halo else geobox[rows, columns]
            fine = piece.zoom_out(1 / factor)
            sampled = _sample(reading, members, headers[0][1], fine, method)
            if sampled is None:
                continue
            part, share = reduce(sampled, fine, factor)
            fill = (share > 0) & (fraction[rows, columns] == 0)
            values[..., rows, columns] = np.where(fill, part, values[..., rows, columns])
            fraction[rows, columns] = np.where(fill, share, fraction[rows, columns])
    return (values, fraction) if fraction.any() else None


def _pieces(shape: tuple[int, int], side: int) -> Iterator[tuple[slice, slice]]:
    """Nearly equal pieces of at most `side` cells along each axis."""
    for rows in np.array_split(np.arange(shape[0]), math.ceil(shape[0] / side)):
        for columns in np.array_split(np.arange(shape[1]), math.ceil(shape[1] / side)):
            yield slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _lattices(reading: Reading, scenes: Sequence[Scene]) -> list[list[tuple[Scene, Header]]]:
    """Scenes grouped by the lattice their pixels share; tiles of one product form one group."""
    groups: list[list[tuple[Scene, Header]]] = []
    for scene in scenes:
        header = reading.header(scene, reading.source.asset)
        group = next((group for group in groups if group[0][1].shares_grid(header)), None)
        if group is None:
            groups.append([(scene, header)])
        else:
            group.append((scene, header))
    return groups


def _sampling(source: Source, header: Header, geobox: GeoBox, *, derive: bool) -> tuple[Method, int]:
    """Method of interpolation, and sample points per cell along each axis, by which a source comes to the grid."""
    finer = _cells_per_pixel(header, geobox)
    every = max(1, math.ceil(finer - FIT))
    if derive:
        return "cubic", max(every, 2) if finer > COARSE_DEM else 1
    if source.kind == "categorical" or source.resampling == "average" or source.role == "target":
        return "nearest", CLASS_SAMPLES * every if every < 2 * CLASS_SAMPLES else every
    if source.resampling == "nearest":
        return "nearest", 1
    return "bilinear", 1 if source.resampling == "bilinear" or finer < 1 - FIT else every


def _cells_per_pixel(header: Header, geobox: GeoBox) -> float:
    """Pixels of a file along the side of a grid cell, as the ground has it."""
    bounds = geobox.boundingbox
    x, y = (bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2
    half = abs(geobox.transform.a) / 2, abs(geobox.transform.e) / 2
    cell = (x - half[0], y - half[1], x + half[0], y + half[1])
    left, bottom, right, top = transform_bounds(str(geobox.crs), header.crs, *cell)
    width, height = header.pixel
    # The bounds of a sheared cell are too wide; its height is not, and area stays.
    return max(min((right - left) / width, (top - bottom) / height), 1e-9)


def _sample(
    reading: Reading, scenes: Sequence[Scene], lattice: Header, geobox: GeoBox, method: Method
) -> Floats | None:
    """Values of scenes on one lattice at the centres of a grid; valid where the nearest pixel is valid."""
    pixels = _mosaic(reading, scenes, lattice, geobox)
    if pixels is None:
        return None
    values = _warp(pixels, geobox, Resampling[method])
    if method != "nearest" and np.isnan(pixels.values).any():
        valid = _warp(
            Pixels(np.where(np.isfinite(pixels.values), 1.0, np.nan), pixels.header, pixels.bounds),
            geobox,
            Resampling.nearest,
        )
        values = np.where(np.isfinite(valid), values, np.nan)
    return values


def _warp(pixels: Pixels, geobox: GeoBox, resampling: Resampling) -> Floats:
    target = np.full(geobox.shape, np.nan, dtype="float64")
    reproject(
        pixels.values,
        target,
        src_transform=_transform(pixels.header, pixels.bounds),
        src_crs=pixels.header.crs,
        src_nodata=np.nan,
        dst_transform=geobox.transform,
        dst_crs=str(geobox.crs),
        dst_nodata=np.nan,
        resampling=resampling,
        tolerance=TOLERANCE,
    )
    return target


def _transform(lattice: Header, bounds: Bounds) -> Affine:
    """Affine transform of a window of a lattice."""
    width, height = lattice.pixel
    return Affine(width, 0, bounds[0], 0, -height, bounds[3])


def _mosaics(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> Iterator[Pixels]:
    for headers in _lattices(reading, scenes):
        pixels = _mosaic(reading, [scene for scene, _ in headers], headers[0][1], geobox)
        if pixels is not None:
            yield pixels


def _mosaic(reading: Reading, scenes: Sequence[Scene], lattice: Header, geobox: GeoBox) -> Pixels | None:
    """Scenes on one lattice laid side by side, masked and scaled; None if none of them meets the grid."""
    bounds = _bounds_in(geobox, lattice)
    if bounds is None:
        return None
    merged: Floats | None = None
    for scene in scenes:
        own = reading.header(scene, reading.source.asset)
        if assets.overlap(own.bounds, bounds) is None:
            continue
        values = _decode(reading, scene, own, lattice, bounds)
        merged = values if merged is None else np.where(np.isnan(merged), values, merged)
    return None if merged is None else Pixels(merged, lattice, bounds)


def _bounds_in(geobox: GeoBox, lattice: Header) -> Bounds | None:
    """Bounds of a grid on a file's lattice, grown to whole pixels."""
    box = geobox.boundingbox
    found = transform_bounds(str(geobox.crs), lattice.crs, box.left, box.bottom, box.right, box.top, densify_pts=63)
    if not np.isfinite(found).all():
        return None
    return assets.snap(lattice, found)


def _decode(reading: Reading, scene: Scene, own: Header, lattice: Header, bounds: Bounds) -> Floats:
    """Physical values of one scene: fill codes, valid range and quality masked, then scaled."""
    source, told = reading.source, scene.decoding
    raw = reading.windows([scene], source.asset, lattice, bounds)[0]
    nodata = source.nodata if source.nodata is not None else _first(told.get("nodata"), own.nodata)
    fills = nodata if isinstance(nodata, tuple) else () if nodata is None else (nodata,)
    valid = np.isfinite(raw) & ~np.isin(raw, fills)
    if source.valid_range is not None:
        valid &= (raw >= source.valid_range[0]) & (raw <= source.valid_range[1])
    if source.quality is not None:
        valid &= _accepted(reading, source.quality, scene, lattice, bounds)
    scale = _first(source.scale, told.get("scale"), own.scale) or 1.0
    offset = _first(source.offset, told.get("offset"), own.offset) or 0.0
    return np.where(valid, raw * scale + offset, np.nan)


def _first(*values: float | None) -> float | None:
    """First value that is said."""
    return next((value for value in values if value is not None), None)


def _accepted(reading: Reading, rule: QualityRule, scene: Scene, lattice: Header, bounds: Bounds) -> NDArray[np.bool_]:
    """Pixels that the quality band accepts; a band on another lattice is laid on this one by its nearest pixel."""
    own = reading.header(scene, rule.asset)
    if own.shares_grid(lattice):
        flags = reading.windows([scene], rule.asset, lattice, bounds)[0]
    else:
        width, height = lattice.pixel
        shape = round((bounds[3] - bounds[1]) / height), round((bounds[2] - bounds[0]) / width)
        geobox = GeoBox(shape, _transform(lattice, bounds), lattice.crs.to_wkt())
        inner = assets.snap(own, transform_bounds(lattice.crs, own.crs, *bounds, densify_pts=63))
        stored = reading.windows([scene], rule.asset, own, inner)[0]
        flags = _warp(Pixels(stored, own, inner), geobox, Resampling.nearest)
    first, last = rule.bits
    known = np.isfinite(flags)
    bits = (np.where(known, flags, 0).astype("int64") >> first) & (2 ** (last - first + 1) - 1)
    return known & np.isin(bits, rule.accept)


def meets(scene: Scene, geobox: GeoBox) -> bool:
    """Whether a scene may hold pixels of a grid, by its bounding box, which some catalogs draw too small."""
    west, south, east, north = lonlat_bounds(geobox)
    left, bottom, right, top = scene.bbox
    if left > right:
        return bottom <= north and top >= south
    pad_x, pad_y = 0.25 * (right - left), 0.25 * (top - bottom)
    return left - pad_x < east and right + pad_x > west and bottom - pad_y < north and top + pad_y > south
