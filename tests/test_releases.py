"""Releases: old maps stay as they are while new ones are written, and afterwards, until they are withdrawn."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pystac
import pytest
import rasterio

from commands import dask_cluster, files, invoke, sparse_world, started, wait_until
from soilscale import __version__
from soilscale.flow import releases
from soilscale.flow.workspace import Workspace

pytestmark = pytest.mark.slow

NAMES = [f"shaanxi-like-month-2004-{month:02d}" for month in range(1, 13)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as address:
        yield address


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> tuple[object, ...]:
    """Command of a run that has ended once."""
    config = sparse_world(tmp_path_factory.mktemp("world"))
    command = ("run", config, "--scheduler", cluster, "-o", "models.ablation=false")
    done = invoke(*command)
    assert done.status == 0, done.err
    return command


@pytest.fixture(scope="module")
def output(run: tuple[object, ...]) -> Path:
    return Path(str(run[1])).parent / "run"


def maps_of(catalog: Path) -> dict[str, bytes]:
    """Content of each map of a catalog, which is valid, and whose files can be read."""
    found = {}
    root = pystac.Catalog.from_file(str(catalog))
    assert root.validate_all() == len(list(root.get_items(recursive=True)))
    for item in root.get_items(recursive=True):
        href = item.assets["soil_moisture"].get_absolute_href()
        with rasterio.open(href) as file:
            assert file.read(1).any()
        found[item.id] = Path(str(href)).read_bytes()
    return found


def test_maps_of_a_release_stay_while_and_after_another_is_written(run: tuple[object, ...], output: Path) -> None:
    newest = output / "maps" / "catalog.json"
    first = maps_of(newest)
    assert [name for name in sorted(first) if "-month-" in name] == NAMES
    assert maps_of(output / "maps" / "releases" / "1" / "catalog.json") == first
    before = newest.read_bytes()
    told = invoke("status", *run[1:2]).out
    assert "release 1 of " in told
    assert "kept: 1" in told

    other = (*run, "-o", "models.seed=1")
    written = set((output / "maps").rglob("*.tif"))
    with started(*other, log=output.parent / "log") as process:
        wait_until(lambda: set((output / "maps").rglob("*.tif")) - written, "a map of the second release", 200)
        os.killpg(process.pid, signal.SIGKILL)
    assert newest.read_bytes() == before
    assert maps_of(newest) == first

    assert invoke(*other).status == 0
    second = maps_of(newest)
    assert second.keys() == first.keys()
    assert all(second[name] != first[name] for name in NAMES)
    assert maps_of(output / "maps" / "releases" / "1" / "catalog.json") == first
    assert maps_of(output / "maps" / "releases" / "2" / "catalog.json") == second
    link = pystac.Catalog.from_file(str(newest)).get_single_link("predecessor-version")
    assert link is not None
    assert link.get_absolute_href() == str(output / "maps" / "releases" / "1" / "catalog.json")

    standing = files(output / "maps")
    assert invoke(*other).status == 0
    assert files(output / "maps") == standing, "no release of the same maps"

    assert invoke(*other, "-o", "maps.releases=1").status == 0
    assert maps_of(newest) == second
    assert releases.numbers(Workspace(str(output))) == [2]
    left = {path.relative_to(output / "maps").as_posix() for path in (output / "maps").rglob("*.*") if path.is_file()}
    assert not any(name.startswith("releases/1/") for name in left)
    assert sum(name.endswith("/soil_moisture.tif") for name in left) == len(second)
    assert pystac.Catalog.from_file(str(newest)).get_single_link("predecessor-version") is None


def test_a_release_tells_what_it_holds(run: tuple[object, ...], output: Path) -> None:
    found = releases.newest(Workspace(str(output)))
    assert found is not None
    assert found.maps["month"] == 12
    assert found.last == "2004-12-31T23:59:59Z"
    assert found.version == __version__
    assert f"release {found.number} of {found.time}" in invoke("status", run[1]).out
