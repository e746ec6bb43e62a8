"""What a run will take, told before it, held to what real runs take."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from checkout import ROOT
from commands import Ended, counts, edit, files, invoke, sparse_world
from soilscale import config
from soilscale.config import Config
from soilscale.estimate import fits, resources, workload
from soilscale.estimate.assumptions import Outlook
from soilscale.estimate.resources import LIMIT, Sizing

NATION: dict[str, Any] = {
    "name": "china",
    "output": "run",
    "area": {"bbox": [73.5, 18.2, 134.8, 53.5]},
    "grid": {"crs": "EPSG:6933", "coarse": 25025.26, "ratio": 25},
    "period": ["2002-01", "2017-12"],
    "catalogs": {"own": {"url": "https://catalog.example.org/"}},
    "sources": {
        "soil_moisture": {"role": "target", "profile": "ESA_CCI_SM", "catalog": "own", "collection": "cci"},
        "lst": {"profile": "MOD11A2", "catalog": "own", "collection": "modis-11A2-061", "lags": [1]},
        "ndvi": {"profile": "MOD13A3", "catalog": "own", "collection": "modis-13A3-061"},
        "precipitation": {"profile": "GPM_3IMERGM", "catalog": "own", "collection": "imerg"},
        "elevation": {"profile": "NASADEM", "catalog": "own", "collection": "dem", "derive": ["slope", "aspect"]},
        "sand": {"profile": "SoilGrids_sand", "catalog": "own", "collection": "soil", "static": True},
    },
}
"""China at 1 km, 16 years."""


def nation(**changes: Any) -> Config:
    return config.validate({**NATION, **changes})


def by_stage(told: Sizing) -> dict[str, resources.Size]:
    return {size.stage: size for size in told.sizes}


# Before anything is known


def test_a_nation_is_sized_from_its_configuration_alone() -> None:
    told = by_stage(resources.size(nation(), {}))
    grid = nation().nested_grid
    tiles, months, seasons = len(list(grid.tiles())), 16 * 12, 16 * 4 - 1
    assert tiles > 30
    assert told["predict"].units == told["conserve"].units == tiles * months
    assert told["coarse"].units == 16 + 1
    assert told["season"].units == tiles * seasons
    assert told["publish"].units == months + seasons
    assert told["train"].units == 2 * (4 + 1) * (1 + 5) + (1 + 5), (
        "two algorithms by season, one of all seasons together"
    )
    # lst reaches a month back; elevation and sand hold for every month
    assert told["cube"].units == tiles * (4 * months + 1 + 2)
    cells = np.prod(grid.fine.shape)
    rate = resources.rates().stages["predict"]
    assert told["predict"].written / rate.written == pytest.approx(months * cells * (4 + 1 + 4), rel=0.01)


def test_every_stage_of_a_nation_has_memory_enough_by_default() -> None:
    told = resources.size(nation(), {})
    assert told.fits
    assert max(size.memory for size in told.sizes if size.stage != "report") == told.total.memory < LIMIT
    assert any("every stage needs less than 2,048 MiB" in line for line in told.lines)


def test_what_grows_with_the_rows_of_a_nation_is_told_with_what_to_change() -> None:
    forests = ("random_forest", "trend_forest")

    def drawing(most: int | None) -> Sizing:
        parameters = {name: {"max_samples": most} for name in forests}
        return resources.size(nation(models={"parameters": parameters}), {})

    told = drawing(None)
    assert not told.fits
    (line,) = (line for line in told.lines if line.startswith("memory: train needs"))
    assert "set models.parameters.random_forest.max_samples and models.parameters.trend_forest.max_samples to" in line
    most = int(line.partition("trend_forest.max_samples to ")[2].split()[0])
    assert drawing(most).fits


def test_a_model_goes_with_what_its_trees_draw() -> None:
    def nodes(rows: float, **parameters: Any) -> float:
        outlook = Outlook(nation(models={"parameters": {"random_forest": parameters}}), {})
        return fits.model_bytes(outlook, "random_forest", rows) / 500 / fits.NODE

    # of 300 rows that are drawn, 300 (1 - 1/e) differ; a leaf has three of them, and there are twice as many nodes
    assert nodes(300) == pytest.approx(300 * (1 - np.exp(-1)) * 2 / 3)
    assert nodes(1e9) == pytest.approx(20_000 * 2 / 3, rel=1e-3)
    assert nodes(300, max_samples=0.5) == pytest.approx(300 * (1 - np.exp(-0.5)) * 2 / 3)
    assert nodes(1e6, max_samples=10, bootstrap=False) == nodes(1e6, max_samples=None)


def test_a_tile_that_is_too_large_is_told_with_one_that_is_not() -> None:
    small = {"algorithms": ["random_forest"], "parameters": {"random_forest": {"n_estimators": 5, "max_depth": 5}}}
    grid = NATION["grid"]
    told = resources.size(nation(grid={**grid, "tile": 200}, models=small), {})
    lines = [line for line in told.lines if line.startswith("memory: predict needs")]
    assert lines, told.lines
    tile = int(lines[0].partition("set grid.tile to ")[2].split()[0])
    assert 1 <= tile < 200
    assert by_stage(resources.size(nation(grid={**grid, "tile": tile}, models=small), {}))["predict"].memory < LIMIT


def test_a_worker_with_more_memory_may_have_larger_tiles() -> None:
    wide = {name: {"min_samples_leaf": 1000} for name in ("random_forest", "trend_forest")}
    given = nation(grid={**NATION["grid"], "tile": 250}, models={"parameters": wide})
    assert not resources.size(given, {}, LIMIT).fits
    assert resources.size(given, {}, 64 * LIMIT).fits


@pytest.mark.parametrize("area", [4, 16])
def test_the_memory_of_no_stage_but_the_fits_goes_with_the_area(area: int) -> None:
    """Tiles of one size; the fits learn from more rows, and the report is the command's own."""

    def memory(side: int) -> dict[str, float]:
        grid = {"crs": "EPSG:4326", "coarse": 0.25, "ratio": 24, "tile": 8}
        given = nation(
            grid=grid, area={"bbox": [100, 30, 100 + 2 * side, 30 + 2 * side]}, period=["2002-01", "2002-12"]
        )
        return {size.stage: size.memory for size in resources.size(given, {}).sizes}

    one, many = memory(1), memory(round(area**0.5))
    assert {stage for stage in one if many[stage] > 1.1 * one[stage]} <= {
        "train",
        "importance",
        "ablation",
        "predict",
        "picture",
        "report",
    }
    for stage in ("cube", "coarse", "conserve", "season", "publish"):
        assert many[stage] == pytest.approx(one[stage], rel=0.01)


