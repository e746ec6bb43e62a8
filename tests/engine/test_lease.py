"""One run at a time on an output: who is refused, who goes on from a dead run, and who finds that it was taken over."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import psutil
import pytest

from soilscale import storage
from soilscale.engine import lease, processes
from soilscale.engine.lease import Lease
from soilscale.engine.output import Workspace
from soilscale.errors import IncompleteError


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "run"))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases be renewed, looked at and void in moments."""
    for name, value in (("RENEWED", 0.05), ("EXPIRY", 0.5), ("LOOK", 0.05)):
        monkeypatch.setattr(lease, name, value)


@pytest.fixture
def stoppable() -> Iterator[None]:
    """Let SIGTERM interrupt, as the command does."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def place(workspace: Workspace, found: Lease) -> None:
    storage.write_json(workspace.state("lease", "000007.json"), asdict(found))


def elsewhere() -> Lease:
    return replace(lease.mine(), host="node-7", identity="another")


def dead() -> int:
    """Process number that no process has."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_one_writer_of_many_writes_a_new_object(tmp_path: Path) -> None:
    url = str(tmp_path / "new" / "object.json")
    with ThreadPoolExecutor(16) as pool:
        wrote = list(pool.map(lambda number: storage.write_new(url, str(number).encode()), range(64)))
    assert sum(wrote) == 1
    assert storage.read_bytes(url) == str(wrote.index(True)).encode()
    assert [path.name for path in Path(url).parent.iterdir()] == ["object.json"]


@pytest.mark.usefixtures("brief")
def test_a_lease_is_held_renewed_and_given_back(workspace: Workspace) -> None:
    with lease.held(workspace):
        first = lease.holder(workspace)
        assert first is not None
        assert (first.pid, first.host) == (os.getpid(), lease.mine().host)
        time.sleep(0.5)
        later = lease.holder(workspace)
        assert later is not None
        assert later.renewals > first.renewals
        assert later.identity == first.identity
    assert lease.holder(workspace) is None


def test_a_lease_is_given_back_when_the_run_fails(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="bad"), lease.held(workspace):
        raise ValueError("bad")
    assert lease.holder(workspace) is None


def test_a_second_run_is_refused_and_told_who_holds_the_output(workspace: Workspace) -> None:
    with lease.held(workspace):
        with pytest.raises(IncompleteError) as caught, lease.held(workspace):
            pass
        assert caught.value.status == 75
        for told in (workspace.output, f"process {os.getpid()} on {lease.mine().host}, since 20", "wait until it has"):
            assert told in str(caught.value)
        assert lease.holder(workspace) is not None, "the refused run leaves the lease alone"


