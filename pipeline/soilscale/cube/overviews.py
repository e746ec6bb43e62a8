"""Overviews instead of pixels: whether a source's are averages, and which is fine enough for a grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from soilscale.catalog import Scene
from soilscale.cube import assets, opening, warping
from soilscale.cube.assets import Header
from soilscale.cube.reading import Reading
from soilscale.errors import DataError

ENOUGH = 4.0
"""Pixels of an overview along a fine cell at least. With 4.5 of them the mean of a cell differs from that of all pixels
by 0.02 % in rough terrain, by less than 0.1 % in 99 of 100 cells, by 1.7 % at worst."""

TRIED = 3
"""Scenes of which one must show what their overviews are."""

SAMPLE = 24
"""Pixels of an overview along the side of a window that is compared with what it is of."""

ALONG = (0.5, 0.3, 0.7)
"""Where along the diagonal of the area windows are compared."""

LIKE = 0.25
"""Share of the spread of the pixels within one of an overview by which it may miss their mean: an average misses it by
rounding alone, one that takes a pixel of each block by the spread itself."""

ROUNDING = 0.5
"""Stored units by which an average of whole numbers may miss the mean: each overview is made of the one before."""

NAMED = "OVERVIEW_RESAMPLING"
"""Tag in which GDAL keeps how overviews were made, where it does."""


@dataclass(frozen=True)
class Choice:
    """Which overview of a source's files is read."""

    reduction: int
    """Pixels along one of the overview; 1: the pixels themselves are read."""
    scene: str
    """Digest of the scene whose file showed it."""


def choose_overview(reading: Reading, scenes: Sequence[Scene], geobox: GeoBox) -> Choice | None:
    """Coarsest overview that is an average, and of which enough pixels lie along each cell of a grid.

    Parameters
    ----------
    reading
        The source and the way to its assets, its scenes as they are without overviews.
    geobox
        The fine grid.

    Returns
    -------
    Choice or None
        None if no file could be read, so that nothing is known.

    Raises
    ------
    ServiceError
        If a store cannot be reached.
    """
    choice: Choice | None = None
    for scene in scenes[:TRIED]:
        href = reading.sign(scene.hrefs.get(reading.source.asset, ""))
        try:
            header = reading.header(scene, reading.source.data)
            if header.layer is not None:
                return Choice(1, scene.digest)
            factor = _coarsest(href, header, warping.pixels_per_cell(geobox, header))
            if factor == 1 or not _codes_are_the_file_s(reading, scene, header):
                return Choice(1, scene.digest)
            average = _is_average(href, header, factor, geobox)
        except DataError:
            continue
        # A window too smooth to tell decides nothing; the next scene may show it.
        choice = choice or Choice(1, scene.digest)
        if average is not None:
            return Choice(factor if average else 1, scene.digest)
    return choice


def _coarsest(href: str, header: Header, per_cell: float) -> int:
    factors: list[int] = opening.opened(href, lambda file: file.overviews(header.band))
    return max((factor for factor in factors if per_cell / factor >= ENOUGH), default=1)


def _codes_are_the_file_s(reading: Reading, scene: Scene, header: Header) -> bool:
    """Whether whatever is missing was so for what made the overviews: else they are averages of fill codes too."""
    codes = {*(reading.source.nodata or ()), *(scene.decoding["nodata"] or ()), *header.fills}
    return header.mask is None and codes <= {header.nodata}


def _is_average(href: str, header: Header, factor: int, geobox: GeoBox) -> bool | None:
    """Whether an overview is the mean of the pixels below it; None if what was looked at is too smooth to show it."""
    method = opening.opened(href, lambda file: file.tags(ns="IMAGE_STRUCTURE").get(NAMED))
    # What the file says of itself saves reading windows, and is right in smooth terrain too.
    if method:
        return str(method).upper() == "AVERAGE"
    reduced = assets.reduced(header, href, factor)
    verdicts = [_compare(href, header, reduced, corner) for corner in _corners(header, reduced, geobox)]
    shown = [verdict for verdict in verdicts if verdict is not None]
    return all(shown) if shown else None


