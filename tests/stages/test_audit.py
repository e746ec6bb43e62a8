"""The audit of inputs: what is kept of every source after a search, and what does not go together in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio

from checkout import ROOT
from commands import edit, invoke, sparse_world
from soilscale.stages import input_audit

pytestmark = pytest.mark.slow

NAME = "inputs.audit.json"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = sparse_world(tmp_path_factory.mktemp("world"), cells=2)
    return edit(path, period=["2004-03", "2004-08"])


def spoilt(config: Path, folder: Path, *faults: Callable[[Path], object]) -> Path:
    """Configuration of a copy of the world with faults in its catalog."""
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("run"))
    for fault in faults:
        fault(folder / "catalog")
    return folder / config.name


def kept(config: Path) -> dict[str, Any]:
    return dict(json.loads((config.parent / "run" / "items" / NAME).read_text()))


def as_hdf4(catalog: Path) -> None:
    (catalog / "dem" / "dem" / "elevation.tif").write_bytes(b"\x0e\x03\x13\x01" + bytes(1000))


def another_scale(catalog: Path) -> None:
    """Let the item of the sand say that its scale is 1, and its file that it is 0.5."""
    (path,) = (catalog / "soil").glob("*/*.json")
    item = json.loads(path.read_text())
    item["assets"]["sand"]["raster:bands"] = [{"scale": 1.0, "offset": 0.0, "unit": "%"}]
    path.write_text(json.dumps(item))
    with rasterio.open(path.parent / "sand.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.scales = (0.5,)


def without_may(catalog: Path) -> None:
    path = catalog / "soil-moisture" / "collection.json"
    collection = json.loads(path.read_text())
    collection["links"] = [link for link in collection["links"] if "soil-moisture-2004-05" not in link["href"]]
    path.write_text(json.dumps(collection))


def test_a_search_keeps_what_there_is_of_every_source(config: Path) -> None:
    assert invoke("search", config).status == 0
    found = kept(config)
    assert found["type"] == "soilscale:audit"
    assert "features" not in found
    assert set(found["sources"]) == {"soil_moisture", "precipitation", "ndvi", "elevation", "sand"}
    ndvi = found["sources"]["ndvi"]
    assert (ndvi["items"], ndvi["used"], ndvi["intervals"], ndvi["places"]) == (12, 12, 6, 2)
    assert ndvi["days covered"]["2004-04"] == 30
    assert len(ndvi["opened"]) == 3
    seen = ndvi["opened"][0]
    assert (seen["format"], seen["scale"], seen["missing codes"]) == ("GTiff", 0.0001, [-3000])
    least, median, greatest = seen["least, median, greatest"]
    assert -0.2 <= least <= median <= greatest <= 1
    assert set(seen["missing"]) <= {"mask", "fill", "range", "quality"}
    assert found["sources"]["elevation"]["static"]
    assert found["findings"] == []


def test_an_audit_that_stands_is_not_taken_again(config: Path) -> None:
    invoke("search", config)
    path = config.parent / "run" / "items" / NAME
    before = path.stat().st_mtime_ns
    assert invoke("search", config).status == 0
    assert path.stat().st_mtime_ns == before
    assert invoke("search", config, "-o", "period=[2004-03, 2004-07]").status == 0
    assert path.stat().st_mtime_ns > before


def test_what_does_not_go_together_is_found_kept_and_shown(config: Path, tmp_path: Path) -> None:
    path = spoilt(config, tmp_path / "world", as_hdf4, another_scale, without_may)
    done = invoke("check", path)
    assert done.status == 65
    shown = [line for line in done.out.splitlines() if re.match("(error|warning): ", line)]
    assert len(shown) == 3
    assert shown[0].startswith("error: source elevation, item dem: ")
    assert "it is HDF4; convert it to GeoTIFF" in shown[0]
    assert shown[1].startswith("warning: source sand, item ")
    assert "scale 1" in shown[1]
    assert "scale 0.5" in shown[1]
    assert shown[2] == "warning: source soil_moisture: no item in 2004-05"
    assert not (path.parent / "run").exists()

    done = invoke("search", path)
    assert done.status == 0, "an audit stops no run"
    assert done.err.count("HDF4") == 1
    assert [entry["rule"] for entry in kept(path)["findings"]] == ["unreadable", "contradiction", "months"]
    shutil.rmtree(path.parent / "catalog")
    status = invoke("status", path)
    assert status.status == 0, status.err
    assert [line for line in status.out.splitlines() if re.match("(error|warning): ", line)] == shown


def test_a_target_far_outside_its_physical_range_is_an_error(config: Path, tmp_path: Path) -> None:
    done = invoke("check", config, "--output", tmp_path / "run", "-o", "maps.valid_range=[0.7, 0.9]")
    assert done.status == 65
    assert "error: source soil_moisture: most sampled values lie outside maps.valid_range [0.7, 0.9]" in done.err


@pytest.mark.parametrize(
    ("counts", "rules"),
    [
        ({"matched": 200, "received": 100}, ["received"]),
        ({"matched": 200, "received": 200}, []),
        ({"matched": None, "received": 100}, []),
        ({"broken": 2, "refused": 3}, ["documents", "query"]),
    ],
)
def test_what_a_catalog_gave_is_held_against_what_it_says(counts: dict[str, Any], rules: list[str]) -> None:
    assert [rule for rule, _ in input_audit.of_catalog(counts)] == rules


def test_the_documentation_lists_every_rule_as_it_is() -> None:
    text = (ROOT / "docs" / "audit.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(name, rule.level, rule.text) for name, rule in input_audit.RULES.items()]
