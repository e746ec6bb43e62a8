"""Workers of a Dask cluster: how many threads accept units, and which workers do not, with the reason."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from distributed import Client
from distributed.comm.core import CommClosedError

logger = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks at the workers of the cluster."""

SILENT = 20.0
"""Seconds without a sign of life after which a worker is told to be ailing; a sign comes every second or few."""

REMIND = 60.0
"""Seconds after which it is told again that no worker takes units."""

NAMED = 3
"""Workers that a message names at most."""

NO_WORKERS = (
    "the Dask cluster has no workers: unless an operator starts them, start some with dask worker and the address of "
    "its scheduler"
)
"""What to do where a scheduler that the command was given has no workers."""

NO_LOCAL_WORKERS = "all worker processes of this command have ended, and new ones are being started"
"""What becomes of a cluster that the command started itself."""

PAUSED = (
    "Dask pauses a worker beyond distributed.worker.memory.pause of its memory limit: restart it with more memory "
    "(dask worker --memory-limit)"
)
"""What to do about paused workers."""

PAUSED_LOCAL = (
    "Dask pauses a worker beyond distributed.worker.memory.pause of its share of this machine's memory: run with fewer "
    "--workers, whose shares are larger"
)
"""What to do about paused workers of a cluster that the command started itself."""

GIVEN_UP = (
    "the scheduler drops workers without a heartbeat for distributed.scheduler.worker-ttl, and their tasks are rerun"
)
"""What becomes of workers without a heartbeat."""


@dataclass
class Workers:
    """What is known of the workers, from one look to the next."""

    client: Client
    threads: int = 1
    """Threads of the workers that take units, at least one."""
    idle: frozenset[str] = frozenset()
    """Paused workers that do not even run what they had begun."""
    halted: frozenset[str] = frozenset()
    """Those of them that were so at the look before too: what is given to them waits."""
    looked: float = float("-inf")
    """When the scheduler was last asked."""
    alive: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Worker -> its last sign of life by the scheduler's clock, and when that was learnt by this one."""
    told: frozenset[str] | None = None
    """Workers of which it was told that they take no units; None if that all do."""
    reminded: float = float("-inf")
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Worker, even a dead one -> the most bytes that it was seen to use, and its limit."""

    def look(self) -> bool:
        """Ask the scheduler, and tell what has changed.

        Returns
        -------
        bool
            False if it was asked less than `LOOK_EVERY` seconds ago, or does not answer at present.

        Raises
        ------
        CommClosedError
            If the scheduler is lost.
        """
        now = time.monotonic()
        if now - self.looked < LOOK_EVERY:
            return False
        self.looked = now
        workers: Mapping[str, Mapping[str, Any]] | None = self.client.scheduler_info().get("workers")
        if self.client.status in {"closing", "closed"}:
            raise CommClosedError("it no longer responds")
        if workers is None:
            return False
        for address, worker in workers.items():
            used, before = worker["metrics"].get("memory", 0), self.memory.get(address, (0, 0))
            self.memory[address] = max(used, before[0]), worker["memory_limit"] or 0
        ails = {
            address: ailment for address, worker in workers.items() if (ailment := self._ailment(address, worker, now))
        }
        self.threads = max(sum(worker["nthreads"] for name, worker in workers.items() if name not in ails), 1)
        idle = frozenset(address for address, worker in workers.items() if _paused(worker) and not _runs(worker))
        self.halted, self.idle = idle & self.idle, idle
        self._tell(len(workers), ails, now)
        return True

    def stranded(self) -> Collection[str]:
        """Keys of the tasks that wait for a paused worker, where there is another to take them."""
        # With no other worker to take them, moving tasks gains nothing.
        if not self.halted or self.told is None or self.told >= self.alive.keys():
            return ()
        try:
            waiting = self.client.processing(list(self.halted))
        except OSError:
            return ()
        return [str(key) for keys in waiting.values() for key in keys]

    def _ailment(self, address: str, worker: Mapping[str, Any], now: float) -> str:
        """Why a worker takes no units; empty if it does."""
        sign = worker["last_seen"]
        # Measured by this clock, from when the sign was learnt: the scheduler's clock may be another.
        if address not in self.alive or self.alive[address][0] != sign:
            self.alive[address] = (sign, now)
        if _paused(worker):
            used, limit = worker["metrics"].get("memory", 0), worker["memory_limit"] or 0
            return f"{address} is paused with {used / 2**20:.0f} of its {limit / 2**20:.0f} MiB in use"
        silence = now - self.alive[address][1]
        return f"{address} has sent no heartbeat for {silence:.0f} s" if silence > SILENT else ""

    def _tell(self, count: int, ails: Mapping[str, str], now: float) -> None:
        """Say what has changed; that nothing goes on is said again and again."""
        ailing = frozenset(ails) if ails or not count else None
        nothing = len(ails) == count
        if ailing == self.told and not (nothing and now - self.reminded > REMIND):
            return
        if ailing is None:
            logger.info("all %d Dask workers are accepting tasks again", count)
        elif nothing:
            logger.warning("%s; waiting until a worker accepts tasks", self._nobody(ails))
        else:
            going = f"{count - len(ails)} of {count} workers continue"
            logger.warning("%s; %s. %s", _first_names(ails), going, self._remedies(ails))
        self.told, self.reminded = ailing, now

    @property
    def local(self) -> bool:
        """Whether the command has started the cluster itself, which then replaces workers that end."""
        return self.client.cluster is not None

    def _nobody(self, ails: Mapping[str, str]) -> str:
        """In words that no worker takes units, and what to do."""
        if not ails:
            return NO_LOCAL_WORKERS if self.local else NO_WORKERS
        return f"no Dask worker is accepting tasks: {_first_names(ails)}. {self._remedies(ails)}"

    def _remedies(self, ails: Mapping[str, str]) -> str:
        kinds = {" is paused ": PAUSED_LOCAL if self.local else PAUSED, " has sent no heartbeat ": GIVEN_UP}
        return "; ".join(remedy for sign, remedy in kinds.items() if any(sign in ailment for ailment in ails.values()))


def _paused(worker: Mapping[str, Any]) -> bool:
    return bool(worker["status"] == "paused")


def _runs(worker: Mapping[str, Any]) -> bool:
    """Whether a task runs on a worker, by what it said at its last sign of life."""
    return bool(worker["metrics"].get("task_counts", {}).get("executing"))


def _first_names(ails: Mapping[str, str]) -> str:
    first = ", ".join(list(ails.values())[:NAMED])
    return first if len(ails) <= NAMED else f"{first} and {len(ails) - NAMED} more"
