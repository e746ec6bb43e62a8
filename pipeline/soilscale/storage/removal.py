"""Objects of stores are removed by name, never as a whole folder, since others may keep files there."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from soilscale.storage import fencing, files
from soilscale.storage.objects import write_bytes
from soilscale.storage.stores import cloud, explain, failures, filesystem, is_local, join


def remove(url: str, names: Iterable[str] | None = None) -> None:
    """Remove an object, or named ones below a folder; never a folder whole, in which others may keep what is theirs.

    Nothing happens if one is not there. A folder that the last object leaves empty goes with it.

    Parameters
    ----------
    names
        Objects below the folder, relative to it, that are removed; on S3 a thousand in one request. None: the object
        itself.

    Raises
    ------
    ConfigurationError, ServiceError
        If something of it cannot be removed.
    """
    names = None if names is None else list(names)
    # Before the request: if it fails halfway, objects already removed must not count as written.
    fencing.forget([url] if names is None else [join(url, name) for name in names])
    try:
        fs, path = filesystem(url)
        paths = [path] if names is None else [posixpath.join(path, name) for name in names]
        if (store := cloud(url)) is not None:
            for first in range(0, len(paths), store.removed_at_a_time):
                fencing.permit(afresh=True)
                store.remove(fs, url, paths[first : first + store.removed_at_a_time])
            return
        fencing.permit(afresh=True)
        if isinstance(fs, LocalFileSystem):
            files.remove(Path(path), map(Path, paths))
        else:
            fs.rm([place for place in paths if fs.exists(place)])
    except failures() as error:
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
        # Do not create the folder for the test: `check` changes nothing.
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise explain(error, url, "write") from error
