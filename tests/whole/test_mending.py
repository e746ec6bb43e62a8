"""What is damaged in the cube or the maps is named with its unit, and made again by the same command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zarr

from commands import (
    Ended,
    counts,
    edit,
    files,
    invoke,
    markers,
    redone,
    redone_units,
    sparse_world,
    times,
)

pytestmark = pytest.mark.slow

OWN = ("state", "run.yaml", "report/index.html")
"""What tells of a run itself."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = edit(sparse_world(tmp_path_factory.mktemp("world")), models__ablation=False, grid__tile=2)
    content = {"precipitation": {"catalog": "world", "collection": "rain", "asset": "precipitation", "lags": [1]}}
    return edit(path, sources__precipitation=content["precipitation"])


@pytest.fixture(scope="module")
def output(config: Path, cluster: str) -> Path:
    done = invoke("run", config, "--scheduler", cluster)
    assert done.status == 0, done.err
    return config.parent / "run"


@pytest.fixture
def again(config: Path, output: Path, cluster: str, tmp_path: Path) -> Callable[[], Ended]:
    """Run on a copy of the products in ``tmp_path / "run"``."""
    shutil.copytree(output, tmp_path / "run")
    return lambda: invoke("run", config, "--output", tmp_path / "run", "--scheduler", cluster)


def products_redone(before: dict[Path, int], run: Path) -> list[str]:
    """Files of an output that are new or written again, but for what tells of the run itself."""
    return [name for name in redone(before, run) if not name.startswith(("state/", "run.yaml"))]


DAMAGES = {
    "read by workers for the maps": ("cube.zarr/fine/ndvi/c/4/0/1", "predict", {"gaps/ndvi/2004-05_r000c001"}),
    "of a lag": ("cube.zarr/fine/precipitation_lag1/c/4/0/0", "predict", {"gaps/precipitation/2004-04_r000c000"}),
    "static": ("cube.zarr/fine/slope/c/1/1", "predict", {"cube/elevation/static_r001c001"}),
    "read for the samples": ("cube.zarr/coarse/sand/c/0/0", "samples", {"coarse/static"}),
    "of the observation": (
        "cube.zarr/coarse/soil_moisture/c/0/0/0",
        "conserve",
        {"coarse/2004-01_2004-12"},
    ),
    "of the valid share": ("cube.zarr/coarse/valid_fraction/c/0/0/0", "samples", {"coarse/2004-01_2004-12"}),
    "of a source's share": ("cube.zarr/fraction/ndvi/c/0/0/0", "report", {"coarse/2004-01_2004-12"}),
    "of a month's map": (
        "maps.zarr/month/soil_moisture/c/6/0/0",
        "season",
        {"predict/month-2004-07_r000c000", "conserve/month-2004-07_r000c000"},
    ),
    "of the surface that conserves": (
        "maps.zarr/coarse/residual/c/6/0/0",
        "conserve",
        {"residual/month-2004-07"},
    ),
    "of a season's map": (
        "maps.zarr/season/soil_moisture/c/0/0/0",
        "publish",
        {"season/season-2004-04_r000c000"},
    ),
}
"""Chunk, the stage whose markers are lost so that it is read again, and the units that made it."""


@pytest.mark.parametrize("which", DAMAGES)
def test_a_damaged_chunk_is_named_and_made_again(
    again: Callable[[], Ended], output: Path, tmp_path: Path, which: str
) -> None:
    chunk, stage, units = DAMAGES[which]
    path = tmp_path / "run" / chunk
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    state = tmp_path / "run" / "state"
    for one in ("predict", "conserve") if stage == "predict" else (stage,):
        shutil.rmtree(state / one)
    before = {name for name in files(state) if name.startswith(tuple({unit.partition("/")[0] for unit in units}))}

    done = again()
    assert done.status == 75, done.err
    assert f"{tmp_path}/run/{chunk} is damaged" in done.err
    for unit in units:
        assert unit.partition("/")[2] in done.err
    assert "`soilscale run`: run it" in done.err
    assert "Traceback" not in done.err
    lost = {name.rsplit(".", 2)[0] for name in before - files(state).keys()}
    assert lost == units

    done = again()
    assert done.status == 0, done.err
    assert path.read_bytes() == content
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)


