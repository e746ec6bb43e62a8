"""One run writes to an output at a time: a lease below `state/` that its holder renews, and that a dead one loses.

Every lease is an object of its own, a term, with the next number. So of those who would follow on a dead holder one
alone can, and nobody removes what another has just written.
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
from pathlib import Path

import psutil

from soilscale import storage
from soilscale.errors import IncompleteError, SoilscaleError
from soilscale.flow.workspace import Workspace

logger = logging.getLogger(__name__)

RENEWED = 10.0
"""Seconds between two renewals."""

EXPIRY = 60.0
"""Seconds without renewal after which another host's lease is void."""

LOOK = 1.0
"""Seconds between looks at another host's lease, and after which one's own is looked at again if another may have
written over it."""

TERM = re.compile(r"(\d+)\.json")
"""Name of a term."""

_HELD: set[str] = set()
"""Identities of the leases that this process holds or is about to take."""

TERMS = "lease"
"""Folder below `state/` of the terms, numbered as they come; what counts is the last, an empty one was given back."""


@dataclass(frozen=True)
class Lease:
    """Who writes to an output."""

    host: str
    boot: str
    """What tells two hosts of one name apart, and a host from itself before it was started anew."""
    pid: int
    born: float
    """When the process was started, seconds since 1970, by which a later process of the same number is told apart."""
    since: str
    """When the lease was taken, UTC."""
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    renewals: int = 0

    def __str__(self) -> str:
        """Give host, process and time, as messages do."""
        return f"process {self.pid} on {self.host}, since {self.since}"


UNREADABLE = Lease("a host that its lease does not tell, for it is damaged", "", 0, 0.0, "an unknown time", "")
"""Stands for a lease that cannot be read; a holder that is alive writes it anew."""


def mine() -> Lease:
    """Lease of this process."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Lease(socket.gethostname(), _boot(), os.getpid(), psutil.Process().create_time(), now)


def _boot() -> str:
    told = Path("/proc/sys/kernel/random/boot_id")
    return told.read_text().strip() if told.exists() else f"{uuid.getnode():x}"


def holder(workspace: Workspace) -> Lease | None:
    """Lease that stands, be its holder alive or not."""
    return _last(workspace)[1]


def _last(workspace: Workspace) -> tuple[int, Lease | None]:
    """Number of the last term, 0 if there was none, and its lease if it was not given back."""
    last = max(_terms(workspace), default=0)
    if not last:
        return 0, None
    try:
        told = storage.read_json(_url(workspace, last))
        return last, Lease(**told) if told else None
    except FileNotFoundError:  # a later term began, and swept this one away
        return _last(workspace)
    except (storage.DamagedError, TypeError):
        return last, UNREADABLE


def _terms(workspace: Workspace) -> list[int]:
    """Numbers of the terms that stand; an object that is being written has a draft's name beside it."""
    found = [TERM.fullmatch(name) for name in storage.names_below(workspace.state(TERMS))]
    return [int(one[1]) for one in found if one]


class HeldError(IncompleteError):
    """Another run that is alive holds the output."""


@contextmanager
def held(workspace: Workspace, patience: float = 0.0) -> Iterator[None]:
    """Hold the lease of an output while something is done.

    Parameters
    ----------
    patience
        Seconds to wait for another run that holds it.

    Raises
    ------
    HeldError
        If another run that is alive holds it longer.
    IncompleteError
        If another run took it over since this one did not renew it for `EXPIRY`.
    """
    lease = mine()
    _HELD.add(lease.identity)
    try:
        with _kept(workspace, lease, patience):
            yield
    finally:
        _HELD.remove(lease.identity)


@contextmanager
def _kept(workspace: Workspace, lease: Lease, patience: float) -> Iterator[None]:
    """Take a lease, renew it, and give it back."""
    keeper = _Keeper(workspace, _take_in_time(workspace, lease, patience), lease)
    keeper.start()
    try:
        yield
    except KeyboardInterrupt as error:
        if keeper.robbed is None:
            raise
        raise IncompleteError(
            f"{workspace.output} was taken over by {keeper.robbed}, since this run did not renew its lease for "
            f"{EXPIRY:g} s; wait until that run has ended, then run the same command again"
        ) from error
    finally:
        keeper.stop()


