"""One run writes to an output at a time: a lease below `state/` that its holder renews and a dead run loses.

Every change of hands is an object of its own, a term, with the next number: a run takes the lease by creating one, and
gives it back by creating an empty one. Numbers only rise, and the last object is never removed. So of those who would
follow on a dead holder one alone can, and whether a term still lasts is seen by a list of the folder: it does while no
later one is there. A term that an old holder renews too late, or that was swept away and comes back, proves nothing.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import psutil

from soilscale import storage
from soilscale.engine import processes
from soilscale.engine.output import Workspace
from soilscale.errors import IncompleteError, SoilscaleError

logger = logging.getLogger(__name__)

RENEWED = 10.0
"""Seconds between two renewals."""

EXPIRY = 60.0
"""Seconds without renewal after which a lease is void, for its holder too."""

LOOK = 1.0
"""Seconds between looks at another host's lease, and after which a new one is looked at again if another may have
written over it."""

PROOF = 2.0
"""Seconds for which a process relies on its last proof that a term lasts, where a proof is a request. Who follows on a
dead holder waits as long before it writes, for workers of that holder may be alive."""

TERM = re.compile(r"(\d+)\.json")
"""Name of a term."""

_HELD: set[str] = set()
"""Identities of the leases that this process holds or is about to take."""

TERMS = "lease"
"""Folder below `state/` of the terms, numbered as they come; what counts is the last, and nobody holds an empty one."""


@dataclass(frozen=True)
class Lease:
    """Who writes to an output."""

    host: str
    boot: str
    """What tells two hosts of one name apart, and a host from itself before it was started anew."""
    namespace: str
    """Of the process numbers: containers of one host have the same boot, and may have the same name and numbers."""
    pid: int
    born: float
    """When the process was started, by which a later process of the same number is told apart."""
    since: str
    """When the lease was taken, UTC."""
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    renewals: int = 0
    sequence: str = ""
    """Sequence of stages, such as a Job's, whose next stage follows at once; its holder has ended. Empty: held."""

    def __str__(self) -> str:
        """Give host, process and time, as messages do."""
        suffix = ", which has ended and keeps it for the next stage" if self.sequence else ""
        return f"process {self.pid} on {self.host}, since {self.since}{suffix}"


UNREADABLE = Lease("an unknown host, since the lease is damaged", "", "", 0, 0.0, "an unknown time", "")
"""Stands for a lease that cannot be read; a holder that is alive writes it anew."""

_PROVEN: dict[Workspace, float] = {}
"""When a term was last proven by a request, by `processes.boot_clock`."""


def mine() -> Lease:
    """Lease of this process."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Lease(
        socket.gethostname(),
        processes.boot(),
        processes.namespace(),
        os.getpid(),
        processes.started_at(os.getpid()),
        now,
    )


def prove(workspace: Workspace, afresh: bool = False) -> None:
    """See that the term by which an output is written to lasts; one who holds none is not asked.

    On a folder the terms are listed each time, on other stores after `PROOF` seconds, or if it is to be done `afresh`.

    Raises
    ------
    IncompleteError
        If another run has taken the lease, or it was given back.
    ServiceError
        If the store cannot be reached.
    """
    if workspace.term is None:
        return
    now = processes.boot_clock()
    # A listing is a request on S3, and one before each chunk would double the writes; on a folder it costs nothing.
    if not afresh and now - _PROVEN.get(workspace, float("-inf")) < PROOF and not storage.is_local(workspace.output):
        return
    if max(_terms(workspace), default=0) != workspace.term:
        raise IncompleteError(_overtaken(workspace))
    _PROVEN[workspace] = now


def _overtaken(workspace: Workspace) -> str:
    """Why a run may write no more."""
    now = holder(workspace)
    by = "has ended, or another run has taken over and ended" if now is None else f"was taken over by {now}"
    return (
        f"{workspace.output}: the lease of this run (term {workspace.term}) {by}; stopped writing; wait until no "
        "other run writes there, then run the same command again"
    )


def holder(workspace: Workspace) -> Lease | None:
    """Lease that stands, be its holder alive or not."""
    return _last(workspace)[1]


def _last(workspace: Workspace) -> tuple[int, Lease | None]:
    """Number of the last term, 0 if there was none, and its lease if it was not given back."""
    last = max(_terms(workspace), default=0)
    if not last:
        return 0, None
    try:
        content = storage.read_json(_url(workspace, last))
        return last, Lease(**content) if content else None
    except FileNotFoundError:  # a later term began, and swept this one away
        return _last(workspace)
    except (storage.DamagedError, TypeError):
        return last, UNREADABLE


def _terms(workspace: Workspace) -> list[int]:
    """Numbers of the terms that stand; an object that is being written has a draft's name beside it."""
    matches = [TERM.fullmatch(name) for name in workspace.records(TERMS)]
    return [int(match[1]) for match in matches if match]


