"""Objects on a file system: written beside their place, and moved there once complete."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from soilscale.storage import fencing

LOST_AND_FOUND = "lost+found"
"""Folder at the top of a volume of ext4, which only root may read."""


def create(path: Path, data: bytes) -> bool:
    """Write a file if there is none, and say whether it was written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    write(draft, data)
    try:
        fencing.permit()
        # A hard link fails if the name is taken; a rename would silently replace the first writer's file.
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def write(path: Path, data: bytes) -> os.stat_result:
    """Write a file, or put it in the place of one; what the file system says of it."""
    return _replace(path, lambda stream: stream.write(data))


def copy(path: Path, source: Path) -> os.stat_result:
    """Write a file with the content of another; what the file system says of it."""
    with source.open("rb") as content:
        return _replace(path, lambda stream: shutil.copyfileobj(content, stream))


def remove(top: Path, paths: Iterable[Path]) -> None:
    """Remove files that are there, and the folders below `top` that they leave empty; never a folder with files."""
    for path in paths:
        if path.is_dir():
            continue
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == top or top not in folder.parents:
                break
            try:
                folder.rmdir()
            except OSError:  # something else lies in it
                break


def below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below a folder, by its path relative to it; one that goes meanwhile is left out."""
    root = os.path.join(folder, "")  # noqa: PTH118 - so many paths as objects would take seconds
    # By itself a walk passes over what may not be read, as if nothing lay there.
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if name != LOST_AND_FOUND and not _leads_back(place, name)]
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118 - likewise
            try:
                yield path.removeprefix(root), os.stat(path)  # noqa: PTH116 - likewise
            except OSError as error:
                _refuse(error)


def _refuse(error: OSError) -> None:
    """Raise what keeps a file or folder from being read; a link that leads to itself is as good as none."""
    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        raise error


def _leads_back(place: str, name: str) -> bool:
    """Whether a folder is a link to one that holds it, so that a walk would never end."""
    link = Path(place, name)
    return link.is_symlink() and Path(place).resolve().is_relative_to(link.resolve())


def _replace(path: Path, fill: Callable[[BinaryIO], object]) -> os.stat_result:
    """Write a draft, and put it in its place right after the `fencing.fence` has let: nothing slow stands between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is only atomic within one file system.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            fill(stream)
        # `mkstemp` makes the file readable by its owner only.
        draft.chmod(0o644)
        # Before the rename: afterwards another writer's file may be in its place.
        stat = draft.stat()
        fencing.permit()
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return stat
