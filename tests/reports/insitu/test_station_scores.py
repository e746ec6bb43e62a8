"""Stations beside the products: where their files lie, pairs, scores and gains, worked by hand or by scipy."""

import io
import logging
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pyproj import Transformer
from scipy import stats

from soilscale.config.sections import Validation
from soilscale.errors import ConfigurationError, DataError
from soilscale.reports import insitu
from soilscale.reports.insitu import Measured, Paired, Rules
from soilscale.reports.insitu.agreement import anomalies, gain, gains, normalised, pooled
from soilscale.reports.scores import SCORES
from soilscale.reports.tables import shared_months
from soilscale.seasons import METEOROLOGICAL, Seasons
from soilscale.tasks.reference_data import station_records
from summing import values_of

SEASONS = Seasons(METEOROLOGICAL)
CRS = "EPSG:3035"
SIDE, LEFT, TOP = 3000.0, 4_000_000.0, 2_900_000.0
NAME = "NET_NET_A_sm_0.050000_0.050000_Probe_20010101_20011231.stm"
STM = b"NET NET A 48.50000 6.20000 300.00 0.05 0.05 Probe\n2001/01/01 00:00 0.1 G M\n"
NOISE = {"observed": 0.02, "fine": 0.02, "coarse": 0.05, "bilinear": 0.04}

Fields = tuple[xr.DataArray, xr.DataArray]
"""Fine and coarse."""


def grid(values: npt.ArrayLike, times: Any, step: float = SIDE) -> xr.DataArray:
    """Array (time, y, x) with cell centres of a grid whose upper left corner is LEFT, TOP."""
    values = np.asarray(values, dtype="float32")
    rows, columns = values.shape[1:]
    coords = {
        "time": np.array(times, dtype="datetime64[ns]"),
        "y": TOP - step * (np.arange(rows) + 0.5),
        "x": LEFT + step * (np.arange(columns) + 0.5),
    }
    return xr.DataArray(values, dims=("time", "y", "x"), coords=coords)


def place(row: float, column: float, step: float = SIDE / 2) -> tuple[float, float]:
    """Longitude and latitude of a fine cell's centre."""
    back = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    longitude, latitude = back.transform(LEFT + step * (column + 0.5), TOP - step * (row + 0.5))
    return longitude, latitude


def records(rows: list[tuple[str, tuple[float, float], str, float]], **constant: Any) -> pd.DataFrame:
    """Records of stations at the centres of fine cells."""
    frame = pd.DataFrame(rows, columns=["station", "cell", "time", "value"])
    lonlat = [place(*cell) for cell in frame.pop("cell")]
    table = frame.assign(longitude=[p[0] for p in lonlat], latitude=[p[1] for p in lonlat], **constant)
    return insitu.read_csv(table.to_csv(index=False).encode(), "stations.csv")


def measure(*tables: pd.DataFrame) -> Measured:
    return insitu.measured([("stations.csv", table) for table in tables], Rules())


def reasons(found: Paired) -> dict[str, int]:
    """Reason -> count over all stations, but for seasons with too few months, of which small worlds are full."""
    table = found.left_out.table()
    counts = table.groupby("reason")["count"].sum() if len(table) else pd.Series(dtype=int)
    return {str(name): int(count) for name, count in counts.items() if name != "too few months in the season"}


def value_of(table: pd.DataFrame, metric: str, column: str = "value", **keys: str) -> float:
    rows = table[table["metric"] == metric]
    for key, value in keys.items():
        rows = rows[rows[key] == value]
    assert len(rows) == 1, f"{metric} {keys}: {len(rows)} rows"
    return float(rows[column].item())


@pytest.fixture
def fields() -> Fields:
    times = ["2001-01", "2001-04"]
    coarse = grid([[[0.2, 0.4]], [[0.3, 0.1]]], times)
    fine = grid(np.arange(16).reshape(2, 2, 4) / 100, times, SIDE / 2)
    return fine, coarse


