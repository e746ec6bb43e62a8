"""The configuration: every key arrives, what is wrong is refused with a way out, paths and overrides fall in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import yaml
from hypothesis import given
from hypothesis import strategies as st

from soilscale import config, models
from soilscale.config import SourceSection, reading
from soilscale.config.sections import (
    Area,
    CatalogSection,
    Config,
    GridSection,
    Maps,
    Models,
    SamplesSection,
    Validation,
)
from soilscale.errors import ConfigurationError
from soilscale.seasons import METEOROLOGICAL
from soilscale.sources import Catalog, PixelGrid, QualityRule, profiles

MINIMAL: Mapping[str, Any] = {
    "name": "moselle",
    "output": "runs/moselle",
    "area": {"bbox": [5.19, 47.63, 7.29, 49.65]},
    "grid": {"crs": "EPSG:3035", "coarse": 24000, "ratio": 24},
    "period": ["1990-01", "1993-12"],
    "catalogs": {"own": {"url": "catalog.json"}},
    "sources": {
        "soil_moisture": {"role": "target", "catalog": "own", "collection": "cci", "asset": "sm"},
        "precipitation": {"catalog": "own", "collection": "e-obs", "asset": "precipitation"},
    },
}

SQUARE = shapely.to_geojson(shapely.box(5.5, 48.0, 6.5, 49.0))


def changed(**changes: Any) -> dict[str, Any]:
    """Minimal configuration with some keys set, ``a__b`` being `b` in `a`, or taken away by ``...``."""
    content = deepcopy(dict(MINIMAL))
    for key, value in changes.items():
        *outer, last = key.split("__")
        node = content
        for name in outer:
            node = node.setdefault(name, {})
        if value is ...:
            del node[last]
        else:
            node[last] = value
    return content


def written(folder: Path, content: Any, name: str = "moselle.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return str(path)


def load(folder: Path, **changes: Any) -> config.Config:
    return config.load(written(folder, changed(**changes)))


def refusal(folder: Path, **changes: Any) -> str:
    """Message with which a changed configuration is refused."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder, **changes)
    assert caught.value.status == 78
    return str(caught.value)


@pytest.mark.parametrize(
    ("bbox", "bounds"),
    [
        ([240, 20, 260, 40], (-120, 20, -100, 40)),
        ([-120, 20, -100, 40], (-120, 20, -100, 40)),
        ([179, -18, -179, -16], (179, -18, 181, -16)),
        ([179, -18, 181, -16], (179, -18, 181, -16)),
        ([-181, -18, -179, -16], (179, -18, 181, -16)),
        ([350, 40, 10, 50], (-10, 40, 10, 50)),
        ([350, 40, 370, 50], (-10, 40, 10, 50)),
        ([-180, -90, 180, 90], (-180, -90, 180, 90)),
        ([0, -90, 360, 90], (0, -90, 360, 90)),
    ],
)
def test_a_box_is_the_same_place_however_its_longitudes_count(tmp_path: Path, bbox: Any, bounds: Any) -> None:
    grid = load(tmp_path, grid={"crs": "EPSG:4326", "coarse": 0.5, "ratio": 5}, area={"bbox": bbox}).nested_grid
    assert grid.bounds == pytest.approx(bounds)


# What arrives


