"""Workers that freeze, thaw, are paused or spill, on real Dask clusters of processes, and a store that is slow."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import copytree

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

from calls import calling
from checkout import TESTS
from commands import dask_cluster, dask_workers, files, invoke, markers, sparse_world, started, wait_until
from servers import faults as proxy
from servers.faults import Faults
from servers.seaweed import BUCKET, Seaweed
from soilscale import clusters
from soilscale.engine import scheduler, workers
from soilscale.engine.output import Workspace

pytestmark = pytest.mark.slow

PRELOAD = TESTS / "pressing.py"

OWN = ("state", "run.yaml")
"""What tells of a run itself."""

TTL = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s"}
"""Environment in which a silent worker is given up after five seconds, the least that Dask allows."""

KEPT = {"DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False"}
"""Environment in which no worker is killed for the memory that it holds."""

LIMIT = ("--memory-limit", "900MiB")
"""Options of workers that are paused by what `pressing` holds, and only by that."""

STAGE = "cube"
"""What the runs do, and the stage in which workers are pressed."""


ALLOWED_FAILURES = "distributed.scheduler.allowed-failures"


def die(_workspace: Workspace) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def keep_nothing(_workspace: Workspace) -> None:
    pass


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """World whose items are frozen."""
    path = sparse_world(tmp_path_factory.mktemp("world"))
    done = invoke("search", path)
    assert done.status == 0, done.err
    return path


@pytest.fixture(scope="module")
def frozen(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frozen items."""
    return copytree(config.parent / "run" / "items", tmp_path_factory.mktemp("frozen") / "items")


@pytest.fixture(scope="module")
def output(config: Path, frozen: Path) -> Path:  # noqa: ARG001 - taken before
    """Products of workers that nothing disturbed."""
    done = invoke(STAGE, config, "--workers", 2)
    assert done.status == 0, done.err
    return config.parent / "run"


@pytest.fixture
def run(frozen: Path, tmp_path: Path) -> Path:
    """Output in which nothing stands but the items."""
    copytree(frozen, tmp_path / "run" / "items")
    return tmp_path / "run"


@contextmanager
def cluster(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """Dask cluster whose workers are pressed."""
    with dask_cluster(folder / "cluster", 2, "--preload", str(PRELOAD), *options, **environment) as address:
        yield address


def pressing(folder: Path, press: str, count: int = 1) -> dict[str, str]:
    """Environment in which so many workers are pressed."""
    told = {"PRESS": press, "PRESS_STAGE": STAGE, "PRESS_WORKERS": str(count), "PRESS_FOLDER": str(folder)}
    return told | {"DONE_LOG": str(folder / "done.log")}


def begun(folder: Path) -> Counter[str]:
    """How often each unit was begun."""
    return Counter((folder / "done.log").read_text().split())


def pressed(folder: Path) -> int:
    """Process of the first worker that was pressed."""
    return int((folder / "pressed-0").read_text())


@pytest.mark.parametrize("press", ["freeze", "withhold"])
def test_a_frozen_worker_is_told_of_and_replaced_and_its_unit_done_elsewhere(
    config: Path, output: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, press: str
) -> None:
    for module in (scheduler, workers):
        monkeypatch.setattr(module, "LOOK_EVERY", 0.5)
    monkeypatch.setattr(workers, "SILENT", 2.0)
    with cluster(tmp_path, **TTL, **pressing(tmp_path, press)) as address:
        done = invoke(STAGE, config, "--output", run, "--scheduler", address)
        assert done.status == 0, done.err
        assert not psutil.pid_exists(pressed(tmp_path))
    assert "has sent no heartbeat for 2 s; 1 of 2 workers continue" in done.err
    assert "scheduler drops workers" in done.err
    assert files(run, without=OWN) == files(output, without=OWN)
    again = sum(begun(tmp_path).values()) - len(markers(run / "state"))
    assert again in {0, 1}, "no unit but the frozen one is done again, and that not where its marker stood"


def test_a_frozen_host_that_thaws_when_all_is_done_changes_nothing(
    config: Path, output: Path, run: Path, tmp_path: Path
) -> None:
    told = pressing(tmp_path, "freeze")
    options, file = ("--no-nanny", "--preload", str(PRELOAD)), tmp_path / "one" / "scheduler.json"
    with (
        dask_cluster(tmp_path / "one", 1, *options, **TTL, **told) as address,
        dask_workers(tmp_path / "other", file, 1, *options, **told),
    ):
        done = invoke(STAGE, config, "--output", run, "--scheduler", address)
        assert done.status == 0, done.err
        assert files(run, without=OWN) == files(output, without=OWN)
        before, frozen = markers(run / "state"), psutil.Process(pressed(tmp_path))
        assert frozen.status() == psutil.STATUS_STOPPED
        frozen.send_signal(signal.SIGCONT)
        wait_until(lambda: not frozen.is_running() or frozen.status() == psutil.STATUS_ZOMBIE, "the end of its process")
    assert files(run, without=OWN) == files(output, without=OWN)
    assert markers(run / "state") == before, "the term by which it worked has ended"


def test_a_local_cluster_replaces_a_frozen_worker(config: Path, output: Path, run: Path, tmp_path: Path) -> None:
    told = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str(PRELOAD)} | TTL | pressing(tmp_path, "freeze")
    arguments = (STAGE, config, "--output", run, "--workers", 2)
    with started(*arguments, log=tmp_path / "log", **told) as process:
        assert process.wait(120) == 0, (tmp_path / "log").read_text()
    assert not psutil.pid_exists(pressed(tmp_path))
    assert files(run, without=OWN) == files(output, without=OWN)
    assert sum(begun(tmp_path).values()) == len(markers(run / "state")) + 1