def paired(found: Measured, fields: Fields) -> Paired:
    fine, coarse = fields
    located = insitu.locate(found, fine["y"].to_numpy(), fine["x"].to_numpy(), CRS)
    return insitu.pair(located, shared_months(fine), values_of(fine), coarse, 2, SEASONS)


# one file, a folder, an archive


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_or_an_archive_of_ismn_files(tmp_path: Path, packed: bool) -> None:
    members = {
        f"NET/A/{NAME}": STM,
        f"NET/A/{NAME.replace('_sm_', '_ts_')}": b"temperature",
        "NET/A/broken.stm": STM,
        "NET/A/NET_NET_A_static_variables.csv": b"a;b\n",
        "Readme.txt": b"",
    }
    if packed:
        (tmp_path / "ismn.zip").write_bytes(archive(members))
    else:
        for name, data in members.items():
            (tmp_path / "ismn" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "ismn" / name).write_bytes(data)
    found = insitu.measured(station_records(str(tmp_path / ("ismn.zip" if packed else "ismn"))))
    assert list(found.monthly["station"]) == ["A"]
    told = found.left_out.table()
    assert list(told["reason"]) == ["cannot be read"]
    assert "broken.stm: the name does not say" in told["detail"].item()


def test_one_file_is_told_by_the_end_of_its_name(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(STM)
    (tmp_path / "table").write_text("station,longitude,latitude,time,value\nB,6,48,2001-01-01,0.1\n")
    for name, station in ((NAME, "A"), ("table", "B")):
        ((_, table),) = station_records(str(tmp_path / name))
        assert isinstance(table, pd.DataFrame)
        assert table["station"].item() == station


def test_what_is_not_there_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ismn").mkdir()
    (tmp_path / "ismn" / "readme.md").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"PK")
    (tmp_path / "other.zip").write_bytes(archive({"a.csv": b""}))
    (tmp_path / "bad.stm").write_bytes(b"")
    (tmp_path / "empty.csv").write_bytes(b"")
    for name, error, told in (
        ("none.csv", ConfigurationError, "there is no file"),
        ("none", ConfigurationError, "there is no file"),
        ("none.zip", ConfigurationError, "there is no file"),
        ("ismn", ConfigurationError, "holds no ISMN file with soil moisture"),
        ("empty", ConfigurationError, "cannot read .*empty"),
        ("other.zip", ConfigurationError, "holds no ISMN file with soil moisture"),
        ("bad.zip", DataError, "is not a ZIP archive or is damaged"),
        ("bad.stm", DataError, "keep ISMN's file names"),
        ("empty.csv", DataError, "is empty"),
    ):
        with pytest.raises(error, match=told):
            list(station_records(str(tmp_path / name)))


def test_depths_go_downwards() -> None:
    assert Validation().depth == (0.0, 0.1)
    assert Validation.model_validate({"depth": [0, 0.05]}).depth == (0, 0.05)
    for wrong in ([0.1, 0], [-0.1, 0.1]):
        with pytest.raises(ValidationError, match=r"expected \[upper, lower\] in m below the surface"):
            Validation.model_validate({"depth": wrong})


# sensors of a station


def test_of_several_depths_the_shallowest_counts(fields: Fields) -> None:
    near = records([("A", (0, 0), "2001-01-03", 0.1)], depth=0.05)
    low = records([("A", (0, 0), "2001-01-03", 0.3)], depth=0.1)
    found = paired(measure(low, near), fields)
    assert list(found.pairs["observed"]) == [0.1]
    assert reasons(found) == {"below a shallower sensor": 1}


def test_sensors_at_one_depth_are_averaged_where_all_have_the_month(fields: Fields) -> None:
    one = records([("A", (0, 0), "2001-01-03", 0.1), ("A", (0, 0), "2001-04-03", 0.2)], depth=0.05, sensor="one")
    two = records([("A", (0, 0), "2001-01-03", 0.3), ("A", (0, 0), "2001-04-03", 0.5)], depth=0.05, sensor="two")
    short = records([("A", (0, 0), "2001-01-03", 0.9)], depth=0.05, sensor="short")
    found = paired(measure(one, two, short), fields)
    assert list(found.pairs["observed"]) == [pytest.approx(0.2), pytest.approx(0.35)]
    assert reasons(found) == {"another sensor at the same depth, with other months": 1}


