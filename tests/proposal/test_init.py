"""`soilscale init`: places by name, products that cover area and period, a grid that fits, a file that reads."""

from __future__ import annotations

import json
import os
import pty
from datetime import date
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import shapely
import yaml
from pyproj import Geod

from commands import invoke
from soilscale import config, proposal
from soilscale.errors import ConfigurationError
from soilscale.proposal import choices, places
from soilscale.sources import facts, presets, profiles

TODAY = date(2026, 11, 30)
BOX = (107.0, 34.0, 108.0, 35.0)


def made(tmp_path: Path, **wishes: object) -> tuple[config.Config, list[str]]:
    """Configuration that init writes, read as a run reads it, and what init says."""
    file = tmp_path / "region.yaml"
    lines = proposal.make(file, proposal.Wishes(**({"bbox": BOX} | wishes)), TODAY)
    return config.load(str(file)), lines


@pytest.mark.parametrize(
    ("name", "label", "area"),
    [
        ("Shaanxi", "Shaanxi, China", 205_600),
        ("bavaria", "Bayern, Germany", 70_550),
        ("Amazonas, Brazil", "Amazonas, Brazil", 1_559_000),
        ("uruguay", "Uruguay", 176_000),
        ("cote d'ivoire", "Côte d'Ivoire", 322_000),
        ("South Sudan", "S. Sudan", 619_700),
        ("Democratic Republic of the Congo", "Dem. Rep. Congo", 2_345_000),
        ("Bosnia and Herzegovina", "Bosnia and Herz.", 51_200),
        ("Chukchi Autonomous Okrug", "Chukchi Autonomous Okrug, Russia", 737_700),
    ],
)
def test_a_place_is_known_by_its_name(name: str, label: str, area: float) -> None:
    """Areas in square kilometres are those of encyclopedias."""
    got, outline = proposal.outline(name)
    assert got == label
    assert outline.is_valid
    square = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.orient_polygons(outline))[0]) / 1e6
    assert square == pytest.approx(area, rel=0.05)


def test_of_a_country_far_territories_are_left_out() -> None:
    west, south, east, north = proposal.outline("France")[1].bounds
    assert west > -6
    assert south > 41
    assert east < 10
    assert north < 52


def test_an_outline_goes_on_beyond_180_degrees() -> None:
    outline = proposal.outline("Chukchi Autonomous Okrug")[1]
    assert outline.bounds[0] == -180
    assert outline.bounds[2] == 180


def test_an_unknown_place_names_the_nearest_and_another_way() -> None:
    with pytest.raises(ConfigurationError, match=r"'Shanxy'.*Shanxi, China.*--geometry FILE.*--bbox"):
        proposal.outline("Shanxy")
    with pytest.raises(ConfigurationError, match=r"several places.*Amazonas, (Brazil|Colombia|Peru)"):
        proposal.outline("Amazonas")


def test_every_outline_is_an_area_within_the_globe() -> None:
    for place in places._places():  # noqa: SLF001 - all of them
        shape = shapely.from_wkb(place.geometry)
        west, south, east, north = shape.bounds
        assert not shape.is_empty, place.label
        assert -180 <= west < east <= 180, place.label
        assert -90 <= south < north <= 90, place.label


@pytest.mark.parametrize("profile", [name for name in profiles() if facts(name)["quantity"] == "soil_moisture"])
def test_the_grid_is_made_of_the_pixels_of_any_observation(profile: str, tmp_path: Path) -> None:
    """Corners of coarse cells lie on corners of pixels, in the grid of the file as its profile states it."""
    settings, _ = made(tmp_path, targets=(profile,))
    grid = settings.nested_grid
    source = settings.target
    pixel = facts(profile, settings.catalogs[source.catalog].preset)["pixel"]
    assert settings.grid.crs == pixel["crs"]
    assert grid.side == pixel["size"]
    left, top = pixel.get("origin", (-180.0, 90.0))
    away = np.array([(grid.left - left) / grid.side, (top - grid.top) / grid.side])
    assert np.abs(away - away.round()).max() < 1e-3
    fine = grid.side / settings.grid.ratio * (111_000 if grid.side < 1 else 1)
    assert 900 < fine < 1300


def test_the_paper_is_chosen_for_its_period(tmp_path: Path) -> None:
    settings, lines = made(tmp_path, period=("2002-06", "2017-08"))
    assert settings.target.harmonise is not None
    assert settings.target.harmonise.parts == ("amsr_e", "amsr2")
    assert {source.name for source in settings.predictors} >= {
        "precipitation",
        "lst",
        "ndvi",
        "evi",
        "et",
        "land_cover",
    }
    elevation = next(source for source in settings.predictors if source.name == "elevation")
    assert elevation.derive == ("slope", "aspect")
    assert not any("before the run" in line for line in lines), "without a preset no account is needed"
    assert lines[-1].startswith("next: soilscale check ")


