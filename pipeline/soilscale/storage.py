"""The only module that touches stores: objects, Zarr groups and what GDAL needs to read assets from them."""

from __future__ import annotations

import errno
import json
import os
import posixpath
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import fsspec
import numpy as np
import xarray as xr
import zarr
from botocore.exceptions import BotoCoreError, ClientError
from fsspec.implementations.local import LocalFileSystem

from soilscale.errors import ConfigurationError, DataError, ServiceError, SoilscaleError

UNWRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)
"""Operating system errors that a rerun of the same configuration meets again."""


def is_local(url: str) -> bool:
    """Whether a URL is a path of this machine."""
    return urlsplit(url).scheme in {"", "file"}


def join(url: str, *parts: str) -> str:
    """URL of something below another URL."""
    return posixpath.join(url, *parts)


def resolve(url: str, base: str) -> str:
    """URL as seen from a folder: absolute ones as they are, relative paths below `base`."""
    if urlsplit(url).scheme:
        return url2pathname(url.removeprefix("file://")) if url.startswith("file://") else url
    return str(Path(base, Path(url).expanduser()).resolve()) if is_local(base) else join(base, url)


def explain(error: Exception, url: str, doing: str) -> SoilscaleError:
    """Failure of a store in a person's words: what cannot be done where, and whether a rerun may mend it."""
    text = f"cannot {doing} {url}: {error}"
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return ConfigurationError(f"{text}; check that the path is right and that you may {doing} there")
    return ServiceError(f"{text}; check the store and your credentials, then run the same command again")


def read_bytes(url: str) -> bytes:
    """Whole content of an object.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    ServiceError
        If the store cannot be reached.
    """
    fs, path = fsspec.url_to_fs(url)
    try:
        data: bytes = fs.cat_file(path)
    except FileNotFoundError:
        raise
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, url, "read") from error
    return data


def write_bytes(url: str, data: bytes) -> None:
    """Write an object whole or not at all.

    Raises
    ------
    ConfigurationError, ServiceError
        If it cannot be written, by what is the matter.
    """
    fs, path = fsspec.url_to_fs(url)
    try:
        if isinstance(fs, LocalFileSystem):
            _write_local(Path(path), data)
        else:
            fs.pipe_file(path, data)
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, url, "write") from error


def write_new(url: str, data: bytes) -> bool:
    """Write an object whole if there is none, and say whether it was written; errors as `write_bytes`.

    Of several writers at once one alone succeeds on a file system and on stores that honour ``If-None-Match: *``; on
    other stores the last one's object stays.
    """
    fs, path = fsspec.url_to_fs(url)
    try:
        if isinstance(fs, LocalFileSystem):
            return _link_local(Path(path), data)
        if fs.exists(path):
            return False
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, url, "write") from error
    return True


def _link_local(path: Path, data: bytes) -> bool:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    _write_local(draft, data)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _write_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(url: str) -> Any:
    """Content of a JSON object; errors as `read_bytes`."""
    return json.loads(read_bytes(url))


def write_json(url: str, content: Any) -> None:
    """Write a JSON object; errors as `write_bytes`."""
    write_bytes(url, json.dumps(content, indent=1, sort_keys=True).encode())


def exists(url: str) -> bool:
    """Whether an object or a folder is there.

    Raises
    ------
    ServiceError
        If the store cannot be reached.
    """
    fs, path = fsspec.url_to_fs(url)
    try:
        return bool(fs.exists(path))
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, url, "reach") from error


def names_below(url: str) -> list[str]:
    """Names of all objects below a folder, relative to it, sorted; none if there is no such folder."""
    fs, path = fsspec.url_to_fs(url)
    fs.invalidate_cache()
    try:
        return sorted(posixpath.relpath(found, path) for found in fs.find(path))
    except FileNotFoundError:
        return []
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, url, "list") from error


def remove(url: str) -> None:
    """Remove an object or a folder with all that is in it; nothing happens if it is not there."""
    fs, path = fsspec.url_to_fs(url)
    try:
        if fs.exists(path):
            fs.rm(path, recursive=True)
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, url, "remove") from error


