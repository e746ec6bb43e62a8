"""A target of two sensors through the real command: the older one reads wetter, by a gain and an offset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from numpy.typing import NDArray

from commands import Ended, edit, invoke, times
from soilscale import config, kernels, samples
from soilscale.errors import ConfigurationError
from worlds import FINER, GAIN, OFFSET, TwoSensors, two_sensors

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]

OLD, NEW = ("2003-01", "2005-03"), ("2005-07", "2007-09")
"""Twenty-seven months each, three months between them, as AMSR-E and AMSR2 in small."""
EARLY, GAP, LATE = slice(0, 27), slice(27, 30), slice(30, 57)
LATER = ("2003-10", "2007-09")
"""Months of the newer sensor where it overlaps the older one."""


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> TwoSensors:
    """World whose sensors share no month."""
    world = two_sensors(
        tmp_path_factory.mktemp("apart"),
        OLD,
        NEW,
        models={
            "algorithms": ["random_forest"],
            "parameters": {"random_forest": {"n_estimators": 10}},
            "folds": 2,
            "ablation": False,
        },
    )
    edit(world.config, seasons={"warm": [4, 5, 6, 7, 8, 9], "cold": [10, 11, 12, 1, 2, 3]})
    return world


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> TwoSensors:
    """World whose sensors share a year and a half."""
    return two_sensors(tmp_path_factory.mktemp("together"), OLD, LATER)


@pytest.fixture(scope="module")
def run(apart: TwoSensors, cluster: str) -> Ended:
    """How the whole run ended."""
    return invoke("run", apart.config, "--scheduler", cluster)


@pytest.fixture(scope="module")
def output(apart: TwoSensors, run: Ended) -> Path:
    assert run.status == 0, run.err
    return apart.config.parent / "run"


def opened(output: Path, store: str, group: str) -> xr.Dataset:
    return xr.open_zarr(output / store, group=group, consolidated=False).load()


def cube(world: TwoSensors, cluster: str, *overrides: str) -> xr.Dataset:
    """Coarse group of the cube, made anew or as far as it has to be."""
    options = [word for override in overrides for word in ("-o", override)]
    for command, where in (("search", ()), ("cube", ("--scheduler", cluster))):
        ended = invoke(command, world.config, *where, *options)
        assert ended.status == 0, ended.err
    return opened(world.config.parent / "run", "cube.zarr", "coarse")


@dataclass(frozen=True)
class Grown:
    """A cube of sensors apart, one month short; with that month; and that through a third series."""

    first: xr.Dataset
    second: xr.Dataset
    through: xr.Dataset
    markers: Sequence[dict[str, dict[str, int]]]
    """Stage -> its markers, after the first and the second."""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Grown:
    world = two_sensors(tmp_path_factory.mktemp("grown"), OLD, NEW)
    path, output = world.config.parent / "items.json", world.config.parent / "run"
    items = json.loads(path.read_text())
    short = [item for item in items["features"] if item["id"] != "new-2007-09"]
    path.write_text(json.dumps(items | {"features": short}))
    first = cube(world, cluster)
    before = {stage: markers(output, stage) for stage in ("cube", "relate", "harmonise")}
    path.write_text(json.dumps(items))
    second = cube(world, cluster)
    after = {stage: markers(output, stage) for stage in before}
    # Rain as it is read: what pixels of this world differ by is white, and would be smoothed across its nine cells.
    through = cube(world, cluster, "sources.soil_moisture.through=rain", "maps.gaps=none")
    return Grown(first, second, through, (before, after))


def rmse(got: Any, truth: Array) -> float:
    return float(np.sqrt(np.nanmean((np.asarray(got) - truth) ** 2)))


def markers(output: Path, stage: str) -> dict[str, int]:
    """Marker of every unit of a stage, and when it was written."""
    folder = output / "state" / stage
    return {str(path.relative_to(folder)): time for path, time in times(folder).items() if path.suffix == ".json"}


# A run from end to end


def test_the_cube_holds_every_sensor_as_it_was_read_and_the_target(apart: TwoSensors, output: Path) -> None:
    coarse, fine = opened(output, "cube.zarr", "coarse"), opened(output, "cube.zarr", "fine")
    assert set(fine) == {"rain", "height"}
    assert set(coarse) == {"rain", "height", "old", "new", "soil_moisture", "valid_fraction"}
    np.testing.assert_allclose(coarse["old"][EARLY], OFFSET + GAIN * apart.coarse[EARLY], atol=1e-6)
    assert np.isnan(coarse["old"][GAP.start :]).all()
    np.testing.assert_array_equal(coarse["soil_moisture"][LATE], coarse["new"][LATE])
    assert np.isnan(coarse["soil_moisture"][GAP]).all()
    for name in ("old", "new", "soil_moisture"):
        assert coarse[name].attrs["units"] == "m3 m-3"
    assert {name for name in coarse if coarse[name].attrs.get("soilscale_role") == "part"} == {"old", "new"}
    assert samples.features(coarse, "soil_moisture") == ("height", "rain")


def test_the_older_sensor_is_brought_to_the_level_of_the_newer(apart: TwoSensors, output: Path) -> None:
    coarse = opened(output, "cube.zarr", "coarse")
    early = apart.coarse[EARLY]
    assert rmse(coarse["old"][EARLY], early) > 0.06
    assert rmse(coarse["soil_moisture"][EARLY], early) < 0.012
    assert abs(float((coarse["soil_moisture"][EARLY] - early).mean())) < 0.005


def test_the_maps_have_no_step_where_the_sensor_changes(apart: TwoSensors, output: Path) -> None:
    found = opened(output, "maps.zarr", "month")["soil_moisture"].to_numpy()
    error = kernels.block_mean(found, FINER)[0] - apart.coarse
    step = np.nanmean(error[LATE]) - np.nanmean(error[EARLY])
    unharmonised = -np.nanmean(OFFSET + (GAIN - 1) * apart.coarse[EARLY])
    assert unharmonised < -0.06
    assert abs(step) < 0.1 * abs(unharmonised)


def test_no_model_learns_from_a_sensor(output: Path) -> None:
    table = pd.read_parquet(output / "samples.parquet")
    assert set(table) == {"time", "season", "y", "x", "block", "split", "rain", "height", "soil_moisture"}
    assert table["time"].nunique() == 54


def test_a_map_names_the_items_of_the_sensor_that_saw_its_month(output: Path) -> None:
    (path,) = (output / "maps" / "month").glob("*2003-07/*/*.json")
    titles = {link.get("title") for link in json.loads(path.read_text())["links"] if link["rel"] == "derived_from"}
    assert {"old: old-2003-07", "rain: rain-2003-07", "height: height"} == titles


def test_the_report_tells_the_regression_and_the_step_before_and_after(output: Path) -> None:
    table = pd.read_csv(output / "report" / "sensors.csv")
    assert list(table) == ["part", "reference", "season", "statistic", "value", "n", "basis"]
    assert set(table["season"]) == {"warm", "cold", "all"}
    assert set(table["basis"]) == {"climatology"}
    whole = table[table["season"] == "all"].set_index("statistic")["value"]
    # The years differ, so the regression of climatologies only nears 1 / 1.2.
    assert 0.8 < whole["r2"] < 1
    assert whole["slope"] == pytest.approx(1 / GAIN, abs=0.1)
    assert whole["step_before"] == pytest.approx(-0.067, abs=0.01)
    assert abs(whole["step_after"]) < 0.001
    assert whole["step_spread_after"] < whole["step_spread_before"]
    assert whole["cells_by_month"] == 9
    page = (output / "report" / "index.html").read_text()
    assert "old was matched to new by what each saw in its own years" in page
    assert "in all 9 cells by the cell&#39;s own relation" in page
    assert 'id="sensors"' in page


def test_the_report_holds_the_series_of_each_sensor(output: Path) -> None:
    series = pd.read_csv(output / "report" / "sensor_series.csv", parse_dates=["time"])
    assert list(series) == ["time", "part", "before", "after"]
    old, new = (series[series["part"] == name].reset_index(drop=True) for name in ("old", "new"))
    assert (len(old), old["before"].notna().sum(), new["before"].notna().sum()) == (57, 27, 27)
    pd.testing.assert_series_equal(new["before"], new["after"], check_names=False)
    assert (old["before"] - old["after"]).mean() > 0.06


def test_months_that_no_sensor_saw_are_told(run: Ended, output: Path) -> None:
    assert "source soil_moisture: no item in 2005-04, 2005-05" in run.err
    assert "source old" not in run.err
    assert "soil_moisture" in (output / "report" / "index.html").read_text()


def test_status_counts_the_units_of_the_sensors(apart: TwoSensors, output: Path) -> None:
    assert output.exists()
    told = invoke("status", apart.config)
    lines = {line.split()[1]: line.split() for line in told.out.splitlines() if line.count("│") > 3}
    for stage in ("relate", "harmonise"):
        assert [word for word in lines[stage] if word.isdigit()] == ["1", "1", "0"]


def test_a_second_run_does_nothing(apart: TwoSensors, output: Path, cluster: str) -> None:
    before = markers(output, "")
    again = invoke("run", apart.config, "--scheduler", cluster)
    assert again.status == 0
    assert {name: when for name, when in markers(output, "").items() if name in before} == before


# Months in common, a third series, and none


def test_an_overlap_recovers_the_level_and_the_reference_wins(together: TwoSensors, cluster: str) -> None:
    coarse = cube(together, cluster)
    assert rmse(coarse["soil_moisture"], together.coarse) < 1e-6
    np.testing.assert_array_equal(coarse["soil_moisture"][9:27], coarse["new"][9:27])
    by_distribution = cube(together, cluster, "sources.soil_moisture.harmonise=cdf")
    assert rmse(by_distribution["soil_moisture"][:9], together.coarse[:9]) < 0.005
    as_it_is = cube(together, cluster, "sources.soil_moisture.harmonise=none")
    np.testing.assert_array_equal(as_it_is["soil_moisture"][:9], as_it_is["old"][:9])
    np.testing.assert_array_equal(as_it_is["soil_moisture"][9:], as_it_is["new"][9:])
    upwards = cube(together, cluster, "sources.soil_moisture.reference=old")
    assert rmse(upwards["soil_moisture"], OFFSET + GAIN * together.coarse) < 1e-6


def test_another_way_to_harmonise_reads_nothing_again(together: TwoSensors, cluster: str) -> None:
    cube(together, cluster)
    output = together.config.parent / "run"
    before = {stage: markers(output, stage) for stage in ("cube", "relate", "harmonise")}
    cube(together, cluster, "sources.soil_moisture.harmonise=cdf")
    assert markers(output, "cube") == before["cube"]
    for stage in ("relate", "harmonise"):
        assert markers(output, stage) != before[stage]


def test_a_third_series_recovers_the_level_without_an_overlap(apart: TwoSensors, grown: Grown) -> None:
    """Rain and soil moisture go together in every cell of this world; here rain is a predictor too."""
    assert rmse(grown.through["soil_moisture"][EARLY], apart.coarse[EARLY]) < 1e-5
    assert np.isnan(grown.through["soil_moisture"][GAP]).all()


def test_a_third_series_need_not_be_a_feature(cluster: str, tmp_path: Path) -> None:
    world = two_sensors(tmp_path / "w", ("2003-01", "2004-06"), ("2004-07", "2005-12"))
    wetness = {"role": "part", "catalog": "own", "collection": "rain", "asset": "data", "unit": "mm month-1"}
    through = "sources.soil_moisture.through=wetness"
    coarse = cube(world, cluster, f"sources.wetness={json.dumps(wetness)}", through)
    assert rmse(coarse["soil_moisture"], world.coarse) < 1e-5
    assert coarse["wetness"].attrs["units"] == "mm month-1"
    assert coarse["wetness"].attrs["soilscale_role"] == "part"
    assert "wetness" not in opened(tmp_path / "w" / "run", "cube.zarr", "fine")


# What changes, what fails


def test_a_new_month_of_a_sensor_redoes_the_target_and_nothing_that_was_read(grown: Grown) -> None:
    before, after = grown.markers
    redone = {name for name, when in after["cube"].items() if before["cube"].get(name) != when}
    assert {name.partition("_")[0] for name in redone} == {"new/2007-09"}
    assert before["harmonise"].keys() != after["harmonise"].keys()
    assert not np.array_equal(grown.first["soil_moisture"][5], grown.second["soil_moisture"][5])
    np.testing.assert_array_equal(grown.first["soil_moisture"][LATE][:-1], grown.second["soil_moisture"][LATE][:-1])


def test_an_unreadable_month_of_a_sensor_costs_that_month_alone_in_every_tile(tmp_path: Path, cluster: str) -> None:
    world = two_sensors(tmp_path / "w", ("2003-01", "2004-06"), ("2003-03", "2004-06"))
    edit(world.config, grid__tile=2)
    (world.config.parent / "rasters" / "old-2003-02.tif").write_bytes(b"no raster")
    assert invoke("search", world.config).status == 0
    ended = invoke("cube", world.config, "--scheduler", cluster)
    assert ended.status == 65
    assert "old/2003-02" in ended.err
    output = world.config.parent / "run"
    assert len(markers(output, "harmonise")) == 4
    found = opened(output, "cube.zarr", "coarse")["soil_moisture"]
    assert np.isnan(found).any(("y", "x")).to_numpy().nonzero()[0].tolist() == [1]
    assert rmse(found, world.coarse) < 1e-6


def test_sensors_that_share_no_calendar_month_are_refused(tmp_path: Path, cluster: str) -> None:
    world = two_sensors(tmp_path / "w", ("2003-01", "2003-04"), ("2004-06", "2004-10"))
    assert invoke("search", world.config).status == 0
    ended = invoke("cube", world.config, "--scheduler", cluster)
    assert ended.status == 65
    assert "relate soil_moisture: old cannot be matched to new: the two have 0 values" in ended.err
    assert "harmonise: none" in ended.err
    assert invoke("samples", world.config).status == 65


def test_check_tells_what_the_target_is_made_of(apart: TwoSensors, together: TwoSensors) -> None:
    told = invoke("check", apart.config)
    assert told.status == 0, told.err
    line = "target soil_moisture: old, new, harmonise: linear; old shares 0 months with new; 3 months have none"
    assert line in told.out
    assert "old shares 18 months with new; 0 months have none" in invoke("check", together.config).out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sources.old.unit='%'"], "got the units old %, new m3 m-3, expected one"),
        (["sources.soil_moisture.through=height"], "'height' is static (its items share one date"),
    ],
)
def test_what_only_the_items_show_is_refused_as_a_configuration(
    apart: TwoSensors, tmp_path: Path, overrides: list[str], said: str
) -> None:
    options = [word for override in overrides for word in ("-o", override)]
    ended = invoke("search", apart.config, "--output", tmp_path / "run", *options)
    assert ended.status == 78
    assert said in ended.err


# Configuration


def target(**keys: Any) -> dict[str, Any]:
    return {"role": "target", "parts": ["old", "new"], **keys}


PLAIN = {"role": "target", "catalog": "own", "collection": "c", "asset": "data"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"soil_moisture": target(parts=["odl", "new"])}, "parts: there is no source 'odl'; did you mean 'old'?"),
        ({"soil_moisture": target(parts=["old", "rain"])}, "'rain' has role: predictor; a part has role: part"),
        ({"soil_moisture": target(parts=["old"])}, "parts: got ['old']; expected at least two sources"),
        ({"soil_moisture": target(parts=["old", "old"])}, "lists a source twice"),
        ({"soil_moisture": target(reference="nwe")}, "'nwe' is not among parts; did you mean 'new'?"),
        ({"soil_moisture": target(reference="rain")}, "'rain' is not among parts"),
        ({"soil_moisture": target(harmonise="linaer")}, "harmonise: got 'linaer'; expected cdf, linear or none"),
        ({"soil_moisture": target(through="rian")}, "through: there is no source 'rian'; did you mean 'rain'?"),
        ({"soil_moisture": target(through="old")}, "'old' is one of the parts"),
        ({"soil_moisture": target(through="height"), "height": {"static": True}}, "'height' is static"),
        ({"soil_moisture": target(through="rain"), "rain": {"kind": "categorical"}}, "'rain' is categorical"),
        ({"soil_moisture": target(catalog="own")}, "a target of several parts has no catalog of its own"),
        ({"soil_moisture": target(refrence="new")}, "soil_moisture.refrence: unknown key; did you mean 'reference'?"),
        ({"soil_moisture": target(role="predictor")}, "soil_moisture.role: got 'predictor'; expected target"),
        ({"soil_moisture": PLAIN | {"harmonise": "cdf"}}, "harmonise is for a target of several parts"),
        ({"soil_moisture": PLAIN}, "sources.old.role: got 'part', but no target names this source among its parts"),
        ({"old": {"lags": [1]}}, "the part has neither lags nor derive, and is not static"),
        ({"old": {"kind": "categorical"}}, "a categorical source cannot be"),
        ({"ndvi": target()}, "exactly one source has role: target; here soil_moisture, ndvi"),
        ({"rain": {"role": "part"}, "height": {"role": "part"}}, "the target cannot be downscaled without predictors"),
        ({"rain": {"colection": 1}}, "sources.rain.colection: unknown key; did you mean 'collection'?"),
    ],
)
def test_wrong_parts_are_refused(apart: TwoSensors, changes: dict[str, Any], said: str) -> None:
    content = yaml.safe_load(apart.config.read_text())
    for name, keys in changes.items():
        whole = name == "soil_moisture" or name not in content["sources"]
        content["sources"][name] = keys if whole else content["sources"][name] | keys
    with pytest.raises(ConfigurationError) as caught:
        config.validate(content)
    assert said in str(caught.value)


def test_wrong_parts_end_the_command_with_78(apart: TwoSensors) -> None:
    ended = invoke("check", apart.config, "-o", "sources.soil_moisture.reference=rain")
    assert ended.status == 78
    assert "sources.soil_moisture.reference: 'rain' is not among parts" in ended.err


def test_the_resolved_configuration_can_be_read_again(apart: TwoSensors) -> None:
    found = config.load(str(apart.config), ["sources.soil_moisture.through=rain"])
    again = config.validate(config.dump(found))
    assert again.target == found.target
    assert [source.name for source in found.source_list] == ["old", "new", "rain", "height"]
    assert [source.name for source in found.predictors] == ["rain", "height"]
    assert found.target.harmonise is not None
    assert found.target.harmonise.order == ("new", "old")
    assert found.target.harmonise.needs == ("old", "new", "rain")
