"""The command line: help, options, statuses, what goes to stdout and stderr, what is written, signals."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import psutil
import pytest
import rasterio
import yaml

from commands import (
    PROGRAMS,
    Ended,
    counts,
    edit,
    files,
    free_port_of_nobody,
    invoke,
    soilscale,
    sparse_world,
    started,
    wait_until,
)
from servers.static_catalog import static_catalog
from soilscale import retry, storage
from soilscale.catalog import documents, signing
from soilscale.schema import FINE
from soilscale.stages import probing

pytestmark = pytest.mark.slow

STAGES = ("run", "search", "cube", "samples", "train", "map", "report")
COMMANDS = (*STAGES, "status", "check", "plan", "demo")

SOURCES = ("soil_moisture", "precipitation", "ndvi", "elevation", "sand")


def state_in_file_alone(folder: Path, unit: str) -> None:
    """Take the unit of an item out of its metadata, and write it into its file."""
    (item,) = folder.glob("*.json")
    content = json.loads(item.read_text())
    for asset in content["assets"].values():
        for described in (asset, *asset.get("bands", ()), *asset.get("raster:bands", ())):
            described.pop("unit", None)
    item.write_text(json.dumps(content))
    (raster,) = folder.glob("*.tif")
    with rasterio.open(raster, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.units = (unit,)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = sparse_world(tmp_path_factory.mktemp("world"))
    state_in_file_alone(path.parent / "catalog" / "dem" / "dem", "m")
    return edit(path, seasons={"year": list(range(1, 13))}, period=["2004-03", "2004-08"], models__ablation=False)


@pytest.fixture(scope="module")
def output(config: Path, cluster: str) -> Path:
    done = invoke("run", config, "--scheduler", cluster)
    assert done.status == 0, done.err
    return config.parent / "run"


def text_of(help_text: str) -> str:
    """Help without its frames and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", help_text).split())


# Help


def test_the_help_lists_every_command_and_every_status() -> None:
    done = invoke("--help")
    assert (done.status, done.err) == (0, "")
    told = text_of(done.out)
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", told), name
    for status in ("0 complete", "64 wrong usage", "65 unusable", "69 a service", "75 stopped", "78 wrong config"):
        assert status in told


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_teaches_by_an_example(name: str) -> None:
    done = invoke(name, "--help")
    assert (done.status, done.err) == (0, "")
    told = text_of(done.out)
    assert f"Usage: soilscale {name} [OPTIONS]" in told
    assert ("FOLDER" if name == "demo" else "CONFIG") in told
    assert f"Example: soilscale {name} " in told
    options = {"--log-level"} | ({"--scheduler", "--workers"} if name in (*STAGES, "demo") else set())
    options |= {"--output", "-o"} if name != "demo" else {"--seed"}
    for option in options:
        assert option in told


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"demo"}))
def test_every_example_can_be_parsed(name: str) -> None:
    (example,) = re.findall(rf"Example: soilscale {name} (\S.*)", text_of(invoke(name, "--help").out))
    done = invoke(name, *example.replace("moselle.yaml", "nowhere.yaml").split())
    assert done.status == 78
    assert "no configuration at nowhere.yaml" in done.err


def test_the_version_is_the_packages() -> None:
    done = soilscale("--version")
    assert (done.status, done.out.strip(), done.err) == (0, version("soilscale"), "")


def test_a_shell_completes_commands() -> None:
    asked = {"COMP_WORDS": "soilscale st", "COMP_CWORD": "1", "_SOILSCALE_COMPLETE": "complete_bash"}
    assert soilscale(**asked).out.split() == ["status"]


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "No such command 'statsu'"),
        (["run"], "Missing argument 'CONFIG'"),
        (["demo"], "Missing argument 'FOLDER'"),
        (["run", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["run", "a.yaml", "--wokers", "2"], "No such option: --wokers"),
        (["run", "a.yaml", "--workers", "two"], "Invalid value for '--workers'"),
        (["run", "a.yaml", "--workers", "0"], "Invalid value for '--workers'"),
        (["run", "a.yaml", "--log-level", "loud"], "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
        (["run", "a.yaml", "--output"], "requires an argument"),
    ],
)
def test_wrong_usage_ends_with_64_and_says_what_is_wrong(arguments: list[str], said: str) -> None:
    done = invoke(*arguments)
    assert (done.status, done.out) == (64, "")
    assert said in text_of(done.err)
    assert "Traceback" not in done.err


