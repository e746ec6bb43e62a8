"""Units of work as a worker does them: the work, the marker that is written last, and the receipt."""

from __future__ import annotations

import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Generic, Literal, TypeVar

from soilscale import __version__, storage
from soilscale.engine import lease, payloads
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError, DataError, IncompleteError, RefusedError, ServiceError

logger = logging.getLogger(__name__)

FAILED = ".failed.json"

MARKER = re.compile(r"\.([0-9a-f]{16}|failed)\.json$")
"""End of the name of a marker; beside them stand parts that are put together later."""

Outcome = Literal["done", "failed", "killed", "unreachable", "refused"]
"""`failed`: its input could not be used; `killed`: it took its workers with it; `unreachable`: a service was away;
`refused`: the store of an input said no."""

AWAY: tuple[Outcome, ...] = ("unreachable", "refused")
"""Outcomes that leave no marker, since what is missing is not the unit's."""


class Task(ABC):
    """What a worker does for a unit: a frozen dataclass of all that this takes, by names that a type checker knows."""

    __slots__ = ()

    @abstractmethod
    def run(self, workspace: Workspace) -> payloads.Arrays | None:
        """Write the unit's own region or object, and return what its marker is to keep."""

    def blank(self, workspace: Workspace) -> None:  # noqa: B027 - most tasks leave nothing half written
        """Leave missing what `run` writes; called instead of it where it kills its workers."""

    @property
    def warnings(self) -> Mapping[str, str]:
        """Topic -> what of the input was used with a warning, after `run`."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The workload of a stage, all its units together, independent of the machine.

    A task class states the cost of its stage by its classmethod `cost`, beside its code; `soilscale plan` adds them up.
    """

    units: int
    read: float
    """Bytes that are read, before compression."""
    written: float
    """Bytes that are written, before compression."""
    objects: int
    """Objects that are written, the units' markers among them."""
    work: float
    """Amount of the stage's own kind of work; `cost` says which."""
    load: float
    """Bytes that the largest unit holds at once, as far as they can be known."""
    grows: str = ""
    """What the load goes with, where that is not the tile."""


T_co = TypeVar("T_co", bound=Task, covariant=True)


