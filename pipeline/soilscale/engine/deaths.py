"""How often tasks on a Dask cluster lose their workers, as its scheduler reports it.

Dask itself gives a task up after `distributed.scheduler.allowed-failures` deaths, which are the scheduler's to set and
many where machines are taken back often. A unit that runs out of memory would take as many workers with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distributed import Client
from distributed.scheduler import KilledWorker

TOPIC = "all"
"""Of the scheduler's events, under which it says that it has lost a worker."""


class LostError(Exception):
    """A task has lost its workers too often; its argument are their addresses, as far as they are known."""

    @property
    def workers(self) -> list[str]:
        """Addresses of the workers, one for each death."""
        return list(self.args[0])

    def __str__(self) -> str:
        """In words how often the task lost its worker."""
        return f"its worker died {len(self.workers)} times, the last at {self.workers[-1]}"


@dataclass
class Deaths:
    """Workers that tasks have lost."""

    client: Client
    note: Callable[[str], None]
    """Called with the key of a task when it has lost a worker."""
    workers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Key of a task -> addresses of the workers that died while it ran or waited there."""

    def __post_init__(self) -> None:
        self.client.subscribe_topic(TOPIC, self._hear)

    def end(self) -> None:
        """Hear no more of them; a client that leaves without saying so has the scheduler complain."""
        if self.client.status == "running":
            self.client.unsubscribe_topic(TOPIC)

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Take an event of the scheduler; a worker that was told to go has not died."""
        _, message = event
        if message.get("action") != "remove-worker" or message.get("expected"):
            return
        for key in message.get("processing-tasks", ()):
            self.workers[str(key)].append(str(message.get("worker")))
            self.note(str(key))

    def of(self, key: str, error: KilledWorker | None = None) -> LostError:
        """Failure of a task, of whose last death Dask itself may have told before the event came."""
        workers = self.workers.pop(key, [])
        if error is not None:
            last = str(error.last_worker.address)
            # Dask may tell of the last death before its event comes; the count must be right nevertheless.
            workers += [last] * (error.allowed_failures + 1 - len(workers))
        return LostError(workers)