def test_rates_name_the_machine_and_the_benchmark_and_cover_every_stage() -> None:
    known = resources.rates()
    assert known.command.startswith("python benchmarks/memory.py")
    assert "cores" in known.machine
    truth = {"truth": "truth.zarr"}
    parts = {
        "a": {"role": "part", "catalog": "own", "collection": "a", "asset": "d", "unit": "m3 m-3"},
        "b": {"role": "part", "catalog": "own", "collection": "b", "asset": "d", "unit": "m3 m-3"},
        **NATION["sources"],
        "soil_moisture": {"role": "target", "parts": ["a", "b"]},
    }
    asked = workload.demands(Outlook(nation(sources=parts, validation=truth), {}))
    assert {demand.stage for demand in asked} <= set(known.stages)
    assert {"relate", "harmonise", "merge", "judge"} <= {demand.stage for demand in asked}


def test_plan_asks_no_catalog_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "china.yaml"
    path.write_text(yaml.safe_dump(NATION))
    done = invoke("plan", path, "--memory", 1024)
    assert done.status == 0, done.err
    assert "more than 1,024 MiB" in done.out
    assert "estimated: units and dates of " in done.out
    assert [one.name for one in tmp_path.iterdir()] == ["china.yaml"]


# What the papers show


def shown(place: str, language: str, number: int) -> str:
    """Fenced block of a language in a paper."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / place).read_text(), flags=re.MULTILINE | re.DOTALL)
    return str(blocks[number])


@pytest.mark.parametrize(("place", "table"), [("docs/sizing.md", 0), ("README.md", 1)], ids=["a nation", "a province"])
def test_the_tables_in_the_papers_are_those_of_their_configurations(place: str, table: int) -> None:
    content = yaml.safe_load(shown(place, "yaml", 0))
    told = resources.size(config.validate(content), {})
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in shown("docs/sizing.md", "text", table).splitlines()
    ]
    units = {row[0]: row[1] for row in rows if row}
    assert units == {size.stage: f"{size.units:,}" for size in (*told.sizes, told.total)}


# Beside a real run


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of four tiles."""
    return edit(sparse_world(tmp_path_factory.mktemp("world"), cells=4), grid__tile=2)


@pytest.fixture(scope="module")
def ran(small: Path, cluster: str) -> Ended:
    """How its run ended."""
    return invoke("run", small, "--scheduler", cluster)