def test_a_local_cluster_pauses_no_worker_and_gives_up_a_silent_one_after_a_minute() -> None:
    with ExitStack() as stack:
        made = clusters._start(stack, 1, clusters.CUBE_MODULES)  # noqa: SLF001 - what the command starts
        assert made.scheduler.worker_ttl == 60
        with Client(made, set_as_default=False) as client:
            (pause,) = client.run(lambda dask_worker: dask_worker.memory_manager.memory_pause_fraction).values()
    assert pause is False


def test_a_local_cluster_starts_a_worker_anew_however_often_it_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's own patience, 15 s from the first death, is made to end while a worker is started anew."""
    for settings in (dask.config.config, *dask.config.defaults):
        if "distributed" in settings:
            monkeypatch.setitem(settings["distributed"]["deploy"], "lost-worker-timeout", "500ms")
    work = [calling(STAGE, name, "0" * 16, work) for name, work in (("a", die), ("b", keep_nothing))]
    with clusters.chosen(clusters.Choice(workers=1)) as cluster, dask.config.set({ALLOWED_FAILURES: 0}):
        (missing,) = scheduler.run(cluster.connect, Workspace(str(tmp_path)), work, lambda *_: None, "working")
    assert (missing.name, missing.outcome) == ("a", "killed")


def test_a_paused_worker_is_told_of_and_what_waits_for_it_is_done_by_the_others(
    config: Path, output: Path, run: Path, tmp_path: Path
) -> None:
    with cluster(tmp_path, *LIMIT, **KEPT, **pressing(tmp_path, "fill")) as address:
        done = invoke(STAGE, config, "--output", run, "--scheduler", address)
        log = (tmp_path / "cluster" / "dask-1.log").read_text()
    assert done.status == 0, done.err
    assert (log.count("Pausing worker"), log.count("Resuming worker")) == (1, 0)
    assert "of its 900 MiB in use; 1 of 2 workers continue. Dask pauses a worker beyond" in done.err
    assert files(run, without=OWN) == files(output, without=OWN)
    assert set(begun(tmp_path).values()) == {1}, "no unit is done twice"


def test_workers_that_are_all_paused_are_told_of_and_waited_for(
    config: Path, output: Path, run: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with (
        cluster(tmp_path, *LIMIT, **KEPT, **pressing(tmp_path, "fill", 2)) as address,
        started(STAGE, config, "--output", run, "--scheduler", address, log=log) as process,
    ):
        wait_until(lambda: "no Dask worker is accepting tasks" in log.read_text(), "the warning")
        assert process.poll() is None
        (tmp_path / "room").touch()
        assert process.wait(120) == 0, log.read_text()
    assert "restart it with more memory (dask worker --memory-limit); waiting until" in log.read_text()
    assert files(run, without=OWN) == files(output, without=OWN)
    assert set(begun(tmp_path).values()) == {1}


def keep(workspace: Workspace, name: str) -> None:
    path = Path(workspace.output, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(name)


@pytest.mark.parametrize("local", [True, False], ids=["of the command", "of another"])
def test_a_cluster_without_workers_is_told_of_again_and_again_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, local: bool
) -> None:
    monkeypatch.setattr(scheduler, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(workers, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(workers, "REMIND", 0.3)
    caplog.set_level("INFO", workers.logger.name)
    workspace, told = Workspace(str(tmp_path / "run")), workers.NO_LOCAL_WORKERS if local else workers.NO_WORKERS
    work = [calling("stage", name, "0" * 16, keep, name) for name in "abcdefghijkl"]
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "protocol": "tcp"}
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, **options) as made,
        Client(made if local else made.scheduler_address, set_as_default=False) as client,
    ):
        come = threading.Thread(
            target=lambda: (wait_until(lambda: caplog.text.count(told) > 1, "a warning again"), made.scale(1))
        )
        come.start()
        assert scheduler.run(lambda: client, workspace, work, lambda *_: None, "working") == []
        come.join()
    assert "all 1 Dask workers are accepting tasks again" in caplog.text
    assert ("dask worker" in caplog.text) is not local
    assert all(Path(workspace.output, name).exists() for name in "abcdefghijkl")


def test_workers_that_spill_all_they_hold_change_nothing(config: Path, output: Path, run: Path, tmp_path: Path) -> None:
    memory = {"TARGET": "1e-9", "SPILL": "0.01", "PAUSE": "False", "TERMINATE": "False"}
    told = {f"DASK_DISTRIBUTED__WORKER__MEMORY__{name}": value for name, value in memory.items()}
    with cluster(tmp_path, *LIMIT, **told, DONE_LOG=str(tmp_path / "done.log")) as address:
        done = invoke(STAGE, config, "--output", run, "--scheduler", address)
        with Client(address, set_as_default=False) as client:
            spilt = client.run(lambda dask_worker: dask_worker.data.cumulative_metrics["disk-write", "count"])
    assert done.status == 0, done.err
    assert all(spilt.values())
    assert files(run, without=OWN) == files(output, without=OWN)
    assert set(begun(tmp_path).values()) == {1}


@pytest.mark.server
def test_a_store_that_answers_slowly_takes_long_and_that_is_all(
    config: Path, output: Path, store: Faults, weed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "DELAY", 0.05)
    weed.upload(output / "items", BUCKET, "run/items")
    with cluster(tmp_path, DONE_LOG=str(tmp_path / "done.log")) as address:
        store.share, store.kinds = 1.0, ("delay",)
        done = invoke(STAGE, config, "--output", f"s3://{BUCKET}/run", "--scheduler", address)
        store.heal()
    assert done.status == 0, done.err
    there = weed.download(BUCKET, "run", tmp_path / "there")
    assert files(there, without=OWN) == files(output, without=OWN)
    assert set(begun(tmp_path).values()) == {1}
