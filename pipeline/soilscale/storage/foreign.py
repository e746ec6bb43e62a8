"""Objects written by others and read in parts: their size, ranges, copies, and Zarr groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import zarr
from zarr.errors import BaseZarrError
from zarr.storage import FsspecStore

from soilscale.errors import DataError, ServiceError
from soilscale.storage.clouds import OnItsLoop
from soilscale.storage.stores import explain, failures, filesystem, has_bucket, is_local, shown


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Tell in a person's words why an object cannot be read; that there is none stays what it is."""
    try:
        yield
    except FileNotFoundError as error:
        if not has_bucket(error):
            raise explain(error, url, "read") from error
        raise
    except failures() as error:
        raise explain(error, url, "read") from error


def size_of(url: str) -> int:
    """Bytes of an object.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    ServiceError
        If the store cannot be reached, or does not say.
    """
    with _explained(url):
        fs, path = filesystem(url)
        size = fs.info(path)["size"]
    if size is None:
        raise ServiceError(f"cannot read {shown(url)} in parts: its server does not report the length; copy the file")
    return int(size)


def read_ranges(url: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Content of an object between first bytes and those after the last, fetched side by side; errors as `size_of`."""
    with _explained(url):
        fs, path = filesystem(url)
        starts, stops = zip(*spans, strict=True)
        parts: list[bytes] = fs.cat_ranges([path] * len(spans), list(starts), list(stops), on_error="raise")
    for (start, stop), data in zip(spans, parts, strict=True):
        # A server without range support sends the whole file, without an error.
        if len(data) != stop - start:
            raise ServiceError(
                f"cannot read {shown(url)} in parts: {stop - start} bytes from {start} on were requested, and "
                f"{len(data)} came; its server does not support ranges, or the file changed: run the same command "
                "again"
            )
    return parts


def fetch(url: str, path: Path) -> None:
    """Copy an object to a file of this machine, piece by piece; errors as `size_of`."""
    with _explained(url):
        fs, remote_path = filesystem(url)
        fs.get_file(remote_path, str(path))


def as_zarr(url: str) -> str | FsspecStore:
    """What Zarr opens, to read it."""
    if is_local(url):
        return url
    fs, path = filesystem(url)
    return FsspecStore(OnItsLoop(fs), read_only=True, path=path)


def open_foreign_group(url: str) -> zarr.Group:
    """Zarr group that others wrote; errors as `size_of`, and `DataError` if it is none."""
    try:
        with _explained(url):
            return zarr.open_group(as_zarr(url), mode="r")
    except (BaseZarrError, ValueError, KeyError) as error:
        raise DataError(f"{shown(url)} is not a Zarr group: {error}; check the item's asset") from error