def test_a_command_that_is_nearly_right_is_named() -> None:
    assert "Did you mean 'status'?" in text_of(invoke("statsu").err)


def test_no_command_shows_the_help_and_is_wrong_usage() -> None:
    done = invoke()
    assert done.status == 64
    assert "Usage: soilscale" in done.out + done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.yaml"], "no configuration at nowhere.yaml"),
        (["@", "-o", "models.seed"], "-o 'models.seed' is not KEY=VALUE"),
        (["@", "-o", "models.sede=1"], "models.sede: unknown key; did you mean 'seed'?"),
        (["@", "-o", "maps.every=[week]"], "maps.every.0"),
        (["@", "-o", "output=s3://maria:hunter2@bucket/x"], "the URL contains a password"),
    ],
)
@pytest.mark.parametrize("name", ["run", "status", "check"])
def test_a_wrong_configuration_ends_with_78(config: Path, name: str, arguments: list[str], said: str) -> None:
    done = invoke(name, *(str(config) if one == "@" else one for one in arguments))
    assert (done.status, done.out) == (78, "")
    assert said in done.err
    assert done.err.startswith("soilscale: ")
    assert "hunter2" not in done.err
    assert "Traceback" not in done.err


# Options


def test_paths_on_the_command_line_are_relative_to_the_working_directory(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for options, place in (
        (["--output", "here"], "here"),
        (["-o", "output=there"], "there"),
        (["-o", "output=elsewhere", "--output", "sub/first"], "sub/first"),
    ):
        done = invoke("search", config, *options)
        assert done.status == 0, done.err
        assert (tmp_path / place / "run.yaml").exists()
        told = yaml.safe_load((tmp_path / place / "run.yaml").read_text())
        assert told["config"]["output"] == str(tmp_path / place)
        assert told["config"]["catalogs"]["world"]["url"] == str(config.parent / "catalog" / "catalog.json")
    assert not (tmp_path / "elsewhere").exists()
    edit_name = Path(os.path.relpath(config, tmp_path))
    assert invoke("status", edit_name, "--output", "here").out == invoke("status", config, "--output", "here").out


def test_any_key_can_be_set_and_the_last_one_counts(config: Path, tmp_path: Path) -> None:
    options = ["models.seed=1", "models.seed=2", "sources.precipitation.lags=[1, 2]", "samples={block: 3}"]
    done = invoke("search", config, "--output", tmp_path, *(part for one in options for part in ("-o", one)))
    assert done.status == 0, done.err
    told = yaml.safe_load((tmp_path / "run.yaml").read_text())["config"]
    assert told["models"]["seed"] == 2
    assert told["sources"]["precipitation"]["lags"] == [1, 2]
    assert told["samples"]["block"] == 3
    assert yaml.safe_load(config.read_text())["models"]["seed"] == 0


def test_the_scheduler_is_the_option_then_the_environment(
    config: Path, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("search", config, "--output", tmp_path).status == 0
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "of the environment")
    done = invoke("cube", config, "--output", tmp_path)
    assert done.status == 78
    assert "'of the environment' is not a valid Dask scheduler address" in done.err
    done = invoke("cube", config, "--output", tmp_path, "--scheduler", cluster)
    assert done.status == 0, done.err
    (tmp_path / "state" / "cube" / "sand").rename(tmp_path / "sand")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster)
    assert invoke("cube", config, "--output", tmp_path).status == 0
    assert (tmp_path / "state" / "cube" / "sand").exists()


