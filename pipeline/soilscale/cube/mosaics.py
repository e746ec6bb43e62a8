"""Mosaics of the scenes of one date in native pixels: fill codes and quality masked, then scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from soilscale.catalog import Scene
from soilscale.cube import assets, warping
from soilscale.cube.assets import Header
from soilscale.cube.reading import Reading, shifted, turns
from soilscale.cube.warping import Floats, Pixels
from soilscale.cube.windows import Rows
from soilscale.grid import Bounds
from soilscale.sources import Band, QualityRule

TOGETHER = 2**23
"""Stored values, 8 bytes each, that are read at once from several scenes; one window alone may hold more."""

Part = tuple[Bounds, Scene, Bounds, list[NDArray[Any]]]
"""Bounds as a scene shows the place, the scene, the part of them that it holds, and what its assets store there."""

BAND = 64
"""Rows that are decoded at once."""

T = TypeVar("T")


def lattices(reading: Reading, scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Group scenes by the lattice that their pixels share; the tiles of one product form one group.

    Raises
    ------
    DataError, ServiceError
        If a scene's file cannot be read, or lies elsewhere than the item says.
    """
    groups: list[list[Scene]] = []
    data = reading.source.data
    for scene in scenes:
        header = reading.header(scene, data)
        # By lattice, not by CRS alone: pixels that are shifted by a fraction can only be laid side by side by
        # warping.
        group = next((group for group in groups if reading.header(group[0], data).shares_grid(header)), None)
        if group is None:
            groups.append([scene])
        else:
            group.append(scene)
    return groups


@dataclass(frozen=True)
class Stored:
    """Scenes on one lattice as they are stored, of which the first are read."""

    reading: Reading
    empty: Pixels
    needed: Rows | None
    parts: Iterator[Part]


def read(reading: Reading, scenes: Sequence[Scene], lattice: Header, geobox: GeoBox) -> Stored | None:
    """Read the first scenes, as many as `TOGETHER`; those that follow are read when `lay` comes to them.

    Parameters
    ----------
    scenes
        All on one lattice; where they overlap, the first valid one counts.
    lattice
        Header of one of them.
    geobox
        Grid whose surroundings are wanted.

    Returns
    -------
    Stored or None
        What is stored of all pixels that the grid may need; None if no scene meets it.

    Raises
    ------
    DataError, ServiceError
        If a scene's file cannot be read.
    """
    bounds = warping.bounds_on(geobox, lattice)
    if bounds is None:
        return None
    # No memory is taken before `lay` copies it: a tile that no scene meets costs nothing.
    empty = Pixels(np.broadcast_to(np.nan, _shape(bounds, lattice)), lattice, bounds)
    needed = warping.needed(empty, geobox)
    parts = _all_stored(reading, _parts(reading, scenes, lattice, bounds), lattice, needed)
    first = next(parts, None)
    return None if first is None else Stored(reading, empty, needed, chain([first], parts))


def lay(stored_scenes: Stored) -> Pixels:
    """Scenes side by side, masked and scaled."""
    lattice, values = stored_scenes.empty.header, stored_scenes.empty.values.copy()
    for turned, scene, common, stored in stored_scenes.parts:
        decode = decoder(stored_scenes.reading, scene, lattice, common, stored)
        part_values = values[_place(common, turned, lattice)]
        for part in _bands(part_values.shape, _within((turned, stored_scenes.needed), common, lattice)):
            np.copyto(
                part_values[part],
                decode(*(band_values[part] for band_values in stored)),
                where=np.isnan(part_values[part]),
            )
    return replace(stored_scenes.empty, values=values)


def mosaic(reading: Reading, scenes: Sequence[Scene], lattice: Header, geobox: GeoBox) -> Pixels | None:
    """Read scenes, and lay them side by side; see `read` and `lay`."""
    stored_scenes = read(reading, scenes, lattice, geobox)
    return None if stored_scenes is None else lay(stored_scenes)


def _all_stored(
    reading: Reading, parts: Iterator[tuple[Bounds, Scene, Bounds]], lattice: Header, needed: Rows | None
) -> Iterator[Part]:
    for turned, group in groupby(parts, key=itemgetter(0)):
        for scene, common, stored in _stored(reading, [part[1:] for part in group], lattice, (turned, needed)):
            yield turned, scene, common, stored


def _parts(
    reading: Reading, scenes: Sequence[Scene], lattice: Header, bounds: Bounds
) -> Iterator[tuple[Bounds, Scene, Bounds]]:
    """Bounds, turned as a scene shows the place, the scene, and the part of them that it holds."""
    for scene in scenes:
        scene_header = reading.header(scene, reading.source.data)
        for turned in (shifted(bounds, turn) for turn in turns(scene_header)):
            common = assets.overlap(scene_header.bounds, turned)
            if common is not None and min(_shape(common, lattice)) > 0:
                yield turned, scene, common