LOSSES = {
    "of the cube": ("cube.zarr/fine/ndvi/c/4/0/1", ("predict", "conserve"), "ndvi/2004-05_r000c001"),
    "of a lag": ("cube.zarr/coarse/precipitation_lag1/c/0/0/0", ("samples",), "2004-01_2004-12"),
    "without values": (
        "maps.zarr/month/prediction_quality/c/6/0/0",
        ("conserve",),
        "month-2004-07_r000c000",
    ),
}
"""Chunk, the stages whose markers are lost so that it is read again, and the unit that made it."""


@pytest.mark.parametrize("which", LOSSES)
def test_a_lost_chunk_is_named_and_made_again(
    again: Callable[[], Ended], output: Path, tmp_path: Path, which: str
) -> None:
    chunk, stages, unit = LOSSES[which]
    (tmp_path / "run" / chunk).unlink()
    for one in stages:
        shutil.rmtree(tmp_path / "run" / "state" / one)
    done = again()
    assert done.status == 75, done.err
    assert f"{tmp_path}/run/{chunk} is lost" in done.err
    assert f"{unit} is made again by `soilscale run`: run it" in done.err
    assert "Traceback" not in done.err
    done = again()
    assert done.status == 0, done.err
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)


ALTERED: dict[str, dict[str, set[str]]] = {
    "what is published": {
        "maps/month/*2004-07/*/*_soil_moisture.tif": {"publish/month-2004-07"},
        "maps/season/*2004-04/*/*.json": {"publish/season-2004-04"},
        "maps/catalog.json": set(),
        "maps/month/collection.json": set(),
        "maps/releases/1/catalog.json": set(),
    },
    "what is shown": {
        "maps/index.html": set(),
        "maps/viewer.json": set(),
        "maps/season/*2004-04/*/*_overview.png": {"publish/season-2004-04"},
    },
    "what is learned": {
        "cube.zarr/coarse/sand/c/0/0": {"coarse/static"},
        "samples.parquet": set(),
        "models/warm/random_forest/model.skops": {"train/warm-random_forest-seasonal-random"},
        "report/accuracy.csv": set(),
    },
    "what is mapped": {
        "cube.zarr/fine/ndvi/c/4/0/1": {"gaps/ndvi/2004-05_r000c001"},
        "maps.zarr/month/soil_moisture/c/6/0/0": {
            "residual/month-2004-07",
            "predict/month-2004-07_r000c000",
            "conserve/month-2004-07_r000c000",
        },
    },
}
"""Objects that a complete run has left, and the units that are done again where each is not what it was."""


@pytest.mark.parametrize("how", ["lost", "altered"])
@pytest.mark.parametrize("which", ALTERED)
def test_what_another_hand_takes_or_alters_after_a_complete_run_is_made_again_at_once(
    again: Callable[[], Ended], output: Path, tmp_path: Path, which: str, how: str
) -> None:
    run, before = tmp_path / "run", markers(tmp_path / "run" / "state")
    names = []
    for pattern in ALTERED[which]:
        (path,) = run.glob(pattern)
        names.append(str(path.relative_to(run)))
        content = path.read_bytes()
        path.unlink()
        if how == "altered":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = again()
    assert done.status == 0, done.err
    (line,) = (line for line in done.err.splitlines() if "missing or modified since the last complete run" in line)
    damaged, _, recomputed = line.partition(": missing or modified since the last complete run; recomputing: ")
    assert all(name in damaged for name in names)
    makers = set().union(*ALTERED[which].values())
    done_again = {f"{part}/{unit}" for part, units in redone_units(before, run / "state").items() for unit in units}
    assert done_again == makers
    assert all(maker.partition("/")[2] in recomputed for maker in makers)
    assert files(run, without=OWN) == files(output, without=OWN)


