"""The command as a user starts it, a Dask cluster as an operator does, and small worlds to run them on."""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from soilscale import cli, synthetic

SHARED = "SOILSCALE_TESTS_SHARED"
"""Environment variable: folder of what all processes of a session of tests share."""

MARKER = re.compile(r"\.[0-9a-f]{16}\.json$")
"""End of the name of a complete unit's marker."""

LEASE = "lease"
"""Folder of the leases, of which each run writes one."""

PROGRAMS = Path(sys.executable).parent
LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")
"""Options of Dask's own commands."""

PATIENCE = 60.0
"""Seconds to wait for a process to come up or to do what it is waited for."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def soilscale(*arguments: object, timeout: float = 300, **environment: str) -> Ended:
    """Run the installed command to its end."""
    command = [str(PROGRAMS / "soilscale"), *map(str, arguments)]
    done = subprocess.run(
        command, env=_environment(environment), capture_output=True, text=True, check=False, timeout=timeout
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def invoke(*arguments: object) -> Ended:
    """Run the command in this process, which saves the seconds that a new one takes to import everything."""
    out, err = io.StringIO(), io.StringIO()
    with _unchanged(), redirect_stdout(out), redirect_stderr(err):
        sys.argv = ["soilscale", *map(str, arguments)]
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Ended(status, out.getvalue(), err.getvalue())


@contextmanager
def _unchanged() -> Iterator[None]:
    """Put back what a command sets for the whole process."""
    root = logging.getLogger()
    arguments, handlers, level = sys.argv, root.handlers[:], root.level
    on_signal = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        sys.argv, root.handlers[:] = arguments, handlers
        root.setLevel(level)
        signal.signal(signal.SIGTERM, on_signal)


@contextmanager
def started(*arguments: object, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the installed command in a process group of its own; its stderr goes to a file."""
    command = [PROGRAMS / "soilscale", *map(str, arguments)]
    with log.open("wb") as output, _process(command, output, _environment(environment)) as process:
        yield process


@contextmanager
def dask_cluster(folder: Path, workers: int = 2, *options: str, **environment: str) -> Iterator[str]:
    """Run a Dask scheduler and workers on the loopback interface; yields the scheduler's address.

    The options are the workers'; the environment is of both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    scheduler = ["scheduler", *LOOPBACK, "--port", "0", "--scheduler-file", file]
    with _dask(scheduler, folder / "dask-0.log", environment) as process:
        (folder / "scheduler.pid").write_text(str(process.pid))
        wait_until(file.exists, "the Dask scheduler")
        with dask_workers(folder, file, workers, *options, **environment):
            yield str(yaml.safe_load(file.read_text())["address"])


@contextmanager
def dask_workers(
    folder: Path, scheduler: Path, workers: int, *options: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run workers of the Dask scheduler that wrote a file; their log and the process above them are in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    number = ["--nworkers", str(workers), "--nthreads", "1", "--local-directory", folder]
    command = ["worker", *LOOPBACK, "--scheduler-file", scheduler, *number, *options]
    with _dask(command, folder / "dask-1.log", environment) as process:
        (folder / "worker.pid").write_text(str(process.pid))
        yield process


@contextmanager
def _dask(arguments: list[Any], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [PROGRAMS / "dask", *map(str, arguments)]
    # As in our images: Dask's profiler can deadlock a worker under Python 3.11 (python/cpython#106883).
    settings = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", **environment}
    with log.open("wb") as output, _process(command, output, _environment(settings)) as process:
        yield process


@contextmanager
def _process(command: list[Any], output: Any, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    return kept | dict(changes)


def wait_until(ready: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
    """Wait until something is so."""
    until = time.monotonic() + patience
    while not ready():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come in {patience:g} s")
        time.sleep(0.02)


def free_port_of_nobody() -> int:
    """Port of the loopback interface on which no one listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


CREATED = re.compile(rb'"(date_)?created": ?"[^"]*"|"updated": ?"[^"]*"|"time": ?"\d{4}-\d\d-\d\dT[^"]*"')
"""When a document of the published maps, or what describes a store, was written, and when a release was made, as the
viewer's index says it: all that differs between two runs."""


