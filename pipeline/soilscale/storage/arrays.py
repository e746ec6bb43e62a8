"""Zarr groups of stores: laid before any value, written region by region in whole chunks, checked whenever read."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numcodecs import Zstd
from zarr.abc.store import ByteRequest
from zarr.codecs import ZstdCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from soilscale.errors import DataError
from soilscale.storage import damage, fencing, puts
from soilscale.storage.clouds import Cloud, OnItsLoop
from soilscale.storage.foreign import as_zarr
from soilscale.storage.objects import names_below, write_bytes
from soilscale.storage.removal import remove
from soilscale.storage.stores import explain, failures, filesystem, has_bucket, home, is_local

CODEC = ZstdCodec(level=0, checksum=True)
"""Compression of every chunk: plain Zstandard, whose frames end with a checksum of what they hold."""

CHUNK = re.compile(r"/c(/\d+)*$")
"""End of the key of a chunk."""

METADATA = "zarr.json"

WHOLE: ArrayConfigParams = {"write_empty_chunks": True}
"""Chunks without values are written like any other, so that one that is not there was never written, or is lost."""


def _checked(data: Buffer | None, store: str, key: str, *, gaps: bool) -> Buffer | None:
    """Content of an object of a store, once it has been seen to be whole; with `gaps`, a chunk may be missing."""
    if data is None and not gaps and CHUNK.search(key):
        raise damage.lost(store, key)
    try:
        if data is not None and CHUNK.search(key):
            # Before Zarr decodes it: an error there would not say which chunk of which store is damaged.
            Zstd().decode(data.as_numpy_array())
        elif data is not None and key.endswith(METADATA):
            json.loads(data.to_bytes())
    except (RuntimeError, ValueError) as error:
        raise damage.damaged(f"{store}/{key}", error, store) from error
    return data


@contextmanager
def _explained(url: str, doing: str) -> Iterator[None]:
    """Tell in a person's words what a store fails at."""
    try:
        yield
    except failures() as error:
        raise explain(error, url, doing) from error


class _Folder(LocalStore):
    """Zarr store in a folder."""

    gaps = False
    """Whether chunks may be missing."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        with _explained(f"{self.root}/{key}", "read"):
            data = await super().get(key, prototype or default_buffer_prototype(), byte_range)
        return _checked(data, str(self.root), key, gaps=self.gaps)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        with _explained(f"{self.root}/{key}", "read"):
            data = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        return _checked(data, str(self.root), key, gaps=self.gaps)

    async def set(self, key: str, value: Buffer) -> None:
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        self._check_writable()
        # Zarr's own write would bypass the fence and the record of what was written.
        write_bytes(f"{self.root}/{key}", value.to_bytes())

    async def delete(self, key: str) -> None:
        remove(f"{self.root}/{key}")


class _Bucket(FsspecStore):
    """Zarr store in an object store."""

    gaps = False
    """Whether chunks may be missing."""

    url = ""
    """Where it lies, as its user names it."""
    cloud: Cloud
    """Of a store that is written to."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        prototype = prototype or default_buffer_prototype()
        with _explained(f"{self.url}/{key}", "read"):
            # A part cannot be checked: the checksum covers the whole chunk.
            if byte_range is not None:
                return await super().get(key, prototype, byte_range)
            try:
                data = await self.fs._cat_file(f"{self.path}/{key}")  # noqa: SLF001 - the coroutine has no other name
            except FileNotFoundError as error:
                # Otherwise a missing bucket would look like a store whose chunks are not written yet.
                if not has_bucket(error):
                    raise
                return _checked(None, self.url, key, gaps=self.gaps)
        return _checked(prototype.buffer.from_bytes(data), self.url, key, gaps=self.gaps)

    async def set(self, key: str, value: Buffer, byte_range: object = None) -> None:  # noqa: ARG002 - Zarr's own
        self._check_writable()
        url, data = f"{self.url}/{key}", value.to_bytes()
        with _explained(url, "write"):
            version = await self.fs.run(puts.put(self.cloud, self.fs.there, f"{self.path}/{key}", data))
        fencing.note(url, [data], version)

    async def delete(self, key: str) -> None:
        fencing.forget([f"{self.url}/{key}"])
        with _explained(f"{self.url}/{key}", "remove"):
            # In a thread: the proof may be a request that waits for this event loop.
            await asyncio.to_thread(fencing.permit, afresh=True)
            await self.fs.run(self.cloud.remove_file(self.fs.there, f"{self.path}/{key}"))


def _store(url: str, *, write: bool = False, gaps: bool = False) -> _Folder | _Bucket:
    store: _Folder | _Bucket
    if is_local(url):
        store = _Folder(url, read_only=not write)
    else:
        fs, path = filesystem(url)
        store = _Bucket(OnItsLoop(fs), read_only=not write, path=path)
        store.url = url
        if write:
            store.cloud = home(url)
    store.gaps = gaps or write
    return store