def test_a_sensor_that_lacks_a_month_leaves_no_step() -> None:
    months = np.arange(np.datetime64("2000-01"), np.datetime64("2000-11"))
    rows: list[tuple[str, tuple[float, float], str, float]] = [("A", (0, 0), f"{month}-15", 0.1) for month in months]
    wet = [(station, cell, time, 0.3) for station, cell, time, _ in rows[:9]]
    constant = grid(np.full((10, 2, 4), 0.2), months, SIDE / 2), grid(np.full((10, 1, 2), 0.2), months)
    found = paired(measure(records(rows, sensor="dry"), records(wet, sensor="wet")), constant)
    assert list(found.pairs["observed"]) == [pytest.approx(0.2)] * 9
    assert reasons(found) == {"not every sensor at the depth has the month": 1}


def test_of_two_units_the_volumetric_counts(fields: Fields) -> None:
    percent = records([("A", (0, 0), "2001-01-03", 60.0)], unit="%")
    volume = records([("A", (0, 0), "2001-01-03", 0.3)])
    found = paired(measure(percent, volume), fields)
    assert list(found.pairs["observed"]) == [0.3]
    assert reasons(found) == {"another unit beside the one that counts": 1}


def test_one_name_at_two_places_is_left_out(fields: Fields) -> None:
    here = records([("A", (0, 0), "2001-01-03", 0.1)], sensor="one")
    there = records([("A", (1, 3), "2001-01-03", 0.1)], sensor="two")
    found = paired(measure(here, there), fields)
    assert found.pairs.empty
    assert reasons(found) == {"several places under one name": 2}


# pairs


def test_each_station_is_paired_with_its_cells(fields: Fields) -> None:
    rows: list[tuple[str, tuple[float, float], str, float]] = [
        ("A", (0, 1), "2001-01-03", 0.10),
        ("A", (0, 1), "2001-01-20T12:00", 0.20),
        ("A", (0, 1), "2001-04-05", 0.30),
        ("B", (1, 2), "2001-01-09", 0.12),
        ("B", (1, 2), "2001-02-09", 0.50),
    ]
    found = paired(measure(records(rows)), fields)
    assert len(found.pairs) == 3
    first = found.pairs.iloc[0]
    assert first["observed"] == pytest.approx(0.15)
    assert first["fine"] == pytest.approx(0.01)
    assert first["coarse"] == pytest.approx(0.2)
    assert first["bilinear"] == pytest.approx(0.25)
    assert list(found.pairs["season"]) == ["winter", "spring", "winter"]
    second = found.pairs[found.pairs["station"] == "B"].iloc[0]
    assert (second["fine"], second["coarse"]) == (pytest.approx(0.06), pytest.approx(0.4))
    assert reasons(found) == {"outside the months of the maps": 1}
    assert list(found.places["row"]) == [0, 1]
    assert list(found.places["column"]) == [1, 2]


def test_stations_outside_are_left_out_and_named(fields: Fields, caplog: pytest.LogCaptureFixture) -> None:
    rows: list[tuple[str, tuple[float, float], str, float]] = [
        ("A", (0, 0), "2001-01-03", 0.1),
        ("FAR", (0, 4), "2001-01-03", 0.2),
        ("UP", (-1, 0), "2001-01-03", 0.2),
    ]
    nowhere = records([("NOWHERE", (0, 0), "2001-01-03", 0.2)]).assign(longitude=math.nan)
    beyond = records([("BEYOND", (0, 0), "2001-01-03", 0.2)]).assign(latitude=123.0)
    with caplog.at_level(logging.WARNING, logger="soilscale"):
        found = paired(measure(records(rows), nowhere, beyond), fields)
    assert set(found.pairs["station"]) == {"A"}
    assert "BEYOND, FAR, UP" in caplog.text
    told = found.left_out.table().set_index("station")["reason"]
    assert {name: told[name] for name in ("BEYOND", "FAR", "UP")} == dict.fromkeys(
        ("BEYOND", "FAR", "UP"), "outside the grid"
    )
    assert told["NOWHERE"] == "no longitude or latitude"


