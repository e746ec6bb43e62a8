"""Objects of stores: read, written atomically, listed and removed below a folder."""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import sync
from fsspec.implementations.local import LocalFileSystem

from soilscale.storage import fencing, files, puts
from soilscale.storage.clouds import ABSENT, Cloud, Entry, code, kind_of
from soilscale.storage.damage import parsed
from soilscale.storage.stores import cloud, explain, failures, filesystem, has_bucket, home, join

GONE, ANSWERED = ("404", "410"), ("400", "405", "406", "416", "InvalidRange")
"""Codes of a store that has no such object any more, and of one that has, but does not like how it was asked."""


def read_bytes(url: str) -> bytes:
    """Whole content of an object.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    ServiceError
        If the store cannot be reached, or has no such bucket.
    """
    with _reading(url):
        fs, path = filesystem(url)
        data: bytes = fs.cat_file(path)
    return data


def read_head(url: str, size: int) -> bytes:
    """First bytes of an object, as many as it has of `size`; errors as `read_bytes`."""
    with _reading(url):
        fs, path = filesystem(url)
        data: bytes = fs.cat_file(path, start=0, end=size)
    return data


@contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """File of this machine that holds an object, to read parts of: itself, or a copy that goes when the context ends.

    Errors as `read_bytes`.
    """
    with ExitStack() as stack:
        with _reading(url):
            fs, path = filesystem(url)
            if isinstance(fs, LocalFileSystem):
                file = Path(path)
                # Fails here, where errors are explained, rather than where the caller opens the file.
                file.stat()
            else:
                file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / posixpath.basename(path)
                fs.get_file(path, str(file))
        yield file


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Tell in a person's words why an object cannot be read; that there is none stays what it is.

    Below a file there is none either, on a folder; who then writes there is told so.
    """
    try:
        yield
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    except FileNotFoundError as error:
        if not has_bucket(error):
            raise explain(error, url, "read") from error
        raise
    except failures() as error:
        raise explain(error, url, "read") from error


def read_many(folder: str, names: Sequence[str]) -> dict[str, bytes]:
    """Content of objects below a folder by their names, asked for side by side; those that are not there are left out.

    Raises
    ------
    ServiceError
        If the store cannot be reached, or has no such bucket.
    """
    try:
        fs, path = filesystem(folder)
        paths = {posixpath.join(path, name): name for name in names}
        # Not `cat`, by which adlfs first asks of each whether it is there.
        contents = fs.cat_ranges(list(paths), None, None, on_error="return") if paths else []
    except failures() as error:
        raise explain(error, folder, "read") from error
    present: dict[str, bytes] = {}
    for place, data in zip(paths, contents, strict=True):
        if isinstance(data, FileNotFoundError) and has_bucket(data):
            continue
        if isinstance(data, Exception):
            raise explain(data, join(folder, paths[place]), "read") from data
        present[paths[place]] = data
    return present


def answers(url: str) -> bool:
    """Whether an object is there, as its store says when asked for the first byte of it.

    Raises
    ------
    ServiceError
        If the store cannot be reached, refuses access, or has no such bucket.
    """
    try:
        fs, path = filesystem(url)
        fs.cat_file(path, start=0, end=1)
    except FileNotFoundError as error:
        if not has_bucket(error):
            raise explain(error, url, "read") from error
        return False
    except failures() as error:
        status = code(error)
        if status in GONE:
            return False
        if status not in ANSWERED:
            raise explain(error, url, "read") from error
    return True


def write_bytes(url: str, data: bytes) -> None:
    """Write an object whole or not at all, if the `fencing.fence` lets; a large one goes to a bucket in parts.

    Raises
    ------
    ConfigurationError, ServiceError
        If it cannot be written, by what is the matter.
    """
    try:
        fs, path = filesystem(url)
        if isinstance(fs, LocalFileSystem):
            version = _stamp_of(files.write(Path(path), data))
        else:
            version = sync(fs.loop, puts.put, home(url), fs, path, data)
    except failures() as error:
        raise explain(error, url, "write") from error
    fencing.note(url, [data], version)


def write_file(url: str, path: Path) -> None:
    """Write a local file as an object, whole or not at all, without holding it in memory; errors as `write_bytes`."""
    try:
        fs, target = filesystem(url)
        if isinstance(fs, LocalFileSystem):
            version = _stamp_of(files.copy(Path(target), path))
        else:
            version = sync(fs.loop, puts.put, home(url), fs, target, path, kind_of(target))
    except failures() as error:
        raise explain(error, url, "write") from error
    fencing.note(url, fencing.pieces(path), version)


def write_new(url: str, data: bytes) -> bool:
    """Write an object whole if there is none, and say whether it was written; errors as `write_bytes`.

    Of several writers at once one alone succeeds on a file system and on stores that honour ``If-None-Match: *``; on
    other stores the last one's object stays.
    """
    try:
        fs, path = filesystem(url)
        if isinstance(fs, LocalFileSystem):
            return files.create(Path(path), data)
        fencing.permit(afresh=True)
        # Checked first, because some stores ignore the condition and would replace the object.
        return not sync(fs.loop, home(url).version, fs, path) and _create(home(url), fs, path, data)
    except failures() as error:
        raise explain(error, url, "write") from error


def refuses_again(url: str, data: bytes) -> bool:
    """Whether a store refuses to write an object that is there, and so lets only one of several `write_new` succeed.

    A store that does not is left with these data. Errors as `write_bytes`.
    """
    try:
        fs, path = filesystem(url)
        return isinstance(fs, LocalFileSystem) or not _create(home(url), fs, path, data)
    except failures() as error:
        raise explain(error, url, "write") from error


def _create(store: Cloud, fs: AbstractFileSystem, path: str, data: bytes) -> bool:
    """Write an object on condition that there is none, and say whether it was written."""
    try:
        sync(fs.loop, store.send, fs, path, data, ABSENT)
    except failures() as error:
        if not puts.is_taken(error):
            raise
        return False
    return True


def read_json(url: str) -> Any:
    """Content of a JSON object that a run has written.

    Raises
    ------
    DamagedError
        If it is no JSON any more; other errors as `read_bytes`.
    """
    return parsed(url, read_bytes(url))


def as_json(content: Any) -> bytes:
    """Content of a JSON object as `write_json` writes it."""
    return json.dumps(content, indent=1, sort_keys=True).encode()


def write_json(url: str, content: Any) -> None:
    """Write a JSON object; errors as `write_bytes`."""
    write_bytes(url, as_json(content))


def exists(url: str) -> bool:
    """Whether an object or a folder is there.

    Raises
    ------
    ServiceError
        If the store cannot be reached, or has no such bucket.
    """
    try:
        fs, path = filesystem(url)
        if (store := cloud(url)) is None:
            return bool(fs.exists(path))
        return answers(url) or any(store.listed(fs, path, most=1))
    except failures() as error:
        raise explain(error, url, "reach") from error


def sizes(url: str) -> dict[str, int]:
    """Bytes of each object below a folder, by its name relative to it; errors as `names_below`."""
    return {name: entry.size for name, entry in _listing(url).items()}


def stamp(url: str) -> str:
    """Size of an object and when, or as what, its store says that it was written; nothing if it does not say.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    ServiceError
        If the store cannot be reached.
    """
    try:
        fs, path = filesystem(url)
        if (store := cloud(url)) is not None:
            return str(sync(fs.loop, store.head, fs, path).stamp)
        properties = fs.info(path)
    except FileNotFoundError:
        raise
    except failures() as error:
        raise explain(error, url, "reach") from error
    return _stamp(properties)


def _stamp_of(stat: os.stat_result) -> str:
    """Stamp of a file."""
    return f"{stat.st_size} {stat.st_mtime}"


def checksum(url: str) -> str:
    """MD5 of the content of an object; errors as `read_bytes`."""
    with local_copy(url) as path:
        return fencing.summed(fencing.pieces(path))[1]


def _stamp(properties: Mapping[str, Any]) -> str:
    """Stamp of an object from what fsspec tells of it."""
    version = next((properties[key] for key in ("ETag", "mtime", "LastModified") if properties.get(key)), None)
    return "" if version is None else f"{properties.get('size')} {version}"


def stamps(url: str) -> dict[str, str]:
    """Name and `stamp` of each object below a folder, relative to it; of the object itself, named ``.``, if it is one.

    In a bucket that is one request for each thousand of them.

    Raises
    ------
    ServiceError
        If the store cannot be reached, or has no such bucket.
    """
    by_name = {name: entry.stamp for name, entry in _listing(url).items()}
    if by_name:
        return by_name
    try:
        return {".": stamp(url)}
    except FileNotFoundError:
        return {}


def names_below(url: str, *, by_folder: bool = False) -> list[str]:
    """Names of all objects below a folder, relative to it, sorted; none if there is no such folder.

    In a bucket that is one request for each thousand of them, and none is asked for but those below the folder.

    Parameters
    ----------
    by_folder
        List the folders below side by side where there are more than a thousand objects: for few folders of many.

    Raises
    ------
    ServiceError
        If the store cannot be reached, or has no such bucket.
    """
    return sorted(_listing(url, by_folder=by_folder))


def _listing(url: str, *, by_folder: bool = False) -> dict[str, Entry]:
    """Objects below a folder by their names relative to it; empty if there is no such folder."""
    try:
        fs, path = filesystem(url)
        if (store := cloud(url)) is not None:
            entries = store.listed_by_folder(fs, path) if by_folder else store.listed(fs, path)
            return {entry.name: entry for entry in entries}
        if isinstance(fs, LocalFileSystem):
            return {name: Entry(name, stat.st_size, str(stat.st_mtime)) for name, stat in files.below(Path(path))}
        return {
            posixpath.relpath(name, path): _foreign(name, properties)
            for name, properties in fs.find(path, detail=True).items()
        }
    except FileNotFoundError as error:
        if not has_bucket(error):
            raise explain(error, url, "list") from error
        return {}
    except failures() as error:
        raise explain(error, url, "list") from error


def _foreign(name: str, properties: Mapping[str, Any]) -> Entry:
    """What fsspec tells of an object on the web."""
    return Entry(name, int(properties.get("size") or 0), _stamp(properties).partition(" ")[2])