def check_writable(url: str) -> None:
    """Write and remove a small object where a run would write; nothing stays behind.

    Raises
    ------
    ConfigurationError, ServiceError
        If it cannot be written, by what is the matter.
    """
    if not is_local(url):
        probe = join(url, ".soilscale-check")
        write_bytes(probe, b"")
        remove(probe)
        return
    folder = Path(url)
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise explain(error, url, "write") from error


def create(url: str, group: str, template: xr.Dataset) -> None:
    """Create a Zarr group with all its metadata and coordinates; its chunked variables stay unwritten.

    Parameters
    ----------
    template
        Dataset whose data variables are lazy Dask arrays, chunked as the store shall be.
    """
    try:
        template.to_zarr(url, group=group, mode="w", compute=False, zarr_format=3, consolidated=False)
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, url, "create") from error


def grow(url: str, group: str, template: xr.Dataset) -> None:
    """Let a Zarr group grow along time to a template that goes on where the group ends; what is written stays.

    Parameters
    ----------
    template
        As `create` takes it, of the same variables and the same first times.
    """
    try:
        if not zarr.open_array(url, path=f"{group}/time", mode="r").size:
            create(url, group, template)
            return
        for name, values in template.variables.items():
            array = zarr.open_array(url, path=f"{group}/{name}", mode="r+")
            if array.shape != values.shape:
                array.resize(values.shape)
            if values.chunks is None and values.dims[:1] == ("time",):
                array[:] = np.asarray(xr.conventions.encode_cf_variable(values, name=str(name)))
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, url, "extend") from error


def write_region(
    url: str, group: str, name: str, values: np.ndarray[Any, Any], region: tuple[int | slice, ...]
) -> None:
    """Write one variable's region, which is whole chunks; may be done any number of times, in any order.

    Raises
    ------
    ConfigurationError, ServiceError
        If it cannot be written, by what is the matter.
    """
    try:
        array = zarr.open_array(url, path=f"{group}/{name}", mode="r+")
        array[region] = values
    except FileNotFoundError as error:
        raise DataError(f"{url} has no {group}/{name}; run the stage that makes it, or `soilscale run`") from error
    except (OSError, BotoCoreError, ClientError) as error:
        raise explain(error, f"{url}/{group}/{name}", "write") from error


def read_region(url: str, group: str, name: str, region: tuple[int | slice, ...]) -> np.ndarray[Any, Any]:
    """Values of one variable's region; NaN (or the fill value) where nothing was written."""
    try:
        return np.asarray(zarr.open_array(url, path=f"{group}/{name}", mode="r")[region])
    except FileNotFoundError as error:
        raise DataError(f"{url} has no {group}/{name}; run the stage that makes it, or `soilscale run`") from error
    except (BotoCoreError, ClientError, ConnectionError, TimeoutError) as error:
        raise explain(error, f"{url}/{group}/{name}", "read") from error


def open_group(url: str, group: str) -> xr.Dataset:
    """Lazily open a Zarr group; chunks as stored.

    Raises
    ------
    FileNotFoundError
        If there is no such group.
    """
    return xr.open_zarr(url, group=group, consolidated=False, chunks={})


def gdal_path(href: str) -> str:
    """Name by which GDAL opens an asset where it lies, without copying it."""
    parts = urlsplit(href)
    if parts.scheme == "s3":
        return f"/vsis3/{parts.netloc}{parts.path}"
    if parts.scheme in {"http", "https"}:
        return f"/vsicurl/{href}"
    return url2pathname(href.removeprefix("file://")) if parts.scheme == "file" else href


def gdal_options() -> dict[str, str]:
    """GDAL settings for reading ranges of remote files, with retries, and a custom S3 endpoint where one is set."""
    options = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MAX_RETRY": "5",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        "GDAL_HTTP_MULTIRANGE": "YES",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "CPL_VSIL_CURL_USE_HEAD": "NO",
        "VSI_CACHE": "TRUE",
        "GDAL_NUM_THREADS": "1",
    }
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")
    if endpoint.netloc:
        options |= {
            "AWS_S3_ENDPOINT": endpoint.netloc,
            "AWS_HTTPS": "YES" if endpoint.scheme == "https" else "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    return options