def test_lost_metadata_have_their_store_made_again_at_once(
    again: Callable[[], Ended], output: Path, tmp_path: Path
) -> None:
    (tmp_path / "run" / "maps.zarr" / "season" / "zarr.json").unlink()
    (tmp_path / "run" / "maps.zarr" / "month" / "quality" / "c" / "3" / "0" / "0").unlink()
    before = times(tmp_path / "run" / "cube.zarr")
    done = again()
    assert done.status == 0, done.err
    assert "recomputing: maps.zarr\n" in done.err
    assert not redone(before, tmp_path / "run" / "cube.zarr")
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)


OWN_FILES = (
    "notes.txt",
    "cube.zarr/.DS_Store",
    "models/notes/of/mine.txt",
    "report/extra.csv",
    "maps/my-styles/catalog.json",
    "maps/month/legend.qml",
    "report.odt",
)
"""What a user may keep in an output, or a system may leave there."""


def test_files_of_a_users_own_are_left_alone(config: Path, cluster: str, output: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(output, run)
    (run / "state" / "seal.json").unlink()
    for name in OWN_FILES:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("mine")
    again = partial(invoke, "run", config, "--output", run, "--scheduler", cluster)
    assert again().status == 0
    for name in OWN_FILES[:5]:
        (run / name).write_text("edited")
    for name in OWN_FILES[5:]:
        (run / name).unlink()
    before = times(run)
    done = again()
    assert done.status == 0, done.err
    assert "missing or modified" not in done.err
    assert [(run / name).read_text() for name in OWN_FILES[:5]] == ["edited"] * 5
    assert not products_redone(before, run)


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_consolidated_metadata_stand(again: Callable[[], Ended], tmp_path: Path) -> None:
    zarr.consolidate_metadata(tmp_path / "run" / "maps.zarr", path="month")
    before = times(tmp_path / "run")
    done = again()
    assert done.status == 0, done.err
    assert "missing or modified" not in done.err
    assert not products_redone(before, tmp_path / "run")


def test_an_output_that_was_copied_without_its_dates_stands(
    again: Callable[[], Ended], output: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "run")
    shutil.copytree(output, tmp_path / "run", copy_function=shutil.copyfile)
    before = times(tmp_path / "run")
    done = again()
    assert done.status == 0, done.err
    assert "missing or modified" not in done.err
    assert not products_redone(before, tmp_path / "run")


def test_predictions_made_again_alone_leave_the_maps_as_they_are(
    again: Callable[[], Ended], output: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "run" / "state" / "predict")
    before = times(tmp_path / "run" / "maps.zarr" / "month" / "prediction_quality" / "c")
    done = again()
    assert done.status == 0, done.err
    assert redone(before, tmp_path / "run" / "maps.zarr" / "month" / "prediction_quality" / "c")
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)


def test_what_the_report_meets_is_made_again_too(again: Callable[[], Ended], output: Path, tmp_path: Path) -> None:
    path = tmp_path / "run" / "maps.zarr" / "month" / "quality" / "c" / "3" / "0" / "0"
    path.write_bytes(b"")
    (tmp_path / "run" / "state" / "report" / "report.json").unlink()
    # The report reads maps by their summaries alone.
    shutil.rmtree(tmp_path / "run" / "state" / "summarise")
    done = again()
    assert done.status == 75, done.err
    assert "maps.zarr/month/quality/c/3/0/0 is damaged" in done.err
    assert again().status == 0
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)


def test_damaged_metadata_make_the_whole_store_again(again: Callable[[], Ended], output: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "maps.zarr" / "month" / "zarr.json").write_text('{"attributes"')
    (tmp_path / "run" / "state" / "report" / "report.json").unlink()
    shutil.rmtree(tmp_path / "run" / "state" / "summarise")
    before = times(tmp_path / "run" / "cube.zarr")
    done = again()
    assert done.status == 75, done.err
    assert "maps.zarr/month/zarr.json is damaged" in done.err
    assert "maps.zarr is made again" in done.err
    assert again().status == 0
    assert not redone(before, tmp_path / "run" / "cube.zarr")
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)


