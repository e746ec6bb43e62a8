"""What stands is kept, and what hangs on a change is redone: after kills, on other clusters, with other keys."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pytest
import xarray as xr

from commands import (
    Ended,
    counts,
    dask_cluster,
    files,
    invoke,
    markers,
    redone,
    redone_units,
    started,
    times,
    wait_until,
)
from soilscale import cube
from soilscale.storage import tables

pytestmark = pytest.mark.slow

STAGES = ("search", "cube", "samples", "train", "map", "report")

NO_SCHEDULER = "tcp://127.0.0.1:9"

OWN = ("state", "run.yaml", "report/index.html")
"""What tells of a run itself: its folder, its durations, its date."""


@pytest.fixture(scope="module")
def config(undisturbed: Path) -> Path:
    return undisturbed


@pytest.fixture(scope="module")
def output(undisturbed: Path) -> Path:
    return undisturbed.parent / "run"


@pytest.fixture
def again(config: Path, output: Path, cluster: str, tmp_path: Path) -> Callable[..., Ended]:
    """Run a command on a copy of the products in ``tmp_path / "run"``."""
    shutil.copytree(output, tmp_path / "run")

    def work(command: str, *overrides: str, replace: bool = False) -> Ended:
        options = [part for one in overrides for part in ("-o", one)] + ["--replace"] * replace
        return invoke(command, config, "--output", tmp_path / "run", "--scheduler", cluster, *options)

    return work


def opened(store: Path, group: str) -> xr.Dataset:
    return xr.open_zarr(store, group=group, consolidated=False)


# Kills and clusters


def test_a_run_that_is_killed_and_then_stopped_comes_to_the_same_products(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    run = ("run", config, "--output", tmp_path / "run")
    state, log = tmp_path / "run" / "state" / "cube", tmp_path / "log"
    with started(*run, "--workers", 2, log=log) as process:
        wait_until(lambda: len(list(state.rglob("*.json"))) >= 3, "a marker of the cube")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    standing = times(state)
    assert 3 <= len(standing) < 39
    assert counts(invoke("status", config, "--output", tmp_path / "run"))["cube"] == [str(len(standing)), "39", "0"]

    with started(*run, "--scheduler", cluster, log=log) as process:
        wait_until(lambda: len(list(state.rglob("*.json"))) > len(standing), "another marker of the cube")
        process.terminate()
        assert process.wait(15) == 75, log.read_text()
    assert "run the same command again" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert all(path.stat().st_mtime_ns == time for path, time in standing.items())
    standing = times(state)
    assert len(standing) < 39

    done = invoke(*run, "--scheduler", cluster)
    assert done.status == 0, done.err
    assert all(path.stat().st_mtime_ns == time for path, time in standing.items())
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)


def test_each_stage_alone_gives_the_same_as_all_together(
    config: Path, output: Path, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster)
    for stage in STAGES:
        done = invoke(stage, config, "--output", tmp_path)
        assert done.status == 0, (stage, done.err)
    assert files(tmp_path, without=OWN) == files(output, without=OWN)


@pytest.mark.parametrize(
    ("stages", "stage", "wanted"),
    [
        ([], "cube", "search"),
        ([], "report", "search"),
        (["search"], "samples", "cube"),
        (["search"], "train", "cube"),
        (["search"], "map", "cube"),
        (["search"], "report", "cube"),
        (["cube.zarr", "items", "state"], "train", "samples"),
        (["cube.zarr", "items", "state", "samples.parquet"], "map", "train"),
        (["cube.zarr", "items", "state", "samples.parquet", "predictions.parquet"], "report", "map"),
    ],
)
def test_a_stage_that_comes_too_early_names_the_one_before(
    config: Path, output: Path, tmp_path: Path, stages: list[str], stage: str, wanted: str
) -> None:
    for name in stages:
        if name == "search":
            assert invoke("search", config, "--output", tmp_path).status == 0
        else:
            copy = shutil.copytree if (output / name).is_dir() else shutil.copy
            copy(output / name, tmp_path / name)
    done = invoke(stage, config, "--output", tmp_path, "--scheduler", NO_SCHEDULER)
    assert done.status == 65
    assert f"run `soilscale {wanted}` first" in done.err
    assert "Traceback" not in done.err


def test_a_cluster_that_is_lost_ends_the_run_with_a_message(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "run" / "state" / "cube"
    log = tmp_path / "log"
    with (
        dask_cluster(tmp_path / "cluster", workers=1) as address,
        started("run", config, "--output", tmp_path / "run", "--scheduler", address, log=log) as running,
    ):
        wait_until(lambda: len(list(state.rglob("*.json"))) >= 2, "a marker of the cube")
        os.kill(int((tmp_path / "cluster" / "scheduler.pid").read_text()), signal.SIGKILL)
        assert running.wait(60) == 75, log.read_text()
    assert "run the same command again" in log.read_text()
    assert "Traceback" not in log.read_text()


# What hangs on a change


def test_nothing_is_redone_where_nothing_has_changed(again: Callable[..., Ended], tmp_path: Path) -> None:
    before = times(tmp_path / "run")
    assert again("run").status == 0
    kinds = ("cube.zarr", "maps.zarr", "models", "items", "samples", "predictions", "state/cube", "state/publish")
    assert not [name for name in redone(before, tmp_path / "run") if name.startswith(kinds)]


def test_a_month_more_redoes_no_unit_of_the_months_before(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    run = ("run", config, "--output", tmp_path, "--scheduler", cluster, "-o", "models.ablation=false")
    assert invoke(*run, "-o", "period=[2004-01, 2004-11]").status == 0
    before, values = markers(tmp_path / "state"), times(tmp_path / "cube.zarr")
    assert invoke(*run).status == 0
    done = redone_units(before, tmp_path / "state")
    new = {f"{name}/2004-12_r000c000" for name in ("soil_moisture", "precipitation", "ndvi")}
    assert done["cube"] == new | {"precipitation/2004-11_r000c000"}, "November's rain is a lag of December's"
    assert done["coarse"] == {"2004-01_2004-12"}
    written = {name for name in redone(values, tmp_path / "cube.zarr") if not name.endswith("zarr.json")}
    # Gaps are filled anew, since cycles learn from the whole period; nothing is read again for that.
    observed = {name for name in written if name.startswith("observed/") and not name.startswith("observed/time")}
    assert observed
    assert all(f"/c/{cube.BEFORE + 11}/" in name or "/precipitation" in name for name in observed), sorted(observed)
    for name, groups in (("cube.zarr", ("fine", "coarse", "fraction")), ("maps.zarr", ("month", "season", "coarse"))):
        for group in groups:
            grown, whole = opened(tmp_path / name, group), opened(output / name, group)
            hour = {"date_created": ""}  # at which each was written
            xr.testing.assert_identical(grown.load().assign_attrs(hour), whole.load().assign_attrs(hour))
    for name in ("samples.parquet", "predictions.parquet"):
        assert (tmp_path / name).read_bytes() == (output / name).read_bytes()
    # The collection is of another release.
    made, whole_maps = (files(place / "maps" / "month", without=("collection.json",)) for place in (tmp_path, output))
    assert made.items() >= whole_maps.items()


def test_a_month_more_leaves_all_that_was_learned_from_fixed_months(
    config: Path, again: Callable[..., Ended], tmp_path: Path
) -> None:
    """December's rain is a lag of January's, and is written there too; what was learned does not hang on that."""
    before = markers(tmp_path / "run" / "state")
    longer = ("period=[2004-01, 2005-01]", "training=[2004-01, 2004-12]")
    for command in ("search", "cube"):
        done = again(command, *longer)
        assert done.status == 0, done.err
    redone = redone_units(before, tmp_path / "run" / "state")
    assert {name.split("/")[1][:7] for name in redone["cube"] | redone["gaps"]} == {"2004-12", "2005-01"}
    options = [part for override in longer for part in ("-o", override)]
    states = counts(invoke("status", config, "--output", tmp_path / "run", *options))
    for stage in ("samples", "train"):
        complete, total, _ = states[stage]
        assert complete == total, stage
    complete, total, _ = states["predict"]
    assert int(complete) == int(total) - 1


def test_another_algorithm_is_all_that_is_trained_and_judged(again: Callable[..., Ended], tmp_path: Path) -> None:
    before = markers(tmp_path / "run" / "state")
    assert again("run", "models.algorithms=[random_forest, knn]").status == 0
    done = redone_units(before, tmp_path / "run" / "state")
    assert set(done) == {"train", "intervals", "judge", "picture"}
    assert all("knn" in name for name in done["train"])
    assert json.loads((tmp_path / "run" / "state" / "report" / "report.json").read_text())


def test_a_changed_station_file_redoes_the_report_alone(
    config: Path, again: Callable[..., Ended], tmp_path: Path
) -> None:
    text = (config.parent / "stations.csv").read_text()
    before, report = markers(tmp_path / "run" / "state"), (tmp_path / "run" / "report" / "index.html").read_bytes()
    (tmp_path / "stations.csv").write_text("\n".join(text.splitlines()[:-1]) + "\n")
    assert again("run", f"validation.stations={tmp_path / 'stations.csv'}").status == 0
    assert not redone_units(before, tmp_path / "run" / "state")
    assert (tmp_path / "run" / "report" / "index.html").read_bytes() != report


def test_another_seed_redoes_the_samples_but_not_the_cube(
    again: Callable[..., Ended], output: Path, tmp_path: Path
) -> None:
    before, standing = times(tmp_path / "run" / "cube.zarr"), markers(tmp_path / "run" / "state")
    assert again("run", "models.seed=1").status == 0
    assert not redone(before, tmp_path / "run" / "cube.zarr")
    assert set(redone_units(standing, tmp_path / "run" / "state")) == {
        *("samples", "train", "importance", "ablation", "intervals", "applicability"),
        *("predict", "residual", "conserve", "season", "publish", "within", "summarise", "picture"),
    }
    old, new = (pd.read_parquet(folder / "samples.parquet") for folder in (output, tmp_path / "run"))
    pd.testing.assert_frame_equal(old.drop(columns="split"), new.drop(columns="split"))
    assert (old["split"] != new["split"]).any()
    maps = [
        xr.open_zarr(folder / "maps.zarr", group="month", consolidated=False) for folder in (output, tmp_path / "run")
    ]
    assert not np.array_equal(maps[0]["prediction"], maps[1]["prediction"], equal_nan=True)
    assert again("run", "models.seed=0", "maps.releases=1").status == 0
    # Everything but what leads to the newest release, which is another one.
    collections = ("maps/month/collection.json", "maps/season/collection.json")
    releases = ("maps/catalog.json", "maps/viewer.json", "maps/releases", *collections)
    assert files(tmp_path / "run", without=(*OWN, *releases)) == files(output, without=(*OWN, *releases))


def test_a_stop_between_the_rows_and_their_table_leaves_no_old_table(
    again: Callable[..., Ended], output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tables, "put_together", stop)
        assert again("samples", "models.seed=1").status == 75
    assert again("samples", "models.seed=1").status == 0
    old, new = (pd.read_parquet(folder / "samples.parquet") for folder in (output, tmp_path / "run"))
    assert (old["split"] != new["split"]).any()
    with monkeypatch.context() as patch:
        patch.setattr(tables, "put_together", stop)
        assert again("train", "models.seed=1").status == 75
    assert again("train", "models.seed=1").status == 0
    old, new = (pd.read_parquet(folder / "predictions.parquet") for folder in (output, tmp_path / "run"))
    assert not old.equals(new)


def test_another_parameter_of_a_model_redoes_no_more_than_it_must(again: Callable[..., Ended], tmp_path: Path) -> None:
    before = times(tmp_path / "run")
    assert again("run", "models.parameters.random_forest.n_estimators=11").status == 0
    written = redone(before, tmp_path / "run")
    assert not any(name.startswith(("cube.zarr", "samples.parquet", "items", "state/cube")) for name in written)
    told = json.loads((tmp_path / "run" / "models" / "warm" / "random_forest" / "model.json").read_text())
    assert told["parameters"]["n_estimators"] == 11


def test_another_use_of_the_observation_redoes_no_prediction(again: Callable[..., Ended], tmp_path: Path) -> None:
    before, standing = times(tmp_path / "run"), markers(tmp_path / "run" / "state")
    assert again("run", "maps.conserve=false").status == 0
    done = redone_units(standing, tmp_path / "run" / "state")
    assert set(done) == {"conserve", "season", "publish", "summarise", "picture"}
    written = redone(before, tmp_path / "run")
    assert not any(name.startswith(("cube.zarr", "models", "maps.zarr/month/prediction")) for name in written)
    maps = opened(tmp_path / "run" / "maps.zarr", "month")
    np.testing.assert_array_equal(maps["soil_moisture"], np.clip(maps["prediction"], 0, 0.6))


def test_a_shorter_period_withdraws_the_maps_that_it_leaves_out(again: Callable[..., Ended], tmp_path: Path) -> None:
    assert again("run", "period=[2004-03, 2004-10]", "maps.releases=1").status == 78
    assert again("run", "period=[2004-03, 2004-10]", "maps.releases=1", replace=True).status == 0
    catalog = pystac.Catalog.from_file(str(tmp_path / "run" / "maps" / "catalog.json"))
    found = sorted(item.id for item in catalog.get_items(recursive=True))
    wanted = [f"shaanxi-like-month-2004-{month:02d}" for month in range(3, 11)]
    assert found == [*wanted, "shaanxi-like-season-2004-04"]
    assert not [path for path in (tmp_path / "run" / "maps").rglob("*2004-12*") if path.is_file()]
    maps = opened(tmp_path / "run" / "maps.zarr", "month")
    assert maps.sizes["time"] == 8


def test_new_stations_make_a_new_report(config: Path, again: Callable[..., Ended], tmp_path: Path) -> None:
    records = pd.read_csv(config.parent / "stations.csv")
    for name, shift in (("here", 0.0), ("wetter", 0.1)):
        records.assign(value=records["value"] + shift).to_csv(tmp_path / "stations.csv", index=False)
        assert again("report", f"validation.stations={tmp_path / 'stations.csv'}").status == 0
        table = pd.read_csv(tmp_path / "run" / "report" / "stations.csv").set_index(["season", "product", "metric"])
        bias = table["value"]["all", "fine", "bias"]
        assert (abs(bias) < 0.05) == (name == "here")


def test_status_reads_stations_only_if_their_size_or_date_has_changed(
    config: Path, again: Callable[..., Ended], tmp_path: Path
) -> None:
    stations = tmp_path / "stations.csv"
    shutil.copyfile(config.parent / "stations.csv", stations)
    given = f"validation.stations={stations}"
    assert again("report", given).status == 0

    def complete() -> str:
        told = invoke("status", config, "--output", tmp_path / "run", "-o", given)
        return counts(told)["report"][0]

    first, date = stations.read_bytes(), stations.stat().st_mtime_ns
    assert complete() == "1"
    stations.write_bytes(b"x" * len(first))
    os.utime(stations, ns=(date, date))
    assert complete() == "1"
    os.utime(stations, ns=(date, date + 10**9))
    assert complete() == "0"
    stations.write_bytes(first)
    assert complete() == "1"


def test_what_the_report_does_not_hold_any_more_is_removed(again: Callable[..., Ended], tmp_path: Path) -> None:
    assert again("report", "validation.truth=null", "validation.stations=null").status == 0
    names = {path.name for path in (tmp_path / "run" / "report").iterdir()}
    assert {"index.html", "accuracy.csv", "baselines.csv", "maps.png"} <= names
    assert not names & {"truth.csv", "truth.png", "stations.csv", "stations.png", "station_pairs.csv"}


def test_smaller_tiles_give_the_same_maps(config: Path, output: Path, cluster: str, tmp_path: Path) -> None:
    options = ("-o", "grid.tile=2", "-o", "models.ablation=false")  # no map rests on it
    done = invoke("run", config, "--output", tmp_path, "--scheduler", cluster, *options)
    assert done.status == 0, done.err
    for store, group, names in (
        ("cube.zarr", "fine", ("ndvi", "precipitation", "slope", "sand")),
        ("cube.zarr", "coarse", ("soil_moisture", "valid_fraction")),
        ("maps.zarr", "month", ("soil_moisture",)),
        ("maps.zarr", "season", ("soil_moisture",)),
    ):
        one, two = (opened(folder / store, group) for folder in (output, tmp_path))
        for name in names:
            found, expected = two[name].to_numpy(), one[name].to_numpy()
            both = np.isfinite(found) & np.isfinite(expected)
            assert both.mean() > 0.6
            assert (np.isfinite(found) == np.isfinite(expected)).mean() > 0.999
            spread = float(np.nanstd(expected))
            assert np.sqrt(np.mean((found[both] - expected[both]) ** 2)) <= 0.02 * spread + 1e-9, (group, name)