@dataclass(frozen=True, slots=True)
class Unit(Generic[T_co]):
    """One piece of a stage: what to do, and what it is made from."""

    stage: str
    name: str
    digest: str
    task: T_co
    together: str = ""
    """Units one after the other that say the same are sent together, where they share what they read."""

    @property
    def marker(self) -> str:
        """Name of the object that says that the unit is complete."""
        return f"{self.name}.{self.digest}.json"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is told of a unit that was tried."""

    stage: str
    name: str
    outcome: Outcome
    message: str
    seconds: float
    notes: Mapping[str, str] = field(default_factory=dict)
    """Topic -> what of its input was used with a warning, such as an item and a file that contradict each other."""
    wrote: Mapping[str, storage.Written] = field(default_factory=dict, compare=False)
    """What was written, by its name below the output: in a marker all but the marker itself."""


def perform(
    workspace: Workspace, units: Sequence[Unit[Task]], ended: Callable[[], bool] = lambda: False
) -> list[Receipt]:
    """Do units on a worker, one after the other, but for those that stand.

    Dask gives a task to another worker when its own has died, be it that the task had ended there and its result was
    not yet handed over; so what had landed is looked for, and not done again.

    After one that a service was away for the rest is not tried, and has no receipt; nor is what is left when the stage
    has ended.

    Raises
    ------
    ConfigurationError
        If the output cannot be written.
    RefusedError
        If the output's store says no, or has no room.
    storage.DamagedError
        If what it reads of the output is not what was written.
    IncompleteError
        If the run that sent the units has lost its lease.
    """
    begun = is_complete(workspace, units[0])
    receipts: list[Receipt] = []
    for unit in units:
        if ended():
            break
        # One look for the whole task in the usual case: if its first unit is not complete, none was begun.
        complete = begun and is_complete(workspace, unit)
        receipts.append(Receipt(unit.stage, unit.name, "done", "", 0.0) if complete else _do(workspace, unit))
        if receipts[-1].outcome == "unreachable":
            break
    return receipts


def is_complete(workspace: Workspace, unit: Unit[Task]) -> bool:
    """Whether a unit is known to be complete; what its store does not tell, doing it does."""
    try:
        return storage.exists(workspace.state(unit.stage, unit.marker))
    except ServiceError:
        return False


def _do(workspace: Workspace, unit: Unit[Task]) -> Receipt:
    """Do a unit, and mark it, complete or failed, last; all under the term of the run that sent it."""
    with storage.fenced(partial(lease.prove, workspace)) as fence:
        return replace(_done(workspace, unit, fence), wrote=fence.below(workspace.output))


def _done(workspace: Workspace, unit: Unit[Task], fence: storage.Fence) -> Receipt:
    start = time.monotonic()

    def receipt(outcome: Outcome, message: str = "") -> Receipt:
        notes = dict(unit.task.warnings)
        seconds = round(time.monotonic() - start, 3)
        return Receipt(unit.stage, unit.name, outcome, message, seconds, notes, fence.below(workspace.output))

    try:
        try:
            payload = unit.task.run(workspace)
        except (ConfigurationError, ServiceError, IncompleteError):
            raise
        # A worker with another image: no fault of the input, so no marker says that the unit failed.
        except ImportError as error:
            return receipt("unreachable", f"{error}; check that workers have the same packages as the runner")
        except Exception as error:
            logger.debug("%s %s", unit.stage, unit.name, exc_info=True)
            result, marker, payload = receipt("failed", str(error) or repr(error)), f"{unit.name}{FAILED}", None
        else:
            result, marker = receipt("done"), unit.marker
        _mark(workspace, result, marker, payload)
    except RefusedError as error:
        # A refused input is one missing unit; a refused output is the end of the run.
        if error.url.startswith(workspace.output):
            raise
        return receipt("refused", str(error))
    except ServiceError as error:
        return receipt("unreachable", str(error))
    return result


def give_up(workspace: Workspace, unit: Unit[Task], message: str) -> Receipt:
    """Leave missing what a unit writes that kills its workers, and mark it so."""
    with storage.fenced(partial(lease.prove, workspace)) as fence:
        unit.task.blank(workspace)
        receipt = Receipt(unit.stage, unit.name, "killed", message, 0.0, wrote=fence.below(workspace.output))
        _mark(workspace, receipt, f"{unit.name}{FAILED}")
        return replace(receipt, wrote=fence.below(workspace.output))


def enter(workspace: Workspace, receipts: Sequence[Receipt]) -> None:
    """Enter what workers wrote beside what this process wrote under the fence of its run."""
    fence = storage.fence()
    if fence is not None:
        for receipt in receipts:
            marker = next(filter(MARKER.search, receipt.wrote), "")
            fence.enter(workspace.output, receipt.wrote, by=marker)


def _mark(workspace: Workspace, receipt: Receipt, name: str, arrays: payloads.Arrays | None = None) -> None:
    """Write a marker: what became of the unit, what it wrote, by which term, and what it keeps."""
    content = asdict(receipt) | {"version": __version__, "term": workspace.term}
    content |= {} if arrays is None else {"kept": payloads.pack(arrays)}
    storage.write_json(workspace.state(receipt.stage, name), content)


def markers(workspace: Workspace, stage: str) -> set[str]:
    """Names of the markers of a stage's units."""
    return set(workspace.records(stage))


def failures(workspace: Workspace) -> list[Receipt]:
    """Units that are missing, as they were last tried."""
    names = sorted(name for name in workspace.records() if name.endswith(FAILED))
    field_names = {entry.name for entry in fields(Receipt)} - {"wrote"}
    # Side by side: one after another, a thousand of them would take 20 s on a store that answers in 20 ms. One that was
    # removed meanwhile, by a run that is under way, is no failure any more.
    contents = storage.read_many(workspace.state(), names)
    entries = [storage.parsed(workspace.state(name), contents[name]) for name in names if name in contents]
    return [Receipt(**{key: value for key, value in entry.items() if key in field_names}) for entry in entries]


Progress = Callable[[str, int, int | None], None]
"""Takes what is being done, how much of it is done, and how much there is of it (None: not known)."""


def raise_failed(receipts: Sequence[Receipt]) -> None:
    """End a stage without which there is no next one."""
    for receipt in receipts:
        kind = IncompleteError if receipt.outcome == "killed" else DataError
        raise kind(f"{receipt.stage} {receipt.name}: {receipt.message}")
