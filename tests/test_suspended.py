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
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from commands import PATIENCE, wait_until
from servers.faults import Faults
from servers.seaweed import BUCKET
from soilscale import storage
from soilscale.errors import IncompleteError
from soilscale.flow import lease, verification
from soilscale.flow.workspace import Workspace

SIDE, MONTHS = 8, 6

RENEWED, EXPIRY, LOOK = 0.1, 1.0, 0.05
"""Seconds of a lease in these tests."""

WRITER = """
import signal
import sys
import test_suspended as suspended
from soilscale.errors import IncompleteError
from soilscale.flow import lease
from soilscale.flow.workspace import Workspace

def stop(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, stop)
lease.RENEWED, lease.EXPIRY, lease.LOOK, lease.PROOF = suspended.RENEWED, float(sys.argv[2]), suspended.LOOK, 0.5
try:
    with lease.held(Workspace(sys.argv[1])) as held:
        while True:
            suspended.write(held, 1.0)
            print("wrote", flush=True)
except (IncompleteError, KeyboardInterrupt) as error:
    print(error, flush=True)
    sys.exit(getattr(error, "status", 1))
"""
"""Writes all objects again and again."""


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RENEWED", RENEWED), ("EXPIRY", EXPIRY), ("LOOK", LOOK), ("PROOF", 0.5)):
        monkeypatch.setattr(lease, name, value)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.server)])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    if request.param == "folder":
        return Workspace(str(tmp_path / "run"))
    store: Faults = request.getfixturevalue("store")
    store.heal()
    return Workspace(f"s3://{BUCKET}/{tmp_path.name}")


def lay(workspace: Workspace) -> None:
    lazy = da.full((MONTHS, SIDE, SIDE), np.float32("nan"), dtype="float32", chunks=(1, SIDE, SIDE))
    encoding = {"_FillValue": np.float32("nan"), "chunks": (1, SIDE, SIDE)}
    variable = xr.Variable(("time", "y", "x"), lazy, None, encoding)
    storage.create(workspace.cube, "fine", xr.Dataset({"ndvi": variable}, {"time": np.arange(float(MONTHS))}))


def write(workspace: Workspace, value: float) -> None:
    """Write chunks and objects, all of one content."""
    values = np.full((SIDE, SIDE), value, "float32")
    for month in range(MONTHS):
        storage.write_region(workspace.cube, "fine", "ndvi", values, (month, slice(0, SIDE), slice(0, SIDE)))
        storage.write_json(workspace.state("cube", f"{month}.json"), value)


def contents(workspace: Workspace) -> set[float]:
    """Values that stand in the output."""
    cube = storage.read_region(workspace.cube, "fine", "ndvi", (slice(0, MONTHS), slice(0, SIDE), slice(0, SIDE)))
    markers = [storage.read_json(workspace.state("cube", f"{month}.json")) for month in range(MONTHS)]
    return {*np.unique(cube).tolist(), *markers}


@contextmanager
def writer(workspace: Workspace, log: Path, expiry: float = 600.0) -> Iterator[subprocess.Popen[bytes]]:
    """Process that writes, once it has written all for the first time."""
    environment: Mapping[str, str] = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-W", "ignore", "-c", WRITER, workspace.output, str(expiry)]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        try:
            wait_until(lambda: b"wrote" in log.read_bytes() or process.poll() is not None, "the writer")
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("brief")
def test_what_another_wrote_meanwhile_stands(workspace: Workspace, tmp_path: Path) -> None:
    """The suspended one takes its lease for valid, so that only the terms tell it."""
    lay(workspace)
    seed = random.SystemRandom().randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    moments = random.Random(seed)  # noqa: S311 - moments, no secrets
    for number in range(4):
        with writer(workspace, log := tmp_path / f"log-{number}") as process:
            time.sleep(moments.uniform(0, 0.3))
            process.send_signal(signal.SIGSTOP)
            with lease.held(workspace) as held:
                write(held, 2.0)
                if moments.random() < 0.5:
                    process.send_signal(signal.SIGCONT)
                    assert process.wait(PATIENCE) == 75, log.read_text()
                assert verification.spoilt(held, storage.stamps(workspace.output)).objects == []
            assert lease.holder(workspace) is None
            process.send_signal(signal.SIGCONT)
            assert process.wait(PATIENCE) == 75, log.read_text()
        assert contents(workspace) == {2.0}, f"seed {seed}, round {number}: {log.read_text()}"
        assert "the lease of this run (term" in log.read_text()


@pytest.mark.usefixtures("brief")
def test_one_that_was_suspended_for_longer_than_its_lease_lasts_writes_nothing_more(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Nobody has taken over: its own clock tells it, that counts the time in which it was suspended."""
    lay(workspace)
    with writer(workspace, log := tmp_path / "log", expiry=5.0) as process:
        process.send_signal(signal.SIGSTOP)
        written = storage.stamps(workspace.cube)
        time.sleep(6)
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE) == 75, log.read_text()
    assert "this run was suspended, or did not reach the store, for" in log.read_text()
    assert len(storage.stamps(workspace.cube).items() ^ written.items()) <= 2, "but for one write that was under way"


@pytest.mark.usefixtures("brief")
def test_a_suspended_holder_near_by_is_waited_for_and_one_that_works_is_not(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(workspace)
    with writer(workspace, tmp_path / "log") as process:
        with pytest.raises(IncompleteError, match=f"by another run: process {process.pid} on "), lease.held(workspace):
            pass
        assert "waiting" not in caplog.text
        process.send_signal(signal.SIGSTOP)
        with lease.held(workspace):
            assert "waiting up to 1 s for a sign of life" in caplog.text
