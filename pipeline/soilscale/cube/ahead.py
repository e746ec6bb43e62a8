"""Reading ahead from a distant store: several files are asked for at once, their pixels worked on by turns."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import rasterio

from soilscale.cube import assets

READERS = 8
"""Threads that read for one unit from a distant store, and as many that fetch files for these; they mostly wait for its
answers."""

J = TypeVar("J")
R = TypeVar("R")


class _Turn(threading.local):
    """What a thread that reads for a unit holds while it works on what it read; None of any other thread."""

    lock: threading.Lock | None = None
    readers: ThreadPoolExecutor | None = None
    """Threads that read for this one, if it has any."""
    fetchers: ThreadPoolExecutor | None = None
    """Threads that fetch the files of one date side by side, for those that read for a unit."""


_turn = _Turn()


def turn() -> AbstractContextManager[object]:
    """Context in which only one of the threads that read for a unit is: it bounds what they hold and how busy they are.

    Other threads enter it freely.
    """
    return nullcontext() if _turn.lock is None else _turn.lock


def reads_ahead() -> bool:
    """Whether this thread is one of several that read for a unit."""
    return _turn.lock is not None


def fetchers() -> ThreadPoolExecutor | None:
    """Threads that fetch several files for this one side by side; None if it is not one that reads for a unit."""
    return _turn.fetchers


def ahead(work: Callable[[J], R], jobs: Iterable[J], *, distant: bool) -> Iterator[tuple[J, R]]:
    """Jobs and their results in the order of the jobs; of a distant store `READERS` are under way at once.

    Jobs of jobs are done one after the other.

    Raises
    ------
    Exception
        What the first job that fails raises.
    """
    if not distant or reads_ahead():
        for job in jobs:
            yield job, work(job)
        return
    waiting: deque[tuple[J, Future[R]]] = deque()
    with readers() as pool:
        for job in jobs:
            waiting.append((job, pool.submit(work, job)))
            if len(waiting) == READERS:
                first, found = waiting.popleft()
                yield first, found.result()
        for job, found in waiting:
            yield job, found.result()


@contextmanager
def readers() -> Iterator[ThreadPoolExecutor]:
    """Threads that read for this one: they share the files that it keeps open, and take turns at other work.

    Within the context, the same ones serve again, and with them their connections.
    """
    if _turn.readers is not None:
        yield _turn.readers
        return
    files = assets.kept()
    fetch = ThreadPoolExecutor(READERS, "fetcher", assets.keep, (files,))
    _turn.readers = ThreadPoolExecutor(READERS, "reader", _begin, (threading.Lock(), files, fetch))
    try:
        yield _turn.readers
    finally:
        _turn.readers.shutdown(cancel_futures=True)
        fetch.shutdown(cancel_futures=True)
        _turn.readers = None


def _begin(lock: threading.Lock, files: dict[str, rasterio.DatasetReader] | None, fetch: ThreadPoolExecutor) -> None:
    _turn.lock, _turn.fetchers = lock, fetch
    assets.keep(files)
