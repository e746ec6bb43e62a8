"""Opening files of several variables: their format, each opened once for all readers."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path

from rasterio.errors import RasterioError

from soilscale import storage
from soilscale.errors import ConfigurationError, DataError, SoilscaleError
from soilscale.formats.contents import Contents
from soilscale.formats.layers import Layer, find
from soilscale.formats.ranges import Ranges, patiently
from soilscale.formats.scratch import scratch
from soilscale.formats.signatures import may_hold_layers

ZARR = re.compile(r"\.zarr(/|$)", re.IGNORECASE)

HEADS: Mapping[bytes, str] = {
    b"\x0e\x03\x13\x01": "HDF4",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"CDF\x01": "NetCDF 3",
    b"CDF\x02": "NetCDF 3",
    b"GRIB": "GRIB",
}
"""How files begin -> the kind."""

USER_BLOCKS = (512, 1024, 2048, 4096)
"""Bytes that others may have put before an HDF5 file."""

FORMATS: Mapping[str, tuple[str, str]] = {
    "HDF4": ("hdf4", "Hdf4"),
    "HDF5": ("hdf5", "Hdf5"),
    "NetCDF 3": ("netcdf3", "NetCdf3"),
    "GRIB": ("grib", "Grib"),
    "Zarr": ("zarr", "ZarrGroup"),
}
"""Kind -> module and class that read it, imported when the first file of the kind is opened."""

FAILURES = (OSError, RuntimeError, ValueError, KeyError, TypeError, RasterioError)
"""What libraries raise of a file that is damaged or cut off."""

LONGEST = 8
"""Bytes that tell the kind."""

MOST_OPEN = 8
"""Files that are kept open at most while nothing reads them."""


def kind(href: str) -> str | None:
    """Kind of a file that holds variables; None of a raster that GDAL opens, and of what nobody knows.

    Parameters
    ----------
    href
        Where it lies, signed if it must be.

    Raises
    ------
    ServiceError
        If its store cannot be reached.
    """
    name = href.partition("?")[0]
    if ZARR.search(name):
        return "Zarr"
    if not may_hold_layers(name) or href.startswith("/vsi"):
        return None
    path = storage.gdal_path(href)
    return _cached_kind(href, name) if path.startswith("/vsi") else _kind(path, name)


def _kind(place: str, name: str) -> str | None:
    """Kind of a file by how it begins, and by its name where that tells nothing."""
    try:
        head = patiently(partial(storage.read_head, place, LONGEST))
        kind_of_head = next((kind for start, kind in HEADS.items() if head.startswith(start)), None)
        # Only by such names: looking for a block before the signature takes a further read of every file.
        if (
            kind_of_head is None
            and re.search(r"\.(h5|hdf5?|he5|nc4?)$", name, re.IGNORECASE)
            and _has_user_block(place)
        ):
            return "HDF5"
    except FileNotFoundError:
        return None
    except ConfigurationError as error:
        # A folder, or what nobody may read: one input's fault, not that of the whole configuration.
        raise DataError(str(error)) from error
    return kind_of_head


_cached_kind = lru_cache(maxsize=1024)(_kind)
"""The same of distant files, which are asked once."""


def _has_user_block(place: str) -> bool:
    head = storage.read_head(place, USER_BLOCKS[-1] + LONGEST)
    return any(head[start : start + LONGEST] == b"\x89HDF\r\n\x1a\n" for start in USER_BLOCKS)


def _place(href: str) -> str:
    """Path or URL by which the storage knows an href."""
    path = storage.gdal_path(href)
    return href if path.startswith("/vsi") else path


class _Entry:
    """An open file, and how it is closed."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held by the thread that reads."""
        self.stack = ExitStack()
        self.contents: Contents | None = None
        self.ranges: Ranges | None = None
        self.layers: dict[tuple[str | None, str], Layer] = {}
        self.readers = 0