def _stored(
    reading: Reading,
    parts: Sequence[tuple[Scene, Bounds]],
    lattice: Header,
    window: tuple[Bounds, Rows | None],
) -> Iterator[tuple[Scene, Bounds, list[NDArray[Any]]]]:
    """Parts of scenes with the stored values of their assets on the lattice; as many are read at once as `TOGETHER`.

    Of the window, only what each of its rows needs is read.
    """
    while parts:
        left, bottom, right, top = zip(*(common for _, common in parts), strict=True)
        bounds = min(left), min(bottom), max(right), max(top)
        rows, columns = _shape(bounds, lattice)
        count = max(TOGETHER // (rows * columns * len(reading.source.bands)), 1)
        batch, parts = parts[:count], parts[count:]
        bands = [(scene, band) for scene, _ in batch for band in reading.on(scene, lattice)]
        # One scene alone needs no more than its own part, not the bounds of the whole batch.
        bounds = bounds if len(batch) > 1 else batch[0][1]
        # One type for all, or the codes of a wider one would be cut off.
        dtype = np.result_type(*(reading.header(*scene_band).dtype for scene_band in bands)).name
        arrays = iter(reading.windows(bands, lattice, bounds, dtype=dtype, needed=_within(window, bounds, lattice)))
        for scene, common in batch:
            place = _place(common, bounds, lattice)
            yield scene, common, [next(arrays)[place] for _ in reading.on(scene, lattice)]


def _within(window: tuple[Bounds, Rows | None], part: Bounds, lattice: Header) -> Rows | None:
    """What the rows of a part of a window need, counted from its own first column."""
    bounds, needed = window
    rows, columns = _place(part, bounds, lattice)
    return None if needed is None else needed[rows] - columns.start


def _shape(bounds: Bounds, lattice: Header) -> tuple[int, int]:
    """Rows and columns of bounds on a lattice."""
    width, height = lattice.pixel
    return round((bounds[3] - bounds[1]) / height), round((bounds[2] - bounds[0]) / width)


def _place(part: Bounds, bounds: Bounds, lattice: Header) -> tuple[slice, slice]:
    """Rows and columns of a part in the pixels of the whole."""
    width, height = lattice.pixel
    row, column = round((bounds[3] - part[3]) / height), round((part[0] - bounds[0]) / width)
    rows, columns = _shape(part, lattice)
    return slice(row, row + rows), slice(column, column + columns)


def _bands(shape: tuple[int, ...], needed: Rows | None) -> Iterator[tuple[slice, slice]]:
    """Parts of a window that hold what is needed of it, of so few rows that the processor's caches hold them."""
    for first in range(0, shape[0], BAND):
        rows = slice(first, min(first + BAND, shape[0]))
        left, right = (0, shape[1]) if needed is None else (needed[rows, 0].min(), needed[rows, 1].max())
        yield rows, slice(max(left, 0), max(right, 0))


def decoder(
    reading: Reading, scene: Scene, lattice: Header, bounds: Bounds, stored: list[NDArray[Any]]
) -> Callable[..., Floats]:
    """Way from stored values to physical ones: fill codes, valid range and quality masked, then scaled.

    Flags that lie on another lattice are added to the stored values.
    """
    value = _by_code(reading.decoding(scene).physical, stored[0])
    bands = reading.source.bands[1:]
    part_values = dict(zip(reading.on(scene, lattice), stored, strict=True))
    stored[1:] = [
        part_values[band] if band in part_values else _flags_elsewhere(reading, band, scene, lattice, bounds)
        for band in bands
    ]
    accepted = [
        _by_code(partial(_accepted, [rule for rule in reading.source.quality if rule.band == band]), flags)
        for band, flags in zip(bands, stored[1:], strict=True)
    ]

    def decode(raw: NDArray[Any], *flags: NDArray[Any]) -> Floats:
        values = value(raw)
        for accept, band in zip(accepted, flags, strict=True):
            values = np.where(accept(band), values, np.nan)
        return values

    return decode


def _by_code(work: Callable[[NDArray[Any]], NDArray[Any]], stored: NDArray[Any]) -> Callable[..., NDArray[Any]]:
    """Function of stored values, worked out once for each code if there are fewer codes than values."""
    kind = stored.dtype
    # A table of more codes than there are values would cost more than it saves.
    if kind.kind not in "iu" or stored.size <= 2 ** (8 * kind.itemsize):
        return work
    # Seen as unsigned, negative codes index the second half of the table.
    unsigned = np.dtype(f"u{kind.itemsize}")
    table = work(np.arange(2 ** (8 * kind.itemsize), dtype=unsigned).view(kind))
    return lambda codes: table[codes.view(unsigned)]


def _flags_elsewhere(reading: Reading, band: Band, scene: Scene, lattice: Header, bounds: Bounds) -> Floats:
    """Flags of a quality band on another lattice, laid on this one by its nearest pixel."""
    flag_header = reading.header(scene, band)
    width, height = lattice.pixel
    shape = _shape(bounds, lattice)
    geobox = GeoBox(shape, Affine(width, 0, bounds[0], 0, -height, bounds[3]), lattice.wkt)
    inner = warping.bounds_on(geobox, flag_header)
    if inner is None:
        return np.full(shape, np.nan)
    stored = reading.windows([(scene, band)], flag_header, inner)[0]
    # Nearest only: a mean of two bit patterns is a third one that means something else.
    return warping.interpolate(Pixels(stored, flag_header, inner), geobox, "nearest")


def _accepted(rules: Sequence[QualityRule], flags: Floats) -> NDArray[np.bool_]:
    """Pixels that all rules of a quality band accept."""
    accepted = np.isfinite(flags)
    # NaN has no integer; what it becomes differs from processor to processor.
    codes = np.where(accepted, flags, 0).astype("int64")
    for rule in rules:
        first, last = rule.bits
        accepted &= np.isin((codes >> first) & (2 ** (last - first + 1) - 1), rule.accept)
    return accepted