@pytest.fixture(scope="module")
def foreseen(small: Path, ran: Ended) -> dict[str, resources.Size]:
    assert ran.status == 0, ran.err
    return by_stage(resources.foresee(config.load(str(small), (), None)))


@pytest.mark.slow
def test_units_are_those_of_the_run(small: Path, foreseen: dict[str, resources.Size]) -> None:
    found = {stage: int(row[0]) for stage, row in counts(invoke("status", small)).items() if stage != "search"}
    assert {stage: size.units for stage, size in foreseen.items()} == found


@pytest.mark.slow
def test_objects_are_as_many_as_the_run_has_written(small: Path, foreseen: dict[str, resources.Size]) -> None:
    written = files(small.parent / "run", without=("report", "items", "run.yaml"))
    told = sum(size.objects for stage, size in foreseen.items() if stage != "report")
    assert told == pytest.approx(len(written), rel=0.06)  # of so few, metadata of groups are a share


@pytest.mark.slow
def test_bytes_are_about_those_that_the_run_has_written(small: Path, foreseen: dict[str, resources.Size]) -> None:
    def size(name: str) -> int:
        return sum(path.stat().st_size for path in (small.parent / "run" / name).rglob("*") if path.is_file())

    cube = sum(foreseen[stage].written for stage in ("cube", "levels", "cycles", "gaps"))
    assert cube == pytest.approx(size("cube.zarr"), rel=0.2)
    # The flags that prediction writes are replaced, and a forest of ten trees has few values, which take less.
    maps = sum(foreseen[stage].written for stage in ("predict", "conserve", "season"))
    assert maps == pytest.approx(size("maps.zarr"), rel=0.3)


@pytest.mark.slow
def test_check_tells_the_same_from_the_items_that_it_finds(small: Path, foreseen: dict[str, resources.Size]) -> None:
    done = invoke("check", small)
    assert done.status == 0, done.err
    for stage, size in foreseen.items():
        (row,) = (line for line in done.out.splitlines() if line.startswith(f"│ {stage} "))
        assert [cell.strip() for cell in row.split("│")[2:3]] == [f"{size.units:,}"]
    assert "items are not known" not in done.out


# Memory


@pytest.mark.long
def test_workers_take_no_more_for_a_larger_area_and_no_more_than_is_told(tmp_path: Path) -> None:
    """The benchmark itself, on small tiles; what libraries take, a hundred MiB more or less by machine, is set off."""
    table = tmp_path / "memory.csv"
    command = [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "memory.py", "--areas", "1", "4", "--tile", "10"]
    command += ["--trees", "10", "--scratch", tmp_path, "--csv", table]
    command += ["--commands", "search,cube,samples", "train", "map"]
    subprocess.run(command, check=True, capture_output=True, timeout=3600)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    peaks = {(row["stage"], row["area"]): float(row["peak_mib"]) for row in rows}
    stages = {stage for stage, area in peaks if area == "4"} & set(resources.rates().stages)
    assert {"cube", "coarse", "train", "predict", "conserve", "season", "publish"} <= stages
    assert {stage for stage in stages if peaks[stage, "4"] > 1.1 * peaks[stage, "1"]} == set()
    idle = max(peak for (stage, _), peak in peaks.items() if stage.startswith("runner"))
    libraries = idle - resources.rates().process / 2**20
    assert abs(libraries) < 200
    for row in rows:
        if row["stage"] in stages:
            rate, peak = resources.rates().stages[row["stage"]], float(row["peak_mib"])
            told = rate.base / 2**20 + rate.memory * float(row["load_mib"]) + libraries
            assert peak <= 1.1 * told <= 2.2 * peak, row["stage"]
            assert peak < LIMIT / 2**20


@pytest.mark.parametrize(("limit", "at_least"), [(512, 768), (4096, 8192), (0, 768)])
def test_what_kills_workers_is_told_with_the_memory_that_would_do(limit: int, at_least: int) -> None:
    """By the estimate where that is more than the workers had, else twice what they had."""
    said = resources.remedy(nation(), "cube", limit * resources.MIB)
    (proposed, expected) = (int(one.replace(",", "")) for one in re.findall(r"([\d,]+) MiB", said))
    assert expected == round(by_stage(resources.size(nation(), {}))["cube"].memory / resources.MIB)
    assert proposed >= at_least
    assert proposed > max(expected, limit)
    assert proposed % 256 == 0
    assert "smaller grid.tile" in said


def test_a_stage_that_no_estimate_knows_is_told_twice_the_memory() -> None:
    assert "at least 2,048 MiB, or" in resources.remedy(nation(), "other", 1024 * resources.MIB)
    assert resources.remedy(nation(), "other", 0).startswith("give the workers more memory")