def test_an_editor_finds_the_schema_beside_the_configuration_and_the_file_keeps_to_it(tmp_path: Path) -> None:
    (tmp_path / "soilscale.schema.json").write_text('{"title": "of an earlier version"}')
    made(tmp_path)
    written = (tmp_path / "region.yaml").read_text()
    assert written.splitlines()[0] == "# yaml-language-server: $schema=soilscale.schema.json"
    schema = json.loads((tmp_path / "soilscale.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(written), schema)
    with pytest.raises(jsonschema.ValidationError, match="perod"):
        jsonschema.validate(yaml.safe_load(written.replace("period:", "perod:")), schema)


def test_a_preferred_catalog_is_taken_and_its_account_named(tmp_path: Path) -> None:
    settings, lines = made(tmp_path, presets=("nasa-lpcloud", "nasa-gesdisc"), period=("2015-01", "2016-12"))
    collections = {source.name: source.collection for source in settings.predictors}
    assert collections["et"] == "MOD16A2GF_061"
    assert collections["ndvi"] == "MOD13A3_061"
    assert collections["land_cover"] == "MCD12Q1_061"
    evi = next(source for source in settings.predictors if source.name == "evi")
    assert (evi.asset, evi.layer) == ("data", "1 km monthly EVI")
    text = (tmp_path / "region.yaml").read_text()
    assert "https://urs.earthdata.nasa.gov" in text
    assert any(line.startswith("before the run: nasa-lpcloud: an Earthdata login") for line in lines)


def test_a_product_that_no_catalog_has_is_of_files(tmp_path: Path) -> None:
    settings, lines = made(tmp_path, targets=("ESA_CCI_SM",), period=("1995-01", "1999-12"))
    assert settings.catalogs["files_soil_moisture"].files == str(tmp_path / "data" / "ESA_CCI_SM" / "**" / "*")
    assert any("download its files to data/ESA_CCI_SM" in line for line in lines)


def test_products_cover_the_area_and_the_period() -> None:
    north = choices.Request((20.0, 66.0, 25.0, 69.0), ("2020-01", "2021-12"))
    chosen = {choice.name: choice.profile for choice in choices.predictors(north)}
    assert chosen["elevation"] == "AW3D30", "NASADEM ends at 60 N"
    assert chosen["precipitation"] == "GPM_3IMERGM", "GSMaP ends at 60 N"
    early = choices.Request(BOX, ("1985-01", "1989-12"))
    assert {choice.name for choice in choices.predictors(early)} == {"land_cover", "elevation", "sand", "silt", "clay"}
    with pytest.raises(ConfigurationError, match=r"AMSR2_L3_SMC has 2012-07 to now"):
        choices.target(early, ["AMSR2_L3_SMC"])
    with pytest.raises(ConfigurationError, match="no catalog has soil moisture of 1985-01"):
        choices.target(early)


def test_an_unknown_product_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'AMSR2_L3_SMC'"):
        made(tmp_path, targets=("AMSR2_L3",))
    with pytest.raises(ConfigurationError, match=r"did you mean 'planetary-computer'"):
        made(tmp_path, presets=("planetary-computers",))
    assert not list(tmp_path.iterdir())


def test_the_period_that_is_not_named_is_whole_years_of_the_product() -> None:
    assert choices.default_period(["AMSR2_L3_SMC"], TODAY) == ("2023-01", "2025-12")
    assert choices.default_period(["ESA_CCI_SM"], TODAY) == ("2021-01", "2023-12")
    assert choices.default_period(["AMSR-E_L3_SMC"], TODAY) == ("2009-01", "2011-10")


def test_seasons_of_the_south_have_its_names(tmp_path: Path) -> None:
    settings, _ = made(tmp_path, bbox=(-58.0, -34.0, -56.0, -32.0))
    assert settings.season_scheme.months["summer"] == (12, 1, 2)


def test_the_command_writes_a_file_once(tmp_path: Path) -> None:
    file = tmp_path / "iowa" / "iowa.yaml"
    arguments = ["init", "--place", "Iowa", "--period", "2019-01", "2021-12", "--target", "SPL3SMP", file]
    ended = invoke(*arguments)
    assert ended.status == 0, ended.err
    assert "nasa-nsidc: an Earthdata login" in ended.out
    assert json.loads((tmp_path / "iowa" / "iowa.geojson").read_text())["features"][0]["properties"]["name"].startswith(
        "Iowa"
    )
    content = yaml.safe_load(file.read_text())
    assert content["grid"]["crs"] == "EPSG:6933"
    again = invoke(*arguments)
    assert again.status == 78
    assert "is not overwritten" in again.err
    assert yaml.safe_load(file.read_text()) == content


def test_without_a_terminal_the_area_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        ended = invoke("init", tmp_path / "a.yaml")
    assert ended.status == 78
    assert "--place NAME" in ended.err


def test_on_a_terminal_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = pty.openpty()
    os.write(theirs, b"107 34 108 35\n\n2019-01 2020-12\n")
    with os.fdopen(ours) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        ended = invoke("init", tmp_path / "asked.yaml")
    os.close(theirs)
    assert ended.status == 0, ended.err
    assert config.load(str(tmp_path / "asked.yaml")).period == ("2019-01", "2020-12")


def test_a_geometry_is_named_relative_to_the_file(tmp_path: Path) -> None:
    outline = tmp_path / "outlines" / "basin.geojson"
    outline.parent.mkdir()
    outline.write_text(shapely.to_geojson(shapely.box(*BOX)))
    settings, _ = made(tmp_path, bbox=None, geometry=outline)
    assert settings.area.geometry == str(outline)
    assert 'geometry: "outlines/basin.geojson"' in (tmp_path / "region.yaml").read_text()


def test_accounts_are_of_presets_alone() -> None:
    """Every preset that signs by Earthdata says which account that is; init repeats it."""
    for name, preset in presets().items():
        assert bool(preset["account"]) == (preset["sign"] == "earthdata"), name
