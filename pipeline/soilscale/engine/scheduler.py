"""Units of a stage on a Dask cluster: few in flight, short ones batched, and survived if they kill workers."""

from __future__ import annotations

import logging
import pickle
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import takewhile
from queue import Empty, SimpleQueue

from distributed import Client, Future
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from soilscale import retry, storage
from soilscale.engine import metrics, shutdown
from soilscale.engine.causes import more_memory
from soilscale.engine.deaths import Deaths, LostError
from soilscale.engine.output import Workspace
from soilscale.engine.tally import Tally
from soilscale.engine.units import (
    MARKER,
    Outcome,
    Progress,
    Receipt,
    Task,
    Unit,
    enter,
    give_up,
    is_complete,
    markers,
    perform,
)
from soilscale.engine.workers import LOOK_EVERY, Workers
from soilscale.errors import IncompleteError, ServiceError

logger = logging.getLogger(__name__)

IN_FLIGHT = 4
"""Tasks submitted ahead for every thread of the cluster; bounds the memory of the scheduler."""

TASK_SECONDS = 0.5
"""Work that a task carries where single units are shorter than that."""

MOST_UNITS = 256
"""Units that a task carries at most."""

MOST_TOGETHER = 6
"""Units that share what they read, such as neighbouring months, that a task carries at most."""

ATTEMPTS = 1 + len(retry.ROUND)
"""How often a unit is tried whose failure may pass."""

DEATHS = 2
"""Workers that a task may lose before the first of its units that is not complete is suspected of it."""

DEATHS_ALONE = 1
"""Workers that a suspect may take with it when it is alone, before it is given up."""

MOST_KILLED = 20
"""Tasks of a stage that may lose their workers again and again before the stage is given up."""

Remedy = Callable[[str, float], str]
"""Gives the remedy for units of a stage that kill workers with so many bytes of memory; 0: no known limit."""


_importing = threading.Lock()


def run(
    connect: Callable[[], Client],
    workspace: Workspace,
    units: Sequence[Unit[Task]],
    progress: Progress,
    doing: str,
    remedy: Remedy = more_memory,
) -> list[Receipt]:
    """Do every unit of one stage that is not complete.

    Parameters
    ----------
    connect
        Gives the cluster's client; called only if some unit is not complete.
    units
        All units of the stage, complete ones too.
    doing
        What the stage does, for the progress bar.
    remedy
        Gives the remedy for units that kill their workers.

    Returns
    -------
    list of Receipt
        Of the units that are missing: their input could not be used, or they killed their workers.

    Raises
    ------
    ConfigurationError
        If the output cannot be written.
    ServiceError
        If the output's store says no; if some units could still not reach a service after `ATTEMPTS`; or if so many one
        after the other could not that it is taken for dead, and the rest was not tried. What was done is complete.
    IncompleteError
        If the scheduler was lost, or workers again and again.
    """
    stage = units[0].stage if units else ""
    standing = markers(workspace, stage) if units else set()
    todo = [unit for unit in units if unit.marker not in standing]
    # Before anything is done: a marker of an earlier plan would count a unit of the same name as complete in a later
    # run.
    _withdraw(workspace, units, standing)
    complete = len(units) - len(todo)
    metrics.planned(stage, complete, len(units))
    progress(doing, complete, len(units))
    tally = Tally(lambda count: progress(doing, count, len(units)), complete)
    attempt = 0
    while todo and attempt < ATTEMPTS:
        # A store that throttles needs a pause, the first try none.
        retry.pause(retry.ROUND, attempt)
        before = tally.done
        dead = _take(tally, _Stream(connect(), workspace, todo, remedy))
        todo = tally.left(todo)
        if todo and dead != "refused":
            logger.warning("%s: %d units will be retried, the first: %s", stage, len(todo), tally.first)
        # A store that refuses will refuse again. Progress before a service went away earns the attempts anew: in a run
        # of days it may be away more than three times.
        attempt = ATTEMPTS if dead == "refused" else 1 if dead and tally.done > before else attempt + 1
    undone = len(units) - tally.done
    if undone:
        raise ServiceError(f"{undone} of {len(units)} units of stage {stage} failed, the first: {tally.first}")
    return tally.missing


def _take(tally: Tally, stream: _Stream) -> Outcome | None:
    """Count the receipts of a stream, which ends with it."""
    with closing(stream.receipts()) as receipts:
        return tally.take(receipts, stream.threads)