@pytest.mark.parametrize(
    ("row", "column", "inside"), [(-0.49, -0.49, True), (1.49, 3.49, True), (-0.51, 0, False), (0, 3.51, False)]
)
def test_a_station_counts_up_to_the_edge_of_the_grid(fields: Fields, row: float, column: float, inside: bool) -> None:
    assert len(paired(measure(records([("A", (row, column), "2001-01-03", 0.1)])), fields).pairs) == inside


def test_months_without_a_value_of_a_product_are_told(fields: Fields) -> None:
    fine, coarse = (field.copy() for field in fields)
    coarse[0, 0, 1] = np.nan
    fine[1, 0, 0] = np.nan
    rows: list[tuple[str, tuple[float, float], str, float]] = [
        ("A", (0, 0), "2001-01-03", 0.1),
        ("B", (0, 3), "2001-01-03", 0.1),
        ("A", (0, 0), "2001-04-03", 0.1),
    ]
    found = paired(measure(records(rows)), (fine, coarse))
    assert len(found.pairs) == 3
    assert set(pooled(found.pairs, SEASONS)["n"]) <= {0, 1}
    assert reasons(found) == {"no value of the fine map in its cell": 1, "no coarse observation in its cell": 1}


def test_no_month_in_common_gives_empty_tables(fields: Fields) -> None:
    found = paired(measure(records([("A", (0, 1), "1999-01-03", 0.1)])), fields)
    tables = insitu.tables(found, SEASONS)
    assert {name for name, table in tables.items() if len(table)} == {"stations_left_out"}
    assert list(tables["stations"].columns) == ["season", "product", "metric", "value", "n", "unit"]
    pairs = "station, time, season, unit, observed, fine, coarse, bilinear"
    assert list(tables["station_pairs"].columns) == pairs.split(", ")
    assert insitu.station_baselines(found.pairs, "svm", SEASONS).empty


def test_no_valid_value_gives_empty_tables(fields: Fields) -> None:
    found = paired(measure(records([("A", (0, 1), "2001-01-03", -1.0)])), fields)
    assert {name for name, table in insitu.tables(found, SEASONS).items() if len(table)} == {"stations_left_out"}


# scores


def series(years: int = 5, stations: int = 2, unit: str = "m3 m-3", seed: int = 0) -> pd.DataFrame:
    """Pairs of some stations in every month of some years."""
    random = np.random.default_rng(seed)
    first = np.datetime64("2001-01")
    times = np.arange(first, first + np.timedelta64(12 * years, "M")).astype("datetime64[ns]")
    parts = []
    for number in range(stations):
        truth = 0.25 + 0.1 * np.sin(np.arange(len(times)) / 2) + 0.02 * number
        sides = {name: truth + random.normal(scale=scale, size=len(times)) for name, scale in NOISE.items()}
        head = {"network": "", "station": f"S{number}", "time": times, "season": SEASONS.names_of(times)}
        parts.append(pd.DataFrame(head | {"unit": unit} | sides))
    return pd.concat(parts, ignore_index=True)


def test_pooled_scores_are_those_of_the_pairs() -> None:
    pairs = series()
    table = pooled(pairs, SEASONS)
    assert list(table.columns) == ["season", "product", "metric", "value", "n", "unit"]
    assert set(table["unit"]) == {"m3 m-3"}
    assert set(table["product"]) == {"coarse", "fine"}
    assert set(table["metric"]) == {*SCORES, "r_anomaly"}
    assert list(pd.unique(table["season"])) == [*SEASONS.names, "all"]
    for season in (*SEASONS.names, "all"):
        rows = pairs if season == "all" else pairs[pairs["season"] == season]
        assert value_of(table, "r", season=season, product="fine") == pytest.approx(
            stats.pearsonr(rows["observed"], rows["fine"]).statistic
        )
        error = (rows["coarse"] - rows["observed"]).to_numpy()
        assert value_of(table, "ubrmse", season=season, product="coarse") == pytest.approx(float(np.std(error)))
        assert value_of(table, "bias", "n", season=season, product="fine") == len(rows)
        share, own = (rows[name] / rows[name].sum() for name in ("observed", "fine"))
        assert value_of(table, "kl", season=season, product="fine") == pytest.approx(stats.entropy(share, own))