def test_the_least_that_must_be_said_is_enough(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert found.months[[0, -1]].tolist() == np.array(["1990-01", "1993-12"], "datetime64[M]").tolist()
    assert len(found.months) == 48
    assert found.season_scheme.months == METEOROLOGICAL
    assert found.grid.origin == (0, 0)
    assert found.samples.min_valid_fraction == 0.5
    assert found.models.algorithms == models.RECOMMENDED
    assert found.models.seed == 0
    assert found.maps.algorithm == "best"
    assert found.maps.every == ("month", "season")
    assert found.maps.conserve
    assert found.maps.valid_range == (0, 0.6)
    assert found.validation.stations is None
    assert found.validation.truth is None
    assert found.target.name == "soil_moisture"
    assert [source.name for source in found.predictors] == ["precipitation"]


def test_every_key_of_a_source_arrives() -> None:
    keys: dict[str, Any] = {
        "kind": "continuous",
        "scale": 0.1,
        "offset": -3,
        "nodata": [0, 255],
        "valid_range": [1, 250],
        "quality": {"asset": "QC_Day", "bits": [0, 1], "accept": [0, 1], "layer": "QC by day"},
        "layer": "1 km monthly NDVI",
        "place": {"crs": "EPSG:6933", "transform": [36032.22, 0, -17367530.4, 0, -36032.22, 7314540.8]},
        "composite": 8,
        "aggregate": "sum",
        "resampling": "bilinear",
        "lags": [1, 3],
        "group": "water",
        "static": False,
        "query": {"platform": "terra"},
        "unit": "mm month-1",
        "band": 2,
    }
    content = changed()
    content["sources"]["precipitation"] |= keys
    (found,) = config.validate(content).predictors
    assert found.nodata == (0.0, 255.0)
    assert found.quality == (QualityRule("QC_Day", (0, 1), (0, 1), layer="QC by day"),)
    assert found.place == (PixelGrid(**keys["place"] | {"transform": tuple(keys["place"]["transform"])}),)
    assert found.lags == (1, 3)
    assert found.assets == ("precipitation", "QC_Day")
    told = {key: getattr(found, key) for key in keys.keys() - {"nodata", "quality", "place", "lags", "valid_range"}}
    assert told == {key: keys[key] for key in told}
    assert found.valid_range == (1, 250)


def test_quality_takes_one_rule_or_several() -> None:
    rules = [{"asset": "QC", "bits": [0, 1], "accept": [0, 1]}, {"asset": "cloud", "bits": [3, 3], "accept": [0]}]
    content = changed()
    for written, count in ((None, 0), (rules[0], 1), ([], 0), (rules, 2)):
        content["sources"]["precipitation"]["quality"] = written
        (found,) = config.validate(content).predictors
        assert found.quality == (QualityRule("QC", (0, 1), (0, 1)), QualityRule("cloud", (3, 3), (0,)))[:count]
    assert found.assets[1:] == ("QC", "cloud")


def test_a_rule_of_several_that_is_wrong_is_named_by_its_number(tmp_path: Path) -> None:
    rule = {"asset": "QC", "bits": [0, 1], "accept": [4]}
    told = refusal(tmp_path, sources__precipitation__quality=[rule | {"accept": [0]}, rule])
    assert "sources.precipitation.quality.1.accept: got [4]; bits 0 to 1 hold 0..3 only" in told
    told = refusal(tmp_path, sources__precipitation__quality=5)
    assert "sources.precipitation.quality: got 5; expected the keys asset, bits and accept of a rule, or a list" in told


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"crs": "EPSG:0"}, "place.crs: got 'EPSG:0'; expected a reference system, such as EPSG:6933"),
        ({"transform": [1, 0, 0, 0, 1]}, "place.transform: got [1, 0, 0, 0, 1]; expected six numbers"),
        ({"transform": [1, 0.5, 0, 0, -1, 9]}, "place.transform: got [1.0, 0.5, 0.0, 0.0, -1.0, 9.0]; expected [width"),
        ({"shape": [0, 4]}, "place.shape.0: got 0; expected at least 1"),
        ({"size": 4}, "place.size: unknown key"),
    ],
)
def test_a_wrong_place_of_pixels_is_named(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    place = {"crs": "EPSG:4326", "transform": [0.25, 0, -180, 0, -0.25, 90], "shape": [720, 1440]} | keys
    assert f"sources.precipitation.{message}" in refusal(tmp_path, sources__precipitation__place=place)
    told = refusal(tmp_path, sources__precipitation__place=[place])
    assert f"sources.precipitation.{message.replace('place', 'place.0', 1)}" in told


def test_every_other_key_of_the_contract_arrives(tmp_path: Path) -> None:
    content = changed(
        grid__origin=[3973369, 2951847],
        seasons={"wet": [5, 6, 7, 8, 9], "dry": [10, 11, 12, 1, 2, 3, 4]},
        catalogs__api={"url": "https://stac.example.org/v1", "sign": "planetary-computer"},
        sources__elevation={"catalog": "api", "collection": "dem", "asset": "e", "derive": ["slope", "aspect"]},
        sources__land_cover={"catalog": "own", "collection": "corine", "asset": "lc", "kind": "categorical"},
        samples__min_valid_fraction=0.7,
        models={"algorithms": ["random_forest"], "seed": 3, "parameters": {"random_forest": {"n_estimators": 30}}},
        maps={"algorithm": "random_forest", "every": ["season"], "conserve": False},
        validation={"stations": "stations.csv", "truth": "known/truth.zarr"},
    )
    found = config.load(written(tmp_path, content))
    assert found.grid.origin == (3973369, 2951847)
    assert found.season_scheme.names == ("wet", "dry")
    by_name = {source.name: source for source in found.source_list}
    assert found.catalog(by_name["elevation"]) == Catalog("api", "https://stac.example.org/v1", "planetary-computer")
    assert by_name["elevation"].derive == ("slope", "aspect")
    assert by_name["land_cover"].kind == "categorical"
    assert found.samples.min_valid_fraction == 0.7
    assert found.models.parameters == {"random_forest": {"n_estimators": 30}}
    assert (found.maps.every, found.maps.conserve) == (("season",), False)
    assert found.validation.stations == str(tmp_path / "stations.csv")
    assert found.validation.truth == str(tmp_path / "known" / "truth.zarr")


@pytest.mark.parametrize("name", sorted(profiles()))
def test_a_profile_gives_its_keys_and_what_is_written_wins(name: str) -> None:
    content = changed(sources__product={"profile": name, "catalog": "own", "collection": "c"})
    found = config.validate(content).predictors[1]
    assert found.asset == profiles()[name]["asset"]
    assert found.composite == profiles()[name].get("composite")
    content["sources"]["product"] |= {"asset": "mine", "nodata": 7}
    own = config.validate(content).predictors[1]
    assert (own.asset, own.nodata) == ("mine", (7.0,))
    assert own.scale == profiles()[name].get("scale")


def test_months_may_be_text_or_the_dates_that_yaml_reads(tmp_path: Path) -> None:
    text = yaml.safe_dump(changed(period=...)) + "period: [1990-01-01, 1990-03-31]\n"
    assert config.load(written(tmp_path, text)).period == ("1990-01", "1990-03")


def test_the_grid_takes_every_coarse_cell_that_the_area_touches(tmp_path: Path) -> None:
    degrees = {"crs": "EPSG:4326", "coarse": 0.25, "ratio": 25}
    grid = load(tmp_path, grid=degrees, area={"bbox": [5.26, 48.0, 5.74, 48.51]}).nested_grid
    assert grid.shape == (3, 2)
    (tmp_path / "square.geojson").write_bytes(SQUARE.encode())
    polygon = load(tmp_path, grid=degrees, area={"geometry": "square.geojson"})
    assert polygon.nested_grid.shape == (4, 4)
    assert polygon.geometry is not None
    assert polygon.geometry.equals(shapely.box(5.5, 48.0, 6.5, 49.0))


def test_it_is_frozen(tmp_path: Path) -> None:
    found: Any = load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        found.models.seed = 1


# What is refused


@pytest.mark.parametrize(
    ("key", "where", "nearest"),
    [
        ("aera", "aera", "area"),
        ("area__box", "area.box", "bbox"),
        ("grid__rato", "grid.rato", "ratio"),
        ("catalogs__own__signs", "catalogs.own.signs", "sign"),
        ("sources__precipitation__colection", "sources.precipitation.colection", "collection"),
        ("sources__precipitation__quality__bit", "sources.precipitation.quality.bit", "bits"),
        ("samples__min_valid_fractoin", "samples.min_valid_fractoin", "min_valid_fraction"),
        ("models__algorithm", "models.algorithm", "algorithms"),
        ("maps__evry", "maps.evry", "every"),
        ("validation__station", "validation.station", "stations"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    tmp_path: Path, key: str, where: str, nearest: str
) -> None:
    assert f"{where}: unknown key; did you mean {nearest!r}?" in refusal(tmp_path, **{key: 1})


def test_an_unknown_key_like_no_other_lists_the_known_ones(tmp_path: Path) -> None:
    message = refusal(tmp_path, catalogs__own__zzz=1)
    assert "catalogs.own.zzz: unknown key; known: url, sign, preset, files" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ...}, ["name: this key is missing"]),
        ({"name": "a b"}, ["name", "got 'a b'"]),
        ({"sources__soil_moisture__role": "predictor"}, ["exactly one source has role: target", "none"]),
        ({"sources__precipitation__role": "target"}, ["exactly one", "soil_moisture, precipitation"]),
        ({"sources__precipitation": ...}, ["the target cannot be downscaled"]),
        ({"sources__precipitation__profile": "MOD11A"}, ["sources.precipitation", "'MOD11A'", "'MOD11A2'"]),
        ({"sources__precipitation__catalog": "onw"}, ["sources.precipitation", "'onw'", "did you mean 'own'"]),
        ({"sources__precipitation__collection": ...}, ["sources.precipitation.collection: this key is missing"]),
        ({"sources__precipitation__kind": "category"}, ["sources.precipitation.kind", "'categorical'", "'category'"]),
        ({"sources__precipitation__lags": [0]}, ["sources.precipitation.lags.0", "got 0"]),
        ({"sources__precipitation__scale": "two"}, ["sources.precipitation.scale", "got 'two'"]),
        ({"sources__precipitation__scale": 0}, ["sources.precipitation.scale: got 0; expected a number other than 0"]),
        ({"sources__precipitation__scale": float("nan")}, ["sources.precipitation.scale: got nan; expected a number"]),
        ({"sources__precipitation__offset": float("inf")}, ["sources.precipitation.offset: got inf"]),
        ({"grid__coarse": True}, ["grid.coarse: got true; expected a number"]),
        ({"grid__origin": [False, 0]}, ["grid.origin: got false; expected a number"]),
        ({"grid__crs": "EPSG:5773"}, ["grid.crs: 'EPSG:5773' has no axes on the Earth's surface"]),
        ({"grid__crs": 'LOCAL_CS["x",UNIT["metre",1]]'}, ["has no axes on the Earth's surface"]),
        ({"output": " "}, ["output: got ' '; expected a folder or bucket"]),
        ({"sources__soil_moisture__lags": [1]}, ["sources.soil_moisture", "target has neither lags"]),
        (
            {"sources__precipitation__quality": {"asset": "q", "bits": [3, 1], "accept": [0]}},
            ["quality.bits: got [3, 1]"],
        ),
        (
            {"sources__precipitation__quality": {"asset": "q", "bits": [0, 1], "accept": [4]}},
            ["quality.accept: got [4]", "0..3"],
        ),
        ({"models": {"algorithms": ["random_forst"]}}, ["models", "'random_forst'", "did you mean 'random_forest'"]),
        ({"models": {"algorithms": []}}, ["models.algorithms", "one name or more"]),
        ({"models": {"parameters": {"random_forest": {"trees": 5}}}}, ["models.parameters.random_forest.trees"]),
        ({"maps": {"algorithm": "svm"}}, ["maps.algorithm", "'svm'"]),
        ({"maps": {"every": ["week"]}}, ["maps.every.0", "'week'"]),
        ({"seasons": "metereological"}, ["seasons", "'metereological'", "did you mean 'meteorological'"]),
        ({"seasons": {"wet": [5, 6], "dry": [6, 7]}}, ["seasons", "twice: [6]", "missing: [1, 2, 3, 4, 8"]),
        ({"seasons": {"all": list(range(1, 13))}}, ["cannot be named 'all'"]),
        ({"area": {}}, ["area", "either bbox", "or geometry"]),
        ({"area__geometry": "x.geojson"}, ["area", "either bbox"]),
        ({"area__bbox": [7.29, 47.63, 5.19, 49.65]}, ["area", "[west, south, east, north]", "7.29"]),
        ({"area__bbox": [47.63, 5.19, 49.65, 97.29]}, ["area", "[west, south, east, north]"]),
        ({"area__bbox": [1, 2, 3]}, ["area.bbox"]),
        (
            {"area__bbox": [34.5, 108.0, 35.0, 108.5]},
            ["if latitude and longitude are swapped, write [108.0, 34.5, 108.5, 35.0]"],
        ),
        ({"area__bbox": [7.29, 47.63, 5.19, 49.65]}, ["[5.19, 47.63, 7.29, 49.65] if west and east are swapped"]),
        ({"area__bbox": [-180, 0, 200, 1]}, ["0 or more than 360 degrees wide"]),
        ({"period": ["1993-12", "1990-01"]}, ["period: 1993-12 comes after 1990-01"]),
        ({"period": ["1990-13", "1993-01"]}, ["period.0", "'1990-13'"]),
        ({"period": ["1990-011", "1993-01"]}, ["period.0", "'1990-011'"]),
        ({"period": [1990, 1993]}, ["period.0", "got 1990"]),
        ({"grid__crs": "EPSG:999999"}, ["grid", "'EPSG:999999'", "EPSG:3035"]),
        ({"grid__ratio": 1}, ["grid.ratio", "got 1"]),
        ({"grid__coarse": -24000}, ["grid.coarse", "got -24000"]),
        ({"samples__min_valid_fraction": 2}, ["samples.min_valid_fraction", "got 2"]),
        ({"sources": ["precipitation"]}, ["sources"]),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(tmp_path: Path, changes: dict[str, Any], said: list[str]) -> None:
    message = refusal(tmp_path, **changes)
    assert "moselle.yaml is wrong" in message
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": 5}, "name: got 5; expected a name of letters, digits, '.', '_' and '-', such as moselle"),
        ({"output": ...}, "output: this key is missing; expected a folder or bucket"),
        ({"area": None}, "area: got nothing; expected bbox: [west, south, east, north] or geometry: FILE.geojson"),
        (
            {"area__bbox": [1, 2, 3]},
            "area.bbox: got [1, 2, 3]; expected four numbers in degrees, [west, south, east, north]",
        ),
        ({"area__bbox": ["w", 1, 2, 3]}, "area.bbox.0: got 'w'; expected a number"),
        (
            {"area__bbox": [7, 47, 5, 49]},
            "area.bbox: [7.0, 47.0, 5.0, 49.0] is not [west, south, east, north] in degrees",
        ),
        ({"grid__crs": 3035}, "grid.crs: got 3035; expected a reference system, such as EPSG:3035"),
        ({"grid__ratio": 0}, "grid.ratio: got 0; expected at least 2"),
        ({"grid__origin": [1]}, "grid.origin: got [1]; expected two numbers, [x, y] of a corner of the coarse grid"),
        (
            {"period": "1990-01"},
            "period: got '1990-01'; expected the first and the last month, such as [1990-01, 1993-12]",
        ),
        (
            {"period": ["1990-01"]},
            "period: got ['1990-01']; expected the first and the last month, such as [1990-01, 1993-12]",
        ),
        ({"period": ["1990-1", "1991-01"]}, "period.0: got '1990-1'; expected a month, YYYY-MM"),
        (
            {"period": ["1991-02", "1991-01"]},
            "period: 1991-02 comes after 1991-01; expected the first and the last month",
        ),
        (
            {"seasons": 5},
            "seasons: got 5; expected one of meteorological, wet_dry, growing, annual, or the months of each season",
        ),
        (
            {"seasons": {"wet": ["May"]}},
            "seasons.wet: got ['May']; expected a list of the season's months, 1 to 12, such as [6, 7, 8]",
        ),
        (
            {"seasons": {"a": [13, *range(1, 13)]}},
            "seasons: must hold each of the months 1..12 once; not a month: [13]",
        ),
        (
            {"seasons": {"w t": [1]}},
            "seasons: 'w t' is not a valid season name; expected letters, digits and _, a letter first",
        ),
        (
            {"catalogs": {}},
            "catalogs: got {}; expected a url, preset or files below the name of each catalog",
        ),
        ({"catalogs__own": "c.json"}, "catalogs.own: got 'c.json'; expected one of the keys url, preset and files"),
        (
            {"catalogs__own__sign": "aws"},
            "catalogs.own.sign: got 'aws'; expected planetary-computer, earthdata or none",
        ),
        (
            {"sources__precipitation__class_names": {"forest": "10"}},
            "sources.precipitation.class_names: the key 'forest' is not a code; expected a whole number",
        ),
        ({"sources__a b": {}}, "sources: the key 'a b' is not a name; expected letters, digits and _, a letter first"),
        (
            {"sources__precipitation": None},
            "sources.precipitation: got nothing; expected the keys catalog, collection and asset",
        ),
        (
            {"sources__precipitation__role": "predictors"},
            "sources.precipitation.role: got 'predictors'; expected predictor, target or part; did you mean",
        ),
        (
            {"sources__precipitation__catalog": "onw"},
            "sources.precipitation.catalog: there is no catalog 'onw'; did you mean 'own'?",
        ),
        (
            {"sources__precipitation__lags": 1},
            "sources.precipitation.lags: got 1; expected a list of months back, such as [1, 2]",
        ),
        (
            {"sources__precipitation__static": "maybe"},
            "sources.precipitation.static: got 'maybe'; expected true or false",
        ),
        (
            {"sources__precipitation__query": [1]},
            "sources.precipitation.query: got [1]; expected keys and their values below it",
        ),
        (
            {"sources__precipitation__valid_range": [5, 1]},
            "sources.precipitation.valid_range: got [5.0, 1.0]; expected two numbers, the smaller one first",
        ),
        ({"samples": []}, "samples: got []; expected keys below it, of min_valid_fraction, block"),
        ({"samples__min_valid_fraction": 50}, "samples.min_valid_fraction: got 50; expected at most 1"),
        (
            {"models__algorithms": "svm"},
            "models.algorithms: got 'svm'; expected a list of one name or more, such as [random_forest]",
        ),
        ({"models__algorithms": ["svn"]}, "models.algorithms: unknown algorithm 'svn'; did you mean 'svm'?"),
        ({"models__ablation": 5}, "models.ablation: got 5; expected true, false or a list of features and groups"),
        (
            {"models__parameters": {"forest": {}}},
            "models.parameters: unknown algorithm 'forest'; did you mean 'trend_forest'?",
        ),
        (
            {"models__season_parameters": {"sumer": {}}},
            "models.season_parameters: there is no season 'sumer'; did you mean 'summer'?",
        ),
        (
            {"models__season_parameters": {"summer": {"gaussian_process": {"rows": 100}}}},
            (
                "models.season_parameters.summer.gaussian_process: gaussian_process is one fit of all seasons; set "
                "models.parameters.gaussian_process instead"
            ),
        ),
        (
            {"models__algorithms": ["gaussian_process"], "models__tune": {"gaussian_process": {"rows": [100, 200]}}},
            (
                "models.tune.gaussian_process: gaussian_process learns its variances by likelihood, so there is "
                "nothing to tune; leave it out"
            ),
        ),
        ({"models__seed": 1.5}, "models.seed: got 1.5; expected a whole number"),
        ({"models__folds": 21}, "models.folds: got 21; expected at most 20"),
        ({"maps__every": []}, "maps.every: got []; expected a list of month, season or both, such as [month, season]"),
        ({"maps__every": ["week"]}, "maps.every.0: got 'week'; expected month or season"),
        ({"maps__interval": 90}, "maps.interval: got 90; expected a number below 1"),
        (
            {"maps__valid_range": [0.6, 0]},
            "maps.valid_range: got [0.6, 0.0]; expected two numbers, the smaller one first",
        ),
        (
            {"maps__algorithm": "random"},
            "maps.algorithm: 'random' is neither best nor among models.algorithms; did you mean 'random_forest'?",
        ),
        (
            {"validation__stations": ["a"]},
            "validation.stations: got ['a']; expected one file, folder or ZIP archive: a path or URL",
        ),
        ({"validation__flags": "G"}, "validation.flags: got 'G'; expected a list of flags, such as [G, U]"),
        (
            {"validation__depth": 0.1},
            "validation.depth: got 0.1; expected two numbers in m, [upper, lower], such as [0, 0.1]",
        ),
    ],
)
def test_a_fault_names_the_key_what_was_got_and_what_was_expected(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    head, *lines = refusal(tmp_path, **changes).splitlines()
    assert head.endswith("moselle.yaml is wrong:")
    assert any(line.startswith(f"  {told}") for line in lines), lines
    assert not any("Input should" in line or "the whole" in line or "Tuple" in line for line in lines)


def test_no_message_is_in_the_words_of_the_library(tmp_path: Path) -> None:
    """Every key of every section with a value that it cannot have."""
    sections = {
        "": Config,
        "area__": Area,
        "grid__": GridSection,
        "catalogs__own__": CatalogSection,
        "sources__precipitation__": SourceSection,
        "samples__": SamplesSection,
        "models__": Models,
        "maps__": Maps,
        "validation__": Validation,
    }
    refused = 0
    for start, section in sections.items():
        for key in section.model_fields:
            for value in ({"x": {"y": [None]}}, [[None]], "?", -1.5):
                try:
                    load(tmp_path, **{f"{start}{key}": value})
                except ConfigurationError as error:
                    lines = str(error).splitlines()[1:]
                    whole = start.removesuffix("__").replace("__", ".")
                    wanted = (f"  {whole}.{key}".replace(" .", " "), f"  {whole}: ")
                    assert any(line.startswith(wanted) for line in lines), lines
                    assert not re.search(r"Input|should|valid |instance of|\[type=", str(lines)), lines
                    refused += 1
    assert refused > 150


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, grid__ratio=1, period=["x", "y"], maps__evry=1, name=...)
    for part in ("grid.ratio", "period.0", "period.1", "maps.evry", "name: this key is missing"):
        assert part in message
    message = refusal(
        tmp_path, period=["1993-12", "1990-01"], seasons="monthly", sources__precipitation__catalog="elsewhere"
    )
    for part in ("1993-12 comes after", "no scheme 'monthly'", "no catalog 'elsewhere'"):
        assert part in message


