"""Inputs, outputs and services that fail: what is told, with which status, what stays, and how a rerun mends it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray

from commands import (
    Ended,
    counts,
    edit,
    files,
    free_port_of_nobody,
    invoke,
    redone,
    soilscale,
    sparse_world,
    times,
)
from servers.files import serve
from servers.static_catalog import static_catalog
from soilscale import retry
from soilscale.errors import ConfigurationError
from soilscale.schema import Quality
from soilscale.tasks import reference_data

pytestmark = pytest.mark.slow

OWN = ("state", "run.yaml", "items", "maps/", "report/")
"""What tells of a run itself, or of where its inputs lie."""

NDVI = "1_km_monthly_NDVI"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """World of 4 x 4 coarse cells and one season, so that the months without faults are enough for a model."""
    path = sparse_world(tmp_path_factory.mktemp("good") / "world", cells=4)
    return edit(path, seasons={"year": list(range(1, 13))}, models__ablation=False)


@pytest.fixture(scope="module")
def output(config: Path, cluster: str) -> Path:
    """Products of a run on inputs without faults."""
    done = invoke("run", config, "--scheduler", cluster)
    assert done.status == 0, done.err
    return config.parent / "run"


# One run on many bad inputs


def cut(path: Path) -> None:
    """Leave out the second half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def change(path: Path, **georeference: Any) -> None:
    """Change what a raster says of its place, not its pixels."""
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        for name, value in georeference.items():
            setattr(file, name, value)


