"""Scenes of one date laid side by side in the pixels of their files: fill codes and quality masked, then scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from soilscale import storage
from soilscale.catalog import Scene
from soilscale.cube import assets, warping, windows
from soilscale.cube.ahead import side_by_side
from soilscale.cube.assets import Header
from soilscale.cube.warping import Floats, Pixels
from soilscale.cube.windows import Rows
from soilscale.errors import DataError, SoilscaleError
from soilscale.extents import intersects, padded
from soilscale.grid import Bounds, lonlat_bounds
from soilscale.sources import QualityRule, Source

STRAY = 1.0
"""Degrees by which an item's bounding box may miss its file."""

TOGETHER = 2**23
"""Stored values, 8 bytes each, that are read at once from several scenes; one window alone may hold more."""

Part = tuple[Bounds, Scene, Bounds, list[NDArray[Any]]]
"""Bounds as a scene shows the place, the scene, the part of them that it holds, and what its assets store there."""

BAND = 64
"""Rows that are decoded at once."""

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """A source and the way to its assets: what every function below needs to know."""

    source: Source
    sign: Callable[[str], str]
    _headers: dict[tuple[str, str], Header] = field(default_factory=dict, repr=False, compare=False)
    """Headers read so far; a replaced file is seen by the next `Reading`."""

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
        key = scene.item, scene.hrefs[asset]
        if key not in self._headers:
            found = assets.header(self.sign(scene.hrefs[asset]), self._band(asset))
            _check_place(scene, found)
            self._headers[key] = found
        return self._headers[key]

    def fetch_headers(self, scenes: Sequence[Scene]) -> None:
        """Fetch what headers a distant store's scenes may need, side by side; near files are asked one by one later.

        Raises
        ------
        DataError, ServiceError
            As `header`, for the data; whether the flags are needed is seen then only.
        """

        def fetch(one: tuple[Scene, str]) -> None:
            with suppress(SoilscaleError) if one[1] != self.source.asset else nullcontext():
                self.header(*one)

        if self.distant(scenes):
            wanted = [(scene, name) for scene in scenes for name in self.source.assets]
            side_by_side(fetch, [(scene, name) for scene, name in wanted if not self._known(scene, name)])

    def _known(self, scene: Scene, asset: str) -> bool:
        return (scene.item, scene.hrefs.get(asset)) in self._headers

    def windows(
        self, wanted: Sequence[tuple[Scene, str]], lattice: Header, bounds: Bounds, **how: Any
    ) -> list[NDArray[Any]]:
        """Stored values of assets of scenes on one lattice, an array for each; see `windows.windows`."""
        hrefs = [self.sign(scene.hrefs[asset]) for scene, asset in wanted]
        return windows.windows(hrefs, lattice, bounds, [self._band(asset) for _, asset in wanted], **how)

    def distant(self, scenes: Sequence[Scene]) -> bool:
        """Whether files of scenes lie in a store that each request has to travel to."""
        return any(storage.gdal_path(href).startswith("/vsi") for scene in scenes for href in scene.hrefs.values())

    def on(self, scene: Scene, lattice: Header) -> tuple[str, ...]:
        """Assets of a scene that lie on a lattice, the data before the quality."""
        return tuple(asset for asset in self.source.assets if self.header(scene, asset).shares_grid(lattice))

    def _band(self, asset: str) -> int:
        return self.source.band if asset == self.source.asset else 1


def _check_place(scene: Scene, header: Header) -> None:
    """Refuse a file that lies nowhere near the place its item tells."""
    try:
        near = intersects(padded(scene.bbox, STRAY), lonlat_bounds(header.bounds, header.wkt))
    except ValueError:
        near = False
    if not near:
        raise DataError(
            f"item {scene.item} says that it lies within {[round(v, 3) for v in scene.bbox]} (degrees), but its file "
            f"lies within {[round(v, 3) for v in header.bounds]} of {header.crs}; correct the item or the file's CRS"
        )