def _array(url: str, group: str, name: str, *, write: bool = False) -> zarr.Array[Any]:
    try:
        array = zarr.open_array(
            _store(url, write=write), path=f"{group}/{name}", mode="r+" if write else "r", zarr_format=3
        )
        return array.with_config(WHOLE) if write else array
    except FileNotFoundError as error:
        raise DataError(f"{url} has no {group}/{name}; run the stage that makes it, or `soilscale run`") from error


def create(url: str, group: str, template: xr.Dataset) -> None:
    """Create a Zarr group with all its metadata and coordinates; its chunked variables stay unwritten.

    Parameters
    ----------
    template
        Dataset whose data variables are lazy Dask arrays, chunked as the store shall be.

    Raises
    ------
    ConfigurationError, ServiceError
        If it cannot be written, by what is the matter.
    """
    objects: dict[str, Buffer] = {}
    coded = template.copy()
    for variable in coded.variables.values():
        variable.encoding = variable.encoding | {"compressors": (CODEC,)}
    with zarr.config.set({f"array.{key}": value for key, value in WHOLE.items()}):
        # In memory first: on the store itself, mode `w` would delete the whole folder, including files that users keep
        # there.
        coded.to_zarr(MemoryStore(objects), group=group, mode="w", compute=False, zarr_format=3, consolidated=False)
    earlier = names_below(f"{url}/{group}")
    remove(f"{url}/{group}", [name for name in earlier if f"/{name}".endswith(f"/{METADATA}") or CHUNK.search(name)])
    for key, content in objects.items():
        write_bytes(f"{url}/{key}", content.to_bytes())


def grow(url: str, group: str, template: xr.Dataset) -> None:
    """Let a Zarr group grow along time to a template that goes on where the group ends; what is written stays.

    Parameters
    ----------
    template
        As `create` takes it, of the same variables and the same first times.

    Raises
    ------
    ConfigurationError, ServiceError
        If it cannot be written, by what is the matter.
    """
    if not _array(url, group, "time").size:
        create(url, group, template)
        return
    with _explained(f"{url}/{group}", "extend"):
        for name, values in template.variables.items():
            array = _array(url, group, str(name), write=True)
            if array.shape != values.shape:
                array.resize(values.shape)
            if values.chunks is None and values.dims[:1] == ("time",):
                array[:] = np.asarray(xr.conventions.encode_cf_variable(values, name=str(name)))


def write_region(
    url: str, group: str, name: str, values: np.ndarray[Any, Any], region: tuple[int | slice, ...]
) -> None:
    """Write one variable's region, which is whole chunks; may be done any number of times, in any order.

    Raises
    ------
    ConfigurationError, ServiceError
        If it cannot be written, by what is the matter.
    ValueError
        If the region cuts a chunk.
    """
    array = _array(url, group, name, write=True)
    # For a partial chunk Zarr reads the rest and writes it back, overwriting what another task wrote meanwhile.
    for part, length, size in zip(region, array.shape, array.chunks, strict=False):
        start, stop, _ = part.indices(length) if isinstance(part, slice) else (part, part + 1, 1)
        if start % size or (stop % size and stop != length):
            raise ValueError(f"{group}/{name}: the region {region} splits chunks of {array.chunks}; write whole ones")
    with _explained(f"{url}/{group}/{name}", "write"):
        array[region] = values


def read_region(url: str, group: str, name: str, region: tuple[int | slice, ...]) -> np.ndarray[Any, Any]:
    """Values of one variable's region.

    Raises
    ------
    DataError
        If there is no such variable.
    DamagedError
        If a chunk is not what was written, or is not there.
    ServiceError
        If the store cannot be reached.
    """
    return np.asarray(_array(url, group, name)[region])


def open_group(url: str, group: str, *, gaps: bool = False) -> xr.Dataset:
    """Lazily open a Zarr group that `create` laid; chunks as stored; what is read later fails as `read_region` does.

    Parameters
    ----------
    gaps
        Whether some of it may not be written yet; that is read as missing values.

    Raises
    ------
    FileNotFoundError
        If there is no such group.
    """
    return _opened(_store(url, gaps=gaps), url, group, zarr_format=3)


def open_foreign(url: str, group: str) -> xr.Dataset:
    """Lazily open a Zarr group that others wrote, whatever its codecs; errors as `open_group`."""
    return _opened(as_zarr(url), url, group)


def _opened(store: FsspecStore | _Folder | str, url: str, group: str, **how: Any) -> xr.Dataset:
    try:
        return xr.open_zarr(store, group=group, consolidated=False, chunks={}, **how)
    except FileNotFoundError:
        raise
    except failures() as error:
        raise explain(error, f"{url}/{group}", "read") from error
