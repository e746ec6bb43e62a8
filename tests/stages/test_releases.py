"""Releases: old maps stay as they are while new ones are written, and afterwards, until they are withdrawn."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio

from commands import files, invoke, started, wait_until
from soilscale import __version__, storage, viewer
from soilscale.engine.output import Workspace, digest
from soilscale.engine.units import Unit
from soilscale.errors import IncompleteError
from soilscale.grid import Grid
from soilscale.seasons import METEOROLOGICAL, Seasons
from soilscale.stages import releases
from soilscale.stages.releases import Release
from soilscale.tasks.published_maps import PublishMap
from soilscale.viewer.index import Viewed

pytestmark = pytest.mark.slow

NAMES = [f"shaanxi-like-month-2004-{month:02d}" for month in range(1, 13)]


ABOUT = Viewed(
    Grid("EPSG:3035", 24_000, 24, 4e6, 3e6, (2, 2), 2),
    "sm",
    "cci",
    Seasons(METEOROLOGICAL),
    (0, 0.6),
    None,
    None,
    stations=False,
)
"""What the viewer of the releases shows."""


@pytest.fixture(scope="module")
def output(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products of a run that has ended once."""
    return Path(shutil.copytree(undisturbed.parent / "run", tmp_path_factory.mktemp("released") / "run"))


@pytest.fixture(scope="module")
def run(undisturbed: Path, output: Path, cluster: str) -> tuple[object, ...]:
    """Command of the next run."""
    return ("run", undisturbed, "--output", output, "--scheduler", cluster)


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
    told = invoke("status", *run[1:4]).out
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
    assert sum(name.endswith("_soil_moisture.tif") for name in left) == len(second)
    assert pystac.Catalog.from_file(str(newest)).get_single_link("predecessor-version") is None


@dataclass(frozen=True)
class Published:
    """What `release` needs to know of a unit that publishes a map."""

    identifier: str
    version: str
    every: str = "month"

    def place(self, name: str) -> tuple[str, str, str, str]:
        return self.every, self.identifier, self.version, name


def published(workspace: Workspace, version: str) -> list[Unit[PublishMap]]:
    """Unit that has published a map, with its item and marker."""
    edition = Published("lab-month-2005-01", digest(version))
    item = {"id": edition.identifier, "properties": {"end_datetime": "2005-01-31T23:59:59Z"}, "bbox": [5, 47, 6, 48]}
    item |= {"properties": item["properties"] | {"start_datetime": "2005-01-01T00:00:00Z"}, "assets": {}}
    storage.write_json(workspace.published(*edition.place(f"{edition.identifier}.json")), item)
    unit = Unit("publish", "month-2005-01", edition.version, PublishMap(fine=None, edition=edition, index=0))
    storage.write_json(workspace.state(unit.stage, unit.marker), {})
    return [unit]


def release(workspace: Workspace, version: str, keep: int | None = None) -> int:
    """Make a release of one map, and return the number that the catalog of now leads to."""
    releases.release(workspace, "lab", "config", published(workspace, version), keep, ABOUT)
    return int(storage.read_json(workspace.published("catalog.json"))["version"])


def test_no_two_runs_take_one_number(tmp_path: Path) -> None:
    """Each makes a release of its own maps, all at once, as runs do of which one took over what another held."""
    workspace, runs = Workspace(str(tmp_path)), 8
    described = [releases._described(str(run), "config", {}) for run in range(runs)]  # noqa: SLF001 - the claim alone
    meet = threading.Barrier(runs)

    def claim(own: Release) -> Release:
        meet.wait()
        return releases._claimed(workspace, own)  # noqa: SLF001 - likewise

    with ThreadPoolExecutor(runs) as pool:
        made = list(pool.map(claim, described))
    assert sorted(one.number for one in made) == releases.numbers(workspace) == list(range(1, runs + 1))
    for one in made:
        assert storage.read_json(workspace.state("releases", f"{one.number}.json")) == asdict(one)