def test_anomalies_are_from_the_mean_of_the_calendar_month() -> None:
    pairs = series(years=4, stations=1)
    table = pooled(pairs, SEASONS)
    less = pairs.groupby(pairs["time"].dt.month)[["observed", "fine"]].transform(lambda values: values - values.mean())
    expected = stats.pearsonr(less["observed"], less["fine"]).statistic
    assert value_of(table, "r_anomaly", season="all", product="fine") == pytest.approx(expected)
    assert value_of(table, "r_anomaly", "n", season="all", product="fine") == 48


def test_anomalies_need_years() -> None:
    short = series(years=2)
    table = pooled(short, SEASONS)
    assert math.isnan(value_of(table, "r_anomaly", season="all", product="fine"))
    assert value_of(table, "r_anomaly", "n", season="all", product="fine") == 0
    two = pooled(short, SEASONS, min_years=2)
    assert not math.isnan(value_of(two, "r_anomaly", season="all", product="fine"))
    kept = anomalies(series(years=3, stations=1).iloc[:-1])
    assert kept.loc[kept["time"].dt.month == 12, "fine"].isna().all()
    assert kept.loc[kept["time"].dt.month < 12, "fine"].notna().all()


def test_months_that_the_anomalies_leave_out_are_told() -> None:
    pairs = series(years=2, stations=1)
    found = Paired(pairs, pairs.iloc[:0], pairs, insitu.Account())
    told = insitu.tables(found, SEASONS)["stations_left_out"]
    assert "fewer than 3 years" in told["reason"].item()
    assert told["count"].item() == 24
    assert insitu.tables(found, SEASONS, min_years=2)["stations_left_out"].empty
    assert found.left_out.rows == []


def test_another_quantity_is_normalised_station_by_station() -> None:
    pairs = series(unit="%")
    pairs["observed"] = 100 * pairs["observed"]
    pairs.loc[pairs["station"] == "S1", ["observed", "fine"]] *= 0.5
    table = pooled(pairs, SEASONS)
    assert set(table["metric"]) == {"r", "kl", "kl_paper", "r_anomaly"}
    sides = []
    for name in ("observed", "fine"):
        parts = [rows[name].to_numpy() for _, rows in pairs.groupby("station")]
        sides.append(np.concatenate([(part - part.min()) / (part.max() - part.min()) for part in parts]))
    assert value_of(table, "r", season="all", product="fine") == pytest.approx(stats.pearsonr(*sides).statistic)
    floored = [np.maximum(side, 1e-6) for side in sides]
    assert value_of(table, "kl", season="all", product="fine") == pytest.approx(stats.entropy(*floored))


def test_ranges_are_those_of_the_common_times() -> None:
    pairs = series(stations=1, unit="%")
    pairs.loc[0, ["observed", "coarse"]] = 99.0, np.nan
    without = pairs.iloc[1:]
    pd.testing.assert_frame_equal(pooled(pairs, SEASONS), pooled(without, SEASONS))
    assert normalised(without)[["observed", "fine"]].agg(["min", "max"]).to_numpy().tolist() == [[0, 0], [1, 1]]


def test_volumetric_stations_keep_their_units_beside_others() -> None:
    volume, percent = series(stations=1), series(stations=1, unit="%").assign(station="P")
    mixed, alone = (pooled(pairs, SEASONS) for pairs in (pd.concat([volume, percent]), volume))
    everywhere = {"season": "all", "product": "fine"}
    for metric in (*SCORES, "r_anomaly"):
        assert value_of(mixed, metric, **everywhere) == value_of(alone, metric, **everywhere)
        assert value_of(mixed, metric, "n", **everywhere) == 60
    assert value_of(mixed, "r_normalised", "n", **everywhere) == 120
    as_they_are = mixed["metric"].isin(set(alone["metric"]))
    assert set(mixed.loc[as_they_are, "unit"]) == {"m3 m-3"}
    assert set(mixed.loc[~as_they_are, "unit"]) == {"0 to 1"}


