"""Early end of a stage: no further units start, and it waits a while for those that run on workers.

Dask takes back what waits, but cannot stop what runs. Were it not waited for, it would write after the run has given
its lease back, beside a run of another configuration.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distributed import Client

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for which units that run are waited for."""

_LOOK = 0.02
"""Seconds between a worker's looks at what it runs."""

_RUNNING: Counter[str] = Counter()
"""Tasks that run in this process, by the name of what sent them."""

_ENDED: set[str] = set()
"""Names of what has ended early, as this process was told."""

_LOCK = threading.Lock()


@contextmanager
def underway(name: str) -> Iterator[Callable[[], bool]]:
    """Count a task on its worker while it runs, and give what tells whether it is to begin no further unit.

    Parameters
    ----------
    name
        Of what sent it.
    """
    with _LOCK:
        _RUNNING[name] += 1
    try:
        yield lambda: name in _ENDED
    finally:
        with _LOCK:
            _RUNNING[name] -= 1


async def _quiet(name: str, patience: float) -> int:
    """On a worker, have no unit begin, and wait; tasks that run nevertheless."""
    _ENDED.add(name)
    until = time.monotonic() + patience
    while _RUNNING[name] and time.monotonic() < until:  # noqa: ASYNC110 - tasks run in threads, not in this loop
        await asyncio.sleep(_LOOK)
    return _RUNNING[name]


def end(client: Client, name: str) -> None:
    """Have workers begin no further unit, and wait for those that run, `PATIENCE` seconds at most.

    Workers that do not answer, and a scheduler that is lost, are not waited for longer either.

    Parameters
    ----------
    name
        Of what sent the units.
    """
    if client.status != "running":
        return
    try:
        # On the workers' event loop: a task would wait behind those that it is to stop.
        left = client.run(_quiet, name, PATIENCE, on_error="ignore", callback_timeout=PATIENCE + 1)
    except (OSError, TimeoutError, RuntimeError):
        return
    if running := sum(left.values()):
        logger.warning(
            "%d tasks still run on workers after %g s and end on their own; run another configuration on this output "
            "only after that",
            running,
            PATIENCE,
        )