def _withdraw(workspace: Workspace, units: Sequence[Unit[Task]], present: set[str]) -> None:
    """Remove the markers that are not of these units: of other inputs, of an earlier plan, of an earlier failure."""
    standing = {unit.marker for unit in units}
    orphans = [name for name in present if name not in standing and MARKER.search(name)]
    if orphans:
        storage.remove(workspace.state(units[0].stage), orphans)


@dataclass(frozen=True)
class _Task:
    """Units that went out together."""

    future: Future[list[Receipt]]
    units: Sequence[Unit[Task]]


@dataclass
class _Stream:
    """Units on their way through a cluster, in tasks of about `TASK_SECONDS`."""

    client: Client
    workspace: Workspace
    units: Sequence[Unit[Task]]
    remedy: Remedy = more_memory
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    """By which workers know what it sent."""
    taken: int = 0
    """Units that were submitted."""
    seconds: float | None = None
    """Mean duration of a unit, of late; None before the first is back."""
    flying: dict[str, _Task] = field(default_factory=dict)
    """Tasks in flight, by their keys."""
    landed: SimpleQueue[str] = field(default_factory=SimpleQueue)
    """Keys of tasks that came to an end, be it that they were taken back."""
    suspects: deque[tuple[Unit[Task], LostError]] = field(default_factory=deque)
    """Units suspected of killing their workers, with those that died so far."""
    lost: int = 0
    """Tasks that lost their workers again and again."""
    most: int = DEATHS
    """Workers that a task may lose."""
    workers: Workers = field(init=False)
    deaths: Deaths = field(init=False)

    def __post_init__(self) -> None:
        self.workers = Workers(self.client)
        self.deaths = Deaths(self.client, self._hear)

    @property
    def threads(self) -> int:
        """Threads of the workers that take units."""
        return self.workers.threads

    def receipts(self) -> Generator[Receipt]:
        """Receipts as they come; only so many tasks are in flight that every thread has work.

        When it is left early, no further unit begins, and those that run are waited for.
        """
        try:
            self._refill()
            while self.flying:
                yield from self._land(self._next())
                self._refill()
            # Only now: a suspect beside other units would take them with it, and cast suspicion on them.
            self.most = DEATHS_ALONE
            while self.suspects:
                yield self._alone(*self.suspects.popleft())
        except (CancelledError, CommClosedError) as error:
            raise IncompleteError(
                f"the Dask scheduler was lost ({error}); check that it runs, then run the same command again"
            ) from error
        finally:
            self._end()

    def _end(self) -> None:
        """Take back what is in flight."""
        self.deaths.end()
        for task in self.flying.values():
            task.future.release()
        if self.flying:
            shutdown.end(self.client, self.name)

    def _refill(self) -> None:
        """Submit tasks, so that the cluster has its number again."""
        self._look()
        # Not all at once: a nation has a million units, and the scheduler keeps every task that it has been given in
        # memory.
        while self.taken < len(self.units) and len(self.flying) < IN_FLIGHT * self.threads:
            batch = self.units[self.taken : self.taken + self._size()]
            self.taken += len(batch)
            self._submit(batch)

    def _look(self) -> None:
        """See how the workers are, and give to others what waits for one that is paused."""
        if self.workers.look():
            for key in self.workers.stranded():
                if key in self.flying:
                    task = self.flying.pop(key)
                    task.future.release()
                    self._submit(task.units)

    def _next(self) -> str:
        """Key of a task in flight that came to an end, or has lost so many workers that it is to."""
        while True:
            with suppress(Empty):
                key = self.landed.get(timeout=LOOK_EVERY)
                if key in self.flying:
                    return key
            self._look()

    def _hear(self, key: str) -> None:
        """Have a task looked at that has lost a worker, once it has lost as many as it may."""
        if self._dies(key):
            self.landed.put(key)

    def _dies(self, key: str) -> bool:
        """Whether a task has lost as many workers as it may."""
        return len(self.deaths.workers.get(key, ())) >= self.most

    def _size(self) -> int:
        """Units of the next task: many where they are short, and no more than leaves every thread its share."""
        kin = self._kin()
        if self.seconds is None:
            return kin
        # Towards the end of a stage tasks shrink, so that no thread waits for one that carries many units.
        share = (len(self.units) - self.taken) // (IN_FLIGHT * self.threads)
        return max(kin, min(int(TASK_SECONDS / max(self.seconds, 1e-6)), share, MOST_UNITS))

    def _kin(self) -> int:
        """Units from the next one on that go together, no more than leave every thread some; itself at least."""
        first, left = self.units[self.taken], len(self.units) - self.taken
        if not first.together:
            return 1
        coming = self.units[self.taken : self.taken + max(1, min(MOST_TOGETHER, left // self.threads))]
        return sum(1 for _ in takewhile(lambda unit: unit.together == first.together, coming))

    def _submit(self, batch: Sequence[Unit[Task]]) -> None:
        unit = batch[0]
        # A key of its own each time: Dask answers a key that it knows with the result it remembers.
        key = f"{unit.stage}-{unit.name}-{unit.digest}-{time.monotonic_ns()}"
        # Packed here: otherwise Dask walks through all arguments of all units in search of futures.
        future = self.client.submit(_perform, pickle.dumps((self.name, self.workspace, batch)), key=key, pure=False)
        self.flying[key] = _Task(future, batch)
        future.add_done_callback(lambda _: self.landed.put(key))

    def _take(self, key: str) -> list[Receipt] | None:
        """Receipts of a task that came to an end; None, and it stays in flight, if its worker does not hand them over.

        Raises
        ------
        LostError
            If it lost its workers again and again.
        """
        task = self.flying.pop(key)
        try:
            # Dask itself gives up after `allowed-failures` deaths, which are the scheduler's to set; a local worker
            # that runs out of memory would be started and lost again and again.
            if self._dies(key) and not task.future.done():
                raise self.deaths.of(key)
            receipts: list[Receipt] = task.future.result(timeout=LOOK_EVERY)
        except KilledWorker as error:
            raise self.deaths.of(key, error) from error
        except TimeoutError:
            self.flying[key] = task
            self.landed.put(key)
            return None
        finally:
            if key not in self.flying:
                task.future.release()
        enter(self.workspace, receipts)
        return receipts

    def _land(self, key: str) -> list[Receipt]:
        """Receipts of a task; of one that lost its workers, those of its units that were complete before."""
        batch = self.flying[key].units
        try:
            receipts = self._take(key)
        except LostError as error:
            return self._suspect(batch, error)
        if receipts is None:
            return []
        new = sum(receipt.seconds for receipt in receipts) / len(receipts)
        self.seconds = new if self.seconds is None else 0.7 * self.seconds + 0.3 * new
        return receipts

    def _suspect(self, batch: Sequence[Unit[Task]], error: LostError) -> list[Receipt]:
        """Suspect the unit that ran, or was next, when a task lost its workers; those after it go on together."""
        # Units of a task are done in order, so the first without a marker ran, or was next, when the worker died.
        complete = list(takewhile(lambda unit: is_complete(self.workspace, unit), batch))
        remaining = batch[len(complete) :]
        if remaining:
            self.lost += 1
            self.suspects.append((remaining[0], error))
            explained = self._explained(remaining[0], error)
            logger.warning(
                "%s %s: %s; it will be retried alone later; %s", remaining[0].stage, remaining[0].name, *explained
            )
            if self.lost > MOST_KILLED:
                raise IncompleteError(
                    f"stage {remaining[0].stage}: {self.lost} tasks repeatedly crashed their workers, the last: "
                    f"{remaining[0].name} ({'); '.join(explained)}"
                ) from error
        if remaining[1:]:
            self._submit(remaining[1:])
        return [Receipt(unit.stage, unit.name, "done", "", 0.0) for unit in complete]

    def _alone(self, unit: Unit[Task], before: LostError) -> Receipt:
        """Try a suspect with nothing beside it, so that no other unit pays for it, nor it for another."""
        self._submit([unit])
        receipts = None
        try:
            while receipts is None:
                receipts = self._take(self._next())
        except LostError as error:
            every = LostError([*before.workers, *error.workers])
            receipts = [give_up(self.workspace, unit, "; ".join(self._explained(unit, every)))]
            enter(self.workspace, receipts)
        return receipts[0]

    def _explained(self, unit: Unit[Task], error: LostError) -> tuple[str, str]:
        """How often a unit has lost its worker, with the memory of the last one, and the remedy."""
        used, limit = self.workers.memory.get(error.workers[-1], (0, 0))
        size = f", which used at least {used / 2**20:,.0f} of its {limit / 2**20:,.0f} MiB" if limit else ""
        return f"{error}{size}", self.remedy(unit.stage, limit)


def _perform(packed: bytes) -> list[Receipt]:
    """Do units that the scheduler has passed on without a look into them."""
    with _importing:  # zarr's modules import each other: of two threads that begin at once one gets halves of them
        import_module("zarr")
    name, workspace, units = pickle.loads(packed)  # noqa: S301 - from the runner, over Dask's own connection
    with shutdown.underway(name) as ended:
        return perform(workspace, units, ended)
