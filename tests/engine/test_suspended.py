"""Writers that are suspended at random moments while others take over and end: real processes, SIGSTOP and SIGCONT."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import suspended
from checkout import TESTS
from commands import wait_until
from servers.faults import Faults
from servers.seaweed import BUCKET
from soilscale import storage
from soilscale.engine import lease
from soilscale.engine.output import Workspace
from soilscale.errors import IncompleteError
from soilscale.runs import verification

pytestmark = pytest.mark.slow

RENEWED, EXPIRY, LOOK, PROOF = 0.1, 1.0, 0.05, 0.5
"""Seconds of a lease in these tests."""

PATIENCE = 240.0
"""Seconds to wait for the other process, on a machine with much else to do."""

WRITER = """
import signal
import sys
import suspended
from soilscale.errors import IncompleteError
from soilscale.engine import lease
from soilscale.engine.output import Workspace

def stop(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, stop)
lease.RENEWED, lease.LOOK, lease.PROOF, lease.EXPIRY = *map(float, sys.argv[2:5]), 600.0
for line in sys.stdin:
    lease.EXPIRY = float(line)
    try:
        with lease.held(Workspace(sys.argv[1])) as held:
            while True:
                suspended.write(held, 1.0)
                print("wrote", flush=True)
    except IncompleteError as error:
        print("ended", error.status, error, flush=True)
"""
"""Takes the lease whenever it is asked to, and writes all objects again and again until it has lost it."""


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RENEWED", RENEWED), ("LOOK", LOOK), ("PROOF", PROOF)):
        monkeypatch.setattr(lease, name, value)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.server)])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    if request.param == "folder":
        return Workspace(str(tmp_path / "run"))
    store: Faults = request.getfixturevalue("store")
    store.heal()
    return Workspace(f"s3://{BUCKET}/{tmp_path.name}")


@dataclass
class Writer:
    """Another process that writes to the output."""

    process: subprocess.Popen[bytes]
    log: Path

    def begin(self, expiry: float = 600.0) -> None:
        """Have it take the lease, and wait until it has written all."""
        before = self.log.read_text().count("wrote\n")
        assert self.process.stdin is not None
        self.process.stdin.write(f"{expiry}\n".encode())
        self.process.stdin.flush()
        wait_until(lambda: self.log.read_text().count("wrote\n") > before, "the writer", PATIENCE)

    def suspend(self) -> None:
        """Stop it, and wait until it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        known = psutil.Process(self.process.pid)
        wait_until(lambda: known.status() == psutil.STATUS_STOPPED, "the stop", PATIENCE)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> str:
        """Wait until it has lost the lease; what it says of it."""

        def last() -> str:
            # CPython itself says it where the signal's exception meets a callback, and goes on.
            return "".join(self.log.read_text().rpartition("wrote\n")[2].rpartition("ended ")[1:]).strip()

        wait_until(last, "the writer's end", PATIENCE)
        return last()


@pytest.fixture
def writer(workspace: Workspace, tmp_path: Path) -> Iterator[Writer]:
    suspended.lay(workspace)
    log = tmp_path / "log"
    environment: Mapping[str, str] = os.environ | {"PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-W", "ignore", "-c", WRITER, workspace.output, *map(str, (RENEWED, LOOK, PROOF))]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=environment) as process,
    ):
        try:
            yield Writer(process, log)
        finally:
            process.kill()


@contextmanager
def taken(workspace: Workspace) -> Iterator[Workspace]:
    """Take over from one that is silent for a moment; this process itself may be slow to renew its lease."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "EXPIRY", EXPIRY)
        with lease.held(workspace) as held:
            patch.setattr(lease, "EXPIRY", 600.0)
            yield held


@pytest.mark.usefixtures("brief")
def test_what_another_wrote_meanwhile_stands(workspace: Workspace, writer: Writer) -> None:
    """The suspended one takes its lease for valid, so that only the terms tell it."""
    seed = random.SystemRandom().randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    for _ in range(4):
        writer.begin()
        time.sleep(chance.uniform(0, 0.3))
        writer.suspend()
        with taken(workspace) as held:
            suspended.write(held, 2.0)
            if chance.random() < 0.5:
                writer.go_on()
                assert writer.end().startswith("ended 75"), seed
            assert verification.spoilt(held, storage.stamps(workspace.output), begun=True).objects == [], seed
        assert lease.holder(workspace) is None
        writer.go_on()
        assert "the lease of this run (term " in writer.end()
        assert suspended.contents(workspace) == {2.0}, seed


@pytest.mark.usefixtures("brief")
def test_one_that_was_suspended_for_longer_than_its_lease_lasts_writes_nothing_more(
    workspace: Workspace, writer: Writer
) -> None:
    """Nobody has taken over: its own clock tells it, that counts the time in which it was suspended."""
    writer.begin(expiry=5.0)
    writer.suspend()
    before = storage.stamps(workspace.cube)
    time.sleep(6)
    writer.go_on()
    assert "this run was suspended, or could not reach the store, for" in writer.end()
    changed = {name for name, stamp in storage.stamps(workspace.cube).items() if before[name] != stamp}
    assert len(changed) <= 1, "but for one write that was under way"


@pytest.mark.usefixtures("brief")
def test_a_suspended_holder_near_by_is_waited_for_and_one_that_works_is_not(
    workspace: Workspace, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    writer.begin()
    holder = f"by another run: process {writer.process.pid} on "
    with pytest.raises(IncompleteError, match=holder), lease.held(workspace):
        pass
    assert "waiting" not in caplog.text
    writer.suspend()
    with taken(workspace):
        assert "waiting up to 1 s for a heartbeat" in caplog.text