class _Files:
    """Open files of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: OrderedDict[str, _Entry] = OrderedDict()
        self.keepers = 0

    def take(self, key: str) -> _Entry:
        with self.lock:
            entry = self.entries.setdefault(key, _Entry())
            entry.readers += 1
            self.entries.move_to_end(key)
        return entry

    def put(self, key: str, entry: _Entry, *, sound: bool) -> None:
        """Give back a file; close what need not, or must not, stay open."""
        with self.lock:
            entry.readers -= 1
            if not sound and self.entries.get(key) is entry:
                del self.entries[key]
            # One that failed while others read it is closed by the last of them.
            spare = [] if self.entries.get(key) is entry or entry.readers else [entry]
            idle = [key for key, entry in self.entries.items() if not entry.readers]
            most = MOST_OPEN if self.keepers else 0
            spare += [self.entries.pop(key) for key in idle[: max(len(idle) - most, 0)]]
        _close(spare)

    def keep(self, count: int) -> None:
        """Count those who want files kept open; the last one to go closes them."""
        with self.lock:
            self.keepers += count
            idle = [key for key, entry in self.entries.items() if not entry.readers] if not self.keepers else []
            spare = [self.entries.pop(key) for key in idle]
        _close(spare)


def _close(entries: list[_Entry]) -> None:
    for entry in entries:
        # A damaged file may fail to close too, which must not hide why it failed to be read.
        with entry.lock, suppress(*FAILURES):
            entry.stack.close()


_files = _Files()


@contextmanager
def keeping() -> Iterator[None]:
    """Keep open what is opened until the context ends, a few files at most, so that each is opened once within it."""
    _files.keep(+1)
    try:
        yield
    finally:
        _files.keep(-1)


@contextmanager
def opened(href: str, kind: str) -> Iterator[Contents]:
    """Contents of a file, for one thread at a time.

    Parameters
    ----------
    href
        Where it lies, signed if it must be.
    kind
        Its `kind`.

    Raises
    ------
    DataError
        If it is missing, damaged or cut off.
    ServiceError
        If its store cannot be reached.
    """
    with _entry(href, kind) as entry:
        if entry.contents is None:
            raise ValueError(href)
        yield entry.contents


@contextmanager
def layer(href: str, kind: str, name: str | None, usual: str) -> Iterator[Layer]:
    """Layer of a file, by `soilscale.formats.layers.find`, for one thread at a time; errors as that, and `opened`."""
    with _entry(href, kind) as entry:
        key = name, usual
        # Finding a layer may look at all objects of a file, so it is done once.
        if key not in entry.layers:
            if entry.contents is None:
                raise ValueError(href)
            try:
                entry.layers[key] = find(entry.contents, name, usual)
            except DataError as error:
                raise DataError(f"{storage.shown(href).partition('?')[0]} {error}") from error
        yield entry.layers[key]


@contextmanager
def _entry(href: str, kind: str) -> Iterator[_Entry]:
    key, sound = _version(href), True
    entry = _files.take(key)
    try:
        with entry.lock:
            try:
                if entry.contents is None:
                    entry.contents = _open(entry, href, kind)
                yield entry
            except SoilscaleError:
                raise
            except FAILURES as error:
                sound = False
                raise _explained(error, entry, href, kind) from error
    except BaseException:
        sound = sound and entry.contents is not None
        raise
    finally:
        _files.put(key, entry, sound=sound)


def _version(href: str) -> str:
    """What an open file is known by: a local one that was replaced is another."""
    path = storage.gdal_path(href)
    if path.startswith("/vsi"):
        return href
    with suppress(OSError):
        stat = Path(path).stat()
        return f"{path} {stat.st_size} {stat.st_mtime_ns}"
    return path


def _open(entry: _Entry, href: str, kind: str) -> Contents:
    module, name = FORMATS[kind]
    place, remote = _place(href), storage.gdal_path(href).startswith("/vsi")
    source: str | Ranges = place
    # Only HDF5 can be read from a stream in parts; the other libraries need a file of this machine.
    if remote and kind == "HDF5":
        source = entry.ranges = Ranges(place)
    elif remote and kind != "Zarr":
        source = str(entry.stack.enter_context(scratch.copy(place)))
    contents: Contents = getattr(import_module(f"soilscale.formats.{module}"), name)(source)
    entry.stack.callback(contents.close)
    return contents


def _explained(error: Exception, entry: _Entry, href: str, kind: str) -> SoilscaleError:
    """Failure to read a file, in a person's words."""
    # HDF5 hides why a read failed; the ranges remember.
    failure = entry.ranges.failure if entry.ranges is not None else None
    if isinstance(failure, SoilscaleError):
        return failure
    name = storage.shown(href.partition("?")[0])
    if isinstance(failure or error, FileNotFoundError):
        return DataError(f"{name} cannot be read: the file does not exist; correct the item, or add the file")
    text = storage.shown(error).rstrip(".") or type(error).__name__
    return DataError(
        f"{name} cannot be read as {kind}: {text}; it may be damaged or truncated: replace the file, then run the "
        "same command again"
    )
