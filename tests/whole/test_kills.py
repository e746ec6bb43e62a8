"""kill -9 at any moment, of a worker, the scheduler, the run and all of them, and then the same command."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import numpy as np
import psutil
import pytest

from commands import Ended, dask_cluster, files, invoke, markers, soilscale, started, wait_until

pytestmark = pytest.mark.slow

OWN = ("state", "run.yaml", "report/index.html")
"""What tells of a run itself: its folder, its durations, its date."""

STAGES = (
    *("cube", "levels", "cycles", "gaps", "coarse", "samples", "knots", "train", "importance", "ablation"),
    *("intervals", "applicability", "predict", "residual", "conserve", "season", "publish", "within"),
    *("summarise", "picture"),
)

WORKERS = 2

COUNTING = """
import os
from soilscale.engine import units

if units._do.__name__ == "_do":
    do = units._do

    def counted(workspace, unit):
        with open(os.environ["DONE_LOG"], "a") as log:
            log.write(f"{unit.stage}/{unit.marker}\\n")
        return do(workspace, unit)

    units._do = counted
"""
"""What a worker imports first, so that it writes a line for each unit that it begins."""


@pytest.fixture(scope="module")
def config(undisturbed: Path) -> Path:
    return undisturbed


@pytest.fixture(scope="module")
def output(undisturbed: Path) -> Path:
    return undisturbed.parent / "run"


@dataclass(frozen=True)
class Strike:
    """A kill: whom, and after how many markers of which stage."""

    stage: str
    count: int
    victim: str


def strikes(output: Path, seed: int) -> list[Strike]:
    """One of each victim, in stages and at moments drawn at random."""
    rng = np.random.default_rng(seed)
    sizes = Counter(name.partition("/")[0] for name in markers(output / "state"))
    assert set(sizes) == set(STAGES)
    victims = rng.permutation(["worker", "scheduler", "run", "all"])
    stages = sorted(rng.choice(STAGES, len(victims), replace=False).tolist(), key=STAGES.index)
    return [
        Strike(stage, int(rng.integers(0, sizes[stage])), str(victim))
        for stage, victim in zip(stages, victims, strict=True)
    ]


class Cluster:
    """A scheduler and workers that are started anew where they were killed."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        self.number = 0
        self.stack = ExitStack()
        (folder / "counting.py").write_text(COUNTING)

    def address(self) -> str:
        self.stack.close()
        self.number += 1
        preload = ("--preload", str(self.folder / "counting.py"))
        return self.stack.enter_context(dask_cluster(self.place, WORKERS, *preload, DONE_LOG=str(self.log)))

    @property
    def place(self) -> Path:
        return self.folder / f"cluster-{self.number}"

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(int((self.place / f"{name}.pid").read_text()))

    def workers(self) -> list[psutil.Process]:
        """Processes that do the units, below the one that watches over them."""
        children = self.process("worker").children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def strike(self, victim: str) -> None:
        if victim == "worker":
            self.workers()[0].kill()
            return
        if victim == "scheduler":
            self.process("scheduler").kill()
            return
        for process in (*self.workers(), self.process("worker"), self.process("scheduler")):
            process.kill()


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, tmp_path / "done.log")
    yield made
    made.stack.close()


def begun(stage: str, count: int, state: Path) -> bool:
    """Whether a stage has come to a number of markers, or a later one has begun."""
    sizes = Counter(name.partition("/")[0] for name in markers(state))
    later = STAGES[STAGES.index(stage) + 1 :]
    return sizes[stage] >= max(count, 1) or any(sizes[name] for name in later)


def reach(strike: Strike, state: Path, process: Popen[bytes]) -> bool:
    """Wait for the moment of a strike; False if the run ended before."""
    wait_until(lambda: begun(strike.stage, strike.count, state) or process.poll() is not None, strike.stage, 240)
    return process.poll() is None


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_kills_lose_nothing_that_was_marked(
    config: Path, output: Path, frail: Cluster, tmp_path: Path, seed: int
) -> None:
    state, log = tmp_path / "run" / "state", tmp_path / "log"
    standing: dict[str, int] = {}
    waiting, address, struck = strikes(output, seed), "", 0
    while waiting:
        address = address or frail.address()
        run = ("run", config, "--output", tmp_path / "run", "--scheduler", address)
        with started(*run, log=log) as process:
            while waiting and process.poll() is None:
                strike = waiting.pop(0)
                if not reach(strike, state, process):
                    continue
                standing |= markers(state)
                struck += 1
                if strike.victim in {"run", "all"}:
                    os.killpg(process.pid, signal.SIGKILL)
                if strike.victim != "run":
                    frail.strike(strike.victim)
                    address = address if strike.victim == "worker" else ""
                if strike.victim != "worker":
                    assert process.wait(120) == (75 if strike.victim == "scheduler" else -9), log.read_text()
            if process.poll() is None:
                assert process.wait(300) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    assert struck >= 1
    done = invoke("run", config, "--output", tmp_path / "run", "--scheduler", address or frail.address())
    assert done.status == 0, done.err
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)
    now = markers(state)
    assert all(now[name] == time for name, time in standing.items()), "what was marked is not done again"
    times = Counter(frail.log.read_text().split())
    assert set(times) == set(now)
    assert sum(times.values()) - len(times) <= struck * WORKERS, "no more than was in flight is done again"


def test_a_second_run_is_refused_while_the_first_goes_on(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    assert invoke("search", config, "--output", tmp_path / "run").status == 0
    leases = tmp_path / "run" / "state" / "lease"
    before = set(leases.glob("*.json"))
    # All stages, since one alone may have ended before a loaded machine has started the second command.
    run = ("run", config, "--output", tmp_path / "run", "--scheduler", cluster)
    with started(*run, log=tmp_path / "log") as first:
        wait_until(lambda: set(leases.glob("*.json")) - before, "the lease")
        second: Ended = soilscale("cube", config, "--output", tmp_path / "run", "--workers", 1)
        assert second.status == 75
        assert f"is being written by another run: process {first.pid} on " in second.err
        assert "Traceback" not in second.err
        told = invoke("status", config, "--output", tmp_path / "run")
        assert told.status == 0
        assert f"being written by process {first.pid}" in told.out
        assert first.wait(400) == 0, (tmp_path / "log").read_text()
    assert files(tmp_path / "run" / "cube.zarr") == files(output / "cube.zarr")
    assert "being written" not in invoke("status", config, "--output", tmp_path / "run").out
