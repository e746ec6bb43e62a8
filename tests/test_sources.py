"""Product profiles: every entry of sources.toml is a source, consistent in itself, and says who says so."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_args

import numpy as np
import pytest

from checkout import ROOT
from soilscale import listing, sources
from soilscale.config import SourceSection
from soilscale.config.inputs import FaultError, placed
from soilscale.errors import ConfigurationError
from soilscale.sources import QualityRule, Source

PROFILES = sources.profiles()

ASKED = {
    "MOD11A2", "MYD11A2", "MOD13A3", "MOD16A2", "MOD16A2GF", "MCD12Q1", "TRMM_3B43", "GPM_3IMERGM", "SRTM", "NASADEM",
    "COP-DEM", "AMSR-E_L3_SMC", "AMSR2_L3_SMC", "ESA_CCI_SM", "SPL3SMP",
}  # fmt: skip
QUANTITIES = {
    "soil_moisture",
    "precipitation",
    "temperature",
    "vegetation",
    "evapotranspiration",
    "land_cover",
    "elevation",
    "texture",
}
PAPER = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")


def source(profile: str, **keys: Any) -> Source:
    """Source of a configuration that names a profile and nothing that the profile already says."""
    section = SourceSection(**({"catalog": "pc", "collection": profile.lower(), "profile": profile} | keys))
    return section.source("x")


def test_the_products_of_the_field_have_profiles() -> None:
    assert set(PROFILES) >= ASKED
    assert {f"{name}_{part}" for name in ("OpenLandMap", "SoilGrids") for part in ("sand", "silt", "clay")} <= set(
        PROFILES
    )


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_makes_a_source(name: str) -> None:
    found = source(name)
    assert found.role == "predictor"
    keys = {key: value for key, value in sources.decoding_keys(name).items() if key not in ("quality", "place")}
    for key, value in keys.items():
        assert getattr(found, key) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_says_what_it_is_and_who_says_so(name: str) -> None:
    assert PROFILES[name]["about"]
    assert re.search(r"; https://\S+$", PROFILES[name]["reference"])
    assert "#" not in PROFILES[name]["about"]


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_holds_keys_of_a_source_only(name: str) -> None:
    known = {field.name for field in dataclasses.fields(Source)}
    assert set(PROFILES[name]) - {*sources.PROSE, *sources.FACTS} <= known - {"name", "catalog", "collection", "role"}


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_consistent_in_itself(name: str) -> None:
    found = source(name)
    assert found.unit
    assert found.kind in get_args(sources.Kind)
    if found.valid_range is not None:
        least, greatest = found.valid_range
        assert least < greatest
        assert not any(least <= fill <= greatest for fill in found.nodata or ())
    if found.kind == "categorical":
        assert found.valid_range == (min(found.classes or ()), max(found.classes or ()))
        assert found.scale is None
    else:
        assert (found.scale is None) == (found.offset is None)
    if found.quality:
        assert found.assets == (found.asset, found.quality[0].asset)
    if found.aggregate != "mean":
        assert found.unit.endswith(" month-1")


def test_the_page_of_profiles_is_made_from_them() -> None:
    assert listing.page() == PAPER, "run `make profiles`"
    assert re.findall(r"^- \*\*([^*]+)\*\*", PAPER, flags=re.MULTILINE)
    assert "{" not in listing.page().partition("## Products")[2].replace("{asset", "").replace("{profile", "")


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_says_where_and_when_the_product_is(name: str) -> None:
    profile = PROFILES[name]
    assert profile["quantity"] in QUANTITIES
    assert profile["license"]
    assert profile["citation"]
    assert ("period" in profile) != bool(profile.get("static"))
    months = [np.datetime64(month, "M") for month in profile.get("period", [])]
    assert months == sorted(months)
    assert profile["pixel"]["size"] > 0
    west, south, east, north = profile.get("extent", [-180, -90, 180, 90])
    assert west < east
    assert south < north
    for preset, keys in profile.get("catalogs", {}).items():
        assert preset in sources.presets()
        assert keys["collection"]
    for pattern in profile.get("names", []):
        assert set(re.compile(pattern).groupindex) <= {"year", "month", "day", "doy", "tile", "asset"}


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.get("catalogs")])
def test_a_source_of_a_preset_needs_a_profile_and_a_catalog_only(name: str) -> None:
    for preset, keys in PROFILES[name]["catalogs"].items():
        section = placed("x", {"profile": name, "catalog": "c"}, {"c": {"preset": preset}})
        found = SourceSection(**section).source("x")
        assert found.collection == keys["collection"]
        assert found.asset == keys.get("asset", PROFILES[name]["asset"])
        assert all(getattr(found, key) is None for key in keys.get("leave", []))


def test_a_preset_that_lacks_a_product_is_refused_with_those_that_have_it() -> None:
    with pytest.raises(
        FaultError, match=r"sources\.x\.catalog: the preset openlandmap has no MOD11A2; presets that have "
    ):
        placed("x", {"profile": "MOD11A2", "catalog": "c"}, {"c": {"preset": "openlandmap"}})


@pytest.mark.parametrize("preset", sources.presets())
def test_every_preset_says_where_it_is_and_what_it_needs(preset: str) -> None:
    entry = sources.presets()[preset]
    assert set(entry) == {"about", "url", "sign", "account", "license", "citation", "traps"}
    assert entry["url"].startswith("https://")
    assert entry["sign"] in get_args(sources.Sign)
    assert (entry["sign"] == "earthdata") == bool(entry["account"])


def test_the_profiles_are_listed_with_what_their_catalogs_need() -> None:
    rows = {row[0]: row for row in listing.rows()}
    assert rows["MOD13A3"] == ("MOD13A3", "vegetation", "2000-02 to now", "nasa-lpcloud", "Earthdata login", "by name")
    assert rows["SRTM"][3:5] == ("your own", "")
    shown = listing.details("MYD13A1")
    assert any("MODIS/Aqua" in line for line in shown)
    assert any("urs.earthdata.nasa.gov" in line for line in shown)
    assert any("Reliability 0 good" in line for line in shown)
    with pytest.raises(ConfigurationError, match="there is no profile 'MYD13A9'; did you mean"):
        listing.details("MYD13A9")


def test_what_is_written_out_wins_over_the_profile() -> None:
    found = source("MOD11A2", asset="LST_Night_1km", quality={"asset": "QC_Night", "bits": [0, 1], "accept": [0]})
    assert found.assets == ("LST_Night_1km", "QC_Night")
    assert found.quality == (QualityRule("QC_Night", (0, 1), (0,)),)
    assert found.scale == 0.02


def test_a_quality_band_can_be_left_out() -> None:
    assert source("ESA_CCI_SM", quality=None).assets == ("sm",)


def test_an_unknown_profile_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="there is no profile 'MOD11A1'; did you mean 'MOD1"):
        source("MOD11A1")


def test_a_source_reads_its_quality_asset_only_if_it_has_one() -> None:
    assert source("MCD12Q1").assets == ("LC_Type1",)


@pytest.mark.parametrize("aggregate", ["sum", "rate"])
def test_classes_are_not_summed(aggregate: str) -> None:
    with pytest.raises(ValueError, match="a categorical source cannot be the target"):
        source("MCD12Q1", aggregate=aggregate)
