"""Product profiles: every entry of sources.toml is a source, consistent in itself, and says who says so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from soilscale import sources
from soilscale.config import SourceSection
from soilscale.sources import QualityRule, Source

PROFILES = sources.profiles()

ASKED = {
    "MOD11A2", "MYD11A2", "MOD13A3", "MOD16A2", "MOD16A2GF", "MCD12Q1", "TRMM_3B43", "GPM_3IMERGM", "SRTM", "NASADEM",
    "COP-DEM", "AMSR-E_L3_SMC", "AMSR2_L3_SMC", "ESA_CCI_SM", "SPL3SMP",
}  # fmt: skip
PAPER = (Path(__file__).parents[1] / "docs" / "profiles.md").read_text(encoding="utf-8")


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


def row(name: str) -> list[str]:
    """Cells of a profile's row in the papers."""
    line = next(line for line in PAPER.splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_described_with_its_values(name: str) -> None:
    found = source(name)
    values = PROFILES[name]
    assert row(name) == [
        f"`{name}`",
        f"`{found.asset}`",
        found.kind,
        "" if found.scale is None else str(found.scale),
        ", ".join(str(code) for code in values.get("nodata", [])),
        " to ".join(str(end) for end in values.get("valid_range", [])),
        "; ".join(f"`{rule.asset}`: {list(rule.bits)}, {list(rule.accept)}" for rule in found.quality),
        "" if found.composite is None else f"{found.composite:g}",
        found.aggregate,
        found.unit,
    ]
    assert f"**{name}" in PAPER or f", {name}" in PAPER, "the source of its values is told"


def test_no_other_profile_is_described() -> None:
    told = re.findall(r"^\| `([^`]+)` \|", PAPER, flags=re.MULTILINE)
    assert told == list(PROFILES)


def test_what_is_written_out_wins_over_the_profile() -> None:
    found = source("MOD11A2", asset="LST_Night_1km", quality={"asset": "QC_Night", "bits": [0, 1], "accept": [0]})
    assert found.assets == ("LST_Night_1km", "QC_Night")
    assert found.quality == (QualityRule("QC_Night", (0, 1), (0,)),)
    assert found.scale == 0.02


def test_a_quality_band_can_be_left_out() -> None:
    assert source("ESA_CCI_SM", quality=None).assets == ("sm",)


def test_an_unknown_profile_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="there is no profile 'MOD11A1'; did you mean 'MOD11A2'"):
        source("MOD11A1")


def test_a_source_reads_its_quality_asset_only_if_it_has_one() -> None:
    assert source("MCD12Q1").assets == ("LC_Type1",)


@pytest.mark.parametrize("aggregate", ["sum", "rate"])
def test_classes_are_not_summed(aggregate: str) -> None:
    with pytest.raises(ValueError, match="a categorical source cannot be summed"):
        source("MCD12Q1", aggregate=aggregate)
