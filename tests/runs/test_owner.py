"""Whose an output is: what is refused, what goes on, what is deleted, and that nothing of a user's own ever is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributed import Client

from commands import files, invoke
from soilscale import config, storage
from soilscale.access import as_seconds
from soilscale.config import Config
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError
from soilscale.runs import owner
from soilscale.stages import inventory
from soilscale.stages.context import Run
from soilscale.stages.frozen_items import write_resolved
from soilscale.stages.releases import Release

TODAY = date(2013, 1, 4)

PLAIN: dict[str, Any] = {
    "name": "lab",
    "area": {"bbox": [5.0, 47.0, 6.0, 48.0]},
    "grid": {"crs": "EPSG:4326", "coarse": 0.25, "ratio": 10},
    "period": ["2003-01", "2012-12"],
    "catalogs": {"own": {"url": "catalog.json"}},
    "sources": {
        "soil_moisture": {"role": "target", "catalog": "own", "collection": "sm", "asset": "sm"},
        "rain": {"catalog": "own", "collection": "rain", "asset": "rain"},
    },
}

PRODUCTS = (
    "cube.zarr/zarr.json",
    "cube.zarr/fine/zarr.json",
    "cube.zarr/fine/rain/zarr.json",
    "cube.zarr/fine/rain/c/0/0/0",
    "cube.zarr/fine/spatial_ref/c",
    "cube.zarr/coarse/valid_fraction/c/0/0/0",
    "cube.zarr/fraction/rain/c/0/0/0",
    "maps.zarr/month/soil_moisture/c/0/1/0",
    "maps.zarr/coarse_season/residual/c/0/0/0",
    "samples.parquet",
    "predictions.parquet",
    "models/summer/random_forest/model.skops",
    "models/all/random_forest/trees.npz",
)
RELEASED = (
    "maps/catalog.json",
    "maps/month/collection.json",
    "maps/viewer.json",
    "maps/releases/1/catalog.json",
    "maps/releases/1/viewer.json",
    "maps/releases/1/season/collection.json",
    "maps/month/lab-month-2003-01/0123456789abcdef/soil_moisture.tif",
    "maps/month/lab-month-2003-01/0123456789abcdef/lab_200301_soil_moisture.tif",
    "maps/season/lab-season-2002-12/0123456789abcdef/lab_winter2003_lower.tif",
    "maps/month/lab-month-2003-01/0123456789abcdef/lab_200301_thumbnail.png",
    "maps/month/lab-month-2003-01/0123456789abcdef/lab-month-2003-01.json",
    "state/releases/1.json",
)
RECORDS = (
    "items/rain.json",
    "state/layout.json",
    "state/cube/rain/2003-01_r000c000.0123456789abcdef.json",
    "state/samples/2003-01_2012-12.parquet",
    "state/report/report.json",
    "report/index.html",
    "report/accuracy.csv",
)
DRAFTS = (
    "cube.zarr/fine/rain/c/0/0/0.0123456789abcdef0123456789abcdef.partial",
    "cube.zarr/fine/zarr.0123456789abcdef0123456789abcdef.partial",
    "maps/.catalog.json.x1_y2z3q",
    "state/releases/.2.json.4711.123456789",
)
"""What a writer that was killed leaves."""

MINE = (
    "notes.txt",
    "items/notes.txt",
    "cube.zarr/README",
    "cube.zarr/mine/zarr.json",
    "cube.zarr/fine/rain/notes.json",
    "maps.zarr/.DS_Store",
    "maps/legend.qml",
    "maps/index.html",
    "maps/my-styles/catalog.json",
    "maps/my-styles/x/0123456789abcdef/soil_moisture.tif",
    "maps/month/lab-month-2003-01/0123456789abcdef/soil_moisture.tif.aux.xml",
    "maps/month/lab-month-2003-01/0123456789abcdef/style.json",
    "maps/month/lab-month-2003-01/0123456789abcdef/lab_200301_map.png",
    "maps/month/lab-month-2003-01/0123456789abcdef/mine_200301_quality.tif",
    "maps/month/lab-month-2003-01/0123456789abcdef/lab_200301_soil_moisture_styled.tif",
    "maps/releases/1/notes.json",
    "models/summer/random_forest/plot.png",
    "report/extra.csv",
    "report/figures/map.png",
    "state/notes.txt",
    "state/releases/notes.txt",
    "samples.parquet.bak",
    "run.yaml~",
)
"""What a user may keep, or a system leave, in an output."""


def configured(output: Path, **changes: Any) -> Config:
    """Configuration with keys changed, ``grid__ratio`` being `ratio` in `grid`."""
    content: dict[str, Any] = json.loads(json.dumps(PLAIN)) | {"output": str(output)}
    for key, value in changes.items():
        *outer, last = key.split("__")
        node = content
        for name in outer:
            node = node[name]
        node[last] = value
    return config.validate(content)


def no_cluster() -> Client:
    raise AssertionError("nothing is computed")


def go(settings: Config, *, destroy: bool = False, afresh: bool = True) -> Config:
    """What a run does with its output before anything else, and that it writes its record then."""
    run = Run(settings, no_cluster, lambda _doing, _done, _total: None)
    run = owner.settled(run, TODAY, afresh=afresh, destroy=destroy)
    write_resolved(run)
    return run.config


def lay(output: Path, names: tuple[str, ...] = (*PRODUCTS, *RELEASED, *RECORDS)) -> None:
    """Write objects, each with its own name as content."""
    for name in names:
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (output / "state" / "report").mkdir(parents=True, exist_ok=True)
    listed = {"files": ["index.html", "accuracy.csv"]}
    (output / "state" / "report" / "report.json").write_text(json.dumps(listed))
    record = Release(1, "2013-01-05T00:00:00+00:00", "", "", "0", {"month": 120}, "2012-12-31T23:59:59Z")
    storage.write_json(str(output / "state" / "releases" / "1.json"), asdict(record))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Output of the plain configuration with a product, its releases, and files of a user."""
    found = tmp_path / "run"
    go(configured(found))
    lay(found, (*PRODUCTS, *RELEASED, *RECORDS, *DRAFTS, *MINE))
    return found


