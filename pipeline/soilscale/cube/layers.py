"""One date of a source on the grid: the pixels of its scenes resampled to cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from odc.geo.geobox import GeoBox

from soilscale import extents, kernels, relief
from soilscale.catalog import Scene
from soilscale.cube import mosaics, opening, warping
from soilscale.cube.assets import Header
from soilscale.cube.prefetch import next_ahead, turn
from soilscale.cube.reading import Reading
from soilscale.cube.warping import Layer, Pixels
from soilscale.grid import lonlat_bounds, metres_per_cell
from soilscale.sources import Source

if TYPE_CHECKING:
    from soilscale.cube.interpolation import Interpolation

SUBGRID = 2048
"""Cells or samples along the side of the largest piece that is read at once; bounds the memory of a unit."""

FIT = 0.02
"""Share by which a source's pixel may be smaller than a cell and still count as no finer."""

COARSE = 0.5
"""Pixels along a cell up to which a source is coarser than the grid, and interpolated linearly: no wave of a smoother
curve then shows in the cells between its centres."""

CARELESS = 0.25
"""Share of its width and height by which a scene's bounding box may be too small on every side."""

Reduction = Callable[[Pixels, GeoBox], Layer]
"""Brings pixels to the cells of a grid."""


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
    depth = len(source.classes or ()) if source.kind == "categorical" else None
    return _piecewise(
        reading, scenes, geobox, lambda lattice: _reduction(source, warping.pixels_per_cell(geobox, lattice)), depth
    )


