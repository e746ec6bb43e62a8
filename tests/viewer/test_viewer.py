"""What the viewer is given of a product, and the server that shows an output on one's own machine."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import Polygon, box

from commands import PROGRAMS, invoke, wait_until
from conftest import forget_stores
from servers.faults import Faults
from servers.seaweed import BUCKET
from soilscale import storage, viewer
from soilscale.errors import ConfigurationError, DataError, RefusedError
from soilscale.grid import Grid, cover
from soilscale.seasons import METEOROLOGICAL, Seasons
from soilscale.viewer.index import Viewed, describe, scale
from soilscale.viewer.server import Server, check

FIGURES = {"minimum": 0.0, "maximum": 0.9, "mean": 0.25, "stddev": 0.04}
NATURAL = (
    'PROJCRS["x",BASEGEOGCRS["Unknown",DATUM["D",ELLIPSOID["S",6371007.181,0]]],CONVERSION["S",METHOD["Sinusoidal"]],'
)
NATURAL += 'CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'


def viewed(grid: Grid, area: Polygon | None = None) -> Viewed:
    return Viewed(grid, "sm", "cci", Seasons(METEOROLOGICAL), (0.0, 0.6), 0.9, area, stations=True)


def item(start: str, end: str, *layers: str, **properties: Any) -> dict[str, Any]:
    names = {name: f"https://maps.example/published/lab_{name}.tif?v=1" for name in layers}
    return {
        "properties": {"start_datetime": start, "end_datetime": end, "soilscale:season": "winter", **properties},
        "assets": {name: {"href": href, "statistics": FIGURES} for name, href in names.items()}
        | {"thumbnail": {"href": "./thumbnail.png", "statistics": {}}},
    }


def test_the_index_tells_of_every_map_in_one_file() -> None:
    grid = cover(box(5, 47, 6, 48), "EPSG:3035", 24_000, 24)
    shares = {"observed": 1.0, "clamped": 0.0}
    months = {
        "month/b/1/b.json": item("2005-02-01T00:00:00Z", "2005-02-28T23:59:59Z", "soil_moisture", "quality"),
        "month/a/1/a.json": item(
            "2004-12-01T00:00:00Z", "2004-12-31T23:59:59Z", "soil_moisture", "quality", **{"soilscale:quality": shares}
        ),
    }
    season = {"season/w/1/w.json": item("2004-12-01T00:00:00Z", "2005-02-28T23:59:59Z", "soil_moisture")}
    shown = describe("lab", 3, "2026-11-30T12:00:00Z", viewed(grid), {"month": months, "season": season})
    assert [entry["first"] for entry in shown["maps"]["month"]] == ["2004-12", "2005-02"]
    # Beside the item, whatever public root its assets name: this copy may lie elsewhere.
    assert shown["maps"]["month"][0]["folder"] == "month/a/1"
    assert shown["maps"]["month"][0]["files"] == {
        "soil_moisture": "lab_soil_moisture.tif",
        "quality": "lab_quality.tif",
    }
    assert (shown["maps"]["season"][0]["first"], shown["maps"]["season"][0]["last"]) == ("2004-12", "2005-02")
    assert shown["layers"].keys() == {"soil_moisture"}
    assert shown["layers"]["soil_moisture"]["range"] == [0.15, 0.35]
    assert [bit["name"] for bit in shown["quality"]["bits"]] == ["observed"]
    assert shown["area"] is None
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32648", "EPSG:6933", "EPSG:3408", NATURAL])
def test_a_grid_of_any_crs_has_a_place_on_the_earth(crs: str) -> None:
    side = 0.25 if crs == "EPSG:4326" else 25_000
    area = Polygon([(105, 33), (108, 33), (108, 36), (105, 36)], [[(106, 34), (107, 34), (107, 35), (106, 35)]])
    grid = cover(area, crs, side, 25)
    shown = describe("lab", 1, "", viewed(grid, area), {"month": {}})
    assert shown["grid"]["proj4"].startswith("+proj=")
    assert shown["grid"]["shape"] == list(grid.fine.shape)
    assert shown["grid"]["geographic"] is (crs == "EPSG:4326")
    outer, hole = shown["area"]
    left, bottom, right, top = grid.bounds
    assert all(left <= x <= right and bottom <= y <= top for x, y in outer)
    assert len(hole) < 400 < 4 * 512
    assert [bit["name"] for bit in shown["quality"]["bits"]] == ["outside"]


def test_one_scale_covers_all_dates_but_not_outliers() -> None:
    assert scale([FIGURES, FIGURES | {"mean": 0.3}]) == (0.15, 0.4)
    assert scale([{"minimum": 0.2, "maximum": 0.21, "mean": 0.205, "stddev": 0.5}]) == (0.2, 0.21)
    assert scale([]) == (0.0, 1.0)


@contextmanager
def serving(output: str) -> Iterator[Server]:
    with Server(output) as made:
        thread = threading.Thread(target=partial(made.serve_forever, poll_interval=0.02), daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_range_that_all_items_state_is_the_viewers_too() -> None:
    renders = {"soil_moisture": {"rescale": [[0.05, 0.45]]}}
    first = item("2004-12-01T00:00:00Z", "2004-12-31T23:59:59Z", "soil_moisture", renders=renders)
    second = item("2005-01-01T00:00:00Z", "2005-01-31T23:59:59Z", "soil_moisture", renders=renders)
    grid = cover(box(5, 47, 6, 48), "EPSG:3035", 24_000, 24)
    shown = describe("lab", 1, "", viewed(grid), {"month": {"month/a/1/a.json": first, "month/b/1/b.json": second}})
    assert shown["layers"]["soil_moisture"]["range"] == [0.05, 0.45]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("output")
    for name in (
        "maps/month/a/1/a.tif",
        "maps/viewer.json",
        "maps.zarr/month/zarr.json",
        "cube.zarr/fine/x",
        "run.yaml",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(range(100)))
    with serving(str(folder)) as made:
        yield made


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, body, dict(reply.getheaders())


@pytest.mark.server
@pytest.mark.parametrize(
    ("span", "status", "first", "count"),
    [("bytes=10-19", 206, 10, 10), ("bytes=90-", 206, 90, 10), ("bytes=-5", 206, 95, 5), ("bytes=95-200", 206, 95, 5)],
)
def test_the_server_sends_ranges(server: Server, span: str, status: int, first: int, count: int) -> None:
    got, body, headers = ask(server, "/maps/month/a/1/a.tif", Range=span)
    assert (got, body) == (status, bytes(range(first, first + count)))
    assert headers["Content-Range"] == f"bytes {first}-{first + count - 1}/100"


@pytest.mark.server
def test_the_server_sends_what_the_viewer_reads_and_nothing_else(server: Server) -> None:
    assert ask(server, "/maps/month/a/1/a.tif")[:2] == (200, bytes(range(100)))
    head = ask(server, "/maps/month/a/1/a.tif", "HEAD")
    assert (head[1], head[2]["Content-Length"]) == (b"", "100")
    assert ask(server, "/maps/index.html")[1] == viewer.page()
    assert ask(server, "/")[2]["Location"] == "/maps/index.html"
    assert ask(server, "/maps/month/a/1/a.tif", Range="bytes=100-")[0] == 416
    for name in (
        "run.yaml",
        "cube.zarr/fine/x",
        "maps/../run.yaml",
        "maps/%2e%2e/run.yaml",
        "maps/none.tif",
        "maps/month",
    ):
        assert ask(server, f"/{name}")[0] == 404, name
    assert ask(server, "/maps/viewer.json", Host="evil.example")[0] == 403


@pytest.mark.server
def test_a_port_that_is_taken_is_said(server: Server) -> None:
    with pytest.raises(ConfigurationError, match=f"--port {server.server_port}: Address already in use; choose a port"):
        Server(".", server.server_port)


def test_an_output_without_maps_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no maps yet; run `soilscale map`"):
        check(str(tmp_path))
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "catalog.json").write_text("{}")
    with pytest.raises(DataError, match="published by a version of soilscale without a viewer"):
        check(str(tmp_path))


@pytest.mark.server
def test_an_output_in_a_bucket_is_served_with_ones_own_keys_and_refused_without(
    store: Faults,  # noqa: ARG001 - by the environment
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = f"s3://{BUCKET}/viewed"
    with pytest.raises(DataError, match="has no maps"):
        check(output)
    storage.write_bytes(f"{output}/maps/viewer.json", bytes(range(100)))
    check(output)
    with serving(output) as server:
        assert ask(server, "/maps/viewer.json")[:2] == (200, bytes(range(100)))
        assert ask(server, "/maps/viewer.json", Range="bytes=10-19")[:2] == (206, bytes(range(10, 20)))
        assert ask(server, "/maps.zarr/month/zarr.json")[0] == 404
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
        forget_stores()
        assert ask(server, "/maps/viewer.json")[0] == 403
        with pytest.raises(RefusedError, match="access is denied"):
            check(output)
    monkeypatch.undo()
    forget_stores()


@pytest.mark.server
def test_the_command_serves_until_it_is_interrupted(server: Server, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    command = [PROGRAMS / "soilscale", "view", server.output, "--no-browser"]
    with out.open("wb") as to, log.open("wb") as err, subprocess.Popen(command, stdout=to, stderr=err) as process:
        wait_until(lambda: b"http://" in out.read_bytes() or process.poll() is not None, "the viewer", 120)
        address = out.read_text().split()[0]
        with urllib.request.urlopen(address, timeout=60) as reply:  # noqa: S310 - on the loopback interface
            assert reply.read() == viewer.page()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
    done = invoke("view", tmp_path, "--no-browser")
    assert done.status == 65
    assert f"{tmp_path} has no maps" in done.err