def polygon(folder: Path, east: float = 6.0) -> str:
    ring = [[5.0, 47.0], [east, 47.0], [east, 48.0], [5.0, 48.0], [5.0, 47.0]]
    path = folder / f"area-{east:g}.geojson"
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    return str(path)


# What is a run's own


@pytest.mark.parametrize("name", [*PRODUCTS, *RELEASED, *RECORDS, *DRAFTS, "run.yaml"])
def test_what_a_run_writes_is_known_by_its_name(output: Path, name: str) -> None:
    assert inventory.ours(Workspace(str(output)))(name)


@pytest.mark.parametrize("name", MINE)
def test_all_else_is_a_users(output: Path, name: str) -> None:
    assert not inventory.ours(Workspace(str(output)))(name)


def test_what_is_removed_below_a_folder_is_a_runs_alone(output: Path) -> None:
    inventory.remove(Workspace(str(output)), "cube.zarr")
    left = {path.relative_to(output).as_posix() for path in (output / "cube.zarr").rglob("*") if path.is_file()}
    assert left == {"cube.zarr/README", "cube.zarr/mine/zarr.json", "cube.zarr/fine/rain/notes.json"}
    assert not (output / "cube.zarr" / "coarse").exists(), "no empty folder is left, which Zarr would take for a group"
    assert (output / "maps" / "catalog.json").exists()


# What is refused


PLACES: Mapping[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "name": ({"name": "other"}, ("name", "lab", "other")),
    "area": ({"area__bbox": [5.0, 47.0, 6.5, 48.0]}, ("area", "[5.0, 47.0, 6.0, 48.0]", "[5.0, 47.0, 6.5, 48.0]")),
    "ratio": ({"grid__ratio": 5}, ("grid", "ratio 10", "ratio 5")),
    "side": ({"grid__coarse": 0.5}, ("grid", "coarse 0.25", "coarse 0.5")),
    "crs": ({"grid__crs": "EPSG:4258"}, ("grid", "EPSG:4326", "EPSG:4258")),
    "origin": ({"grid__origin": [0.1, 0.0]}, ("grid", "[5, 48]", "[4.85, 48]")),
    "later first month": ({"period": ["2003-02", "2012-12"]}, ("first month", "2003-01", "2003-02")),
    "earlier first month": ({"period": ["2002-12", "2012-12"]}, ("first month", "2003-01", "2002-12")),
    "shorter period": ({"period": ["2003-01", "2012-11"]}, ("last month, an earlier one", "2012-12", "2012-11")),
}


@pytest.mark.parametrize("what", PLACES)
def test_what_would_destroy_another_product_is_refused_with_both_values(output: Path, what: str) -> None:
    changes, (fact, before, now) = PLACES[what]
    standing = files(output)
    with pytest.raises(ConfigurationError) as caught:
        go(configured(output, **changes))
    told = str(caught.value)
    (line,) = [line for line in told.splitlines() if line.startswith(f"  {fact}: ")]
    assert line.index(before) < line.index(now)
    released = 0 if what == "shorter period" else 1
    assert f"{released} releases; choose another output, or add --replace" in told
    assert files(output) == standing