def _name(term: int) -> str:
    return f"{term:06}.json"


def _url(workspace: Workspace, term: int) -> str:
    return workspace.state(TERMS, _name(term))


def _content(lease: Lease | None) -> bytes:
    return json.dumps(asdict(lease) if lease is not None else {}, indent=1).encode()


def _take_in_time(workspace: Workspace, lease: Lease, patience: float) -> int:
    """Begin the next term, as soon as whoever holds the output has ended, and return its number."""
    until, waits = time.monotonic() + patience, False
    while True:
        try:
            return _take(workspace, lease)
        except HeldError as error:
            if time.monotonic() >= until:
                raise
            if not waits:
                logger.info("%s; waiting up to %g s for its end", str(error).partition(";")[0], patience)
            waits = True
        time.sleep(LOOK)


def _take(workspace: Workspace, lease: Lease) -> int:
    """Begin the next term, behind one that was given back or whose holder is dead, and return its number."""
    term, found = _last(workspace)
    if found is not None:
        _outlive(workspace, found)
        logger.warning("%s was held by %s, which is gone; this run goes on from there", workspace.output, found)
    own, told = term + 1, _content(lease)
    new = storage.write_new(_url(workspace, own), told)
    if new and not storage.refuses_again(_url(workspace, own), told):
        time.sleep(LOOK)
    last = _last(workspace)[1]
    if last is None or last.identity != lease.identity:
        raise _refusal(workspace, last or lease)
    if earlier := [_name(term) for term in _terms(workspace) if term < own]:
        storage.remove(workspace.state(TERMS), earlier)
    return own


def _outlive(workspace: Workspace, found: Lease) -> None:
    """Return when a holder is known to be dead: by its process on this host, by silence for `EXPIRY` on another."""
    if (found.host, found.boot) == (socket.gethostname(), _boot()):
        if _lives(found):
            raise _refusal(workspace, found)
        return
    logger.warning("%s is held by %s; waiting up to %g s for a sign of life", workspace.output, found, EXPIRY)
    until = time.monotonic() + EXPIRY
    while time.monotonic() < until:
        time.sleep(LOOK)
        now = holder(workspace)
        if now is None:
            return
        if now != found:
            raise _refusal(workspace, now)


def _lives(lease: Lease) -> bool:
    """Whether a lease of this host is held: by a run of this very process, or by another process that is alive."""
    if lease.pid == os.getpid():
        return lease.identity in _HELD
    try:
        return abs(psutil.Process(lease.pid).create_time() - lease.born) < 1
    except psutil.NoSuchProcess:
        return False


def _refusal(workspace: Workspace, lease: Lease) -> HeldError:
    return HeldError(
        f"{workspace.output} is being written by another run: {lease}; wait until it has ended (--wait-for-lease), or "
        "stop it, then run the same command again"
    )


class _Keeper(threading.Thread):
    """Renews a lease until it is stopped; stops the run as SIGTERM does if another has taken it over."""

    def __init__(self, workspace: Workspace, term: int, lease: Lease) -> None:
        super().__init__(name="lease", daemon=True)
        self.workspace = workspace
        self.term = term
        self.lease = lease
        self.robbed: Lease | None = None
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(RENEWED):
            try:
                if self._lost():
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                self.lease = replace(self.lease, renewals=self.lease.renewals + 1)
                storage.write_bytes(_url(self.workspace, self.term), _content(self.lease))
            except SoilscaleError as error:
                logger.warning("the lease could not be renewed: %s", error)

    def _lost(self) -> bool:
        found = holder(self.workspace)
        self.robbed = None if found in {None, UNREADABLE} or found.identity == self.lease.identity else found
        return self.robbed is not None

    def stop(self) -> None:
        """End, and give the lease back if it is still this run's."""
        self._end.set()
        self.join()
        try:
            if self.robbed is None and not self._lost():
                storage.write_bytes(_url(self.workspace, self.term), _content(None))
        except SoilscaleError as error:
            logger.warning("the lease could not be given back: %s", error)