def lattices(reading: Reading, scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Group scenes by the lattice that their pixels share; the tiles of one product form one group.

    Raises
    ------
    DataError, ServiceError
        If a scene's file cannot be read, or lies elsewhere than the item says.
    """
    groups: list[list[Scene]] = []
    asset = reading.source.asset
    for scene in scenes:
        header = reading.header(scene, asset)
        group = next((group for group in groups if reading.header(group[0], asset).shares_grid(header)), None)
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
    empty = Pixels(np.broadcast_to(np.nan, _shape(bounds, lattice)), lattice, bounds)
    needed = warping.needed(empty, geobox)
    parts = _all_stored(reading, _parts(reading, scenes, lattice, bounds), lattice, needed)
    first = next(parts, None)
    return None if first is None else Stored(reading, empty, needed, chain([first], parts))


def lay(found: Stored) -> Pixels:
    """Scenes side by side, masked and scaled."""
    lattice, values = found.empty.header, found.empty.values.copy()
    for turned, scene, common, stored in found.parts:
        decode = _decoder(found.reading, scene, lattice, common, stored)
        here = values[_place(common, turned, lattice)]
        for part in _bands(here.shape, _within((turned, found.needed), common, lattice)):
            np.copyto(here[part], decode(*(each[part] for each in stored)), where=np.isnan(here[part]))
    return replace(found.empty, values=values)


def mosaic(reading: Reading, scenes: Sequence[Scene], lattice: Header, geobox: GeoBox) -> Pixels | None:
    """Read scenes, and lay them side by side; see `read` and `lay`."""
    found = read(reading, scenes, lattice, geobox)
    return None if found is None else lay(found)


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
        own = reading.header(scene, reading.source.asset)
        for turned in (_shifted(bounds, turn) for turn in _turns(own)):
            common = assets.overlap(own.bounds, turned)
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
        whole = min(left), min(bottom), max(right), max(top)
        rows, columns = _shape(whole, lattice)
        count = max(TOGETHER // (rows * columns * len(reading.source.assets)), 1)
        some, parts = parts[:count], parts[count:]
        wanted = [(scene, asset) for scene, _ in some for asset in reading.on(scene, lattice)]
        whole = whole if len(some) > 1 else some[0][1]
        dtype = np.result_type(*(reading.header(*one).dtype for one in wanted)).name
        found = iter(reading.windows(wanted, lattice, whole, dtype=dtype, needed=_within(window, whole, lattice)))
        for scene, common in some:
            place = _place(common, whole, lattice)
            yield scene, common, [next(found)[place] for _ in reading.on(scene, lattice)]


def _within(window: tuple[Bounds, Rows | None], part: Bounds, lattice: Header) -> Rows | None:
    """What the rows of a part of a window need, counted from its own first column."""
    bounds, needed = window
    rows, columns = _place(part, bounds, lattice)
    return None if needed is None else needed[rows] - columns.start


def _shape(bounds: Bounds, lattice: Header) -> tuple[int, int]:
    """Rows and columns of bounds on a lattice."""
    width, height = lattice.pixel
    return round((bounds[3] - bounds[1]) / height), round((bounds[2] - bounds[0]) / width)


def _place(part: Bounds, whole: Bounds, lattice: Header) -> tuple[slice, slice]:
    """Rows and columns of a part in the pixels of the whole."""
    width, height = lattice.pixel
    row, column = round((whole[3] - part[3]) / height), round((part[0] - whole[0]) / width)
    rows, columns = _shape(part, lattice)
    return slice(row, row + rows), slice(column, column + columns)


def _turns(header: Header) -> tuple[float, ...]:
    """Shifts in x under which a file shows the same place: whole turns, where its map repeats itself."""
    width = (header.turn or 0) * header.pixel[0]
    return (0.0, width, -width) if width else (0.0,)


def _shifted(bounds: Bounds, shift: float) -> Bounds:
    return bounds[0] + shift, bounds[1], bounds[2] + shift, bounds[3]


def _bands(shape: tuple[int, ...], needed: Rows | None) -> Iterator[tuple[slice, slice]]:
    """Parts of a window that hold what is needed of it, of so few rows that the processor's caches hold them."""
    for first in range(0, shape[0], BAND):
        rows = slice(first, min(first + BAND, shape[0]))
        left, right = (0, shape[1]) if needed is None else (needed[rows, 0].min(), needed[rows, 1].max())
        yield rows, slice(max(left, 0), max(right, 0))


def _decoder(
    reading: Reading, scene: Scene, lattice: Header, bounds: Bounds, stored: list[NDArray[Any]]
) -> Callable[..., Floats]:
    """Way from stored values to physical ones: fill codes, valid range and quality masked, then scaled.

    Flags that lie on another lattice are added to the stored values.
    """
    source, told, own = reading.source, scene.decoding, reading.header(scene, reading.source.asset)
    fills = _fills(source, told.get("nodata"), own.nodata)
    valid_range = source.valid_range or told.get("valid_range")
    scale = _first(source.scale, told.get("scale"), own.scale) or 1.0
    offset = _first(source.offset, told.get("offset"), own.offset) or 0.0
    factor = source.conversion(_first(told.get("unit"), own.unit))

    def physical(raw: NDArray[Any]) -> Floats:
        codes = raw.astype("float64")
        valid = np.isfinite(codes) & ~np.isin(codes, fills)
        if valid_range is not None:
            valid &= (codes >= valid_range[0]) & (codes <= valid_range[1])
        return np.where(valid, (codes * scale + offset) * factor, np.nan)

    value = _by_code(physical, stored[0])
    if source.quality is None:
        return value
    if len(stored) == 1:
        stored.append(_flags_elsewhere(reading, source.quality, scene, lattice, bounds))
    accepted = _by_code(partial(_accepted, source.quality), stored[1])
    return lambda raw, flags: np.where(accepted(flags), value(raw), np.nan)


def _by_code(work: Callable[[NDArray[Any]], NDArray[Any]], stored: NDArray[Any]) -> Callable[..., NDArray[Any]]:
    """Function of stored values, worked out once for each code if there are fewer codes than values."""
    kind = stored.dtype
    if kind.kind not in "iu" or stored.size <= 2 ** (8 * kind.itemsize):
        return work
    unsigned = np.dtype(f"u{kind.itemsize}")
    table = work(np.arange(2 ** (8 * kind.itemsize), dtype=unsigned).view(kind))
    return lambda codes: table[codes.view(unsigned)]


def _fills(source: Source, told: float | None, own: float | None) -> list[float]:
    """Stored values that mean nothing, as the source says, else the item, else the file; in single precision too."""
    if source.nodata is not None:
        fills = list(source.nodata)
    else:
        fills = [value for value in (told, own) if value is not None and not math.isnan(value)][:1]
    with np.errstate(over="ignore"):
        return fills + np.array(fills, "float32").astype("float64").tolist()


def _first(*values: T | None) -> T | None:
    """First value that is said."""
    return next((value for value in values if value is not None), None)


def _flags_elsewhere(reading: Reading, rule: QualityRule, scene: Scene, lattice: Header, bounds: Bounds) -> Floats:
    """Flags of a quality band on another lattice, laid on this one by its nearest pixel."""
    own = reading.header(scene, rule.asset)
    width, height = lattice.pixel
    shape = _shape(bounds, lattice)
    geobox = GeoBox(shape, Affine(width, 0, bounds[0], 0, -height, bounds[3]), lattice.wkt)
    inner = warping.bounds_on(geobox, own)
    if inner is None:
        return np.full(shape, np.nan)
    stored = reading.windows([(scene, rule.asset)], own, inner)[0]
    return warping.interpolate(Pixels(stored, own, inner), geobox, "nearest")


def _accepted(rule: QualityRule, flags: Floats) -> NDArray[np.bool_]:
    """Pixels that the quality band accepts."""
    first, last = rule.bits
    known = np.isfinite(flags)
    bits = (np.where(known, flags, 0).astype("int64") >> first) & (2 ** (last - first + 1) - 1)
    return known & np.isin(bits, rule.accept)
