"""Units of work: what is skipped, marked, withdrawn, tried again and given up, on real Dask clusters."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster, wait
from hypothesis import given
from hypothesis import strategies as st

from calls import Call, calling
from checkout import TESTS
from soilscale import __version__, clusters, storage
from soilscale.engine import scheduler, shutdown, units
from soilscale.engine.output import Workspace, digest
from soilscale.engine.units import Receipt, Unit
from soilscale.errors import ConfigurationError, IncompleteError, ServiceError

STAGE = "stage"

LINGERS = 0.5
"""Seconds for which a unit runs that is not short."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "run"))


LOCAL: Mapping[str, Any] = {"n_workers": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Cluster of two threads in this process."""
    with (
        LocalCluster(processes=False, protocol="tcp", threads_per_worker=2, **LOCAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    """Cluster of one process, on which a unit that kills its worker is not tried again."""
    with (
        dask.config.set(clusters.LOCAL | {"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(threads_per_worker=1, silence_logs=logging.CRITICAL, **LOCAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


# Works


def keep(workspace: Workspace, name: str) -> None:
    """Write a line for each call."""
    path = Path(workspace.output, f"{name}.calls")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("called\n")


def fail(workspace: Workspace, name: str) -> None:
    keep(workspace, name)
    raise ValueError(f"{name} holds nothing")


def fail_without_a_word(workspace: Workspace, name: str) -> None:
    keep(workspace, name)
    raise ZeroDivisionError


def reach_nothing(workspace: Workspace, name: str) -> None:
    keep(workspace, name)
    raise ServiceError(f"the store of {name} does not answer")


def reach_nothing_at_first(workspace: Workspace, name: str) -> None:
    keep(workspace, name)
    if calls(workspace, name) < 2:
        raise ServiceError(f"the store of {name} does not answer")


def write_nowhere(workspace: Workspace, name: str) -> None:
    keep(workspace, name)
    raise ConfigurationError("cannot write /proc/x")


def lack(_workspace: Workspace, _name: str) -> None:
    import_module("nowhere")


def linger(workspace: Workspace, name: str) -> None:
    keep(workspace, name)
    time.sleep(LINGERS)


def look_for_marker(workspace: Workspace, name: str) -> None:
    Path(workspace.output, f"{name}.seen").write_text(str(sorted(units.markers(workspace, STAGE))))


def die(workspace: Workspace, name: str) -> None:
    keep(workspace, f"{name}.deaths")
    os.kill(os.getpid(), signal.SIGKILL)


def count_on(workspace: Workspace, name: str, shared: list[str]) -> None:
    """Tell how many units have met on one object, this one among them."""
    shared.append(name)
    storage.write_json(f"{workspace.output}/{name}.met.json", len(shared))


def unit(name: str, work: Callable[..., None] = keep, made_from: object = 0, stage: str = STAGE) -> Unit[Call]:
    return calling(stage, name, digest(made_from), work, name)


def calls(workspace: Workspace, name: str) -> int:
    path = Path(workspace.output, f"{name}.calls")
    return len(path.read_text().splitlines()) if path.exists() else 0


def standing(workspace: Workspace) -> set[str]:
    return units.markers(workspace, STAGE)


@dataclass
class Told:
    """What the progress was told."""

    seen: list[tuple[str, int, int | None]]

    def __call__(self, doing: str, done: int, total: int | None) -> None:
        self.seen.append((doing, done, total))


def run(client: Client, workspace: Workspace, work: Sequence[Unit[Call]]) -> list[Receipt]:
    return scheduler.run(lambda: client, workspace, work, Told([]), "working")


def no_client() -> Client:
    raise AssertionError("nothing is to be done, so no cluster is needed")


# Digests


@dataclass(frozen=True)
class Recipe:
    name: str
    limits: tuple[float, float]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(content=st.dictionaries(st.text(max_size=5), plain, max_size=5))
def test_a_digest_does_not_hang_on_the_order_of_keys(content: dict[str, object]) -> None:
    turned = dict(reversed(content.items()))
    assert digest(turned) == digest(content)
    assert len(digest(content)) == 16
    assert set(digest(content)) <= set("0123456789abcdef")


@given(one=plain, other=plain)
def test_what_differs_has_another_digest(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


def test_a_digest_tells_how_its_parts_are_put_together() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(["a"], "b") != digest("a", ["b"])
    assert digest(1) != digest("1")


def test_a_dataclass_counts_by_its_fields() -> None:
    recipe = Recipe("a", (0.0, 0.6))
    assert digest(recipe) == digest(Recipe("a", (0.0, 0.6))) == digest({"name": "a", "limits": [0.0, 0.6]})
    assert digest(recipe) != digest(replace(recipe, limits=(0.0, 0.5)))
    assert digest([recipe]) != digest([Recipe("b", (0.0, 0.6))])


def test_a_month_counts_as_its_name() -> None:
    assert digest(np.datetime64("2005-07", "M")) == digest("2005-07")


def test_a_digest_is_the_same_in_every_process(processes: Client) -> None:
    """Workers have another seed of their hashes."""
    content = {"b": 1, "a": ["x", None]}
    assert processes.submit(hash, "a").result() != hash("a")
    assert processes.submit(digest, content, "lst", 0.1).result() == digest(content, "lst", 0.1)


# One unit


def test_a_unit_is_marked_after_its_work_and_the_marker_says_what_was_done(workspace: Workspace) -> None:
    one = unit("lst/2005-07_r000c000")
    (receipt,) = units.perform(workspace, [one])
    assert (receipt.outcome, receipt.stage, receipt.name, receipt.message) == ("done", STAGE, one.name, "")
    assert standing(workspace) == {one.marker} == {f"lst/2005-07_r000c000.{one.digest}.json"}
    told = storage.read_json(workspace.state(STAGE, one.marker))
    assert told["outcome"] == "done"
    assert told["seconds"] >= 0
    assert told["version"] == __version__
    look = unit("look", look_for_marker)
    units.perform(workspace, [look])
    assert look.marker not in Path(workspace.output, "look.seen").read_text()


@pytest.mark.parametrize(("work", "message"), [(fail, "a holds nothing"), (fail_without_a_word, "ZeroDivisionError()")])
def test_a_unit_whose_input_is_bad_is_marked_as_failed(
    workspace: Workspace, work: Callable[..., None], message: str
) -> None:
    (receipt,) = units.perform(workspace, [unit("a", work)])
    assert (receipt.outcome, receipt.message) == ("failed", message)
    assert standing(workspace) == {"a.failed.json"}
    assert units.failures(workspace) == [receipt]


def test_a_unit_that_reaches_no_service_leaves_no_marker(workspace: Workspace) -> None:
    (receipt,) = units.perform(workspace, [unit("a", reach_nothing)])
    assert (receipt.outcome, receipt.message) == ("unreachable", "the store of a does not answer")
    assert standing(workspace) == set()
    assert units.failures(workspace) == []


def test_what_a_worker_cannot_import_is_not_taken_for_bad_input(workspace: Workspace) -> None:
    (receipt,) = units.perform(workspace, [unit("a", lack)])
    assert (receipt.outcome, receipt.message.partition(";")[0]) == ("unreachable", "No module named 'nowhere'")
    assert standing(workspace) == set()
    assert units.failures(workspace) == []


def test_threads_that_begin_at_once_import_what_they_need_whole(workspace: Workspace) -> None:
    """In a process of its own, which has imported none of it: a store is opened beside what names one of its codecs."""
    script = """
import pickle, sys, threading
from importlib import import_module
sys.path.insert(0, sys.argv[2])
from calls import calling
from soilscale.engine.output import Workspace
from soilscale.engine.scheduler import _perform as do

def work(workspace, name):
    import_module(name)

def perform(name):
    meet.wait()
    receipts.extend(do(pickle.dumps(("run", workspace, [calling("stage", name, "0" * 16, work, name)]))))

names = ["soilscale.storage.arrays", "zarr.codecs.zstd", "zarr.core.group", "zarr.core.array"]
workspace, meet, receipts = Workspace(sys.argv[1]), threading.Barrier(len(names)), []
sys.setswitchinterval(1e-5)
assert "zarr" not in sys.modules
threads = [threading.Thread(target=perform, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert [receipt.outcome for receipt in receipts] == ["done"] * len(names), receipts
"""
    command = [sys.executable, "-W", "ignore", "-c", script, workspace.output, str(TESTS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_unit_that_cannot_write_stops_all(workspace: Workspace) -> None:
    with pytest.raises(ConfigurationError, match="cannot write"):
        units.perform(workspace, [unit("a", write_nowhere)])
    assert standing(workspace) == set()


# All units of a stage


def test_nothing_to_do_needs_no_cluster(client: Client, workspace: Workspace) -> None:
    work = [unit("a"), unit("b")]
    assert scheduler.run(no_client, workspace, [], Told([]), "working") == []
    run(client, workspace, work)
    told = Told([])
    assert scheduler.run(no_client, workspace, work, told, "working") == []
    assert told.seen == [("working", 2, 2)]
    assert (calls(workspace, "a"), calls(workspace, "b")) == (1, 1)


def test_only_what_is_not_complete_is_done_and_progress_counts_on(client: Client, workspace: Workspace) -> None:
    run(client, workspace, [unit("a"), unit("b")])
    told = Told([])
    assert scheduler.run(lambda: client, workspace, [unit(name) for name in "abcd"], told, "working") == []
    assert told.seen == [("working", 2, 4), ("working", 3, 4), ("working", 4, 4)]
    assert [calls(workspace, name) for name in "abcd"] == [1, 1, 1, 1]


def test_another_input_redoes_its_unit_alone_and_withdraws_the_old_marker(client: Client, workspace: Workspace) -> None:
    run(client, workspace, [unit("a"), unit("b")])
    changed = [unit("a", made_from="another item"), unit("b")]
    run(client, workspace, changed)
    assert (calls(workspace, "a"), calls(workspace, "b")) == (2, 1)
    assert standing(workspace) == {one.marker for one in changed}


def test_markers_of_units_that_are_not_wanted_any_more_are_withdrawn(client: Client, workspace: Workspace) -> None:
    run(client, workspace, [unit("lst/2005-01"), unit("lst/2005-02")])
    run(client, workspace, [unit("x", stage="other")])
    storage.write_bytes(workspace.state(STAGE, "2005-01.parquet"), b"a part that is put together later")
    run(client, workspace, [unit("lst/2005-02")])
    assert standing(workspace) == {unit("lst/2005-02").marker, "2005-01.parquet"}
    assert len(units.markers(workspace, "other")) == 1
    run(client, workspace, [unit("lst/2005-01"), unit("lst/2005-02")])
    assert calls(workspace, "lst/2005-01") == 2


def test_a_failed_unit_does_not_stop_the_others_and_is_named(
    client: Client, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told([])
    with caplog.at_level(logging.ERROR):
        receipts = scheduler.run(lambda: client, workspace, [unit("a"), unit("b", fail), unit("c")], told, "working")
    assert {receipt.name: receipt.outcome for receipt in receipts} == {"b": "failed"}
    assert f"{STAGE} b: b holds nothing" in caplog.text
    assert [failure.name for failure in units.failures(workspace)] == ["b"]
    assert told.seen[-1] == ("working", 3, 3)


def test_a_failed_unit_is_tried_again_and_is_forgotten_when_it_is_mended(client: Client, workspace: Workspace) -> None:
    run(client, workspace, [unit("a"), unit("b", fail)])
    run(client, workspace, [unit("a"), unit("b", fail)])
    assert (calls(workspace, "a"), calls(workspace, "b")) == (1, 2)
    assert len(units.failures(workspace)) == 1
    run(client, workspace, [unit("a"), unit("b", keep)])
    assert units.failures(workspace) == []
    assert standing(workspace) == {unit("a").marker, unit("b").marker}


def test_a_unit_that_was_complete_and_then_fails_is_not_complete_any_more(client: Client, workspace: Workspace) -> None:
    run(client, workspace, [unit("a")])
    run(client, workspace, [unit("a", fail, made_from="a broken file")])
    assert standing(workspace) == {"a.failed.json"}
    run(client, workspace, [unit("a")])
    assert calls(workspace, "a") == 3
    assert standing(workspace) == {unit("a").marker}


def test_failures_of_every_stage_are_told(client: Client, workspace: Workspace) -> None:
    run(client, workspace, [unit("a", fail)])
    run(client, workspace, [unit("lst/b", fail, stage="other")])
    assert {(failure.stage, failure.name) for failure in units.failures(workspace)} == {
        (STAGE, "a"),
        ("other", "lst/b"),
    }


def test_a_service_that_comes_back_is_waited_for(client: Client, workspace: Workspace) -> None:
    told = Told([])
    work = [unit("a"), unit("b", reach_nothing_at_first)]
    assert scheduler.run(lambda: client, workspace, work, told, "working") == []
    assert (calls(workspace, "a"), calls(workspace, "b")) == (1, 2)
    assert [done for _, done, _ in told.seen] == sorted(done for _, done, _ in told.seen)
    assert told.seen[-1] == ("working", 2, 2)


def test_a_service_that_stays_away_is_given_up_and_the_rest_is_complete(client: Client, workspace: Workspace) -> None:
    told = Told([])
    work = [unit("a"), unit("b", reach_nothing), unit("c", fail)]
    with pytest.raises(ServiceError) as caught:
        scheduler.run(lambda: client, workspace, work, told, "working")
    assert caught.value.status == 69
    assert "1 of 3 units of stage stage failed" in str(caught.value)
    assert "the store of b does not answer" in str(caught.value)
    assert [calls(workspace, name) for name in "abc"] == [1, scheduler.ATTEMPTS, 1]
    assert standing(workspace) == {unit("a").marker, "c.failed.json"}
    assert max(done for _, done, _ in told.seen) == 2
    run(client, workspace, [unit("a"), unit("b"), unit("c", fail)])
    assert unit("b").marker in standing(workspace)
    assert calls(workspace, "a") == 1


def test_an_output_that_cannot_be_written_stops_the_stage(client: Client, workspace: Workspace) -> None:
    with pytest.raises(ConfigurationError, match="cannot write"):
        run(client, workspace, [unit("a", write_nowhere)])


def test_what_runs_when_a_stage_ends_early_is_complete_before_the_stage_is_left_and_nothing_begins_after(
    client: Client, workspace: Workspace
) -> None:
    names = [f"u{number}" for number in range(6)]
    with pytest.raises(ConfigurationError):
        run(client, workspace, [unit("first", linger), unit("bad", write_nowhere), *(unit(u, linger) for u in names)])
    left = standing(workspace)
    assert unit("first").marker in left
    begun = {name for name in ("first", *names) if calls(workspace, name)}
    assert left == {unit(name).marker for name in begun}
    time.sleep(2 * LINGERS)
    assert standing(workspace) == left
    assert len(begun) < len(names)


def test_what_runs_for_long_when_a_stage_ends_early_is_not_waited_for_and_it_is_told(
    client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutdown, "PATIENCE", 0.1)
    with pytest.raises(ConfigurationError):
        run(client, workspace, [unit("a", linger), unit("b", write_nowhere)])
    assert "1 tasks still run on workers after 0.1 s" in caplog.text
    assert standing(workspace) == set()
    with shutdown.underway("other"):
        shutdown.end(client, "another")
    while not standing(workspace):
        time.sleep(0.05)


def test_units_that_go_together_end_with_their_stage(workspace: Workspace) -> None:
    receipts = units.perform(workspace, [unit(name) for name in "abc"], lambda: calls(workspace, "b") > 0)
    assert [receipt.name for receipt in receipts] == ["a", "b"]
    assert standing(workspace) == {unit("a").marker, unit("b").marker}


def test_a_bounded_number_of_units_is_in_flight(client: Client, workspace: Workspace) -> None:
    most = 0

    def watch(_doing: str, _done: int, _total: int | None) -> None:
        nonlocal most
        most = max(most, sum(future.status == "pending" for future in list(client.futures.values())))

    names = [f"u{number:02d}" for number in range(30)]
    assert scheduler.run(lambda: client, workspace, [unit(name) for name in names], watch, "working") == []
    assert standing(workspace) == {unit(name).marker for name in names}
    assert 0 < most <= scheduler.IN_FLIGHT * 2


def test_a_unit_that_kills_its_workers_is_left_missing_and_the_rest_goes_on(
    processes: Client, workspace: Workspace
) -> None:
    told = Told([])
    work = [unit("a"), Unit(STAGE, "b", digest(0), Call(die, ("b",), keep)), unit("c")]
    (missing,) = scheduler.run(lambda: processes, workspace, work, told, "working")
    assert (missing.name, missing.outcome) == ("b", "killed")
    assert "its worker died 2 times" in missing.message
    assert [calls(workspace, name) for name in ("a", "c", "b.deaths")] == [1, 1, 2]
    assert "run the same command again" in missing.message
    assert standing(workspace) == {unit("a").marker, "b.failed.json", unit("c").marker}
    assert units.failures(workspace) == [missing]
    assert calls(workspace, "b") == 1, "it is blanked by the runner"
    assert told.seen[-1] == ("working", 3, 3)
    assert run(processes, workspace, [unit("b")]) == []
    assert standing(workspace) == {unit("b").marker}


def test_what_landed_is_not_done_again_when_the_worker_that_holds_its_receipts_dies(
    processes: Client, workspace: Workspace
) -> None:
    """Dask computes a task again whose result is lost, and one of whose end it has not heard yet."""
    packed = pickle.dumps(("run", workspace, [unit("a")]))
    future = processes.submit(scheduler._perform, packed, key="stage-a", pure=False)  # noqa: SLF001 - as it is sent
    with processes.as_current():
        wait(future)
    (worker,) = (psutil.Process(pid) for pid in processes.run(os.getpid).values())
    worker.kill()
    worker.wait(60)
    assert [receipt.outcome for receipt in future.result()] == ["done"]
    assert calls(workspace, "a") == 1


def test_of_units_that_go_together_the_one_that_kills_its_workers_is_picked_out(
    processes: Client, workspace: Workspace
) -> None:
    works = {"u0": keep, "u1": keep, "u2": die, "u3": keep, "u4": fail}
    work = [replace(unit(name, does), together="all") for name, does in works.items()]
    missing = run(processes, workspace, work)
    assert {receipt.name: receipt.outcome for receipt in missing} == {"u2": "killed", "u4": "failed"}
    assert standing(workspace) == {*(work[at].marker for at in (0, 1, 3)), "u2.failed.json", "u4.failed.json"}
    assert [calls(workspace, name) for name in ("u0", "u1", "u3", "u4", "u2.deaths")] == [1, 1, 1, 1, 2]


def test_a_unit_that_kills_its_workers_is_given_up_soon_whatever_the_scheduler_allows(
    processes: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes.cluster.scheduler, "allowed_failures", 100)
    (missing,) = run(processes, workspace, [unit("a", die)])
    assert (missing.name, missing.outcome) == ("a", "killed")
    assert f"its worker died {scheduler.DEATHS + scheduler.DEATHS_ALONE} times" in missing.message
    assert calls(workspace, "a.deaths") <= 5, "one more may have begun each time, before Dask heard that it is not to"


def test_a_stage_whose_units_all_kill_their_workers_is_given_up(
    processes: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "MOST_KILLED", 1)
    with pytest.raises(IncompleteError, match="2 tasks repeatedly crashed their workers") as caught:
        run(processes, workspace, [unit(name, die) for name in "abc"])
    assert caught.value.status == 75
    assert "give the workers more memory" in str(caught.value)
    assert standing(workspace) == set()


# Short units together


def test_short_units_go_together_and_each_is_marked(
    client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = []
    submit = client.submit

    def watched(work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        tasks.append([one.name for one in pickle.loads(arguments[0])[-1]])  # noqa: S301 - packed by the line under test
        return submit(work, *arguments, **options)

    monkeypatch.setattr(client, "submit", watched)
    names = [f"u{number:03d}" for number in range(400)]
    assert run(client, workspace, [unit(name) for name in names]) == []
    assert [name for task in tasks for name in task] == names
    assert len(tasks) < 200
    assert len(tasks[0]) == 1
    assert max(map(len, tasks)) <= scheduler.MOST_UNITS
    assert standing(workspace) == {unit(name).marker for name in names}


def test_units_that_a_lost_worker_completed_are_not_done_again(workspace: Workspace) -> None:
    work = [unit(name) for name in "abc"]
    units.perform(workspace, work[:2])
    receipts = units.perform(workspace, work)
    assert [receipt.outcome for receipt in receipts] == ["done"] * 3
    units.perform(workspace, work[2:])
    assert [calls(workspace, name) for name in "abc"] == [1, 1, 1]


def test_a_bad_unit_does_not_harm_those_that_go_with_it(client: Client, workspace: Workspace) -> None:
    work = [unit(f"u{number:03d}", fail if number == 300 else keep) for number in range(400)]
    (missing,) = run(client, workspace, work)
    assert (missing.name, missing.outcome) == ("u300", "failed")
    assert len(standing(workspace)) == 400


def test_units_that_go_together_share_their_arguments_on_a_worker(processes: Client, workspace: Workspace) -> None:
    shared: list[str] = []
    work = [
        calling(STAGE, f"{kind}{number}", digest(0), count_on, f"{kind}{number}", shared, together=kind)
        for kind in ("a", "b")
        for number in range(8)
    ]
    assert run(processes, workspace, work) == []
    met = [storage.read_json(f"{workspace.output}/{one.name}.met.json") for one in work]
    assert met == [1, 2, 3, 4, 5, 6, 1, 2] * 2
    assert shared == []
