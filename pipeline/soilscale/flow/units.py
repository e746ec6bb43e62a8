"""Units of work on Dask: skipped when their marker stands, written by the worker, marked last, survived when bad."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass
from typing import Any, Literal

from distributed import Client, Future, as_completed
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from soilscale import __version__, storage
from soilscale.errors import ConfigurationError, IncompleteError, ServiceError
from soilscale.flow.workspace import Workspace

logger = logging.getLogger(__name__)

IN_FLIGHT = 4
"""Units submitted ahead for every thread of the cluster; bounds the memory of the scheduler."""

ATTEMPTS = 3
"""How often a unit is tried whose failure may pass."""

FAILED = ".failed.json"

MARKER = re.compile(r"\.([0-9a-f]{16}|failed)\.json$")
"""End of the name of a marker; beside them stand parts that are put together later."""

Progress = Callable[[str, int, int | None], None]
"""Takes what is being done, how much of it is done, and how much there is of it (None: not known)."""

Outcome = Literal["done", "failed", "unreachable"]


@dataclass(frozen=True)
class Unit:
    """One piece of a stage: what to call, and what it is made from."""

    stage: str
    name: str
    digest: str
    work: Callable[..., None]
    """Called on a worker with the workspace and `arguments`; writes its own region or object."""
    arguments: tuple[Any, ...]

    @property
    def marker(self) -> str:
        """Name of the object that says that the unit is complete."""
        return f"{self.name}.{self.digest}.json"


@dataclass(frozen=True)
class Receipt:
    """What a worker tells of a unit."""

    stage: str
    name: str
    outcome: Outcome
    message: str
    seconds: float


def perform(workspace: Workspace, unit: Unit) -> Receipt:
    """Do a unit on a worker, and mark it, complete or failed, last.

    Raises
    ------
    ConfigurationError
        If the output cannot be written.
    storage.DamagedError
        If what it reads of the output is not what was written.
    """
    start = time.monotonic()
    outcome: Outcome = "done"
    message = ""
    try:
        unit.work(workspace, *unit.arguments)
    except (ConfigurationError, storage.DamagedError):
        raise
    except ServiceError as error:
        outcome, message = "unreachable", str(error)
    except Exception as error:
        outcome, message = "failed", str(error) or repr(error)
        logger.debug("%s %s", unit.stage, unit.name, exc_info=True)
    receipt = Receipt(unit.stage, unit.name, outcome, message, round(time.monotonic() - start, 3))
    if outcome != "unreachable":
        name = unit.marker if outcome == "done" else f"{unit.name}{FAILED}"
        storage.write_json(workspace.state(unit.stage, name), asdict(receipt) | {"version": __version__})
    return receipt


def markers(workspace: Workspace, stage: str) -> set[str]:
    """Names of the markers of a stage's units."""
    return set(storage.names_below(workspace.state(stage)))


def failures(workspace: Workspace) -> list[Receipt]:
    """Units whose input could not be used, as they were last tried."""
    names = [name for name in storage.names_below(workspace.state()) if name.endswith(FAILED)]
    found = [storage.read_json(workspace.state(name)) for name in names]
    return [Receipt(**{key: value for key, value in entry.items() if key != "version"}) for entry in found]


def run(
    connect: Callable[[], Client], workspace: Workspace, units: Sequence[Unit], progress: Progress, doing: str
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

    Returns
    -------
    list of Receipt
        Of the units that were done or failed.

    Raises
    ------
    ConfigurationError
        If the output cannot be written.
    ServiceError
        If some units could still not reach a service after `ATTEMPTS`; the others are complete.
    IncompleteError
        If the workers were lost.
    """
    stage = units[0].stage if units else ""
    found = markers(workspace, stage) if units else set()
    todo = [unit for unit in units if unit.marker not in found]
    _withdraw(workspace, units, found)
    receipts: list[Receipt] = []
    standing = len(units) - len(todo)
    progress(doing, standing, len(units))
    if not todo:
        return receipts
    client = connect()
    for attempt in range(ATTEMPTS):
        time.sleep(2**attempt - 1)
        receipts = [receipt for receipt in receipts if receipt.outcome != "unreachable"]
        for receipt in _stream(client, workspace, todo, attempt):
            receipts.append(receipt)
            done = standing + sum(one.outcome != "unreachable" for one in receipts)
            progress(doing, done, len(units))
            if receipt.outcome == "failed":
                logger.error("%s %s: %s", receipt.stage, receipt.name, receipt.message)
        names = {receipt.name for receipt in receipts if receipt.outcome == "unreachable"}
        todo = [unit for unit in todo if unit.name in names]
        if not todo:
            return receipts
    message = next(receipt.message for receipt in receipts if receipt.outcome == "unreachable")
    raise ServiceError(f"{len(todo)} of {len(units)} units of stage {stage} could not be done, the first: {message}")


def _withdraw(workspace: Workspace, units: Sequence[Unit], found: set[str]) -> None:
    """Remove the markers that are not of these units: of other inputs, of an earlier plan, of an earlier failure."""
    standing = {unit.marker for unit in units}
    for name in found:
        if name not in standing and MARKER.search(name):
            storage.remove(workspace.state(units[0].stage, name))


def _stream(client: Client, workspace: Workspace, units: Sequence[Unit], attempt: int) -> Iterator[Receipt]:
    """Receipts as they come; only so many units are in flight that every thread has work."""
    waiting = iter(units)
    try:
        limit = IN_FLIGHT * max(sum(client.nthreads().values()), 1)
        first = [_submit(client, workspace, unit, attempt) for unit in itertools.islice(waiting, limit)]
        running = as_completed(first, loop=client.loop)
        for future in running:
            yield _receipt(future)
            for unit in itertools.islice(waiting, 1):
                running.add(_submit(client, workspace, unit, attempt))
    except (CancelledError, CommClosedError) as error:
        raise IncompleteError(
            f"the Dask scheduler was lost ({error}); see that it runs, then run the same command again"
        ) from error


def _submit(client: Client, workspace: Workspace, unit: Unit, attempt: int) -> Future[Receipt]:
    key = f"{unit.stage}-{unit.name}-{unit.digest}-{attempt}-{time.monotonic_ns()}"
    return client.submit(perform, workspace, unit, key=key, pure=False)


def _receipt(future: Future[Receipt]) -> Receipt:
    try:
        receipt: Receipt = future.result()
    except KilledWorker as error:
        raise IncompleteError(
            f"workers died repeatedly ({error}); give them more memory or choose a smaller grid.tile, then run the "
            "same command again"
        ) from error
    return receipt