@pytest.mark.parametrize("name", ["time", "season", "split", "valid_fraction", "spatial_ref"])
def test_a_source_cannot_have_the_name_of_a_variable_of_the_products(tmp_path: Path, name: str) -> None:
    source = {"catalog": "own", "collection": "c", "asset": "a"}
    assert f"would be called {name};" in refusal(tmp_path, **{f"sources__{name}": source})


def test_two_features_cannot_have_one_name(tmp_path: Path) -> None:
    source = {"catalog": "own", "collection": "c", "asset": "a"}
    derived = source | {"derive": ["slope"]}
    assert "would be called slope;" in refusal(tmp_path, sources__dem=derived, sources__slope=source)
    lagged = source | {"lags": [1]}
    assert "would be called a_lag1;" in refusal(tmp_path, sources__a=lagged, sources__a_lag1=source)


def test_the_maps_name_is_the_targets_alone() -> None:
    content = changed(sources__soil_moisture__role="predictor", sources__precipitation__role="target")
    with pytest.raises(ConfigurationError, match="would be called soil_moisture;"):
        config.validate(content)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; expected keys"),
        ("- a\n- b\n", "is not a mapping of keys, but list"),
        ("name: [unclosed", "is not YAML: line 1, column 16: a bracket that is not closed"),
        ("name: \x00", "is not YAML: character 0x0 at position 6 is not valid text; save the file as UTF-8"),
        ("name: a\n\tgrid: 1\n", "is not YAML: line 2, column 1: a tab, which YAML does not allow; indent with spaces"),
        ("name: a: b\n", "is not YAML: line 1, column 8: a key where none is allowed"),
        ("name: 'a\n", "is not YAML: line 2, column 1: a quote that is not closed"),
        ("name: *a\n", "is not YAML: line 1, column 7: a text that begins with *"),
        ("grid:\n  crs: x\n coarse: 1\n", "is not YAML: line 3, column 2: a line that is indented differently"),
        ("name: a\ngrid: {}\nname: b\n", "line 3, column 1: the key 'name' a second time; it is already in line 1"),
        ("grid: {crs: a, crs: b}\n", "line 1, column 16: the key 'crs' a second time"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        config.load(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no configuration at .*nowhere\.yaml"):
        config.load(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ConfigurationError, match="cannot read"):
        config.load(str(tmp_path))


def test_a_polygon_that_is_none_is_refused(tmp_path: Path) -> None:
    broken = load(tmp_path, area={"geometry": "square.geojson"})
    with pytest.raises(ConfigurationError, match=r"square\.geojson is not a GeoJSON file"):
        _ = broken.geometry
    (tmp_path / "square.geojson").write_text(shapely.to_geojson(shapely.Point(1, 2)))
    with pytest.raises(ConfigurationError, match="holds no polygon"):
        _ = broken.geometry


# Secrets


@pytest.mark.parametrize("key", ["validation__stations", "output", "name", "seasons", "models__ablation", "area__bbox"])
def test_a_url_with_a_password_in_a_wrong_place_is_not_repeated_either(tmp_path: Path, key: str) -> None:
    urls = ["https://maria:hunter2@data.example.org/stations.csv"]
    assert "hunter2" not in refusal(tmp_path, **{key: urls})
    text = yaml.safe_dump(urls, default_flow_style=True).strip()
    with pytest.raises(ConfigurationError) as caught:
        config.load(written(tmp_path, MINIMAL), [f"{key.replace('__', '.')}={text}"])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("catalogs__own__url", "https://maria:hunter2@stac.example.org/v1"),
        ("output", "s3://AKIA123:hunter2@bucket/prefix"),
        ("validation__stations", "https://maria:hunter2@data.example.org/stations.csv"),
    ],
)
def test_a_url_with_a_password_is_refused_without_repeating_it(tmp_path: Path, key: str, url: str) -> None:
    message = refusal(tmp_path, **{key: url})
    assert key.replace("__", ".") in message
    assert "environment" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("url", ["ftp://host/runs", "gs:///runs", "s3:/bucket/runs", "s3://", "s3:bucket"])
