"""Reading from a remote store: several dates in flight, and the files of each fetched in parallel."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from soilscale.cube import opening

READERS = 8
"""Threads that read for one unit from a distant store, and as many that fetch files for these; they mostly wait for its
answers."""

J = TypeVar("J")
R = TypeVar("R")


class _ThreadState(threading.local):
    """Threads that work for a thread, as long as it lives: they keep their connections, and what PROJ looked up."""

    turn: threading.Lock | None = None
    """What one that reads for a unit holds while it works on what it read; None of any other thread."""
    readers: ThreadPoolExecutor | None = None
    """Each does whole dates, or reads a piece of a date that is alone."""
    fetchers: ThreadPoolExecutor | None = None
    """Each fetches a file at a time, for this thread and its readers."""


_thread_state = _ThreadState()
# Threads do not survive a fork: a child that used the pools of its parent would wait forever.
os.register_at_fork(after_in_child=_thread_state.__dict__.clear)


def turn() -> AbstractContextManager[object]:
    """Context in which only one of the threads that read for a unit is: it bounds what they hold and how busy they are.

    Other threads enter it freely.
    """
    return nullcontext() if _thread_state.turn is None else _thread_state.turn


def fetchers() -> ThreadPoolExecutor:
    """Threads that fetch files for this one side by side, and share those that it keeps open."""
    if _thread_state.fetchers is None:
        _thread_state.fetchers = ThreadPoolExecutor(READERS, "fetcher", opening.share, (opening.shelf(),))
    return _thread_state.fetchers


def side_by_side(work: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
    """Results of jobs, each of one file of a distant store, whose answers are waited for side by side.

    Raises
    ------
    Exception
        What the first job that fails raises.
    """
    return [result for _, result in _in_order(fetchers(), work, jobs)]


def spread(
    pool: ThreadPoolExecutor, run_here: Callable[[J], R], run_pooled: Callable[[J], R], jobs: Sequence[J]
) -> Iterator[R]:
    """Results of jobs, in order: one by `run_here`, the others by `run_pooled` on the free threads of a pool.

    What none has begun is done here as well, so that a thread of the pool may itself spread its work over it.

    Raises
    ------
    Exception
        What the first job that fails raises.
    """
    waiting = [(job, pool.submit(run_pooled, job)) for job in jobs[1:]]
    try:
        yield from map(run_here, jobs[:1])
        # To wait instead could lock: all threads of the pool may be waiting for jobs that none of them has begun.
        yield from (run_here(job) if future.cancel() else future.result() for job, future in waiting)
    finally:
        # Nothing may still read when the caller closes the files.
        wait([future for _, future in waiting if not future.cancel()])


def ahead(work: Callable[[J], R], jobs: Sequence[J], *, distant: bool) -> Iterator[tuple[J, R]]:
    """Jobs and their results in the order of the jobs; of a distant store `READERS` are under way at once.

    Raises
    ------
    Exception
        What the first job that fails raises.
    """
    if not distant or len(jobs) <= 1:
        yield from ((job, work(job)) for job in jobs)
        return
    yield from _in_order(_readers(), work, jobs)


def next_ahead(work: Callable[[J], R], jobs: Sequence[J], *, distant: bool) -> Iterator[tuple[J, R]]:
    """As `ahead`, but one job after another, so that files are read in order; of a distant store the next is under way.

    It is not where this thread itself reads for another, so that no more are under way than there are readers.
    """
    if not distant or len(jobs) <= 1 or _thread_state.turn is not None:
        yield from ((job, work(job)) for job in jobs)
        return
    under_way = _readers().submit(work, jobs[0])
    try:
        for number, job in enumerate(jobs):
            result = under_way.result()
            # Handed in before the yield, so that it is read while the caller works on this one.
            if number + 1 < len(jobs):
                under_way = _readers().submit(work, jobs[number + 1])
            yield job, result
    finally:
        wait([under_way] if not under_way.cancel() else [])


def _readers() -> ThreadPoolExecutor:
    if _thread_state.readers is None:
        _thread_state.readers = ThreadPoolExecutor(
            READERS, "reader", _begin, (threading.Lock(), fetchers(), opening.shelf())
        )
    return _thread_state.readers


def _begin(lock: threading.Lock, fetch: ThreadPoolExecutor, shelf: opening.Shelf) -> None:
    _thread_state.turn, _thread_state.fetchers = lock, fetch
    opening.share(shelf)


def _in_order(pool: ThreadPoolExecutor, work: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R]]:
    """Jobs and their results in order, `READERS` of them under way; none is any more when the last is taken."""
    waiting: deque[tuple[J, Future[R]]] = deque()
    try:
        for job in jobs:
            waiting.append((job, pool.submit(work, job)))
            if len(waiting) == READERS:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        wait([future for _, future in waiting if not future.cancel()])
