"""The training table as fits read it: joined part by part, and no more of it than a season needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pandas.testing import assert_frame_equal

from soilscale import models
from soilscale.engine.output import Workspace
from soilscale.grid import Tile
from soilscale.models import Job
from soilscale.seasons import ALL
from soilscale.storage import DamagedError, tables
from soilscale.tasks import joint_learning, single_fits, training_table

SEASONS = ["winter", "summer", "spring"]


def rows(months: int, first: int) -> pd.DataFrame:
    """Part of a training table: 40 cells in each month, blocks of 20, seasons of a month each."""
    rng = np.random.default_rng(first)
    month = np.repeat(np.arange(first, first + months), 40)
    cell = np.tile(np.arange(40), months)
    return pd.DataFrame(
        {
            "time": (np.datetime64("2001-01", "M") + month).astype("datetime64[ns]"),
            "season": np.array(SEASONS, object)[month % 3],
            "y": 100.0 - cell // 8,
            "x": 0.25 * (cell % 8),
            "block": [f"r{place:02d}-{2001 + one // 12}" for place, one in zip(cell // 20, month, strict=True)],
            "split": np.where(rng.random(len(cell)) < 0.7, "train", "validation").astype(object),
            "rain": rng.random(len(cell), dtype="float32"),
            "soil_moisture": rng.random(len(cell), dtype="float32"),
        }
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Workspace with a table of three parts, one of which is empty."""
    found = Workspace(str(tmp_path))
    parts = [rows(9, 0), rows(9, 9)[:0], rows(14, 9)]
    for number, part in enumerate(parts):
        tables.write_table(found.state("samples", f"{number}.parquet"), part)
    tables.put_together([found.state("samples", f"{number}.parquet") for number in range(3)], found.samples)
    return found


@pytest.fixture
def whole() -> pd.DataFrame:
    """The same table, whole."""
    return pd.concat([rows(9, 0), rows(14, 9)], ignore_index=True)


def test_parts_are_joined_to_a_table_like_any_other(workspace: Workspace, whole: pd.DataFrame) -> None:
    assert_frame_equal(pd.read_parquet(workspace.samples), whole)
    assert tables.count(workspace.samples) == len(whole)
    assert (
        training_table.counts(workspace.samples).value_counts().to_dict()
        == whole[["season", "split"]].value_counts().to_dict()
    )


@pytest.mark.parametrize("most", [1, 100, 359, 360, 10_000])
def test_a_table_written_some_rows_at_a_time_is_whole_and_its_categories_are_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(tables, "ROWS", most)
    url, told = str(tmp_path / "table.parquet"), rows(9, 0)
    tables.write_table(url, told.astype(dict.fromkeys(["season", "block", "split"], "category")))
    assert_frame_equal(tables.read_table(url), told)