def test_the_level_rules_what_is_logged(config: Path, tmp_path: Path) -> None:
    told = {
        level: invoke("search", config, "--output", tmp_path / level, "--log-level", level)
        for level in ("debug", "info", "warning", "error")
    }
    assert all(done.status == 0 for done in told.values())
    assert "INFO" in told["debug"].err
    assert "INFO" in told["info"].err
    assert told["warning"].err == told["error"].err == ""
    assert len({done.out for done in told.values()}) == 1


# stdout and stderr


def test_results_go_to_stdout_and_all_else_to_stderr(config: Path, output: Path) -> None:
    run = invoke("run", config)
    assert run.status == 0
    assert run.out.splitlines()[:3] == [
        f"maps:   {output}/maps.zarr",
        f"COGs:   {output}/maps/catalog.json",
        f"report: {output}/report/index.html",
    ]
    assert "RMSE against the known truth" in run.out
    assert "INFO" not in run.out
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ (INFO|WARNING) ", line) for line in run.err.splitlines())
    search = invoke("search", config)
    assert search.out.splitlines()[0] == "soil_moisture: 6 items"
    status = invoke("status", config)
    assert (status.status, status.err) == (0, "")


def test_each_stage_says_where_its_product_is(config: Path, output: Path) -> None:
    for name, place in (
        ("cube", "cube.zarr"),
        ("samples", "samples.parquet"),
        ("train", "models"),
        ("map", "maps.zarr"),
        ("report", "report/index.html"),
    ):
        done = invoke(name, config)
        assert done.status == 0, done.err
        assert str(output / place) in done.out


def test_a_terminal_gets_bars_and_folded_tables(config: Path, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    environment = os.environ | {"COLUMNS": "60", "TERM": "xterm-256color"}
    command = [PROGRAMS / "soilscale", "check", config, "--output", tmp_path / "run"]
    with subprocess.Popen(command, stdout=child, stderr=child, env=environment) as process:
        os.close(child)
        told = b""
        with suppress(OSError):  # the end of a terminal is an error of its reader
            while part := os.read(parent, 65536):
                told += part
        os.close(parent)
    assert process.returncode == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.decode()).splitlines()
    assert any("reading the catalog" in line and "/" in line for line in lines)
    rows = [line for line in lines if line.startswith("│")]
    assert rows
    assert max(map(len, rows)) <= 60
    assert "".join(row.split("│")[1].strip() for row in rows).startswith("".join(SOURCES))