class HeldError(IncompleteError):
    """Another run that is alive holds the output."""


@contextmanager
def held(workspace: Workspace, patience: float = 0.0, sequence: str = "", *, last: bool = True) -> Iterator[Workspace]:
    """Hold the lease of an output, and write there by it alone: all that this context writes is fenced.

    Yields
    ------
    Workspace
        The output, with the term by which workers write there too.

    Parameters
    ----------
    patience
        Seconds to wait for another run that holds it.
    sequence
        Sequence of stages that this one belongs to; empty: none. Between two of its stages no other run takes the
        lease, unless none starts within `EXPIRY`: it would repeat the search on which the later stages depend.
    last
        Whether no stage of the sequence follows. A stage that fails releases the lease, as the last one does.

    Raises
    ------
    HeldError
        If another run that is alive holds it longer.
    IncompleteError
        If another run took it over since this one did not renew it for `EXPIRY`.
    """
    lease = mine()
    # Before it is taken: a run of this very process that looks meanwhile must see it alive.
    _HELD.add(lease.identity)
    try:
        with _renewed(workspace, lease, patience, sequence) as keeper, storage.fenced(keeper.prove):
            yield keeper.workspace
            if not last:
                keeper.sequence = sequence
    finally:
        _HELD.remove(lease.identity)


@contextmanager
def _renewed(workspace: Workspace, lease: Lease, patience: float, sequence: str) -> Iterator[_Keeper]:
    """Take a lease, renew it, and give it back."""
    keeper = _Keeper(workspace, _take_in_time(workspace, lease, patience, sequence), lease)
    keeper.start()
    try:
        try:
            yield keeper
        finally:
            keeper.stop()
    except KeyboardInterrupt as error:
        if not keeper.lost:
            raise
        raise IncompleteError(keeper.lost) from error


def _name(term: int) -> str:
    return f"{term:06}.json"


def _url(workspace: Workspace, term: int) -> str:
    return workspace.state(TERMS, _name(term))


def _content(lease: Lease | None) -> bytes:
    return json.dumps(asdict(lease) if lease is not None else {}, indent=1).encode()


def _take_in_time(workspace: Workspace, lease: Lease, patience: float, sequence: str) -> int:
    """Begin the next term, as soon as whoever holds the output has ended, and return its number."""
    until, waits = time.monotonic() + patience, False
    while True:
        try:
            return _take(workspace, lease, sequence)
        except HeldError as error:
            if time.monotonic() >= until:
                raise
            if not waits:
                logger.info("%s; waiting up to %g s for its end", str(error).partition(";")[0], patience)
            waits = True
        time.sleep(LOOK)


def _take(workspace: Workspace, lease: Lease, sequence: str) -> int:
    """Begin the next term, behind one that was given back or whose holder is dead, and return its number."""
    term, previous = _last(workspace)
    if previous is not None and not (sequence and previous.sequence == sequence):
        _outlive(workspace, previous)
        logger.warning("%s: the previous run (%s) has died; resuming", workspace.output, previous)
    # A new object each term, never the old one overwritten: of two runs that begin at once one gets the number.
    term, content = term + 1, _content(lease)
    new = storage.write_new(_url(workspace, term), content)
    # Some stores accept conditional writes and ignore the condition. There a second look, later, decides.
    if new and not storage.refuses_again(_url(workspace, term), content):
        time.sleep(LOOK)
    last, now = _last(workspace)
    if now is None or now.identity != lease.identity:
        raise _refusal(workspace, now or lease)
    _sweep(workspace, last)
    # Workers of the dead holder rely on their last proof for `PROOF` seconds.
    if previous is not None and not storage.is_local(workspace.output):
        time.sleep(PROOF)
    return last


def _sweep(workspace: Workspace, term: int) -> None:
    """Remove the terms before one."""
    if earlier := [_name(number) for number in _terms(workspace) if number < term]:
        storage.remove(workspace.state(TERMS), earlier)


