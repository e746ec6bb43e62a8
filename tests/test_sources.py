"""Product profiles: every entry of sources.toml decodes a product as its user guide says."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from soilscale import sources
from soilscale.config import SourceSection
from soilscale.sources import QualityRule, Source

PROFILES = sources.profiles()


def source(profile: str, **keys: Any) -> Source:
    """Source of a configuration that names a profile and nothing that the profile already says."""
    section = SourceSection(**({"catalog": "pc", "collection": profile.lower(), "profile": profile} | keys))
    values = section.model_dump(exclude={"profile", "quality"})
    rule = QualityRule(**section.quality.model_dump()) if section.quality else None
    return Source(name="x", quality=rule, **values)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_makes_a_source(name: str) -> None:
    found = source(name)
    assert found.role == "predictor"
    assert found.asset == PROFILES[name]["asset"]
    told = {key: value for key, value in PROFILES[name].items() if key not in {"about", "quality"}}
    for key, value in told.items():
        assert getattr(found, key) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_says_what_it_is_and_who_says_so(name: str) -> None:
    about = PROFILES[name]["about"]
    assert isinstance(about, str)
    assert "user guide" in about


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_holds_keys_of_a_source_only(name: str) -> None:
    known = {field.name for field in dataclasses.fields(Source)}
    assert set(PROFILES[name]) - {"about"} <= known - {"name", "catalog", "collection", "role"}


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_consistent_in_itself(name: str) -> None:
    found = source(name)
    assert found.unit
    assert found.kind in get_args(sources.Kind)
    assert found.nodata is not None
    assert found.valid_range is not None
    least, greatest = found.valid_range
    assert least < greatest
    assert not any(least <= fill <= greatest for fill in found.nodata)
    if found.kind == "categorical":
        assert found.classes == tuple(range(int(least), int(greatest) + 1))
        assert found.scale is None
    else:
        assert found.scale
        assert found.offset is not None
    if found.quality:
        assert found.assets == (found.asset, found.quality.asset)


@pytest.mark.parametrize(
    ("name", "stored", "physical"),
    [("MOD11A2", 15_000, 300.0), ("MOD13A3", 8_123, 0.8123), ("MOD16A2", 123, 12.3)],
)
def test_stored_values_become_physical_ones(name: str, stored: int, physical: float) -> None:
    found = source(name)
    assert found.scale is not None
    assert found.offset is not None
    assert stored * found.scale + found.offset == pytest.approx(physical)


def test_an_evapotranspiration_composite_is_a_total_over_its_days() -> None:
    found = source("MOD16A2")
    assert (found.aggregate, found.composite, found.unit) == ("sum", 8, "mm month-1")


def test_what_is_written_out_wins_over_the_profile() -> None:
    found = source("MOD11A2", asset="LST_Night_1km", quality={"asset": "QC_Night", "bits": [0, 1], "accept": [0]})
    assert found.assets == ("LST_Night_1km", "QC_Night")
    assert found.quality == QualityRule("QC_Night", (0, 1), (0,))
    assert found.scale == 0.02


def test_an_unknown_profile_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="there is no profile 'MOD11A1'; did you mean 'MOD11A2'"):
        source("MOD11A1")


def test_a_source_reads_its_quality_asset_only_if_it_has_one() -> None:
    assert source("MCD12Q1").assets == ("LC_Type1",)