def test_normalised_metrics_of_mixed_stations_are_those_of_all_brought_to_one_range() -> None:
    volume, percent = series(stations=2), series(stations=1, unit="%").assign(station="P")
    percent["observed"] *= 250
    mixed = pooled(pd.concat([volume, percent]), SEASONS)
    same = pooled(pd.concat([volume.assign(unit="%"), percent]), SEASONS)
    for metric in ("r", "kl", "kl_paper", "r_anomaly"):
        for product in ("fine", "coarse"):
            keys = {"season": "all", "product": product}
            assert value_of(mixed, f"{metric}_normalised", **keys) == value_of(same, metric, **keys)
    assert set(same["unit"]) == {"0 to 1"}


def test_a_station_in_another_unit_does_not_touch_the_scores_of_the_others() -> None:
    volume, percent = series(stations=2), series(stations=1, unit="%").assign(station="P")
    both = pd.concat([volume, percent])
    for table in (insitu.agreement.by_station, gains):
        mixed, alone = table(both, SEASONS), table(volume, SEASONS)
        own = mixed[mixed["station"] != "P"].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, alone)


def test_divergence_of_a_few_pairs_is_left_out() -> None:
    pairs = series(years=1, stations=1)
    for n, told in ((9, False), (10, True)):
        table = pooled(pairs.head(n), SEASONS)
        for metric in ("kl", "kl_paper"):
            assert np.isfinite(value_of(table, metric, season="all", product="fine")) == told
            assert value_of(table, metric, "n", season="all", product="fine") == n
        assert np.isfinite(value_of(table, "rmse", season="all", product="fine"))
        gained = gains(pairs.head(n), SEASONS)
        gained = gained[gained["station"] == "S0"]
        assert np.isfinite(value_of(gained, "kl", season="all", against="coarse")) == told


def test_an_unknown_unit_is_told_and_scored_by_shape() -> None:
    months = np.arange(np.datetime64("2001-01"), np.datetime64("2001-07"))
    values = [3.0, 5.0, 4.0, 9.0, 7.0, 1.0]
    rows: list[tuple[str, tuple[float, float], str, float]] = [
        (station, cell, f"{month}-15", value if station == "A" else 5.0)
        for station, cell in (("A", (0, 0)), ("B", (0, 1)))
        for month, value in zip(months, values, strict=True)
    ]
    random = np.random.default_rng(0)
    wide = grid(random.random((6, 2, 4)), months, SIDE / 2), grid(random.random((6, 1, 2)), months)
    found = paired(measure(records(rows, unit="centibar")), wide)
    told = found.left_out.table()
    assert "in centibar, not m3 m-3" in set(told["detail"])
    assert reasons(found)["too few or constant, so that there is no range from 0 to 1"] == 6
    table = insitu.tables(found, SEASONS)["stations"]
    assert set(table["metric"]) == {"r", "kl", "kl_paper", "r_anomaly"}
    everywhere = {"season": "all", "product": "fine"}
    expected = stats.pearsonr(values, wide[0][:, 0, 0].to_numpy().astype(float)).statistic
    assert value_of(table, "r", **everywhere) == pytest.approx(expected)
    assert value_of(table, "r", "n", **everywhere) == 6


def test_each_station_by_itself() -> None:
    pairs = pd.concat([series(stations=1).assign(network="NET"), series(stations=1, unit="%", seed=1)])
    found = insitu.tables(Paired(pairs, pairs.iloc[:0], pairs, insitu.Account()), SEASONS)
    table = found["station_scores"]
    assert list(table.columns) == ["network", "station", "season", "product", "metric", "value", "n", "unit"]
    own = pairs[pairs["network"] == "NET"]
    assert value_of(table, "r", network="NET", season="all", product="bilinear") == pytest.approx(
        stats.pearsonr(own["observed"], own["bilinear"]).statistic
    )
    assert set(table.loc[table["network"] == "", "metric"]) == {"r", "kl", "kl_paper", "r_anomaly"}
    assert set(found["station_pairs"]["station"]) == {"NET/S0", "S0"}