def _corners(header: Header, reduced: Header, geobox: GeoBox) -> Iterator[tuple[int, int]]:
    """First row and column of windows of an overview that lie where the area is."""
    area = warping.bounds_on(geobox, header)
    left, bottom, right, top = (area and assets.overlap(area, header.bounds)) or header.bounds
    width, height = reduced.pixel
    for share in ALONG:
        row = (reduced.transform.f - (top + share * (bottom - top))) / height - SAMPLE / 2
        column = ((left + share * (right - left)) - reduced.transform.c) / width - SAMPLE / 2
        rows, columns = reduced.shape
        yield (
            round(min(max(row, 0), max(rows - SAMPLE, 0))),
            round(min(max(column, 0), max(columns - SAMPLE, 0))),
        )


def _compare(href: str, header: Header, reduced: Header, corner: tuple[int, int]) -> bool | None:
    """Whether a window of an overview is the mean of its pixels; None if they hardly differ, or are missing."""
    ratios = header.shape[0] / reduced.shape[0], header.shape[1] / reduced.shape[1]
    sides = [min(SAMPLE, size - start) for size, start in zip(reduced.shape, corner, strict=True)]
    starts = [int(start * ratio) for start, ratio in zip(corner, ratios, strict=True)]
    stops = [
        min(int(np.ceil((start + side) * ratio)), size)
        for start, side, ratio, size in zip(corner, sides, ratios, header.shape, strict=True)
    ]
    flip = header.flipped
    below = _read(href, header, None, _window(header.shape[0], starts, stops, flipped=flip))
    ends = [start + side for start, side in zip(corner, sides, strict=True)]
    above = _read(href, header, reduced.overview, _window(reduced.shape[0], list(corner), ends, flipped=flip))
    rows, columns = (
        _weights(start, side, ratio, first, last - first)
        for start, side, ratio, first, last in zip(corner, sides, ratios, starts, stops, strict=True)
    )
    mean = rows @ below @ columns.T
    # The difference of squares may fall below 0 by rounding, where pixels are all alike.
    spread = np.sqrt(np.maximum(rows @ below**2 @ columns.T - mean**2, 0))
    valid = np.isfinite(mean) & np.isfinite(above)
    if not valid.any() or (typical := float(np.sqrt((spread[valid] ** 2).mean()))) <= _rounding(header):
        return None
    miss = float(np.sqrt(((above - mean)[valid] ** 2).mean()))
    return miss <= LIKE * typical + _rounding(header) * ROUNDING


def _rounding(header: Header) -> float:
    """Spread of stored values that is no more than their rounding."""
    return 1.0 if np.dtype(header.dtype).kind in "iu" else 0.0


def _window(height: int, starts: Sequence[int], stops: Sequence[int], *, flipped: bool) -> Window:
    first, last = (height - stops[0], height - starts[0]) if flipped else (starts[0], stops[0])
    return Window.from_slices((first, last), (starts[1], stops[1]))


def _read(href: str, header: Header, overview: int | None, window: Window) -> NDArray[np.float64]:
    """Stored values of a window from north to south, NaN where the file calls them missing."""

    def read(file: rasterio.DatasetReader) -> NDArray[np.float64]:
        values = file.read(header.band, window=window, masked=True)
        return np.asarray(values.astype("float64").filled(np.nan))

    stored = opening.opened(href, read, overview)
    return stored[::-1] if header.flipped else stored


def _weights(start: int, count: int, ratio: float, first: int, size: int) -> NDArray[np.float64]:
    """Share of each of `size` pixels, from number `first` on, in each of `count` of an overview, from `start` on."""
    edges = (start + np.arange(count + 1)) * ratio - first
    pixels = np.arange(size)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares = np.clip(shared, 0, None)
    weights: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return weights