def test_a_release_that_was_claimed_and_not_completed_is_completed_under_its_number(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    assert release(workspace, "one") == 1
    published(workspace, "two")
    standing = files(tmp_path)
    assert release(workspace, "two") == 2
    complete = files(tmp_path)
    for name in complete.keys() - standing.keys() - {"state/releases/2.json"}:
        (tmp_path / name).unlink()
    shutil.copyfile(tmp_path / "maps" / "releases" / "1" / "catalog.json", tmp_path / "maps" / "catalog.json")
    assert release(workspace, "two") == 2
    assert files(tmp_path) == complete


def test_a_release_that_was_never_completed_gives_way_to_the_next(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    assert release(workspace, "one") == 1
    storage.write_json(workspace.state("releases", "2.json"), asdict(Release(2, "", "x", "", "", {"month": 1}, "")))
    storage.write_json(workspace.state("releases", "notes.json"), {})
    assert release(workspace, "two") == 3
    assert releases.numbers(workspace) == [1, 3]
    links = storage.read_json(workspace.published("catalog.json"))["links"]
    assert "./releases/1/catalog.json" in [link["href"] for link in links]


def test_files_of_a_user_stay_where_a_release_is_withdrawn(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    assert release(workspace, "one") == 1
    first = set(files(tmp_path / "maps"))
    edition = next(name for name in first if name.endswith("lab-month-2005-01.json")).rpartition("/")[0]
    mine = ("legend.qml", "my-styles/catalog.json", "releases/1/notes.txt", f"{edition}/style.qml")
    for name in mine:
        storage.write_bytes(workspace.published(name), b"mine")
    assert release(workspace, "two", keep=1) == 2
    left = set(files(tmp_path / "maps"))
    assert left >= set(mine)
    assert not left & {
        f"{edition}/lab-month-2005-01.json",
        "releases/1/catalog.json",
        "releases/1/month/collection.json",
    }
    assert releases.numbers(workspace) == [2]


def test_every_release_has_a_viewer_and_a_page_of_a_user_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace, page = Workspace(str(tmp_path)), tmp_path / "maps" / "index.html"
    assert release(workspace, "one") == 1
    assert page.read_bytes() == viewer.page()
    shown = storage.read_json(workspace.published("viewer.json"))
    assert (shown["release"], [each["first"] for each in shown["maps"]["month"]]) == (1, ["2005-01"])
    listed = shown.pop("releases")
    assert listed == [{"release": 1, "time": shown["time"]}]
    assert storage.read_json(workspace.published("releases", "1", "viewer.json")) == shown
    page.write_bytes(viewer.MARK.format("0123456789abcdef").encode() + b"\nof an earlier version")
    assert release(workspace, "two") == 2
    assert page.read_bytes() == viewer.page()
    listed = storage.read_json(workspace.published("viewer.json"))["releases"]
    assert [each["release"] for each in listed] == [2, 1]
    page.write_bytes(b"<h1>mine</h1>")
    (tmp_path / "maps" / "viewer.json").unlink()
    assert release(workspace, "two", keep=1) == 2
    assert page.read_bytes() == b"<h1>mine</h1>"
    assert "maps/index.html is not soilscale's viewer and is left as it is" in caplog.text
    assert storage.read_json(workspace.published("viewer.json"))["release"] == 2


def test_a_run_that_another_has_overtaken_leaves_the_catalog_of_now_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(str(tmp_path))
    write = releases._write  # noqa: SLF001 - in its midst the run is suspended

    def suspended(where: Workspace, below: tuple[str, ...], *more: Any) -> None:
        write(where, below, *more)
        if below == ("releases", "1"):
            monkeypatch.setattr(releases, "_write", write)
            assert release(workspace, "two") == 2

    monkeypatch.setattr(releases, "_write", suspended)
    with pytest.raises(IncompleteError, match="meanwhile another run has made a release after number 1"):
        release(workspace, "one")
    assert storage.read_json(workspace.published("catalog.json"))["version"] == "2"


def test_a_release_tells_what_it_holds(run: tuple[object, ...], output: Path) -> None:
    found = releases.newest(Workspace(str(output)))
    assert found is not None
    assert found.maps["month"] == 12
    assert found.last == "2004-12-31T23:59:59Z"
    assert found.version == __version__
    assert f"release {found.number} of {found.time}" in invoke("status", *run[1:4]).out