def files(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Digest of every file but a run's lease, by its path relative to the folder; whatever the hour it was created."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(CREATED.sub(b"", path.read_bytes())).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != LEASE and not str(path.relative_to(folder)).startswith(without)
    }


def edit(path: Path, **changes: Any) -> Path:
    """Set keys of a configuration, ``a__b`` being `b` in `a`, or take them away by ``...``."""
    content = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        *outer, last = key.split("__")
        node = content
        for name in outer:
            node = node.setdefault(name, {})
        if value is ...:
            del node[last]
        else:
            node[last] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def times(folder: Path) -> dict[Path, int]:
    """When every file below a folder was written, ns; but a run's lease, which each run writes."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.parent.name != LEASE}


def markers(state: Path) -> dict[str, int]:
    """When every marker of a complete unit was written, ns, by stage and name with digest."""
    found = {str(path.relative_to(state)): path for path in state.rglob("*.json")}
    return {name: path.stat().st_mtime_ns for name, path in found.items() if MARKER.search(name)}


def redone_units(before: dict[str, int], state: Path) -> dict[str, set[str]]:
    """Units that were done since, by their stage."""
    found: dict[str, set[str]] = {}
    for name, written in markers(state).items():
        if before.get(name) != written:
            stage, _, unit = name.partition("/")
            found.setdefault(stage, set()).add(MARKER.sub("", unit))
    return found


def redone(before: dict[Path, int], folder: Path) -> set[str]:
    """Files that are new or written again, relative to their folder."""
    now = times(folder)
    return {str(path.relative_to(folder)) for path, time in now.items() if before.get(path) != time}


def counts(status: Ended) -> dict[str, list[str]]:
    """Complete, of and failed for each stage, as `status` shows them."""
    rows = [line.replace("│", " ").split() for line in status.out.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) == 4 and row[1].isdigit()}


@contextmanager
def shared(name: str) -> Iterator[Path]:
    """Folder that all processes of a session of tests share; others wait while one of them looks or writes there."""
    folder = Path(os.environ[SHARED]) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def small_world(folder: Path, cells: int, years: tuple[int, int]) -> Path:
    """World that is written once in a session of tests, and copied by whoever needs it; its configuration."""
    with shared(f"world-{cells}-{years[0]}-{years[1]}") as kept:
        if not kept.exists():
            synthetic.write(kept.with_suffix(".draft"), cells=cells, years=years)
            kept.with_suffix(".draft").rename(kept)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return folder / "world.yaml"


def run_of_a_season(folder: Path, cluster: str) -> Path:
    """Configuration of a sparse world of six months, which are one season, with its products."""
    path = edit(sparse_world(folder), period=["2004-04", "2004-09"], models__ablation=False)
    done = invoke("run", path, "--scheduler", cluster)
    assert done.status == 0, done.err
    return path


def moved(path: Path, folder: Path, home: str) -> Path:
    """Configuration of a world whose inputs lie in ``world/`` of a bucket, and whose output goes to ``run/`` there."""
    copy = folder / path.name
    copy.write_text(path.read_text())
    (folder / "stations.csv").write_bytes((path.parent / "stations.csv").read_bytes())
    return edit(
        copy,
        output=f"{home}/run",
        catalogs__world__url=f"{home}/world/catalog/catalog.json",
        validation__truth=f"{home}/world/truth.zarr",
    )


def sparse_world(folder: Path, cells: int = 3) -> Path:
    """World of few coarse cells and a year, with few sources and a small forest; returns its configuration."""
    path = small_world(folder, cells, (2004, 2004))
    content = yaml.safe_load(path.read_text())
    kept = ("soil_moisture", "precipitation", "ndvi", "elevation", "sand")
    return edit(
        path,
        sources={name: content["sources"][name] for name in kept},
        seasons={"warm": [4, 5, 6, 7, 8, 9], "cold": [10, 11, 12, 1, 2, 3]},
        models={
            "algorithms": ["random_forest"],
            "parameters": {"random_forest": {"n_estimators": 10}},
            "folds": 2,
            "seed": 0,
        },
    )