def terrain(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> Layer | None:
    """Slope, northness and eastness of an elevation source, from the mean gradient within each cell.

    The gradient is taken in the pixels of the source where they are finer than the grid, and averaged before the
    slope is: so neither the noise nor the resolution of the source steepens a cell.

    Returns
    -------
    values, fraction
        As `layer`, with values of shape ``(3, Y, X)``.
    """

    def choose(lattice: Header) -> tuple[Reduction, int]:
        finer = warping.pixels_per_cell(geobox, lattice)
        factor = max(math.ceil(finer - FIT), 2) if finer > COARSE else 1
        return partial(_mean_gradient, factor=factor), factor

    return _piecewise(reading, scenes, geobox, choose, 3, halo=1)


def codes(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> set[int]:
    """Class codes that a categorical source holds within a grid."""
    classes: set[int] = set()
    for scene in scenes:
        lattice = reading.header(scene, reading.source.data)
        side = SUBGRID // math.ceil(warping.pixels_per_cell(geobox, lattice))
        for rows, columns in _pieces(geobox, side):
            pixels = mosaics.mosaic(reading, [scene], lattice, geobox[rows, columns])
            if pixels is not None:
                classes |= {int(code) for code in np.unique(pixels.values[np.isfinite(pixels.values)])}
    return classes


def _reduction(source: Source, finer: float) -> tuple[Reduction, int]:
    """How a source with so many pixels along a cell comes to cells, and the samples that this takes along each."""
    every = max(1, math.ceil(finer - FIT))
    classes = (source.classes or ()) if source.kind == "categorical" else None
    if source.resampling == "nearest":
        return partial(_mean_sample, classes=classes, method="nearest", factor=1), 1
    if classes is not None:
        return partial(warping.class_shares, classes=classes), every
    if source.resampling == "average" or (source.resampling == "auto" and source.on_coarse):
        # A source of coarse pixels is conserved: interpolated, the mean of its cells would not be what was observed.
        return warping.means, every
    method: Interpolation = "cubic" if source.resampling == "auto" and finer > COARSE else "bilinear"
    return partial(_mean_sample, classes=None, method=method, factor=every), every


def _mean_sample(
    pixels: Pixels, geobox: GeoBox, *, classes: tuple[int, ...] | None, method: Interpolation, factor: int
) -> Layer:
    """Mean, or shares of classes, of `factor` x `factor` samples in each cell."""
    samples = warping.interpolate(pixels, warping.finer(geobox, factor), method)
    if classes is not None:
        return kernels.class_fractions(samples, classes, factor)
    return kernels.block_mean(samples, factor)


def _mean_gradient(pixels: Pixels, geobox: GeoBox, *, factor: int) -> Layer:
    """Terrain from `factor` x `factor` gradients in each cell; the outermost cells only lend theirs to the others."""
    fine = warping.finer(geobox, factor)
    rise = relief.gradient(warping.interpolate(pixels, fine, "cubic"), metres_per_cell(fine))
    inner = slice(factor, -factor)
    # Without the halo, gradients at the edge of a tile would be one-sided, and neighbouring tiles would differ.
    mean, fraction = kernels.block_mean(rise[:, inner, inner], factor)
    return relief.terrain(mean), fraction[0]


@opening.kept_open()
def _piecewise(
    reading: Reading,
    scenes: Sequence[Scene],
    geobox: GeoBox,
    choose: Callable[[Header], tuple[Reduction, int]],
    depth: int | None,
    halo: int = 0,
) -> Layer | None:
    """Fill a grid in pieces, lattice by lattice; what one leaves of a cell, the next ones fill.

    What a lattice that is alone shows is taken as it is, without sums.
    """
    reading.fetch_headers(scenes)
    distant, lattices = reading.distant(scenes), mosaics.lattices(reading, scenes)
    alone = len(lattices) == 1
    totals = np.full((*((depth,) if depth is not None else ()), *geobox.shape), np.nan if alone else 0.0)
    fraction = np.zeros(geobox.shape)
    from soilscale.cube import accumulate

    for members in lattices:
        lattice = reading.header(members[0], reading.source.data)
        reduce, factor = choose(lattice)
        parts = list(_pieces(geobox, SUBGRID // factor))
        pieces = [geobox[part].pad(halo) if halo else geobox[part] for part in parts]
        read = partial(mosaics.read, reading, members, lattice)
        for part, (piece, stored) in zip(parts, next_ahead(read, pieces, distant=distant), strict=True):
            if stored is None:
                continue
            with turn():
                values, share = reduce(mosaics.lay(stored), piece)
            if alone:
                totals[(..., *part)], fraction[part] = values, share
            else:
                accumulate.add(totals[(..., *part)], fraction[part], values, share, most=1)
    if not fraction.any():
        return None
    if alone:
        return totals, fraction
    return kernels.weighted_mean(totals, np.broadcast_to(fraction, totals.shape)), fraction


def _pieces(geobox: GeoBox, side: int) -> Iterator[tuple[slice, slice]]:
    """Nearly equal pieces of a grid of at most `side` cells along each axis."""
    rows, columns = (_cuts(size, max(side, 1)) for size in geobox.shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def _cuts(size: int, side: int) -> list[int]:
    """Where a length is cut into nearly equal parts of at most `side`, both ends included."""
    parts = math.ceil(size / side)
    return [size * part // parts for part in range(parts + 1)]


def meets(scene: Scene, geobox: GeoBox) -> bool:
    """Whether a scene may hold pixels of a grid, by its bounding box, which some catalogs draw too small."""
    return bool(meeting([scene], geobox))


def meeting(scenes: Sequence[Scene], geobox: GeoBox) -> tuple[int, ...]:
    """Places in a list of the scenes that meet a grid."""
    bounds = lonlat_bounds(geobox.boundingbox.bbox, str(geobox.crs))
    return tuple(place for place, scene in enumerate(scenes) if extents.intersects(_with_margin(scene), bounds))


def _with_margin(scene: Scene) -> extents.Box:
    """Bounding box of a scene, and beyond it as far as it may be drawn too small."""
    width, height = extents.width(scene.bbox), scene.bbox[3] - scene.bbox[1]
    # A scene left out here is never opened, so a box too small would lose pixels without a message.
    return extents.grown(scene.bbox, CARELESS * width, CARELESS * height)