@pytest.mark.parametrize(
    "change",
    [lambda: {"pid": dead()}, lambda: {"born": lease.mine().born - 1000}],
    ids=["its process is gone", "its number is another process's"],
)
def test_a_run_goes_on_at_once_from_one_that_died_on_this_host(
    workspace: Workspace, change: Callable[[], dict[str, float]], caplog: pytest.LogCaptureFixture
) -> None:
    place(workspace, replace(lease.mine(), identity="old", **change()))
    with lease.held(workspace):
        found = lease.holder(workspace)
        assert found is not None
        assert found.identity != "old"
    assert "has died; resuming" in caplog.text
    assert "waiting" not in caplog.text


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    "change",
    [{"host": "node-7"}, {"boot": "before"}, {"namespace": "pid:[1]", "pid": 1}, {"namespace": "pid:[1]"}],
    ids=["host", "boot", "container, its number is another's here", "container, its number is ours"],
)
def test_a_silent_holder_elsewhere_is_waited_for_and_then_outlived(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    place(workspace, replace(lease.mine(), identity="old", **change))  # type: ignore[arg-type]
    start = time.monotonic()
    with lease.held(workspace):
        assert time.monotonic() - start >= lease.EXPIRY
    assert "waiting up to 0.5 s for a heartbeat" in caplog.text


@pytest.mark.usefixtures("brief")
def test_a_holder_elsewhere_that_renews_its_lease_is_alive(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXPIRY", 30.0)
    end = threading.Event()

    def renew() -> None:
        found = elsewhere()
        while not end.wait(0.05):
            found = replace(found, renewals=found.renewals + 1)
            place(workspace, found)

    place(workspace, elsewhere())
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(IncompleteError, match=r"by another run: process \d+ on node-7"), lease.held(workspace):
            pass
    finally:
        end.set()
        thread.join()


def test_a_lease_that_an_earlier_run_of_this_process_could_not_give_back_is_void(workspace: Workspace) -> None:
    place(workspace, replace(lease.mine(), identity="old"))
    with lease.held(workspace):
        found = lease.holder(workspace)
        assert found is not None
        assert found.identity != "old"


def test_a_run_waits_for_another_as_long_as_it_may(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(lease, "LOOK", 0.01)
    with lease.held(workspace):
        with pytest.raises(lease.HeldError, match="is being written by another run"), lease.held(workspace, 0.05):
            pass
        ended = threading.Event()
        later = threading.Thread(target=lambda: (_held(workspace, 60), ended.set()))
        later.start()
        while "waiting up to 60 s" not in caplog.text:
            assert not ended.is_set()
    later.join(60)
    assert ended.is_set()


def _held(workspace: Workspace, patience: float) -> None:
    with lease.held(workspace, patience):
        pass


@pytest.mark.usefixtures("brief")
def test_a_lease_that_cannot_be_read_is_outlived(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    for number, content in enumerate(("", "{", '{"other": 1}'), start=1):
        storage.write_bytes(workspace.state(lease.TERMS, f"{number:06}.json"), content.encode())
        found = lease.holder(workspace)
        assert "damaged" in str(found)
        with lease.held(workspace):
            assert lease.holder(workspace) != found
        assert "damaged" in caplog.text
        storage.remove(workspace.state(lease.TERMS), storage.names_below(workspace.state(lease.TERMS)))


@pytest.mark.usefixtures("brief")
def test_of_two_that_outlive_a_dead_run_one_alone_goes_on(workspace: Workspace) -> None:
    place(workspace, replace(lease.mine(), pid=dead(), identity="old"))

    refused = threading.Semaphore(0)

    def attempt(_: int) -> bool:
        try:
            with lease.held(workspace):
                assert all(refused.acquire(timeout=30) for _ in range(7)), "the others are refused meanwhile"
        except IncompleteError:
            refused.release()
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


@pytest.mark.usefixtures("brief", "stoppable")
def test_a_run_whose_lease_was_taken_over_stops_and_leaves_it_alone(workspace: Workspace) -> None:
    def robbed() -> None:
        place(workspace, elsewhere())  # a later term
        time.sleep(10)

    with pytest.raises(IncompleteError, match=r"taken over by process \d+ on node-7"), lease.held(workspace):
        robbed()
    found = lease.holder(workspace)
    assert found is not None
    assert found.host == "node-7"


@pytest.mark.usefixtures("brief", "stoppable")
def test_a_run_that_is_stopped_by_hand_says_so(workspace: Workspace) -> None:
    def stopped() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    with pytest.raises(KeyboardInterrupt), lease.held(workspace):
        stopped()
    assert lease.holder(workspace) is None


@pytest.mark.usefixtures("brief", "stoppable")
def test_a_run_that_was_overtaken_by_one_that_has_ended_stops_and_writes_nothing_more(workspace: Workspace) -> None:
    """Nobody holds the output any more: the terms alone tell."""

    def overtaken() -> None:
        for term in ("000002.json", "000003.json"):
            Path(workspace.state(lease.TERMS, term)).write_text("{}")
        time.sleep(10)

    with pytest.raises(IncompleteError, match=r"\(term 1\) has ended, or another run"), lease.held(workspace):
        overtaken()
    assert storage.names_below(workspace.state(lease.TERMS))[-1] == "000003.json"


def test_what_is_given_back_is_a_term_of_its_own_and_the_last_alone_stays(workspace: Workspace) -> None:
    for number in (2, 4, 6):
        with lease.held(workspace) as held:
            assert held.term == number - 1
        assert storage.names_below(workspace.state(lease.TERMS)) == [f"{number:06}.json"]


def test_a_zombie_holds_nothing(workspace: Workspace) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.02)
        born = processes.started_at(process.pid)
        place(workspace, replace(lease.mine(), pid=process.pid, born=born, identity="old"))
        with lease.held(workspace):
            pass


def test_times_of_leases_are_of_clocks_that_nobody_sets() -> None:
    assert 0 < lease.mine().born <= processes.boot_clock() < time.time() / 2
    before = time.monotonic()
    assert processes.boot_clock() >= before, "it counts sleep too"


def test_a_lease_is_plain_json(workspace: Workspace) -> None:
    with lease.held(workspace):
        told = json.loads(Path(workspace.state("lease", "000001.json")).read_text())
    assert set(told) == {"host", "boot", "namespace", "pid", "born", "since", "identity", "renewals", "sequence"}


@pytest.mark.usefixtures("brief")
def test_between_stages_of_a_sequence_no_other_run_takes_the_output(workspace: Workspace) -> None:
    with lease.held(workspace, sequence="a", last=False) as first:
        pass
    kept = lease.holder(workspace)
    assert kept is not None
    assert "keeps it for the next stage" in str(kept)
    with pytest.raises(IncompleteError, match="was taken over"):
        lease.prove(first, afresh=True)
    # Of another sequence: it looks for a sign of life, and the next stage gives one.
    other = ThreadPoolExecutor(1)
    waits = other.submit(_held, workspace, 0.0)
    with lease.held(workspace, sequence="a", last=True), pytest.raises(lease.HeldError):
        waits.result()
    assert lease.holder(workspace) is None, "the last stage gives it back"
    other.shutdown()


@pytest.mark.usefixtures("brief")
def test_a_sequence_that_does_not_go_on_is_outlived(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    with lease.held(workspace, sequence="a", last=False):
        pass
    with lease.held(workspace):
        assert "waiting up to 0.5 s for a heartbeat" in caplog.text


def test_a_stage_that_fails_gives_the_output_back(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="bad"), lease.held(workspace, sequence="a", last=False):
        raise ValueError("bad")
    assert lease.holder(workspace) is None
