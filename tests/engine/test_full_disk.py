"""A disk that takes no more, by the limit that the system sets to a process's files: what is told, and what stays."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from calls import Call, calling
from checkout import TESTS
from soilscale import storage
from soilscale.engine import units
from soilscale.engine.output import Workspace
from soilscale.engine.units import Unit

SIDE = 64
ROOM = 4096
"""Bytes that a file may have: enough for a marker and an even chunk, not for one of noise."""

FILL = f"""
import sys
sys.path[:0] = {[str(TESTS), str(Path(__file__).parent)]!r}
from test_full_disk import work
from soilscale.errors import RefusedError
from soilscale.engine import units
from soilscale.engine.output import Workspace
try:
    units.perform(Workspace(sys.argv[1]), work())
except RefusedError as error:
    print(error)
    sys.exit(error.status)
"""

COMPILE = """
import logging
from soilscale.forests.trees import compiled
logging.basicConfig()

@compiled
def twice(value):
    return 2 * value

assert twice(21) == 42
"""


def fill(workspace: Workspace, month: int, *, noise: bool) -> None:
    values = np.random.default_rng(month).random((SIDE, SIDE), "float32") if noise else np.ones((SIDE, SIDE), "float32")
    storage.write_region(workspace.cube, "fine", "ndvi", values, (month, slice(0, SIDE), slice(0, SIDE)))


def even(workspace: Workspace, month: int) -> None:
    fill(workspace, month, noise=False)


def noisy(workspace: Workspace, month: int) -> None:
    fill(workspace, month, noise=True)


def work() -> list[Unit[Call]]:
    return [calling("cube", name, "0" * 16, do, month) for month, (name, do) in enumerate((("a", even), ("b", noisy)))]


def limited(room: int, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script whose files may have so many bytes."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(str(tmp_path / "run"))
    values = da.full((2, SIDE, SIDE), np.nan, dtype="float32", chunks=(1, SIDE, SIDE))
    encoding = {"chunks": (1, SIDE, SIDE), "_FillValue": np.float32("nan")}
    variable = xr.Variable(("time", "y", "x"), values, {}, encoding)
    storage.create(made.cube, "fine", xr.Dataset({"ndvi": variable}))
    return made


def test_a_full_disk_ends_the_run_keeps_what_is_complete_and_is_gone_on_from(workspace: Workspace) -> None:
    done = limited(ROOM, FILL, workspace.output)
    assert done.returncode == 69, done.stderr
    chunk = f"{workspace.cube}/fine/ndvi/c/1/0/0"
    assert f"cannot write {chunk}: " in done.stdout
    assert "free space there, then run the same command again" in done.stdout
    (first, second) = work()
    assert units.markers(workspace, "cube") == {first.marker}
    assert not [name for name in storage.names_below(workspace.cube) if "/c/1/" in name], "nothing is written in part"
    (again,) = units.perform(workspace, [second])
    assert again.outcome == "done"
    expected = np.random.default_rng(1).random((SIDE, SIDE), "float32")
    np.testing.assert_array_equal(storage.open_group(workspace.cube, "fine")["ndvi"][1], expected)


def test_compiled_code_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    script = tmp_path / "compiling.py"
    script.write_text(COMPILE)
    runner = f"import runpy; runpy.run_path({str(script)!r})"
    done = limited(64, runner, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert "compiled code cannot be cached" in done.stderr
