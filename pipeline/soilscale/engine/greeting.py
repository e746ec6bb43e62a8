"""Connections to a Dask scheduler."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any

from distributed import Client, LocalCluster

ATTEMPTS = 3
"""Attempts to connect to a scheduler that answers."""


def connected(scheduler: str | LocalCluster, **options: Any) -> Client:
    """Client of a scheduler, which is not made the process's default.

    Distributed asserts that a scheduler's greeting comes alone (``Client._ensure_connected``), but on a busy machine it
    may come in one batch with further messages; another attempt then succeeds.

    Parameters
    ----------
    scheduler
        Address or local cluster.
    options
        Further options of the client.

    Raises
    ------
    OSError
        If the scheduler does not answer.
    ValueError, TypeError
        If the address is none, or needs certificates.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(AssertionError):
            return Client(scheduler, set_as_default=False, **options)
        collect_failed()
    return Client(scheduler, set_as_default=False, **options)


def collect_failed() -> None:
    """Let clients that failed to connect close themselves, before another one is started.

    They do so when they are collected. If that happened while the next one starts its loop, they would wait forever for
    a lock that this thread holds.
    """
    gc.collect()
