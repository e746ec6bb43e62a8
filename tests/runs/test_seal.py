"""A complete run is sealed: nothing is planned again, until something has changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from commands import Ended, edit, files, invoke, markers, redone, redone_units, sparse_world, times

pytestmark = pytest.mark.slow

HEAVY = {
    "dask",
    "distributed",
    "matplotlib",
    "numba",
    "numpy",
    "odc",
    "pandas",
    "requests",
    "sklearn",
    "skops",
    "stackstac",
    "xarray",
    "zarr",
}
"""What help has no need of."""

KEYS = {"numpy"}
"""What the keys of a configuration are read with."""

IMPORTED = """
import sys
from soilscale import cli
sys.argv = ["soilscale", *{arguments!r}]
try:
    cli.main()
finally:
    print(*sorted(set(sys.modules) & {heavy!r}), file=sys.stderr)
"""


def imported(*arguments: object) -> list[str]:
    """Heavy packages that a command of its own imports."""
    code = IMPORTED.format(arguments=[str(one) for one in arguments], heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].split()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Path:
    """Configuration of a complete run."""
    path = edit(sparse_world(tmp_path_factory.mktemp("world")), models__ablation=False)
    done = invoke("run", path, "--scheduler", cluster)
    assert done.status == 0, done.err
    return path


@pytest.fixture
def again(config: Path, cluster: str) -> Iterator[Callable[..., Ended]]:
    """Run again; what a test does to the output is undone."""
    output, kept = config.parent / "run", config.parent / "kept"
    shutil.copytree(output, kept)
    yield lambda *more: invoke("run", config, "--scheduler", cluster, *more)
    shutil.rmtree(output)
    kept.rename(output)


def test_help_and_a_complete_run_import_no_more_than_they_need(config: Path) -> None:
    assert imported("--help") == []
    assert imported("run", "--help") == []
    assert set(imported("run", config)) <= KEYS


def test_a_wrong_parameter_for_a_complete_run_is_refused(config: Path, again: Callable[..., Ended]) -> None:
    before = times(config.parent / "run" / "models")
    done = again("-o", "models.parameters.random_forest.n_estimatorz=5")
    assert done.status == 78, done.err
    assert "models.parameters.random_forest.n_estimatorz: unknown parameter" in done.err
    assert times(config.parent / "run" / "models") == before


def test_a_complete_run_tells_the_same_again_and_writes_nothing_but_what_tells_of_it(
    config: Path, again: Callable[..., Ended]
) -> None:
    output = config.parent / "run"
    first, before = json.loads((output / "state" / "seal.json").read_text())["lines"], times(output)
    done = again()
    assert done.status == 0, done.err
    assert done.out.splitlines() == first
    changed = {name for name in redone(before, output) if "lease" not in name}
    assert changed <= {"run.yaml", "state/seal.json"}


def test_a_marker_that_is_lost_breaks_the_seal(config: Path, cluster: str, again: Callable[..., Ended]) -> None:
    next(iter(sorted((config.parent / "run" / "state" / "conserve").glob("*2004-07*.json")))).unlink()
    assert "xarray" in imported("run", config, "--scheduler", cluster)
    del again


def test_what_a_late_writer_replaced_after_the_seal_is_made_again_though_it_left_a_marker(
    config: Path, again: Callable[..., Ended]
) -> None:
    output = config.parent / "run"
    before = files(output, without=("state", "run.yaml", "report/index.html"))
    first, second = sorted((output / "cube.zarr" / "fine" / "ndvi" / "c").glob("*/0/0"))[3:5]
    shutil.copyfile(second, first)
    name = str(first.relative_to(output))
    wrote = {name: {"size": first.stat().st_size, "checksum": "of another configuration", "stamp": ""}}
    late = {"stage": "cube", "name": "ndvi/late", "outcome": "done", "term": 1, "wrote": wrote}
    (output / "state" / "cube" / "ndvi" / f"late.{'0' * 16}.json").write_text(json.dumps(late))
    done = again()
    assert done.status == 0, done.err
    assert "written late by a run that had lost its lease; removed" in done.err
    assert f"{name}: missing or modified since the last complete run" in done.err
    assert files(output, without=("state", "run.yaml", "report/index.html")) == before


def test_a_changed_item_breaks_the_seal_and_redoes_its_month_and_what_hangs_on_it(
    config: Path, again: Callable[..., Ended]
) -> None:
    state = config.parent / "run" / "state"
    (path,) = (config.parent / "catalog").rglob("MOD13A3.A2004153.h26v05*.json")
    item, before = path.read_text(), markers(state)
    changed = json.loads(item)
    changed["properties"]["updated"] = "2031-01-01T00:00:00Z"
    path.write_text(json.dumps(changed))
    assert again().status == 0
    path.write_text(item)
    done = redone_units(before, state)
    assert done["cube"] == {"ndvi/2004-06_r000c000"}
    assert done["coarse"] == {"2004-01_2004-12"}
    assert done["samples"] == {"2004-01_2004-12"}
    assert len(done["predict"]) == 12, "the models learned from that month"


def test_another_station_file_breaks_the_seal(config: Path, again: Callable[..., Ended]) -> None:
    output, stations = config.parent / "run", config.parent / "stations.csv"
    page, text = (output / "report" / "index.html").read_bytes(), stations.read_text()
    stations.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    assert again().status == 0
    assert (output / "report" / "index.html").read_bytes() != page
    stations.write_text(text)


def test_another_truth_in_the_same_place_is_compared_anew(config: Path, again: Callable[..., Ended]) -> None:
    output = config.parent / "run"
    truth = zarr.open_array(config.parent / "truth.zarr", path="month/soil_moisture")
    page, before, known = (output / "report" / "index.html").read_bytes(), times(output / "maps.zarr"), truth[:]
    truth[:] = np.asarray(known) + 0.01
    assert again().status == 0
    assert (output / "report" / "index.html").read_bytes() != page
    assert not redone(before, output / "maps.zarr")
    truth[:] = known