def test_baselines_have_the_maps_nearest_and_bilinear() -> None:
    pairs = series()
    table = insitu.station_baselines(pairs, {"winter": "svm", "spring": "knn"}, SEASONS)
    assert list(table.columns) == ["season", "method", "metric", "value"]
    assert list(pd.unique(table["method"])) == ["nearest", "bilinear", "best"]
    scores = pooled(pairs, SEASONS)
    for method, product in (("nearest", "coarse"), ("best", "fine")):
        ours = value_of(table, "rmse", season="all", method=method)
        assert ours == value_of(scores, "rmse", season="all", product=product)


# gains


def test_gains_by_hand() -> None:
    assert gain(0.1, 0.3) == pytest.approx(0.5)
    assert gain(0.3, 0.1) == pytest.approx(-0.5)
    assert gain(0.0, 0.0) == 0
    assert math.isnan(gain(math.nan, 0.1))
    pairs = series(stations=1)
    pairs["fine"] = pairs["observed"]
    pairs["coarse"] = 0.5 * pairs["observed"] + 0.1
    pairs["bilinear"] = pairs["observed"] + 0.1
    table = gains(pairs, SEASONS)
    assert list(table.columns) == ["network", "station", "season", "against", "metric", "value", "n", "unit"]
    everywhere = {"station": "all stations", "season": "all"}
    for metric in ("slope", "rmse", "ubrmse", "bias"):
        assert value_of(table, metric, against="coarse", **everywhere) == pytest.approx(1)
    assert value_of(table, "bias", against="bilinear", **everywhere) == pytest.approx(1)
    assert set(table["station"]) == {"all stations", "S0"}


def test_gains_against_scipy() -> None:
    pairs = series()
    table = gains(pairs, SEASONS)
    everywhere = {"station": "all stations", "season": "all", "against": "coarse"}
    lines = {name: stats.linregress(pairs["observed"], pairs[name]) for name in ("fine", "coarse")}
    slopes, r = ([abs(1 - getattr(lines[name], what)) for name in lines] for what in ("slope", "rvalue"))
    biases = [abs(float((pairs[name] - pairs["observed"]).mean())) for name in lines]
    expected = [(theirs - ours) / (theirs + ours) for ours, theirs in (slopes, r, biases)]
    for metric, value in zip(("slope", "r", "bias"), expected, strict=True):
        assert value_of(table, metric, **everywhere) == pytest.approx(value)
    assert value_of(table, "down", **everywhere) == pytest.approx(float(np.mean(expected)))
    assert value_of(table, "ubrmse", **everywhere) > 0
    assert set(gains(series(unit="%"), SEASONS)["metric"]) == {"r", "r_anomaly", "kl"}


@given(st.floats(0, 10), st.floats(0, 10))
def test_a_gain_lies_between_minus_one_and_one_and_is_the_others_loss(ours: float, theirs: float) -> None:
    assert -1 <= gain(ours, theirs) <= 1
    assert gain(ours, theirs) == -gain(theirs, ours)


# seasonal means


def test_seasonal_means_are_those_of_months_that_all_sides_have() -> None:
    months = pd.to_datetime(["2001-12-01", "2002-01-01", "2002-02-01", "2002-03-01", "2002-06-01", "2002-07-01"])
    frame = pd.DataFrame({"network": "", "station": "A", "time": months, "unit": "m3 m-3"})
    frame["season"] = SEASONS.names_of(months.to_numpy())
    for step, name in enumerate(("observed", "fine", "coarse", "bilinear")):
        frame[name] = 0.1 * np.arange(1, 7) + step
    frame.loc[1, "coarse"] = np.nan
    account = insitu.Account()
    found = insitu.seasonal(frame, SEASONS, 0.5, account)
    assert list(found["season"]) == ["winter", "summer"]
    assert list(found["time"]) == [pd.Timestamp("2001-12-01"), pd.Timestamp("2002-06-01")]
    assert list(found["observed"]) == [pytest.approx(0.2), pytest.approx(0.55)]
    assert list(found["fine"]) == [pytest.approx(1.2), pytest.approx(1.55)]
    told = account.table()
    assert list(told["count"]) == [1]
    assert list(told["of"]) == ["seasons"]
    assert insitu.seasonal(frame, SEASONS, 0.0, account)["season"].tolist() == ["winter", "spring", "summer"]