def test_an_output_where_nothing_can_be_written_is_refused(tmp_path: Path, url: str) -> None:
    forest = {"random_forest": {"n_estimators": 5}}
    message = refusal(tmp_path, output=url, models__parameters=forest)
    assert f"output: got {url!r}; expected a folder or bucket" in message


def test_parameters_of_models_are_not_checked_where_they_were_proven(tmp_path: Path) -> None:
    path = written(tmp_path, changed(models={"parameters": {"random_forest": {"n_estimatorz": 5}}}))
    asked: list[str] = []

    def proven(output: str) -> bool:
        asked.append(output)
        return True

    found = config.load(path, proven=proven)
    assert asked == [str(tmp_path / "runs" / "moselle")]
    with pytest.raises(ConfigurationError, match=r"models.parameters.random_forest.n_estimatorz: .*'n_estimators'"):
        config.validate(config.dump(found))
    with pytest.raises(ConfigurationError, match="unknown algorithm 'forest'"):
        config.load(path, ["models.algorithms=[forest]"], proven=proven)


def test_what_is_written_out_holds_no_signature(tmp_path: Path) -> None:
    found = load(tmp_path, catalogs__own__url="https://stac.example.org/catalog.json?sig=hunter2&se=2030")
    assert found.catalog(found.target).url.endswith("?sig=hunter2&se=2030")
    assert "hunter2" not in yaml.safe_dump(config.dump(found))
    assert "https://stac.example.org/catalog.json" in yaml.safe_dump(config.dump(found))