def test_a_pipe_gets_lines_even_where_colours_are_forced(config: Path, tmp_path: Path) -> None:
    command = [PROGRAMS / "soilscale", "check", config, "--output", tmp_path / "run"]
    environment = os.environ | {"FORCE_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "\x1b[2K" not in done.stderr
    assert re.search(r"^[\d-]+ [\d:,]+ INFO .*: reading the catalog: \d+ of \d+", done.stderr, re.MULTILINE)


# What is written


def test_run_yaml_holds_no_secret(config: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    item = json.loads((output / "items" / "sand.json").read_text())["features"][0]
    item["assets"]["sand"]["href"] = f"file://{item['assets']['sand']['href']}"
    with static_catalog({"/items.json": {"type": "FeatureCollection", "features": [item]}}) as catalog:
        options = ["-o", f"catalogs.other={{url: '{catalog.url}/items.json?sig=hunter2'}}"]
        options += ["-o", "sources.sand.catalog=other", "--output", str(tmp_path)]
        done = invoke("search", config, *options)
        assert done.status == 0, done.err
        checked = invoke("check", config, *options)
        assert checked.status == 0, checked.err
    assert catalog.queries[0] == {"sig": ["hunter2"]}
    text = (tmp_path / "run.yaml").read_text()
    assert yaml.safe_load(text)["config"]["catalogs"]["other"]["url"].startswith(f"{catalog.url}/items.json")
    for told in (text, done.out, done.err, checked.out, checked.err):
        assert "hunter2" not in told


def test_run_yaml_can_be_run_again(config: Path, output: Path, tmp_path: Path) -> None:
    told = yaml.safe_load((output / "run.yaml").read_text())
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(told["config"], sort_keys=False))
    assert invoke("status", again).out == invoke("status", config).out
    assert invoke("search", again, "--output", tmp_path / "run").status == 0
    for name in SOURCES:
        one, two = (json.loads((place / "items" / f"{name}.json").read_text()) for place in (output, tmp_path / "run"))
        assert one["features"] == two["features"]


# status and check


def test_status_of_nothing_is_nothing(config: Path, tmp_path: Path) -> None:
    done = invoke("status", config, "--output", tmp_path / "run")
    assert (done.status, done.err) == (0, "")
    found = counts(done)
    assert found["search"] == ["0", "5", "0"]
    assert found["cube"] == ["0", "?", "0"]
    assert found["report"] == ["0", "1", "0"]
    assert not (tmp_path / "run").exists()


def test_status_knows_what_a_change_would_redo(config: Path, output: Path) -> None:
    before = files(output)
    assert all(done == of for done, of, _ in counts(invoke("status", config)).values())
    found = counts(invoke("status", config, "-o", "maps.conserve=false"))
    assert found["cube"][0] == found["cube"][1]
    assert found["train"][0] == found["train"][1]
    assert found["conserve"][0] == found["report"][0] == "0"
    found = counts(invoke("status", config, "-o", "models.seed=5"))
    assert found["cube"][0] == found["cube"][1]
    assert found["samples"][0] == "0"
    assert files(output) == before


@pytest.fixture
def cut_off(config: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make every source unreachable: its files are gone, nothing is signed or opened, and no socket connects."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a source was asked for")

    for owner, name in ((rasterio, "open"), (socket.socket, "connect"), (signing, "sign"), (documents, "read")):
        monkeypatch.setattr(owner, name, refuse)
    here, away = config.parent / "catalog", config.parent / "away"
    here.rename(away)
    yield
    away.rename(here)


@pytest.mark.usefixtures("cut_off")
def test_status_and_plan_of_a_complete_run_touch_no_source(config: Path, output: Path) -> None:
    assert storage.open_group(str(output / "cube.zarr"), FINE)["elevation"].attrs["units"] == "m"
    for command in ("status", "plan"):
        done = invoke(command, config)
        assert done.status == 0, done.err
    assert all(done == of for done, of, _ in counts(invoke("status", config)).values())


@pytest.mark.usefixtures("output", "cut_off")
def test_items_frozen_without_the_unit_of_their_files_are_to_be_searched_again(config: Path, tmp_path: Path) -> None:
    shutil.copytree(config.parent / "run" / "items", tmp_path / "items")
    items = tmp_path / "items" / "elevation.json"
    content = json.loads(items.read_text())
    del content["soilscale:unit"]
    items.write_text(json.dumps(content))
    done = invoke("status", config, "--output", tmp_path)
    assert done.status == 65
    assert "source elevation: its items were frozen without the unit of their files; run `soilscale search`" in done.err


def rows_of(told: Ended) -> dict[str, list[str]]:
    """First column of the first table -> the others."""
    first = told.out.partition("└")[0]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in first.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


def test_check_tells_items_and_months_of_each_source_and_changes_nothing(config: Path, tmp_path: Path) -> None:
    before = files(config.parent)
    done = invoke("check", config, "--output", tmp_path / "sub" / "run", "-o", "period=[2004-11, 2005-02]")
    assert done.status == 0, done.err
    found = rows_of(done)
    assert tuple(found) == SOURCES
    for name in ("soil_moisture", "ndvi", "precipitation"):
        assert found[name][1:] == ["2 of 4, 2004-11..2004-12", "2: 2005-01, 2005-02", "read"]
    assert [found[name][0] for name in SOURCES] == ["2", "3", "4", "1", "1"]
    assert found["sand"][1:] == ["static", "0", "read"]
    assert "grid EPSG:4326: 3 x 3 coarse cells of 0.25, 75 x 75 fine cells of 0.01, 1 tiles, 4 months" in done.out
    assert f"output {tmp_path}/sub/run can be written" in done.out
    assert files(config.parent) == before
    assert list(tmp_path.iterdir()) == []


def test_check_names_every_source_that_is_wrong_and_ends_with_the_gravest(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "SERVICE", (0.01,))
    url = f"http://127.0.0.1:{free_port_of_nobody()}/catalog.json"
    dead = ["-o", f"catalogs.dead={{url: '{url}'}}", "-o", "sources.sand.catalog=dead"]
    empty = ["-o", "sources.ndvi.query={platform: aqua}"]
    unknown = ["-o", "sources.elevation.collection=dme"]
    told = {}
    for status, options in ((65, empty), (69, [*empty, *dead]), (78, [*empty, *dead, *unknown])):
        done = invoke("check", config, "--output", tmp_path / "run", *options)
        assert done.status == status, done.err
        told[status] = rows_of(done)
        assert told[status]["soil_moisture"][-1] == "read"
    assert told[65]["ndvi"] == ["0", "none", "all", "no items in the area and period"]
    assert "cannot be reached" in told[69]["sand"][-1]
    assert "has no collection 'dme'; did you mean 'dem'?" in told[78]["elevation"][-1]
    assert "cannot be reached" in told[78]["sand"][-1]


def test_check_shows_what_will_be_read(config: Path, tmp_path: Path) -> None:
    done = invoke("check", config, "--output", tmp_path / "run")
    assert done.status == 0, done.err
    rows = [line for line in done.out.splitlines() if "GTiff" in line]
    shown = {cells[0]: cells[1:] for line in rows for cells in [[cell.strip() for cell in line.split("│")[1:-1]]]}
    assert tuple(shown) == SOURCES
    file, stored, unit, values = shown["elevation"]
    assert (file, stored, unit) == (
        "GTiff, EPSG:4326, 0.00416667 x 0.00416667 degrees",
        "int16, missing -32768",
        "m",
    )
    numbers = [float(number) for number in re.findall(r"[-+]?\d+\.?\d*", values)]
    assert 0 < numbers[0] < numbers[1] < numbers[2] < 5000
    assert "Sinusoidal, 926.625 x 926.625 metre" in shown["ndvi"][0]
    least, median, greatest = (float(number) for number in shown["ndvi"][3].partition(",")[0].split(" .. "))
    assert -0.2 <= least < median < greatest <= 1.0, "decoded, not as stored"


def test_check_fails_where_an_asset_cannot_be_read_and_names_source_item_and_remedy(
    config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("run"))
    (folder / "catalog" / "dem" / "dem" / "elevation.tif").write_bytes(b"\x0e\x03\x13\x01" + bytes(1000))
    for path in (folder / "catalog" / "rain").glob("*/*.tif"):
        path.unlink()
    done = invoke("check", folder / config.name)
    assert done.status == 65
    found = rows_of(done)
    assert found["elevation"][-1] == "1 of 1 items opened cannot be read"
    assert found["precipitation"][-1] == "3 of 3 items opened cannot be read"
    assert found["sand"][-1] == "read"
    errors = [line for line in done.out.splitlines() if line.startswith("error: ")]
    lines = [line.removeprefix("error: ") for line in errors]
    assert len(lines) == 2, "one for each source and cause"
    assert lines[0].startswith("source precipitation, item rain-2004-0")
    assert "cannot be read" in lines[0]
    assert "No such file" in lines[0]
    assert lines[1].startswith("source elevation, item dem: ")
    assert "it is HDF4; convert it to GeoTIFF" in lines[1]
    assert "Traceback" not in done.err


def test_check_of_a_store_that_is_away_or_silent_ends_with_69(
    config: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "REOPENED", ())
    monkeypatch.setattr(probing, "PATIENCE", 3.0)
    item = json.loads((output / "items" / "sand.json").read_text())["features"][0]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port, said in ((free_port_of_nobody(), "cannot be"), (silent.getsockname()[1], "read within 3 s")):
            item["assets"]["sand"]["href"] = f"http://127.0.0.1:{port}/sand.tif"
            (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
            away = ["-o", f"catalogs.away={{url: '{tmp_path}/items.json'}}", "-o", "sources.sand.catalog=away"]
            done = invoke("check", config, "--output", tmp_path / "run", *away)
            assert done.status == 69, done.err
            assert rows_of(done)["sand"][-1] == "1 of 1 items opened cannot be read"
            assert f"source sand, item {item['id']}: " in done.err
            assert said in done.err


def test_check_reaches_the_output_and_reads_the_references(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = invoke("check", config, "--output", tmp_path / "file" / "run")
    assert done.status == 78
    assert "check that the path is right" in done.err
    assert "can be written" not in done.out
    done = invoke("check", config, "--output", tmp_path / "run", "-o", f"validation.stations={tmp_path}/none.csv")
    assert done.status == 78
    assert "validation.stations: there is no file" in done.err


def test_check_tells_how_many_stations_lie_on_the_grid(config: Path, tmp_path: Path) -> None:
    known = pd.read_csv(config.parent / "stations.csv")
    far = known.assign(station="FAR", longitude=-60.0).head(3)
    for rows, status in ((pd.concat([known, far]), 0), (far, 65)):
        rows.to_csv(tmp_path / "stations.csv", index=False)
        options = ("-o", f"validation.stations={tmp_path}/stations.csv")
        done = invoke("check", config, "--output", tmp_path / "run", *options)
        assert done.status == status, done.err
        if status:
            assert "validation.stations: none of the 1 stations of" in done.err
            assert "lies on the grid; use stations of the area" in done.err
        else:
            n = known["station"].nunique()
            assert f"stations {tmp_path}/stations.csv: {n} of {n + 1} on the grid" in done.out


def test_demo_does_not_write_over_a_world(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    done = invoke("demo", tmp_path)
    assert done.status == 78
    assert "catalog exists already; name a folder without a world" in done.err


# Signals


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Worker processes of a command's own cluster."""
    forked = psutil.Process(process.pid).children(recursive=True)
    return [child for child in forked if "forkserver" in " ".join(child.cmdline()) and child.ppid() != process.pid]


def test_ctrl_c_stops_a_run_and_its_workers_and_the_next_run_goes_on(
    config: Path, output: Path, cluster: str, tmp_path: Path
) -> None:
    """Ctrl-C reaches every process of the terminal; the port that Dask likes is taken."""
    run, log = ("run", config, "--output", tmp_path / "run"), tmp_path / "log"
    markers = tmp_path / "run" / "state" / "cube"
    with socket.socket() as taken, started(*run, "--workers", 1, log=log) as process:
        with suppress(OSError):
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        wait_until(lambda: len(list(markers.rglob("*.json"))) >= 2, "a marker of the cube")
        workers = children(process)
        assert len(workers) == 1
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 75, log.read_text()
        wait_until(lambda: not any(worker.is_running() for worker in workers), "the end of the workers")
    text = log.read_text()
    assert "soilscale: stopped before it was complete; run the same command again to resume" in text
    assert "Traceback" not in text
    assert "8787" not in text
    found = counts(invoke("status", config, "--output", tmp_path / "run"))
    assert 2 <= int(found["cube"][0]) < int(found["cube"][1])
    done = invoke("cube", *run[1:], "--scheduler", cluster)
    assert done.status == 0, done.err
    assert files(tmp_path / "run" / "cube.zarr") == files(output / "cube.zarr")


def test_a_run_that_is_terminated_while_its_cluster_starts_ends_with_75(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started("run", config, "--output", tmp_path / "run", "--workers", 1, log=log) as process:
        wait_until((tmp_path / "run" / "cube.zarr" / "coarse").exists, "the template of the cube")
        time.sleep(0.3)
        process.terminate()
        assert process.wait(30) == 75, log.read_text()
    assert "run the same command again to resume" in log.read_text()
    assert "Traceback" not in log.read_text()