# triple collocation


def three(n: int, seed: int = 0) -> list[npt.NDArray[np.float64]]:
    """Three linear functions of one truth of deviation .1, with errors of .02, .03 and .05."""
    random = np.random.default_rng(seed)
    truth = random.normal(scale=0.1, size=n)
    scales = ((1.0, 0.0, 0.02), (0.7, 0.1, 0.03), (1.4, -0.05, 0.05))
    return [factor * truth + offset + random.normal(scale=error, size=n) for factor, offset, error in scales]


def test_triple_collocation_finds_the_errors_that_were_put_in() -> None:
    found = insitu.triple_collocation(*three(200_000))
    assert np.sqrt(found.error_variance) == pytest.approx([0.02, 0.03, 0.05], rel=0.03)
    expected = [0.1 * scale / math.hypot(0.1 * scale, error) for scale, error in ((1, 0.02), (0.7, 0.03), (1.4, 0.05))]
    assert found.r == pytest.approx(expected, rel=0.01)
    assert found.n == 200_000


def test_triple_collocation_by_hand() -> None:
    a, b, c = three(50)
    q = np.cov([a, b, c])
    found = insitu.triple_collocation(a, b, c)
    assert found.error_variance[0] == pytest.approx(q[0, 0] - q[0, 1] * q[0, 2] / q[1, 2])
    assert found.r[2] == pytest.approx(math.sqrt(q[0, 2] * q[1, 2] / (q[2, 2] * q[0, 1])))


def test_triple_collocation_without_errors_without_signal_and_without_pairs() -> None:
    a = np.arange(10.0)
    perfect = insitu.triple_collocation(a, 2 * a + 1, 0.5 * a)
    assert perfect.r == pytest.approx((1, 1, 1))
    assert perfect.error_variance == pytest.approx((0, 0, 0), abs=1e-9)
    few = insitu.triple_collocation(a, a, np.where(a < 2, a, np.nan))
    assert few.n == 2
    for found in (few, insitu.triple_collocation(a, a, -a), insitu.triple_collocation(a, a, np.ones(10))):
        assert np.isnan([*found.r, *found.error_variance]).all()
    with pytest.raises(ValueError, match="must have the same shape"):
        insitu.triple_collocation(a, a, a[:3])


def test_stations_are_collocated_with_two_sensors() -> None:
    times = np.arange(np.datetime64("2001-01"), np.datetime64("2021-01"))
    ground, one, two = (values.reshape(len(times), 1, 2) + 1 for values in three(2 * len(times)))
    rows = [
        {"network": "", "station": name, "time": time.astype("datetime64[ns]"), "unit": "m3 m-3", "observed": value}
        for column, name in enumerate("AB")
        for time, value in zip(times, ground[:, 0, column] + column, strict=True)
    ]
    places = pd.DataFrame({"network": "", "station": ["A", "B"], "row": [0, 1], "column": [1, 2]})
    found = Paired(pd.DataFrame(rows), pd.DataFrame(), places, insitu.Account())
    table = insitu.collocation(found, {"one": grid(one, times), "two": grid(two, times)}, 2)
    assert list(table.columns) == ["first", "second", "product", "metric", "value", "n"]
    assert value_of(table, "error_sd", product="stations") == pytest.approx(0.02, rel=0.25)
    assert value_of(table, "error_sd", product="two") == pytest.approx(0.05, rel=0.25)
    assert set(table["n"]) == {480}
    apart = {"one": grid(one[:100], times[:100]), "two": grid(two[110:], times[110:])}
    assert insitu.collocation(found, apart, 2).empty