def test_what_is_written_out_is_stable_and_plain(tmp_path: Path) -> None:
    path = written(tmp_path, changed(sources__lst={"profile": "MOD11A2", "catalog": "own", "collection": "c"}))
    one, two = (yaml.safe_dump(config.dump(config.load(path)), sort_keys=False) for _ in range(2))
    assert one == two
    told = yaml.safe_load(one)
    assert told["sources"]["lst"]["scale"] == 0.02
    assert told["output"] == str(tmp_path / "runs" / "moselle")
    assert config.dump(config.validate(told)) == told


# Paths


def test_paths_in_the_file_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "somewhere", changed(validation__stations="../stations.csv"))
    monkeypatch.chdir(tmp_path)
    found = config.load("somewhere/moselle.yaml")
    assert found.output == str(tmp_path / "somewhere" / "runs" / "moselle")
    assert found.catalogs["own"].url == str(tmp_path / "somewhere" / "catalog.json")
    assert found.validation.stations == str(tmp_path / "stations.csv")


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "/absolute/folder", "https://example.org/x"])
def test_absolute_paths_and_urls_stay(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, validation__stations=url).validation.stations == url


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "/absolute/folder"])
def test_an_absolute_output_stays(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, output=url).output == url


def test_paths_on_the_command_line_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "somewhere", MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert config.load(path, output="elsewhere").output == str(tmp_path / "elsewhere")
    found = config.load(
        path, ["output=here", "catalogs.own.url=c.json", "validation={stations: s.csv}", "area={geometry: a.geojson}"]
    )
    assert found.output == str(tmp_path / "here")
    assert found.catalogs["own"].url == str(tmp_path / "c.json")
    assert found.validation.stations == str(tmp_path / "s.csv")
    assert found.area.geometry == str(tmp_path / "a.geojson")
    assert config.load(path, ["output=here"], "there").output == str(tmp_path / "there")