def test_a_bit_that_flipped_in_a_table_is_found_wherever_its_values_lie(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    tables.write_table(str(path), rows(9, 0))
    tables.put_together([str(path)], str(path))
    content = path.read_bytes()
    values = rows(9, 0)["rain"].to_numpy().tobytes()
    found = content.index(values[:8])
    for place in (found, found + 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedError, match=r"table\.parquet is damaged"):
            tables.read_table(str(path))
        with pytest.raises(DamagedError, match=r"table\.parquet is damaged"):
            training_table.table(str(path), ALL, 0, 5)


def test_a_table_has_no_columns_from_the_names_of_folders(tmp_path: Path) -> None:
    url = str(tmp_path / "area=one" / "table.parquet")
    tables.write_table(url, rows(9, 0))
    tables.put_together([url], str(tmp_path / "year=2001" / "whole.parquet"))
    assert_frame_equal(tables.read_table(str(tmp_path / "year=2001" / "whole.parquet")), rows(9, 0))


def test_parts_without_rows_are_a_table_without_rows(tmp_path: Path) -> None:
    url = str(tmp_path / "part.parquet")
    tables.write_table(url, rows(1, 0)[:0])
    tables.put_together([url, url], str(tmp_path / "whole.parquet"))
    assert list(pd.read_parquet(tmp_path / "whole.parquet")) == list(rows(1, 0))


@pytest.mark.parametrize("season", [*SEASONS, ALL])
def test_only_the_rows_of_the_season_are_read(workspace: Workspace, whole: pd.DataFrame, season: str) -> None:
    found = training_table.table(workspace.samples, season, 3, 4)
    own = whole if season == ALL else whole[whole["season"] == season]
    assert_frame_equal(
        found.drop(columns=models.FOLD).astype({"season": object, "split": object}),
        own.drop(columns="block").reset_index(drop=True),
    )
    assert found[models.FOLD].tolist() == models.folds(whole["block"], 4, 3)[own.index].tolist()


@pytest.mark.parametrize("fold", [None, 0, 3])
@pytest.mark.parametrize("season", ["summer", ALL])
def test_a_job_learns_from_the_same_rows_as_from_the_whole_table(
    workspace: Workspace, whole: pd.DataFrame, season: str, fold: int | None
) -> None:
    model, split = "comprehensive" if season == ALL else "seasonal", "random" if fold is None else "blocked"
    job = Job(season, "random_forest", model, split, fold)  # type: ignore[arg-type]
    expected = models.partition(job, whole, seed=3, folds=4)
    for ours, theirs in zip(single_fits.rows_of(workspace, job, 3, 4), expected, strict=True):
        assert len(ours) > 20
        assert_frame_equal(ours[["time", "y", "x", "rain"]], theirs[["time", "y", "x", "rain"]])


def test_the_blocked_errors_of_each_algorithm_are_summed_by_month_over_all_its_folds(tmp_path: Path) -> None:
    def part(season: str, algorithm: str, split: str, errors: list[float]) -> str:
        url = str(tmp_path / f"{season}-{algorithm}-{split}-{len(errors)}.parquet")
        told = {"season": season, "algorithm": algorithm, "model": "seasonal", "split": split, "time": "2004-06"}
        table = pd.DataFrame({"observed": np.zeros(len(errors), "float32"), "predicted": np.array(errors, "float32")})
        tables.write_table(url, table.assign(**told))
        return url

    parts = [
        part("summer", "svm", "blocked", [3.0]),
        part("summer", "svm", "blocked", [0.0, 0.0]),
        part("summer", "knn", "blocked", [1.0]),
        part("summer", "knn", "random", [9.0]),
        part("winter", "knn", "blocked", [2.0]),
    ]
    tables.put_together(parts, str(tmp_path / "all.parquet"))
    found = single_fits.blocked_errors(str(tmp_path / "all.parquet"))
    sums = {key: {name: own.loc["2004-06"].tolist() for name, own in of.items()} for key, of in found.items()}
    assert sums == {("summer", "seasonal"): {"knn": [1, 1], "svm": [9, 3]}, ("winter", "seasonal"): {"knn": [4, 1]}}


def test_the_variance_within_cells_is_that_about_each_cells_mean() -> None:
    values = np.zeros((2, 6, 2))
    values[..., 0] = [[1, 3, 5, 5, np.nan, np.nan], [1, 3, 5, 5, np.nan, np.nan]]
    values[..., 1] = [[0, 4, 1, np.nan, 7, 7], [0, 4, np.nan, 2, 7, 7]]
    found = joint_learning.variance_within(values, 2)
    np.testing.assert_allclose(found, [[1, 4], [0, 0.25], [np.nan, 0]])


def test_fine_features_are_measured_by_season(tmp_path: Path) -> None:
    """A tile of 2 x 2 cells of 2 x 2 pixels in two months; what is the same in every month is static."""
    workspace = Workspace(str(tmp_path))
    rain = np.array([[1.0, 3.0, 2.0, 2.0]] * 4), np.array([[0.0, 0.0, 5.0, 9.0]] * 4)
    sand = np.array([[10.0, 30.0, 10.0, 10.0]] * 4)
    whole = xr.Dataset(
        {
            "rain": (("time", "y", "x"), np.stack(rain).astype("float32")),
            "sand": (("y", "x"), sand.astype("float32")),
        }
    )
    whole.to_zarr(workspace.cube, group="fine", zarr_format=3, consolidated=False)
    tile = Tile(0, 0, (slice(0, 2), slice(0, 2)), (slice(0, 4), slice(0, 4)))
    joint_learning.MeasureKnots(
        features=("rain", "sand"),
        static=frozenset({"sand"}),
        shares=(False, False),
        places=((tile, 0), (tile, 1)),
        seasons=("winter", "summer"),
        ratio=2,
        size=11,
    ).run(workspace)
    found = json.loads(Path(workspace.state("knots", "features.about.json")).read_text())["within"]
    assert found == {
        "winter": {"rain": pytest.approx(np.sqrt(1 / 2)), "sand": pytest.approx(np.sqrt(100 / 2))},
        "summer": {"rain": pytest.approx(np.sqrt(4 / 2)), "sand": pytest.approx(np.sqrt(100 / 2))},
        "all": {"rain": pytest.approx(np.sqrt(5 / 4)), "sand": pytest.approx(np.sqrt(100 / 2))},
    }
    assert joint_learning.read_knots(workspace).knots == 11