def test_another_polygon_is_another_area_and_the_same_one_elsewhere_is_not(tmp_path: Path) -> None:
    output, first, second = tmp_path / "run", polygon(tmp_path, 5.9), polygon(tmp_path, 5.95)
    go(configured(output, area={"geometry": first}))
    lay(output)
    with pytest.raises(ConfigurationError, match=rf"area: the output has {first}, the configuration {second}"):
        go(configured(output, area={"geometry": second}))
    shutil.copyfile(first, tmp_path / "moved.geojson")
    go(configured(output, area={"geometry": str(tmp_path / "moved.geojson")}))
    Path(first).write_text(Path(second).read_text())
    with pytest.raises(ConfigurationError, match="area: "):
        go(configured(output, area={"geometry": first}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"period": ["2003-01", "2013-06"]},
        {"period": "since-last-release"},
        {"period": "last-3-months", "training": ["2003-02", "2010-12"]},
        {"maps": {"releases": 1}},
        {"models": {"seed": 3}},
        {"sources__elevation": {"catalog": "own", "collection": "dem", "asset": "dem"}},
        {"grid__tile": 2},
        {"grid__crs": "epsg:4326"},
        {"grid__origin": [0.5, -0.25]},
        {"area__bbox": [5.01, 47.01, 5.99, 47.99]},
    ],
    ids=str,
)
def test_what_is_of_the_same_place_goes_on(output: Path, changes: dict[str, Any]) -> None:
    standing = files(output, without=("run.yaml", "state/owner.json"))
    go(configured(output, **changes))
    assert files(output, without=("run.yaml", "state/owner.json")) == standing


def test_what_was_searched_alone_may_be_searched_elsewhere(tmp_path: Path) -> None:
    go(configured(tmp_path))
    lay(tmp_path, ("items/rain.json",))
    go(configured(tmp_path, name="other", area__bbox=[7.0, 47.0, 8.0, 48.0], period=["2004-01", "2004-12"]))
    assert json.loads((tmp_path / "state" / "owner.json").read_text())["name"] == "other"


def test_the_months_of_an_output_grow_with_its_runs(output: Path) -> None:
    go(configured(output, period=["2003-01", "2013-06"]))
    with pytest.raises(ConfigurationError, match="last month, an earlier one: the output has 2013-06"):
        go(configured(output))


def test_a_relative_period_of_another_area_is_refused_and_so_is_one_that_learns_from_earlier_months(
    output: Path,
) -> None:
    for changes in ({"area__bbox": [7.0, 47.0, 8.0, 48.0]}, {"training": ["2002-01", "2012-12"]}):
        with pytest.raises(ConfigurationError, match="holds the product of another configuration"):
            go(configured(output, period="last-3-months", **changes))


def test_an_output_of_an_earlier_version_is_known_by_its_resolved_configuration(output: Path) -> None:
    (output / "state" / "owner.json").unlink()
    go(configured(output, models={"seed": 1}))
    (output / "state" / "owner.json").write_text("{")
    with pytest.raises(ConfigurationError, match="name: the output has lab, the configuration other"):
        go(configured(output, name="other"))
    (output / "run.yaml").write_text("a: [")
    with pytest.raises(ConfigurationError, match=r"the output has no valid owner record"):
        go(configured(output))


# What is deleted


def test_what_is_deleted_is_what_was_told_and_nothing_of_a_users_own(output: Path) -> None:
    other = configured(output, name="other")
    with pytest.raises(ConfigurationError) as caught:
        go(other)
    before = set(files(output))
    go(other, destroy=True)
    left = set(files(output))
    assert left == {*MINE, "run.yaml", "state/owner.json"}
    assert f"would delete {len(before - left) + 2} objects, " in str(caught.value)
    assert yaml.safe_load((output / "run.yaml").read_text())["config"]["name"] == "other"
    go(other)


def test_releases_stay_where_a_period_becomes_shorter(output: Path) -> None:
    go(configured(output, period=["2003-01", "2011-12"]), destroy=True)
    assert set(files(output)) == {
        *MINE,
        *(name for name in RELEASED),
        "maps/.catalog.json.x1_y2z3q",
        "state/releases/.2.json.4711.123456789",
        "run.yaml",
        "state/owner.json",
    }


def test_the_flag_deletes_nothing_of_the_same_product(output: Path) -> None:
    standing = files(output)
    go(configured(output), destroy=True)
    assert files(output) == standing


# Commands


@pytest.fixture
def path(output: Path) -> Path:
    found = output.parent / "lab.yaml"
    found.write_text(yaml.safe_dump(PLAIN | {"output": str(output)}, sort_keys=False))
    return found


@pytest.mark.parametrize("command", ["run", "search", "cube", "samples", "train", "map", "report", "plan", "check"])
def test_every_command_refuses_before_it_writes_anything(path: Path, output: Path, command: str) -> None:
    if command == "plan":
        shutil.rmtree(output / "items")  # whose content here is none
    standing = files(output)
    done = invoke(command, path, "-o", "name=other")
    assert done.status == 78, done.err
    assert f"{output} holds the product of another configuration:\n  name: the output has lab, the" in done.err
    assert "1 releases; choose another output, or add --replace to `soilscale run`" in done.err
    assert files(output) == standing
    assert not (output / "state" / "lease").exists()


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("2h", 7200)])
def test_a_duration_is_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert as_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "3x", "-5", "1.5h", "5m3h", "soon"])
def test_another_duration_is_wrong_usage(path: Path, text: str) -> None:
    done = invoke("run", path, f"--wait-for-lease={text}")
    assert done.status == 64
    assert "expected a duration such as 90s, 15m or 1h30m" in " ".join(done.err.replace("│", " ").split())