def _outlive(workspace: Workspace, previous: Lease) -> None:
    """Return when a holder is known to be dead: for its process is gone, or was silent for `EXPIRY` while we watched.

    Silent is who does not raise the number of renewals, whatever the clocks of the two hosts say. A process of this
    host that is alive is not waited for, unless it is suspended.
    """
    # A process number says nothing about another host, nor about another container of this one.
    if _is_near(previous) and not previous.sequence:
        state = _process(previous)
        if state == "gone":
            return
        if state == "alive":
            raise _refusal(workspace, previous)
    logger.warning("%s is held by %s; waiting up to %g s for a heartbeat", workspace.output, previous, EXPIRY)
    until = processes.boot_clock() + EXPIRY
    while processes.boot_clock() < until:
        time.sleep(LOOK)
        now = holder(workspace)
        if now is None:
            return
        if now != previous:
            raise _refusal(workspace, now)


def _is_near(lease: Lease) -> bool:
    """Whether the holder's process is seen from here by its number."""
    return (lease.host, lease.boot, lease.namespace) == (socket.gethostname(), processes.boot(), processes.namespace())


def _process(lease: Lease) -> Literal["alive", "suspended", "gone"]:
    """What became of a holder near by: a run of this very process, or another process."""
    if lease.pid == os.getpid():
        return "alive" if lease.identity in _HELD else "gone"
    try:
        # Numbers are used again: after a reboot of a container the same number is likely another process.
        is_same = abs(processes.started_at(lease.pid) - lease.born) < 1
        status = psutil.Process(lease.pid).status()
    except psutil.NoSuchProcess:
        return "gone"
    if not is_same or status in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
        return "gone"
    return "suspended" if status in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP} else "alive"


def _refusal(workspace: Workspace, lease: Lease) -> HeldError:
    return HeldError(
        f"{workspace.output} is being written by another run: {lease}; wait until it has ended (--wait-for-lease), or "
        "stop it, then run the same command again"
    )


class _Keeper(threading.Thread):
    """Renews a lease until it is stopped; stops the run as SIGTERM does if it is lost."""

    def __init__(self, workspace: Workspace, term: int, lease: Lease) -> None:
        super().__init__(name="lease", daemon=True)
        self.workspace = replace(workspace, term=term)
        self.lease = lease
        self.lost = ""
        """Why this run may write no more."""
        self.sequence = ""
        """Sequence for whose next stage the lease is kept; empty: it is given back."""
        self.renewed = processes.boot_clock()
        """When the last renewal that succeeded was begun."""
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(RENEWED):
            try:
                self._renew()
            except IncompleteError as error:
                self.lost = str(error)
                # From a thread: only a signal interrupts what the main thread waits for.
                os.kill(os.getpid(), signal.SIGTERM)
                return
            except SoilscaleError as error:
                logger.warning("the lease could not be renewed: %s", error)

    def prove(self, afresh: bool) -> None:
        """See that this run may write; errors as `lease.prove`.

        Raises
        ------
        IncompleteError
            Also if the last renewal is longer ago than `EXPIRY`, by a clock that counts the time in which this host or
            process was suspended: others may take the run for dead.
        """
        # `time.monotonic` stands still while a laptop sleeps, and would let the run write under a lease that is void.
        silent = processes.boot_clock() - self.renewed
        if silent > EXPIRY:
            raise IncompleteError(
                f"{self.workspace.output}: this run was suspended, or could not reach the store, for {silent:.0f} s, "
                f"so its lease, which expires after {EXPIRY:g} s, could not be renewed; stopped writing; run the same "
                "command again"
            )
        prove(self.workspace, afresh)

    def _renew(self) -> None:
        now = processes.boot_clock()
        self.prove(afresh=True)
        self.lease = replace(self.lease, renewals=self.lease.renewals + 1)
        storage.write_bytes(_url(self.workspace, self.workspace.term or 0), _content(self.lease))
        self.renewed = now

    def stop(self) -> None:
        """End, and give the lease back, by an empty term, or keep it for the next stage, if it is still this run's."""
        self._end.set()
        self.join()
        if self.lost:
            return
        try:
            term = (self.workspace.term or 0) + 1
            # Not ours to end if another run has begun a later term.
            if max(_terms(self.workspace), default=0) < term:
                released = replace(self.lease, sequence=self.sequence) if self.sequence else None
                storage.write_new(_url(self.workspace, term), _content(released))
                _sweep(self.workspace, term)
        except SoilscaleError as error:
            logger.warning("the lease could not be released: %s", error)