def test_truth_beside_the_configuration_is_found_unless_another_or_none_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "truth.zarr").mkdir()
    path = written(tmp_path, MINIMAL)
    assert config.load(path).validation.truth == str(tmp_path / "truth.zarr")
    assert config.load(path, ["validation.truth=null"]).validation.truth is None
    assert load(tmp_path, validation={"truth": "other.zarr"}).validation.truth == str(tmp_path / "other.zarr")


# Overrides


def test_overrides_set_keys_at_any_depth(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    found = config.load(
        path,
        [
            "name=other",
            "models.seed=7",
            "models.parameters.random_forest.n_estimators=30",
            "sources.precipitation.lags=[1, 2]",
            "period=[1991-01, 1991-06]",
            "sources.sand={catalog: own, collection: soil, asset: sand}",
        ],
    )
    assert (found.name, found.models.seed) == ("other", 7)
    assert found.models.parameters == {"random_forest": {"n_estimators": 30}}
    assert found.predictors[0].lags == (1, 2)
    assert len(found.months) == 6
    assert found.predictors[1].name == "sand"


def test_an_override_reaches_into_a_section_that_is_left_empty(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump(dict(MINIMAL)) + "models:\n")
    assert config.load(path, ["models.seed=1"]).models.seed == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("models.seed", "is not KEY=VALUE"),
        ("=1", "is not KEY=VALUE"),
        ("models.sed=1", "models.sed: unknown key; did you mean 'seed'"),
        ("models.seed=[1", "the value of -o models.seed is not YAML: line 1, column 3: a bracket"),
        ("models.folds=1", "moselle.yaml with -o models.folds is wrong:\n  models.folds: got 1; expected at least 2"),
        ("models.seed=-1", "models.seed"),
        ("name.first=1", "'name' holds a value, not a mapping"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(written(tmp_path, MINIMAL), [override])
    assert said in str(caught.value)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
PLACES = ["name", "output", "area", "grid__crs", "period", "seasons", "catalogs", "sources", "models", "maps", "extra"]


@given(place=st.sampled_from(PLACES), value=scalars)
def test_whatever_is_written_is_taken_or_refused_as_a_configuration_error(place: str, value: Any) -> None:
    with suppress(ConfigurationError):
        assert config.validate(changed(**{place: value})).name


# The other hemisphere


@pytest.mark.parametrize(
    ("bbox", "seasons", "told"),
    [
        ([-60, -35, -55, -30], "meteorological", True),
        ([5, 47, 7, 49], "meteorological", False),
        ([-60, -35, -55, -30], "wet_dry", False),
        ([-60, -35, -55, -30], {name: list(months) for name, months in reading.SOUTHERN.items()}, False),
    ],
)
def test_a_summer_of_june_to_august_in_the_south_is_noted_with_the_way_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bbox: list[float], seasons: Any, told: bool
) -> None:
    load(tmp_path, area__bbox=bbox, seasons=seasons)
    assert ("southern hemisphere" in caplog.text) == told
    advised = "{autumn: [3, 4, 5], winter: [6, 7, 8], spring: [9, 10, 11], summer: [12, 1, 2]}"
    assert (f"write seasons: {advised}" in caplog.text) == told
    if told:
        caplog.clear()
        load(tmp_path, area__bbox=bbox, seasons=yaml.safe_load(advised))
        assert not caplog.text


def test_the_hemisphere_of_a_polygon_counts_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "south.geojson").write_text(shapely.to_geojson(shapely.box(20, -30, 21, -29)))
    load(tmp_path, area={"geometry": "south.geojson"})
    assert "southern hemisphere" in caplog.text


# What would stop a run only after hours


def test_values_that_an_algorithm_cannot_have_are_refused(tmp_path: Path) -> None:
    told = refusal(tmp_path, models__parameters={"random_forest": {"n_estimators": -5}})
    assert "The 'n_estimators' parameter of RandomForest must be an int in the range [1, inf)" in told


def test_what_is_left_out_must_be_known(tmp_path: Path) -> None:
    source = {"catalog": "own", "collection": "c", "asset": "a"}
    cover = source | {"kind": "categorical"}
    dem = source | {"derive": ["slope", "aspect"]}
    rain = source | {"lags": [1]}
    given = {
        "sources__cover": cover,
        "sources__dem": dem,
        "sources__rain": rain,
        "sources__sand": source | {"group": "texture"},
    }
    known = ["texture", "sand", "rain_lag1", "rain_and_lags", "slope", "aspect", "northness", "cover", "cover_12"]
    assert load(tmp_path, models__ablation=known, **given).models.ablation == tuple(known)
    told = refusal(tmp_path, models__ablation=["textur"], **given)
    assert "models.ablation: there is no feature or group 'textur'; did you mean 'texture'?" in told
