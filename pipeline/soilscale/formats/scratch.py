"""Copies of remote files that cannot be read in parts: fetched once, few at a time, removed with the process."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from weakref import finalize

from soilscale import storage
from soilscale.formats.ranges import patiently

ROOM = 2**31
"""Bytes of copies that a process keeps; those that are being read count, but stay."""

PREFIX = "soilscale-scratch-"

LOCK = "lock"
"""File that a living process holds locked."""


class Scratch:
    """Copies that a process keeps, in a folder of its own below the one for temporary files.

    Parameters
    ----------
    room
        Bytes of copies that it keeps.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._folder: Path | None = None
        self._copies: OrderedDict[str, _Copy] = OrderedDict()

    @contextmanager
    def copy(self, url: str) -> Iterator[Path]:
        """Copy of a file, which stays as long as the context lasts, and until others need its room.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ServiceError
            If the store cannot be reached.
        """
        with self._lock:
            if self._process != os.getpid():
                # A child of fork keeps copies of its own: those of its parent are its parent's to remove.
                self._process, self._folder, self._copies = os.getpid(), None, OrderedDict()
            folder = self._folder = self._folder or _own_folder()
            name = hashlib.sha256(_identity(url).encode()).hexdigest()[:24]
            copy = self._copies.setdefault(name, _Copy(folder / name))
            # Counted under the lock, before the copy exists, so that nobody removes it in between.
            copy.readers += 1
            self._copies.move_to_end(name)
        try:
            with copy.lock:
                if not copy.path.exists():
                    part = copy.path.with_suffix(".part")
                    patiently(partial(storage.fetch, url, part))
                    self._make_room(part.stat().st_size)
                    # Renamed when it is whole: a copy that was cut off must not be taken for the file.
                    part.rename(copy.path)
            yield copy.path
        finally:
            with self._lock:
                copy.readers -= 1

    def _make_room(self, size: int) -> None:
        """Remove those that were used least recently, and that none reads."""
        with self._lock:
            sizes = {name: copy.path.stat().st_size for name, copy in self._copies.items() if copy.path.exists()}
            for name in list(sizes):
                if sum(sizes.values()) + size <= self.room:
                    return
                if not self._copies[name].readers:
                    self._copies.pop(name).path.unlink()
                    del sizes[name]


class _Copy:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        """Held by the one that fetches it."""
        self.readers = 0


def _identity(url: str) -> str:
    """What makes a file this one: without what signs it, where its store says what version it is."""
    stamp = patiently(partial(storage.stamp, url))
    return f"{url.partition('?')[0]} {stamp}" if stamp else url


def _own_folder() -> Path:
    """Folder of this process; those of processes that were killed are removed."""
    above = Path(tempfile.gettempdir())
    for leftover in above.glob(f"{PREFIX}*"):
        _remove_if_left(leftover)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    # Locked before it has its name, by which another process would take the folder for one that was left.
    lock = os.open(folder / f"new-{LOCK}", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / f"new-{LOCK}").rename(folder / LOCK)
    # A child of fork shares the lock, but must not remove what its parent still reads.
    finalize(_scratch_of_process, _remove_own, folder, os.getpid())
    return folder


def _scratch_of_process() -> None:
    """Live as long as the process does."""


def _remove_own(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder whose process ended without doing so: then none holds its lock."""
    with suppress(OSError):
        lock = os.open(folder / LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


scratch = Scratch()
"""Copies that this process keeps."""