def rewrite(path: Path, alter: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON document."""
    content = json.loads(path.read_text())
    alter(content)
    path.write_text(json.dumps(content))


def without_link(name: str) -> Callable[[dict[str, Any]], None]:
    def alter(document: dict[str, Any]) -> None:
        document["links"] = [link for link in document["links"] if name not in link["href"]]

    return alter


def elsewhere(document: dict[str, Any]) -> None:
    document["bbox"] = [20.0, -5.0, 21.0, -4.0]
    document["geometry"] = None


@dataclass(frozen=True)
class Fault:
    """A fault of one input, and what is to be said of it."""

    unit: str
    place: str
    """File, below the catalog's folder."""
    spoil: Callable[[Path], None]
    said: tuple[str, ...]


MAY, JUNE, JULY, SEPTEMBER = (f"modis-13A3/MOD13A3.A2004{day}" for day in (122, 153, 183, 245))

FAULTS = {
    "truncated": Fault(
        "cube ndvi/2004-05_r000c000",
        f"{MAY}.h26v05.061/{NDVI}.tif",
        cut,
        (f"{MAY}.h26v05.061/{NDVI}.tif", "cannot be read", "replace the file, then run the same command again"),
    ),
    "without its asset": Fault(
        "cube ndvi/2004-06_r000c000",
        f"{JUNE}.h26v05.061/MOD13A3.A2004153.h26v05.061.json",
        lambda path: rewrite(path, lambda item: item["assets"].pop(NDVI)),
        ("item MOD13A3.A2004153.h26v05.061 has no asset", NDVI, "1_km_monthly_pixel_reliability", "`asset`"),
    ),
    "a file that lies elsewhere": Fault(
        "cube ndvi/2004-09_r000c000",
        f"{SEPTEMBER}.h26v05.061/{NDVI}.tif",
        lambda path: change(path, transform=Affine(926.6, 0, 1e6, 0, -926.6, 1e6)),
        ("item MOD13A3.A2004245.h26v05.061 says that it lies within", "its file lies within [1000000.0", "correct"),
    ),
    "gone": Fault(
        "cube precipitation/2004-05_r000c000",
        "rain/rain-2004-05/precipitation.tif",
        Path.unlink,
        ("rain-2004-05/precipitation.tif cannot be read", "No such file", "replace the file"),
    ),
    "a web page": Fault(
        "cube precipitation/2004-09_r000c000",
        "rain/rain-2004-09/precipitation.tif",
        lambda path: path.write_text("<!DOCTYPE html><html><body>503 Service Unavailable</body></html>") and None,
        (
            "rain-2004-09/precipitation.tif",
            "not recognized as being in a supported",
            "it is a web page",
            "replace the file",
        ),
    ),
    "another CRS than its item says": Fault(
        "cube soil_moisture/2004-06_r000c000",
        "soil-moisture/soil-moisture-2004-06/soil_moisture.tif",
        lambda path: change(path, crs="EPSG:32649"),
        ("item soil-moisture-2004-06 says that it lies within [108.", "of EPSG:32649", "correct the item or the file"),
    ),
    "an item cut short": Fault(
        "search ndvi: ",
        f"{JULY}.h27v05.061/MOD13A3.A2004183.h27v05.061.json",
        cut,
        ("MOD13A3.A2004183.h27v05.061.json is not JSON",),
    ),
}
"""What becomes a failed unit."""

NOT_LISTED = ("soil-moisture/collection.json", without_link("soil-moisture-2004-05"))
MISPLACED = ("soil-moisture/soil-moisture-2004-10/soil-moisture-2004-10.json", elsewhere)
"""What leaves months without items."""


@dataclass(frozen=True)
class Ruin:
    """A world with every fault, and the run on it."""

    config: Path
    first: Ended

    @property
    def output(self) -> Path:
        return self.config.parent / "run"


@pytest.fixture(scope="module")
def ruin(config: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Ruin:
    folder = tmp_path_factory.mktemp("ruin") / "world"
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("run"))
    for fault in FAULTS.values():
        fault.spoil(folder / "catalog" / fault.place)
    for place, alter in (NOT_LISTED, MISPLACED):
        rewrite(folder / "catalog" / place, alter)
    path = folder / config.name
    return Ruin(path, invoke("run", path, "--scheduler", cluster))


def test_a_run_on_bad_inputs_goes_through_and_ends_with_65(ruin: Ruin) -> None:
    assert ruin.first.status == 65, ruin.first.err
    assert f"{len(FAULTS)} units are missing because their input could not be used" in ruin.first.err
    assert "Traceback" not in ruin.first.err
    assert (ruin.output / "report" / "index.html").exists()
    assert not (ruin.output / "state" / "seal.json").exists(), "an output that is not complete is not sealed"
    assert "report:" in ruin.first.out


@pytest.mark.parametrize("name", FAULTS)
def test_each_bad_input_is_told_with_its_unit_and_what_to_do(ruin: Ruin, name: str) -> None:
    fault = FAULTS[name]
    for text in (ruin.first.err, invoke("status", ruin.config).out):
        lines = [line for line in text.splitlines() if fault.unit in line and fault.said[0] in line]
        assert lines, (fault.unit, text)
        assert all(part in lines[-1] for part in fault.said), lines[-1]
    page = (ruin.output / "report" / "index.html").read_text()
    failed = page.partition('<table id="failed">')[2].partition("</table>")[0]
    assert fault.unit in failed
    assert Path(fault.place).name in failed or fault.said[0] in failed


def test_months_without_items_are_told(ruin: Ruin) -> None:
    assert "source soil_moisture: no item in 2004-05, 2004-10" in ruin.first.err
    page = (ruin.output / "report" / "index.html").read_text()
    missing = page.partition('<table id="without-input">')[2].partition("</table>")[0]
    (row,) = [row for row in missing.split("<tr>") if "<td>soil_moisture</td>" in row]
    assert {"2004-05", "2004-10"} <= set(re.findall(r"\d{4}-\d\d", row))
    told = invoke("check", ruin.config)
    row = next(line for line in told.out.splitlines() if "soil_moisture" in line)
    assert "10 of 12, 2004-01..2004-12" in row
    assert "2: 2004-05, 2004-10" in row


def test_status_counts_what_is_complete_and_what_failed(ruin: Ruin) -> None:
    done = invoke("status", ruin.config)
    assert done.status == 0
    found = counts(done)
    failed = sum(fault.unit.startswith("cube") for fault in FAULTS.values())
    assert found["cube"] == [str(39 - failed), "39", str(failed)]
    assert found["search"] == ["5", "5", "1"]
    assert all(complete == of for name, (complete, of, _) in found.items() if name != "cube")


def opened(folder: Path, store: str, group: str) -> xr.Dataset:
    return xr.open_zarr(folder / store, group=group, consolidated=False).load()


def test_what_could_not_be_read_is_missing_in_the_cube_and_all_else_is_there(ruin: Ruin, output: Path) -> None:
    # Months between two that are known are filled; no value was seen in them.
    spoilt = {"ndvi": {5, 6}, "soil_moisture": {5, 6, 10}}
    filled = {"ndvi": {9}, "precipitation": {5, 9}, "precipitation_lag1": {6, 10}}
    altered = {name: set(months) for name, months in filled.items()}
    altered |= {"ndvi": {7, 9}, "valid_fraction": {5, 6, 7, 9, 10}}
    shares, before = opened(ruin.output, "cube.zarr", "filled"), opened(output, "cube.zarr", "filled")
    for name, months in filled.items():
        assert all((shares[name].to_numpy()[month - 1] == 100).all() for month in months)
    for group in ("fine", "coarse"):
        here, whole = opened(ruin.output, "cube.zarr", group), opened(output, "cube.zarr", group)
        for name in map(str, whole):
            if "time" not in whole[name].dims:
                np.testing.assert_array_equal(here[name], whole[name])
                continue
            for month in range(1, 13):
                found, expected = here[name].to_numpy()[month - 1], whole[name].to_numpy()[month - 1]
                if month in spoilt.get(name, ()):
                    assert np.isnan(found).all(), (group, name, month)
                elif month not in altered.get(name, ()):
                    _assert_seen_the_same(found, expected, before, name, month)
    fraction = opened(ruin.output, "cube.zarr", "coarse")["valid_fraction"].to_numpy()
    assert (fraction[[4, 5, 8, 9]] == 0).all()


def _assert_seen_the_same(
    found: NDArray[Any], expected: NDArray[Any], filled: xr.Dataset, name: str, month: int
) -> None:
    """What was seen is the same; what is filled rests on other months too, of which some are missing."""
    gap = filled[name].to_numpy()[month - 1] > 0 if name in filled else np.zeros(found.shape, bool)
    if gap.shape == found.shape:
        np.testing.assert_array_equal(found[~gap], expected[~gap], err_msg=f"{name} {month}")
    np.testing.assert_allclose(found, expected, rtol=0.1, err_msg=f"{name} {month}")


def test_maps_are_made_where_they_can_be_and_flagged(ruin: Ruin) -> None:
    maps = opened(ruin.output, "maps.zarr", "month")
    values, flags = maps["soil_moisture"].to_numpy(), maps["quality"].to_numpy()
    there = np.isfinite(values)
    assert [month for month in range(1, 13) if not there[month - 1].any()] == [5, 6]
    assert there[[0, 1, 2, 3, 6, 7, 8, 9, 10, 11]].mean() > 0.9
    for month in (9, 10):
        assert (flags[month - 1][there[month - 1]] & Quality.GAP_FILLED).all()
    assert (flags[9][there[9]] & Quality.PREDICTED).all()
    assert (flags[8][there[8]] & (Quality.OBSERVED | Quality.PREDICTED)).all()


def test_the_catalog_lists_only_the_maps_that_there_are(ruin: Ruin) -> None:
    catalog = pystac.Catalog.from_file(str(ruin.output / "maps" / "catalog.json"))
    catalog.validate_all()
    found = {item.id for item in catalog.get_items(recursive=True)}
    months = [month for month in range(1, 13) if month not in {5, 6}]
    assert {f"shaanxi-like-month-2004-{month:02d}" for month in months} <= found
    assert not {"shaanxi-like-month-2004-05", "shaanxi-like-month-2004-06"} & found


def test_a_rerun_tries_only_what_failed_and_after_the_repair_all_is_as_if_nothing_had_been(
    ruin: Ruin, config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    world, products = ruin.config.parent / "catalog", tmp_path / "run"
    shutil.copytree(ruin.output, products)
    run = ("run", ruin.config, "--output", products, "--scheduler", cluster)
    before = times(products)
    assert invoke(*run).status == 65
    cubes = {name for name in redone(before, products) if name.startswith("state/cube")}
    assert cubes == {
        f"state/cube/{fault.unit.removeprefix('cube ')}.failed.json"
        for fault in FAULTS.values()
        if fault.unit.startswith("cube")
    }
    assert not [name for name in redone(before, products) if name.startswith(("models", "samples", "maps.zarr"))]

    spoilt = files(world)
    shutil.rmtree(world)
    shutil.copytree(config.parent / "catalog", world)
    repaired = {name for name, digest in files(world).items() if spoilt.get(name) != digest}
    assert len(repaired) == len(FAULTS) + 2
    before = times(products)
    done = invoke(*run)
    assert done.status == 0, done.err
    assert {name.partition("_r000")[0] for name in redone(before, products) if name.startswith("state/cube")} == {
        *(f"state/cube/ndvi/2004-{month:02d}" for month in (5, 6, 7, 9)),
        *(f"state/cube/precipitation/2004-{month:02d}" for month in (5, 9)),
        *(f"state/cube/soil_moisture/2004-{month:02d}" for month in (5, 6, 10)),
    }
    assert files(products, without=OWN) == files(output, without=OWN)
    status = counts(invoke("status", ruin.config, "--output", products))
    assert all(complete == of and failed == "0" for complete, of, failed in status.values())
    page = (products / "report" / "index.html").read_text()
    assert 'id="failed"' not in page
    assert 'id="without-input"' not in page


def test_a_file_in_another_crs_than_its_item_says_is_read_where_it_lies(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    """The file counts: the item's wrong `proj:code` does no harm where the place is right."""
    folder = tmp_path / "world"
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("run"))
    for path in (folder / "catalog" / "soil").rglob("soil-texture.json"):
        rewrite(path, lambda item: item["properties"].update({"proj:code": "EPSG:3857"}))
    done = invoke("search", folder / config.name)
    assert done.status == 0, done.err
    done = invoke("cube", folder / config.name, "--scheduler", cluster)
    assert done.status == 0, done.err
    here, whole = (opened(one, "cube.zarr", "fine")["sand"] for one in (folder / "run", output))
    np.testing.assert_array_equal(here, whole)


# What leaves nothing to learn from


def test_a_static_source_that_cannot_be_read_leaves_nothing_to_learn_from(
    config: Path, cluster: str, tmp_path: Path
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("run"))
    file = folder / "catalog" / "dem" / "dem" / "elevation.tif"
    whole = file.read_bytes()
    file.write_bytes(whole[:200])
    run = ("run", folder / config.name, "--scheduler", cluster, "-o", "period=[2004-03, 2004-05]")
    done = invoke(*run)
    assert done.status == 65
    assert "cube elevation/static_r000c000: " in done.err
    assert "no coarse cell has an observation and enough valid predictors" in done.err
    assert "soilscale status" in done.err
    assert "elevation/static_r000c000" in invoke("status", *run[1:2], *run[4:]).out
    file.write_bytes(whole)
    before = times(folder / "run" / "state" / "cube")
    done = invoke("cube", *run[1:])
    assert done.status == 0, done.err
    (again,) = redone(before, folder / "run" / "state" / "cube")
    assert again.startswith("elevation/static_r000c000.")


@pytest.mark.parametrize(
    ("overrides", "status", "said"),
    [
        (["sources.sand.collection=sol"], 78, ["source 'sand'", "no collection 'sol'", "did you mean 'soil'?"]),
        (["sources.sand.asset=sandy"], 78, ["source 'sand'", "has the asset 'sandy'", "clay, sand, silt"]),
        (["sources.ndvi.profil=MOD13A3"], 78, ["sources.ndvi.profil", "unknown key; did you mean 'profile'?"]),
        (["sources.ndvi.profile=MOD13A"], 78, ["sources.ndvi", "no profile 'MOD13A'", "did you mean 'MOD13A3'"]),
        (["period=[2010-01, 2010-12]"], 65, ["source soil_moisture", "from 2010-01 to 2010-12", "expected at least"]),
        (["area.bbox=[5, 47, 6, 48]"], 65, ["source soil_moisture", "no item of collection 'soil-moisture'"]),
        (
            ["catalogs.world.url=@/catalog/dem/dem/elevation.tif"],
            78,
            ["elevation.tif is not JSON", "correct"],
        ),
        (["catalogs.world.url=@/world.yaml"], 78, ["catalog 'world'", "world.yaml is not JSON", "correct catalogs"]),
        (["catalogs.world.url=@/catalog/missing.json"], 78, ["catalog 'world'", "missing.json does not exist; check"]),
        (["validation.stations=@/missing.csv"], 78, ["validation.stations", "there is no file", "missing.csv"]),
        (["validation.truth=@/missing.zarr"], 78, ["validation.truth: there is no", "missing.zarr; expected a Zarr"]),
        (["validation.truth=@/catalog"], 78, ["catalog has no group 'month'; it is not a Zarr store; expected"]),
        (["validation.truth=@/truth.zarr/month"], 78, ["month has no group 'month'; it holds /, soil_moisture"]),
        (["validation.truth=@/world.yaml"], 78, ["world.yaml has no group 'month'; it is not a Zarr store"]),
    ],
)
def test_what_is_asked_for_and_is_not_there_is_told_before_anything_is_computed(
    config: Path, tmp_path: Path, overrides: list[str], status: int, said: list[str]
) -> None:
    options = [part for one in overrides for part in ("-o", one.replace("@", str(config.parent)))]
    done = invoke("run", config, "--output", tmp_path / "run", "--scheduler", "tcp://127.0.0.1:9", *options)
    assert done.status == status, done.err
    for part in said:
        assert part in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run" / "cube.zarr").exists()


def test_stations_none_of_which_lies_in_the_area_are_told_everywhere_and_end_with_65(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    shutil.copytree(output, tmp_path / "run")
    stations = tmp_path / "stations.csv"
    stations.write_text("station,longitude,latitude,time,value\nFAR,-60,-10,2004-05-01,0.2\nAWAY,0,0,2004-05-01,0.2\n")
    report = ("report", config, "--output", tmp_path / "run", "--scheduler", cluster)
    told = "outside the grid: AWAY, FAR"
    for command in (report, ("run", *report[1:])):
        done = invoke(*command, "-o", f"validation.stations={stations}")
        assert done.status == 65, done.err
        assert f"report stations: no station of {stations} could be compared with the maps; {told}" in done.err
        assert "use stations of the area and the period, or remove validation.stations" in done.err
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "None of the stations could be compared with the maps: outside the grid (AWAY and FAR)." in page
    assert told in page
    left_out = pd.read_csv(tmp_path / "run" / "report" / "stations_left_out.csv")
    assert left_out["station"].tolist() == ["AWAY", "FAR"]
    assert left_out["detail"].iloc[1] == "longitude -60.0000, latitude -10.0000"
    status = invoke("status", config, "--output", tmp_path / "run", "-o", f"validation.stations={stations}")
    assert counts(status)["report"] == ["1", "1", "1"]
    assert f"missing: report stations: no station of {stations}" in status.out
    assert invoke(*report).status == 0


def test_a_truth_without_the_variable_names_what_it_has(tmp_path: Path) -> None:
    url = str(tmp_path / "truth.zarr")
    xr.Dataset({"sm": ("x", np.zeros(2)), "error": ("x", np.zeros(2))}).to_zarr(url, group="month", consolidated=False)
    with pytest.raises(
        ConfigurationError, match=r"has no 'soil_moisture' in its group 'month', but error, sm; expected"
    ):
        reference_data.truth(url)


# The output


@pytest.mark.parametrize("place", ["@/file/run", "@/file", "/proc/soilscale"])
def test_an_output_that_cannot_be_written_is_a_wrong_configuration(config: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    url = place.replace("@", str(tmp_path))
    for command in ("search", "check"):
        done = invoke(command, config, "--output", url)
        assert done.status == 78, (command, done.err)
        assert f"cannot write {url}" in done.err
        assert "check that the path is right and that you may write there" in done.err
        assert "Traceback" not in done.err
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_file_in_the_way_of_a_product_stops_the_run_and_nothing_is_lost(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    shutil.copytree(output, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "maps")
    shutil.rmtree(tmp_path / "run" / "state" / "publish")
    (tmp_path / "run" / "maps").write_text("in the way")
    run = ("run", config, "--output", tmp_path / "run", "--scheduler", cluster)
    before = times(tmp_path / "run" / "cube.zarr")
    done = invoke(*run)
    assert done.status == 78
    assert f"cannot write {tmp_path}/run/maps/" in done.err
    assert "check that the path is right" in done.err
    (tmp_path / "run" / "maps").unlink()
    assert invoke(*run).status == 0
    assert not redone(before, tmp_path / "run" / "cube.zarr")
    assert files(tmp_path / "run" / "maps") == files(output / "maps")


def test_a_full_disk_stops_the_run_which_goes_on_when_there_is_room(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk to fill cannot be mounted here: {mounted.stderr.strip()}")
    try:
        run = (config, "--output", disk / "run", "--scheduler", cluster)
        done = invoke("run", *run)
        assert done.status == 69
        assert "No space left on device" in done.err
        assert "run the same command again" in done.err
        assert "cube: 39 of 39" not in done.err
        complete, total, failed = counts(invoke("status", config, "--output", disk / "run"))["cube"]
        assert 0 < int(complete) < int(total) == 39
        assert failed == "0"
        standing = times(disk / "run" / "state" / "cube")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        done = invoke("cube", *run)
        assert done.status == 0, done.err
        assert times(disk / "run" / "state" / "cube").items() >= standing.items()
        assert files(disk / "run" / "cube.zarr") == files(output / "cube.zarr")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# Services


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for catalogs a tenth of a second in all, not seconds."""
    monkeypatch.setattr(retry, "SERVICE", (0.02, 0.03, 0.05))


@pytest.mark.usefixtures("impatient")
def test_a_catalog_that_does_not_answer_is_told_as_such(config: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port_of_nobody()}/catalog.json"
    run = ("run", config, "--output", tmp_path / "run", "-o", f"catalogs.world.url={url}?sig=hunter2")
    done = invoke(*run)
    assert done.status == 69
    assert f"source 'soil_moisture', catalog 'world': {url}" in done.err
    assert "cannot be reached" in done.err
    assert "check the network and the service, then run again" in done.err
    assert "Traceback" not in done.err
    done = invoke(*run, "--log-level", "debug")
    assert "Traceback" in done.err
    assert "hunter2" not in done.err


@pytest.mark.usefixtures("impatient")
def test_frozen_items_do_without_their_catalog(config: Path, output: Path, cluster: str, tmp_path: Path) -> None:
    item = json.loads((output / "items" / "sand.json").read_text())["features"][0]
    item["assets"]["sand"]["href"] = f"file://{item['assets']['sand']['href']}"
    with static_catalog({"/items.json": {"type": "FeatureCollection", "features": [item]}}) as catalog:
        url = f"{catalog.url}/items.json"
        run = ("run", config, "--output", tmp_path / "run", "--scheduler", cluster, "-o", "period=[2004-03, 2004-05]")
        run = (*run, "-o", f"catalogs.other={{url: '{url}'}}", "-o", "sources.sand.catalog=other")
        assert invoke("search", *run[1:4], *run[6:]).status == 0
    done = invoke(*run)
    assert done.status == 0, done.err
    assert f"{url} cannot be reached" in done.err
    assert "using the items that were frozen before" in done.err
    done = invoke(*run, "-o", "sources.sand.query={platform: {neq: terra}}")
    assert done.status == 69


def test_a_store_of_inputs_that_does_not_answer_leaves_its_units_for_a_rerun(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    file = config.parent / "catalog" / "soil" / "soil-texture" / "sand.tif"
    with serve() as server:
        server.contents["sand.tif"] = file.read_bytes()
        server.faults["sand.tif"] = 403
        item = json.loads((output / "items" / "sand.json").read_text())["features"][0]
        item["assets"]["sand"]["href"] = server.href("sand.tif", "?sig=hunter2")
        (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
        options = ["--output", tmp_path / "run", "-o", "period=[2004-03, 2004-05]", "-o", "sources.sand.catalog=other"]
        options += ["-o", f"catalogs.other={{url: {tmp_path / 'items.json'}}}"]
        done = invoke("run", config, "--scheduler", cluster, *options)
        assert done.status == 69
        assert f"access to {server.href('sand.tif')} was refused" in done.err
        assert "1 of 12 units of stage cube failed" in done.err
        assert "renew the credentials and run the same command again" in done.err
        assert "hunter2" not in done.err
        assert counts(invoke("status", config, *options))["cube"] == ["11", "12", "0"]
        standing = times(tmp_path / "run" / "state" / "cube")
        del server.faults["sand.tif"]
        done = invoke("cube", config, "--scheduler", cluster, *options)
        assert done.status == 0, done.err
        assert len(redone(standing, tmp_path / "run" / "state" / "cube")) == 1
        here, whole = (opened(one, "cube.zarr", "fine")["sand"] for one in (tmp_path / "run", output))
        np.testing.assert_array_equal(here, whole)


def test_a_scheduler_that_does_not_answer_is_told_as_such(config: Path, tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port_of_nobody()}"
    run = ("run", config, "--output", tmp_path / "run", "--scheduler", address)
    done = soilscale(*run, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s")
    assert done.status == 69
    assert f"no Dask scheduler answers at {address}" in done.err
    assert "check --scheduler" in done.err
    assert "Traceback" not in done.err


def test_what_is_no_address_of_a_scheduler_is_refused(config: Path, tmp_path: Path) -> None:
    done = invoke("run", config, "--output", tmp_path / "run", "--scheduler", "nonsense")
    assert done.status == 78
    assert "'nonsense' is not a valid Dask scheduler address" in done.err
    assert "expected tcp://HOST:PORT" in done.err


def test_a_store_of_the_output_that_refuses_is_told_as_such(config: Path) -> None:
    endpoint = f"http://127.0.0.1:{free_port_of_nobody()}"
    access = {"AWS_ACCESS_KEY_ID": "maria", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_DEFAULT_REGION": "eu-west-1"}
    done = soilscale(
        *("run", config, "--output", "s3://bucket/prefix"), AWS_ENDPOINT_URL=endpoint, AWS_MAX_ATTEMPTS="1", **access
    )
    assert done.status == 69
    assert "cannot read s3://bucket/prefix/state/owner.json" in done.err
    assert endpoint in done.err
    assert "check the store and your credentials, then run the same command again" in done.err
    assert "Traceback" not in done.err
    assert "hunter2" not in done.err
