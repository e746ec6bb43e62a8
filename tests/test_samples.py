"""The training table: which cells and months enter, how they are split and into which blocks they fall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from soilscale import samples
from soilscale.errors import ConfigurationError, DataError
from soilscale.seasons import METEOROLOGICAL, Seasons, month_range

SEASONS = Seasons(METEOROLOGICAL)
FEATURES = ("elevation", "precipitation")
COLUMNS = ["time", "season", "y", "x", "block", "split", *FEATURES, "soil_moisture"]


def world(first: str = "1992-11", last: str = "1993-01", shape: tuple[int, int] = (4, 5)) -> xr.Dataset:
    """Coarse cube without gaps; every value names its own place, so that a row can be traced back."""
    months = month_range(first, last)
    rows, columns = shape
    number = np.arange(len(months) * rows * columns, dtype="float32").reshape(len(months), rows, columns)
    return xr.Dataset(
        {
            "precipitation": (("time", "y", "x"), number),
            "ssm": (("time", "y", "x"), number / 10_000),
            "elevation": (("y", "x"), -number[0]),
            "valid_fraction": (("time", "y", "x"), np.ones_like(number)),
            "time_bounds": (
                ("time", "bounds"),
                np.stack([months, months + np.timedelta64(1, "M")], 1).astype("datetime64[ns]"),
            ),
        },
        {
            "time": months.astype("datetime64[ns]"),
            "y": 1000.0 - 10 * np.arange(rows),
            "x": 500.0 + 10 * np.arange(columns),
            "spatial_ref": np.int32(0),
        },
    )


def draw(coarse: xr.Dataset, features: Sequence[str] = FEATURES, **changes: Any) -> pd.DataFrame:
    arguments: dict[str, Any] = {"min_valid_fraction": 0.5, "seed": 0, "block": 2} | changes
    return samples.draw(coarse, "ssm", features, SEASONS, **arguments)


def test_features_are_the_fields_that_are_neither_target_nor_valid_fraction_nor_coordinate() -> None:
    assert samples.features(world(), "ssm") == ("elevation", "precipitation")


def test_features_come_in_an_order_that_does_not_depend_on_the_datasets() -> None:
    coarse = world()
    assert samples.features(coarse[sorted(map(str, coarse.data_vars), reverse=True)], "ssm") == FEATURES


def test_features_leave_out_coordinates_that_were_read_as_variables() -> None:
    assert samples.features(world().reset_coords("spatial_ref"), "ssm") == FEATURES


@pytest.mark.parametrize(("shape", "side"), [((3, 3), 2), ((9, 40), 3), ((22, 16), 5), ((100, 90), 8), ((1, 1), 2)])
def test_block_side(shape: tuple[int, int], side: int) -> None:
    assert samples.block_side(shape) == side


def test_columns_and_types_are_the_contracts() -> None:
    table = draw(world())
    assert list(table.columns) == COLUMNS
    kinds = {name: str(dtype) for name, dtype in table.dtypes.items()}
    assert kinds == {
        "time": "datetime64[ns]",
        "y": "float64",
        "x": "float64",
        **dict.fromkeys(("season", "block", "split"), "object"),
        **dict.fromkeys((*FEATURES, "soil_moisture"), "float32"),
    }
    assert {type(value) for name in ("season", "block", "split") for value in table[name]} == {str}


def test_a_cube_without_gaps_gives_one_row_per_cell_and_month() -> None:
    table = draw(world())
    assert len(table) == 3 * 4 * 5
    assert not table.duplicated(["time", "y", "x"]).any()


def test_each_row_holds_the_values_of_its_own_cell_and_month() -> None:
    coarse = world()
    table = draw(coarse)
    at = {name: xr.DataArray(table[name].to_numpy(), dims="row") for name in ("time", "y", "x")}
    cells = coarse.sel(at)
    np.testing.assert_array_equal(table["precipitation"], cells["precipitation"])
    np.testing.assert_array_equal(table["elevation"], cells["elevation"])
    np.testing.assert_array_equal(table["soil_moisture"], cells["ssm"])


def test_features_become_columns_in_the_order_asked_for() -> None:
    table = draw(world(), ("precipitation", "elevation"))
    assert list(table.columns)[6:8] == ["precipitation", "elevation"]
    assert table["elevation"].max() <= 0 <= table["precipitation"].min()


@pytest.mark.parametrize("name", ["precipitation", "ssm"])
@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_a_row_with_a_gap_is_left_out(name: str, gap: float) -> None:
    coarse = world()
    coarse[name][1, 2, 3] = gap
    whole, table = draw(world()), draw(coarse)
    lost = whole.merge(table, on=["time", "y", "x"], how="left", indicator=True).query("_merge == 'left_only'")
    assert lost[["time", "y", "x"]].to_numpy().tolist() == [[pd.Timestamp("1992-12-01"), 980.0, 530.0]]


def test_a_gap_in_a_static_feature_leaves_the_cell_out_of_every_month() -> None:
    coarse = world()
    coarse["elevation"][0, 0] = np.nan
    table = draw(coarse)
    assert len(table) == 3 * 19
    assert not ((table["y"] == 1000) & (table["x"] == 500)).any()


def test_a_gap_in_a_variable_that_is_no_feature_does_not_matter() -> None:
    coarse = world()
    coarse["precipitation"][0, 0, 0] = np.nan
    assert len(draw(coarse, ["elevation"])) == 60


@pytest.mark.parametrize("limit", [0.5, 0.7, 0.1, np.float64(0.7), 1.0])
def test_a_valid_fraction_equal_to_the_limit_is_enough(limit: float) -> None:
    coarse = world()
    coarse["valid_fraction"][:] = np.float32(limit)
    coarse["valid_fraction"][0, 0, 0] = np.nextafter(np.float32(limit), np.float32(0))
    assert len(draw(coarse, min_valid_fraction=limit)) == 59


def test_an_unknown_valid_fraction_is_not_enough() -> None:
    coarse = world()
    coarse["valid_fraction"][0, 0, 0] = np.nan
    assert len(draw(coarse, min_valid_fraction=0.0)) == 59


def test_a_cube_without_a_usable_cell_gives_a_table_without_rows() -> None:
    coarse = world()
    coarse["ssm"][:] = np.nan
    table = draw(coarse)
    assert table.empty
    assert list(table.columns) == COLUMNS
    assert table.dtypes.equals(draw(world()).dtypes)


def test_a_cube_without_months_gives_a_table_without_rows() -> None:
    table = draw(world().isel(time=slice(0)))
    assert table.empty
    assert list(table.columns) == COLUMNS


def test_seasons_follow_the_scheme() -> None:
    table = draw(world("1992-11", "1993-06"))
    found = table.groupby("time")["season"].unique().map(list).to_list()
    assert found == [["autumn"], *[["winter"]] * 3, *[["spring"]] * 3, ["summer"]]


def test_a_winter_is_one_year_of_blocks_and_not_cut_at_new_year() -> None:
    table = draw(world("1992-11", "1993-03"))
    years = table["block"].str.rsplit("-", n=1).str[1].groupby(table["time"]).unique().map(list).to_list()
    assert years == [["1992"], ["1992"], ["1992"], ["1992"], ["1993"]]


def test_a_dry_season_across_new_year_belongs_to_the_year_in_which_it_starts() -> None:
    wet_dry = Seasons({"wet": (5, 6, 7, 8, 9), "dry": (10, 11, 12, 1, 2, 3, 4)})
    coarse = world("1993-04", "1993-05")
    table = samples.draw(coarse, "ssm", FEATURES, wet_dry, min_valid_fraction=0, seed=0, block=9)
    assert table.groupby("season")["block"].unique().map(list).to_dict() == {
        "dry": ["r00c00-1992"],
        "wet": ["r00c00-1993"],
    }


def test_blocks_are_squares_of_cells_counted_from_the_grids_corner() -> None:
    table = draw(world("1992-06", "1992-06", (4, 5)), block=2)
    names = table["block"].to_numpy().reshape(4, 5)
    top = ["r00c00-1992", "r00c00-1992", "r00c01-1992", "r00c01-1992", "r00c02-1992"]
    assert names[0].tolist() == names[1].tolist() == top
    assert names[2].tolist() == names[3].tolist() == [name.replace("r00", "r01") for name in top]


def test_a_cells_block_does_not_depend_on_gaps_elsewhere() -> None:
    coarse = world("1992-06", "1992-06")
    coarse["ssm"][:, :2, :] = np.nan
    assert set(draw(coarse)["block"]) == {"r01c00-1992", "r01c01-1992", "r01c02-1992"}


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_a_months_rows_do_not_depend_on_which_other_months_are_drawn(data: st.DataObject, seed: int) -> None:
    coarse = world("1968-11", "1970-03")
    gaps = np.random.default_rng(seed).random(coarse["ssm"].shape) < 0.3
    coarse["ssm"] = coarse["ssm"].where(~gaps)
    chosen = sorted(data.draw(st.sets(st.integers(0, 16), min_size=1)))
    whole = draw(coarse, seed=seed)
    part = draw(coarse.isel(time=chosen), seed=seed)
    expected = whole[whole["time"].isin(coarse["time"].to_numpy()[chosen])].reset_index(drop=True)
    assert_frame_equal(part, expected)


def test_months_drawn_apart_and_appended_are_the_whole_table() -> None:
    coarse = world("1992-01", "1992-06")
    apart = [draw(coarse.isel(time=[month])) for month in range(6)]
    assert_frame_equal(pd.concat(apart, ignore_index=True), draw(coarse))


def test_the_split_is_70_to_30_in_each_month_to_within_a_row() -> None:
    table = draw(world("1990-01", "1990-12", (5, 9)))
    shares = (table["split"] == "train").groupby(table["time"]).sum()
    assert set(shares) == {31, 32}  # 45 x 0.7 = 31.5
    assert set(table["split"]) == {"train", "validation"}


def test_the_split_has_no_bias_where_a_month_has_a_single_row() -> None:
    table = draw(world("1900-01", "1999-12", (1, 1)))
    trains = (table["split"] == "train").sum()
    assert abs(trains - 0.7 * 1200) < 4 * np.sqrt(1200 * 0.7 * 0.3)


def test_the_split_chooses_cells_evenly() -> None:
    table = draw(world("1900-01", "1999-12", (2, 5)))
    per_cell = (table["split"] == "train").groupby([table["y"], table["x"]]).mean()
    assert (abs(per_cell - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 1200)).all()


def test_the_split_differs_between_months_and_seeds_and_repeats_for_the_same() -> None:
    coarse = world("1990-01", "1990-02", (6, 6))
    table = draw(coarse)
    january, february = (rows["split"].tolist() for _, rows in table.groupby("time"))
    assert january != february
    assert draw(coarse)["split"].tolist() == table["split"].tolist()
    assert draw(coarse, seed=1)["split"].tolist() != table["split"].tolist()


@pytest.mark.parametrize(("train", "kinds"), [(1.0, {"train"}), (0.0, {"validation"})])
def test_the_share_can_be_set(train: float, kinds: set[str]) -> None:
    assert set(draw(world(), train=train)["split"]) == kinds


def test_too_few_rows_are_told_per_season() -> None:
    rows = {"spring": 30, "summer": 29, "autumn": 0}
    table = pd.DataFrame(
        {
            "season": [season for season, n in rows.items() for _ in range(n)] + ["autumn"] * 50,
            "split": ["train"] * sum(rows.values()) + ["validation"] * 50,
        }
    )
    assert samples.check_counts(table, SEASONS) == {"summer": 29, "autumn": 0, "winter": 0}
    assert samples.check_counts(table, SEASONS, 29) == {"autumn": 0, "winter": 0}
    assert samples.check_counts(table, SEASONS, 0) == {}


@pytest.mark.parametrize("name", ["season", "block", "soil_moisture"])
def test_a_feature_named_as_a_column_of_the_table_is_refused(name: str) -> None:
    coarse = world()
    coarse[name] = coarse["precipitation"]
    with pytest.raises(ConfigurationError, match=f"the feature '{name}' has the name of a column"):
        draw(coarse, ["elevation", name])


@pytest.mark.parametrize("name", ["ssm", "valid_fraction", "precipitation"])
def test_a_variable_that_the_cube_lacks_is_named(name: str) -> None:
    with pytest.raises(DataError, match=f"no variable '{name}'; it has .*rebuild the cube"):
        draw(world().drop_vars(name))


def test_a_variable_with_other_dimensions_is_named() -> None:
    coarse = world()
    coarse["precipitation"] = coarse["precipitation"].transpose("y", "x", "time")
    with pytest.raises(DataError, match="'precipitation' has dimensions"):
        draw(coarse)


def test_a_target_may_itself_be_called_soil_moisture() -> None:
    coarse = world().rename(ssm="soil_moisture")
    table = samples.draw(coarse, "soil_moisture", FEATURES, SEASONS, min_valid_fraction=0.5, seed=0, block=2)
    assert list(table.columns) == COLUMNS
