"""Windows of stored values in the files' own grid, through stackstac: only the blocks that are needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from dask import threaded
from dask.local import get_sync
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from soilscale import storage
from soilscale.cube import assets
from soilscale.cube.assets import Header, Raster
from soilscale.cube.prefetch import fetchers, spread
from soilscale.grid import Bounds

NOMINAL_EPSG = 4326
"""What stackstac, which takes EPSG codes only, is told of a grid without one; nothing is warped, so it does nothing."""

SPARE = 1.15
"""Blocks that are read at once, over those that are needed; two reads of a file take longer than a few blocks more."""

PLANS = 16
"""Plans that a thread remembers."""

Rows = NDArray[np.int64]
"""First column that each row of a window needs, and the first after, shape ``(rows, 2)``; the same where none is."""

File = tuple[str, Header]
"""Href, signed if it must be, and header of what is read there."""

Strip = tuple[slice, slice]
"""Rows and columns of a file."""


def windows(
    files: Sequence[File],
    lattice: Header,
    bounds: Bounds,
    dtype: str = "float64",
    needed: Rows | None = None,
) -> list[NDArray[Any]]:
    """Stored values of several files on one lattice.

    Parameters
    ----------
    files
        Href of each, signed if it must be, and its header; all on the lattice.
    lattice
        Header of one of them.
    bounds
        Left, bottom, right, top, on the lattice (`assets.snap`).
    dtype
        Type that holds the values of all (`Header.dtype`); in double precision every integer code stays exact.
    needed
        What is needed of the window; None: all of it.

    Returns
    -------
    list
        An array of shape ``(rows, columns)`` for each file. Outside the file, and where a pixel is not needed, it
        holds NaN if its type knows that, else 0.

    Raises
    ------
    DataError, ServiceError
        As `assets.header`.
    """
    request, graph, keys = _plans.plan(len(files), lattice.wkt, lattice.pixel, bounds, dtype)
    distant = any(storage.gdal_path(href).startswith("/vsi") for href, _ in files)
    request.files, request.needed, request.pool = files, needed, fetchers() if distant else None
    chunks = get_sync(graph, keys) if request.pool is None else threaded.get(graph, keys, pool=request.pool)
    # Chunk by chunk, since to put them into one array would copy them.
    return [chunk[0][0][0][0, 0] for chunk in chunks]


@dataclass
class Asked:
    """What a plan reads this time."""

    files: Sequence[File] = ()
    needed: Rows | None = None
    pool: ThreadPoolExecutor | None = None
    """Threads that read from a distant store."""

    def reader(self, *, url: str, **how: Any) -> NativeReader:
        """Reader of one of the files, by its number."""
        href, header = self.files[int(url)]
        return NativeReader(url=href, header=header, needed=self.needed, pool=self.pool, **how)


def _plan(
    count: int, wkt: str, pixel: tuple[float, float], bounds: Bounds, dtype: str
) -> tuple[Asked, dict[Any, Any], list[Any]]:
    """Plan to read a window of so many files on a lattice: what to read, and the tasks and results of a stack of them.

    The files are named when it is carried out: to plan takes longer than to read, and all dates of a source have the
    same window.
    """
    import stackstac

    epsg, kind, request = CRS.from_wkt(wkt).to_epsg() or NOMINAL_EPSG, np.dtype(dtype), Asked()
    items = [
        {
            "id": str(number),
            "bbox": list(bounds),
            "properties": {"datetime": "2000-01-01T00:00:00Z", "proj:epsg": epsg, "proj:bbox": list(bounds)},
            "assets": {"data": {"href": str(number)}},
        }
        for number in range(count)
    ]
    stack = stackstac.stack(
        items,
        assets=["data"],
        epsg=epsg,
        resolution=pixel,
        bounds=bounds,
        snap_bounds=False,
        xy_coords=False,
        # Stackstac would scale fill codes before they are masked.
        rescale=False,
        dtype=kind,
        fill_value=kind.type(np.nan if kind.kind == "f" else 0),
        sortby_date=False,
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
        chunksize=(1, 1, -1, -1),
        reader=request.reader,
    )
    return request, dict(stack.data.__dask_graph__()), stack.data.__dask_keys__()


class _Plans(threading.local):
    """Plans of a thread, the last used ones; one is carried out at a time."""

    def __init__(self) -> None:
        self.plan = lru_cache(maxsize=PLANS)(_plan)


_plans = _Plans()


class NativeReader:
    """Reader for stackstac that reads windows of stored values in the file's own grid: no warp, no mask, no scale.

    Implements ``stackstac.reader_protocol.Reader``. Masking by nodata, valid range and quality bits comes before any
    resampling, so that no fill code bleeds into its neighbours; stackstac's default reader resamples first.
    """

    def __init__(
        self,
        *,
        url: str,
        spec: Any,
        dtype: np.dtype[Any],
        fill_value: float,
        header: Header,
        needed: Rows | None = None,
        pool: ThreadPoolExecutor | None = None,
        **_: Any,
    ) -> None:
        self.url = url
        self.spec = spec
        self.dtype = dtype
        self.fill_value = fill_value
        self.header = header
        self.needed = needed
        self.pool = pool

    def read(self, window: Window, **_: object) -> NDArray[Any]:
        """Stored values of a window of the stack's grid; `fill_value` outside the file, and where nothing is needed."""
        left, top = self.header.transform.c, self.header.transform.f
        row = round((self.spec.bounds[3] - top) / self.header.transform.e) + int(window.row_off)
        column = round((self.spec.bounds[0] - left) / self.header.transform.a) + int(window.col_off)
        needed = self.needed
        if self.header.flipped:
            row = self.header.shape[0] - row - int(window.height)
            needed = None if needed is None else needed[::-1]

        def read(raster: Raster) -> NDArray[Any]:
            values = np.full((window.height, window.width), self.fill_value, self.dtype)
            strips = self._strips(raster, needed, (row, row + window.height), (column, column + window.width))
            for strip, stored in zip(strips, self._read(raster, strips), strict=True):
                values[_shift(strip[0], row), _shift(strip[1], column)] = stored
            return values

        stored_rows: NDArray[Any] = assets.raster(self.url, self.header, read)
        return stored_rows[::-1] if self.header.flipped else stored_rows

    def _strips(
        self, raster: Raster, needed: Rows | None, rows: tuple[int, int], columns: tuple[int, int]
    ) -> list[Strip]:
        """Windows within a file that hold all that is wanted of a window."""
        first, last = max(rows[0], 0), min(rows[1], raster.shape[0])
        left, right = max(columns[0], 0), min(columns[1], raster.shape[1])
        if first >= last or left >= right:
            return []
        if needed is None:
            return [(slice(first, last), slice(left, right))]
        needed_columns = np.clip(needed[first - rows[0] : last - rows[0]] + columns[0], left, right)
        return strips(needed_columns, first, raster.block)

    def _read(self, raster: Raster, strips: Sequence[Strip]) -> Iterator[NDArray[Any]]:
        """Stored values of each strip, those of a distant file fetched side by side where threads are free for it.

        A file of several variables serves one thread at a time, and fetches what it needs side by side itself.
        """

        def read_open(strip: Strip) -> NDArray[Any]:
            return raster.read(*strip)

        def reopen(strip: Strip) -> NDArray[Any]:
            stored: NDArray[Any] = assets.raster(self.url, self.header, lambda reopened: reopened.read(*strip))
            return stored

        alone = self.pool is None or self.header.layer is not None
        return map(read_open, strips) if alone or self.pool is None else spread(self.pool, read_open, reopen, strips)

    def close(self) -> None:
        """Nothing is held open between reads."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _shift(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start)


def strips(needed: Rows, first: int, block: tuple[int, int]) -> list[Strip]:
    """Windows of a file that hold what is wanted of its rows: one for all, if that takes hardly more blocks than many.

    Parameters
    ----------
    needed
        Columns of the file that each row needs, from row `first` on.
    block
        Rows and columns of a block of the file.
    """
    high, wide = block
    starts = np.unique(np.maximum(np.arange(first // high, (first + len(needed) - 1) // high + 1) * high, first))
    needs = needed[:, 0] < needed[:, 1]
    # Rows that need nothing must not pull the strip to column 0.
    left = np.minimum.reduceat(np.where(needs, needed[:, 0], np.iinfo(np.int64).max), starts - first)
    right = np.maximum.reduceat(np.where(needs, needed[:, 1], 0), starts - first)
    stops = np.append(starts[1:], first + len(needed))
    merged: list[tuple[int, ...]] = []
    for part in zip(starts.tolist(), stops.tolist(), left.tolist(), right.tolist(), strict=True):
        if part[2] >= part[3]:
            continue
        # Top, bottom, left, right, and how many blocks are needed of it.
        strip = (*part, -(-part[3] // wide) - part[2] // wide)
        if merged and merged[-1][1] == strip[0]:
            last = merged[-1]
            union = last[0], strip[1], min(last[2], strip[2]), max(last[3], strip[3]), last[4] + strip[4]
            rows, columns = -(-union[1] // high) - union[0] // high, -(-union[3] // wide) - union[2] // wide
            if rows * columns <= SPARE * union[4]:
                merged[-1] = union
                continue
        merged.append(strip)
    return [(slice(top, bottom), slice(west, east)) for top, bottom, west, east, _ in merged]