OBJECTS = {
    "models/warm/random_forest/trees.npz": ("predict", {"train/warm-random_forest-seasonal-random"}),
    "models/warm/random_forest/model.json": ("publish", {"train/warm-random_forest-seasonal-random"}),
    "predictions.parquet": ("report", set()),
    "items/ndvi.json": ("report", set()),
}
"""Object outside the Zarr stores, the stage whose markers are lost so that it is read, units that are done again."""


@pytest.mark.parametrize("name", OBJECTS)
def test_a_damaged_object_is_named_and_made_again(
    again: Callable[[], Ended], output: Path, tmp_path: Path, name: str
) -> None:
    stage, makers = OBJECTS[name]
    run = tmp_path / "run"
    shutil.rmtree(run / "state" / stage)
    before = markers(run / "state")
    (run / name).write_bytes((run / name).read_bytes()[:-40])
    done = again()
    assert done.status == 75, done.err
    assert f"{name} is damaged" in done.err
    assert "made again by `soilscale run`: run it" in done.err
    done = again()
    assert done.status == 0, done.err
    done_again = {f"{part}/{unit}" for part, names in redone_units(before, run / "state").items() for unit in names}
    assert {unit for unit in done_again if not unit.startswith(f"{stage}/")} == makers
    assert files(run, without=OWN) == files(output, without=OWN)


def test_what_is_lost_of_the_report_is_made_again(
    again: Callable[[], Ended], config: Path, output: Path, tmp_path: Path
) -> None:
    for name in ("index.html", "accuracy.csv"):
        (tmp_path / "run" / "report" / name).unlink()
        assert counts(invoke("status", config, "--output", tmp_path / "run"))["report"] == ["0", "1", "0"]
        assert again().status == 0
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)
    assert (tmp_path / "run" / "report" / "index.html").exists()


def test_a_damaged_seal_is_none(again: Callable[[], Ended], tmp_path: Path) -> None:
    seal = tmp_path / "run" / "state" / "seal.json"
    for content in (b"", b"[1, 2]"):
        seal.write_bytes(content)
        done = again()
        assert done.status == 0, done.err
        assert json.loads(seal.read_text())["made_from"]


KEEPERS = {"of a cell's mean": ("cube/ndvi", "coarse"), "of a prediction's mean": ("predict", "residual")}
"""Folder of the markers that keep it, and the stage that gathers it."""


@pytest.mark.parametrize("how", ["changed", "lost", "cut"])
@pytest.mark.parametrize("which", KEEPERS)
def test_what_a_marker_keeps_is_checked_and_made_again(
    again: Callable[[], Ended], output: Path, tmp_path: Path, which: str, how: str
) -> None:
    folder, stage = KEEPERS[which]
    state = tmp_path / "run" / "state"
    (marker,) = (state / folder).glob("*2004-07_r000c000.*.json")
    shutil.rmtree(state / stage)
    told = json.loads(marker.read_text())
    kept = next(iter(told["kept"].values()))
    if how == "changed":
        middle = len(kept["data"]) // 2
        kept["data"] = (
            f"{kept['data'][:middle]}{'A' if kept['data'][middle] != 'A' else 'B'}{kept['data'][middle + 1 :]}"
        )
    marker.write_text(json.dumps(told) if how == "changed" else marker.read_text()[:-30])
    if how == "lost":
        marker.unlink()

    done = again()
    if how != "lost":
        assert done.status == 75, done.err
        assert f"{marker.relative_to(tmp_path / 'run')} is damaged" in done.err
        assert "made again by `soilscale run`: run it" in done.err
        assert "Traceback" not in done.err
        assert not marker.exists()
        done = again()
    assert done.status == 0, done.err
    assert files(tmp_path / "run", without=OWN) == files(output, without=OWN)
