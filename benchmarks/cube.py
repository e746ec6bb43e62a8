#!/usr/bin/env python
"""Time the cube beside stackstac and odc-stac over HTTP, at equal output, and count requests and bytes.

Run as ``python benchmarks/cube.py``; ``--help`` lists the sizes. A server on the loopback interface, a process of its
own, serves MODIS-like tiles; its answers may be held back as a distant store's are. Each round reads the months
under new addresses, so that no cache knows them; the ways take turns; the first round of each, which compiles, is left
out. All give the mean of masked and scaled composites, weighted by the days that they share with a month, each cell
from its nearest pixel. Processor time is told too, which a machine that others share disturbs less. Bytes are compared
with what the windows need: their compressed blocks and the files' headers.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dask
import numpy as np
import odc.stac
import pystac
import rasterio
import stackstac
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from soilscale import catalog, cube, kernels
from soilscale.catalog import Scene
from soilscale.cube import warping
from soilscale.grid import Grid
from soilscale.sources import QualityRule, Source
from soilscale.storage import gdal_options
from soilscale.synthetic.frames import SINUSOIDAL, TILE, TILES, unproject

QUALITY = QualityRule(asset="quality", bits=(0, 1), accept=(0, 1))
SCALE = 0.02
FIRST = np.datetime64("2005-01-01")
Months = dict[str, NDArray[Any]]
"""Month -> values of the grid."""


@dataclass(frozen=True)
class Case:
    """A source as it lies on the server, and the grid to fill."""

    name: str
    pixels: int
    """Along the side of a MODIS tile."""
    quality: bool
    tiles: tuple[GeoBox, ...]
    months: NDArray[np.datetime64]
    items: tuple[dict[str, Any], ...]
    """STAC items; the address of an asset is its path below the server's."""

    @property
    def source(self) -> Source:
        """The source as a configuration would have it."""
        known = Source(self.name, "lab", self.name, "data", scale=SCALE, offset=0.0, nodata=(0.0,))
        return replace(known, resampling="nearest", quality=QUALITY if self.quality else None)

    def at(self, url: str) -> list[dict[str, Any]]:
        """Items whose assets lie below an address."""
        return [
            item
            | {"assets": {key: asset | {"href": f"{url}/{asset['href']}"} for key, asset in item["assets"].items()}}
            for item in self.items
        ]

    def overlapping(self, month: np.datetime64) -> list[tuple[np.datetime64, float]]:
        """Starts of the composites that share days with a month, and how many."""
        starts = np.unique([np.datetime64(item["properties"]["start_datetime"][:10]) for item in self.items])
        found = kernels.shared_days(starts.astype("datetime64[s]"), (starts + 8).astype("datetime64[s]"), month)
        return [(start, float(days)) for start, days in zip(starts, found, strict=True) if days]


# --- the files and their server -----------------------------------------------------------------------------------


def write(folder: Path, name: str, pixels: int, count: int, block: int, *, quality: bool) -> list[dict[str, Any]]:
    """Write composites of 8 days from 2005 on, smooth with noise and clouds, and describe them."""
    rng = np.random.default_rng(20050101)
    step = TILE / pixels
    items = []
    for horizontal, vertical in TILES:
        left, top = (horizontal - 18) * TILE, (9 - vertical) * TILE
        transform = Affine(step, 0, left, 0, -step, top)
        smooth = gaussian_filter(rng.normal(0, 400, (pixels, pixels)), 20) * 20
        for number in range(count):
            start = FIRST + 8 * number
            stored = np.rint(14500 + smooth + 300 * np.sin(number / 7) + rng.normal(0, 20, smooth.shape))
            cloud = np.roll(smooth, 37 * number, axis=(0, 1)) > 1.2 * smooth.std()
            bands = {"data": np.where(cloud & (smooth > 0), 0, stored).astype("uint16")}
            if quality:
                bands["quality"] = np.where(cloud, 2, rng.integers(0, 2, cloud.shape)).astype("uint8")
            item = f"{name}.A{number:03d}.h{horizontal}v{vertical:02d}"
            for key, values in bands.items():
                _write(folder / f"{item}.{key}.tif", values, transform, block)
            items.append(_item(item, pixels, transform, start, bands))
    return items


def _write(path: Path, values: NDArray[Any], transform: Affine, block: int) -> None:
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype.name}
    coded = {"compress": "DEFLATE", "predictor": "STANDARD", "blocksize": block, "overview_resampling": "nearest"}
    with rasterio.open(path, "w", driver="COG", crs=SINUSOIDAL, transform=transform, **shape, **coded) as file:
        file.write(values, 1)


def _item(name: str, pixels: int, transform: Affine, start: np.datetime64, bands: dict[str, Any]) -> dict[str, Any]:
    edge = np.linspace(0, pixels, 33)
    x, y = np.meshgrid(transform.c + transform.a * edge, transform.f + transform.e * edge)
    lon, lat = unproject(x, y)
    west, south, east, north = (float(v) for v in (lon.min(), lat.min(), lon.max(), lat.max()))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "datetime": f"{start}T00:00:00Z",
            "start_datetime": f"{start}T00:00:00Z",
            "end_datetime": f"{start + 7}T23:59:59Z",
            "proj:epsg": None,
            "proj:wkt2": SINUSOIDAL,
            "proj:shape": [pixels, pixels],
            "proj:transform": list(transform)[:6],
        },
        "links": [],
        "assets": {
            key: {"href": f"{name}.{key}.tif", "type": pystac.MediaType.COG, "roles": ["data"]} for key in bands
        },
    }


class Handler(BaseHTTPRequestHandler):
    """Ranges of files under any first part of a path, counted by that part; ``/counts/PART`` tells the counts."""

    protocol_version = "HTTP/1.1"
    folder: Path
    latency: float
    counts: Counter[tuple[str, str]]
    lock = threading.Lock()

    def do_HEAD(self) -> None:
        """Say how large a file is."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer a range, or the whole of a file."""
        part, name = self.path.lstrip("/").split("/", 1)
        if part == "counts":
            found = {what: number for (where, what), number in self.counts.items() if where == name}
            self._answer(200, json.dumps(found).encode(), {})
            return
        time.sleep(self.latency)
        path = self.folder / name
        if not path.is_file():
            self._answer(404, b"", {})
            return
        size, wanted = path.stat().st_size, self.headers.get("Range")
        first, last = 0, size - 1
        if wanted:
            told = wanted.removeprefix("bytes=").split("-")
            first, last = int(told[0]), min(int(told[1] or size), size - 1)
        with path.open("rb") as file:
            file.seek(first)
            body = file.read(last - first + 1) if self.command == "GET" else b""
        with self.lock:
            self.counts.update({(part, "requests"): 1, (part, "bytes"): len(body)})
        told = {"Content-Range": f"bytes {first}-{last}/{size}", "Content-Length": str(last - first + 1)}
        self._answer(206 if wanted else 200, body, told)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Accept-Ranges": "bytes", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the output clean."""


class Server(ThreadingHTTPServer):
    """Server that does not mind clients that hang up."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client hangs up when it has read enough."""


def serve(folder: Path, latency: float, told: Any) -> None:
    """Serve a folder until the process ends; sends the port first."""
    keys = {"folder": folder, "latency": latency, "counts": Counter(), "disable_nagle_algorithm": True}
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), keys))
    told.send(server.server_port)
    server.serve_forever()


def needed(folder: Path, case: Case) -> int:
    """Bytes of the headers, and of the compressed blocks that meet the window of a tile, of all the files."""
    sizes: Counter[str] = Counter()
    for tile in case.tiles:
        for item in case.items:
            for asset in item["assets"].values():
                with rasterio.open(folder / asset["href"]) as file:
                    sizes[asset["href"]] += _blocks(file, tile)
    return sum(sizes.values()) + sum(_header(folder / name) for name, size in sizes.items() if size)


def _header(path: Path) -> int:
    """Where the first block of a file starts."""
    with rasterio.open(path) as file:
        levels = [None, *range(len(file.overviews(1)))]
        return min(int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=level)) for level in levels)


def _blocks(file: rasterio.DatasetReader, tile: GeoBox) -> int:
    found = warping.reproject_bounds(tile.boundingbox.bbox, str(tile.crs), file.crs.to_wkt())
    if found is None:
        return 0
    (left, top), (right, bottom) = ~file.transform @ (found[0], found[3]), ~file.transform @ (found[2], found[1])
    if right <= 0 or bottom <= 0 or left >= file.width or top >= file.height:
        return 0
    height, width = file.block_shapes[0]
    rows = range(int(max(top, 0) // height), math.ceil(min(bottom, file.height) / height))
    columns = range(int(max(left, 0) // width), math.ceil(min(right, file.width) / width))
    told = (file.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=1) for y in rows for x in columns)
    return sum(int(size) for size in told if size)


# --- the ways -----------------------------------------------------------------------------------------------------


def soilscale(case: Case, url: str, threads: int, resampling: str = "nearest") -> Months:
    """The cube's own way: a tile's months one after the other, tiles side by side."""
    source = replace(case.source, resampling=resampling)  # type: ignore[arg-type]
    scenes = catalog.scenes(case.at(url), source)

    def tile(geobox: GeoBox) -> list[NDArray[Any]]:
        reading = cube.Reading(source, str)
        near = [scene for scene in scenes if cube.meets(scene, geobox)]
        return [_month(reading, near, geobox, month) for month in case.months]

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(tile, case.tiles))
    return {str(month): np.hstack([part[index] for part in parts]) for index, month in enumerate(case.months)}


def _month(reading: cube.Reading, near: Sequence[Scene], geobox: GeoBox, month: np.datetime64) -> NDArray[Any]:
    return cube.read_month(reading, cube.select(near, month), geobox, month)[reading.source.name]


def with_stackstac(case: Case, url: str, threads: int) -> Months:
    """One lazy stack over the whole grid, its traps closed, mosaicked, masked and averaged."""
    left, bottom, right, top = _bounds(case)
    stack = stackstac.stack(
        case.at(url),
        assets=["data", "quality"] if case.quality else ["data"],
        epsg=4326,
        resolution=abs(case.tiles[0].transform.a),
        bounds=(left, bottom, right, top),
        snap_bounds=False,
        rescale=False,
        dtype=np.dtype("float32"),
        fill_value=np.float32("nan"),
        errors_as_nodata=(),
        properties=False,
        band_coords=False,
        chunksize=512,
        gdal_env=stackstac.DEFAULT_GDAL_ENV.updated(always=gdal_options()),
    )
    data = stack.groupby("time").map(partial(stackstac.mosaic, nodata=np.nan)).assign_coords(band=stack.band)
    quality = data.sel(band="quality").fillna(2) if case.quality else None
    return _means(case, data.sel(band="data").fillna(0), quality, threads)


def with_odc(case: Case, url: str, threads: int) -> Months:
    """One lazy load over the whole grid, masked and averaged."""
    odc.stac.configure_rio(cloud_defaults=True)
    rows, columns = case.tiles[0].shape
    whole = GeoBox((rows, columns * len(case.tiles)), case.tiles[0].transform, "EPSG:4326")
    found = odc.stac.load(
        [pystac.Item.from_dict(item) for item in case.at(url)],
        bands=["data", "quality"] if case.quality else ["data"],
        geobox=whole,
        chunks={"x": 512, "y": 512},
        groupby="time",
        resampling="nearest",
        dtype="uint16",
        nodata=0,
    )
    return _means(case, found["data"], found["quality"] if case.quality else None, threads)


def _bounds(case: Case) -> tuple[float, float, float, float]:
    first, last = case.tiles[0].boundingbox, case.tiles[-1].boundingbox
    return first.left, first.bottom, last.right, first.top


def _means(case: Case, data: xr.DataArray, quality: xr.DataArray | None, threads: int) -> Months:
    """Monthly means of valid values, weighted by days, computed together so that each chunk is read once."""
    valid = data > 0
    if quality is not None:
        valid &= (quality.astype("uint8") & 3) < 2  # noqa: PLR2004 - the mandatory flag's two good values
    values = (data.astype("float64") * SCALE).where(valid)
    lazy = {}
    for month in case.months:
        starts, days = zip(*case.overlapping(month), strict=True)
        part = values.sel(time=list(starts))
        lazy[str(month)] = part.weighted(xr.DataArray(list(days), dims="time", coords={"time": part.time})).mean("time")
    (found,) = dask.compute(lazy, scheduler="threads" if threads > 1 else "synchronous", num_workers=threads)
    return {month: mean.to_numpy() for month, mean in found.items()}


WAYS: dict[str, Callable[[Case, str, int], Months]] = {
    "soilscale": soilscale,
    "soilscale cubic": partial(soilscale, resampling="cubic"),
    "stackstac": with_stackstac,
    "odc-stac": with_odc,
}


# --- one run ------------------------------------------------------------------------------------------------------


def measure(case: Case, url: str, rounds: int, threads: int) -> tuple[dict[str, list[dict[str, float]]], Months]:
    """What each way takes in each round, and the share of cells in which it agrees with the first way's values."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    reference: Months = {}
    for number in range(rounds + 1):
        for name, way in WAYS.items():
            part = f"{case.name}-{number}-{name.replace(' ', '-')}"
            start, worked = time.perf_counter(), time.process_time()
            values = way(case, f"{url}/{part}", threads)
            taken = {"seconds": time.perf_counter() - start, "work": time.process_time() - worked}
            reference = reference or values
            with urllib.request.urlopen(f"{url}/counts/{part}") as answer:  # noqa: S310 - the server above
                counts = json.load(answer)
            found[name].append({**taken, **counts, "agree": _agreement(values, reference)})
    return {name: each[1:] for name, each in found.items()}, reference


def _agreement(values: Months, reference: Months) -> float:
    """Share of cells with the same value, missing ones too."""
    same = [np.isclose(values[month], reference[month], rtol=0, atol=1e-3, equal_nan=True) for month in reference]
    return float(np.mean(same))


def report(case: Case, found: dict[str, list[dict[str, float]]], need: int) -> list[dict[str, Any]]:
    """Rows of the table: one for each way."""
    ours, worked = (np.array([row[key] for row in found["soilscale"]]) for key in ("seconds", "work"))
    rows = []
    for name, each in found.items():
        seconds = np.array([row["seconds"] for row in each])
        work = np.array([row["work"] for row in each])
        rows.append(
            {
                "source": case.name,
                "way": name,
                "seconds": round(float(np.median(seconds)), 3),
                "least": round(seconds.min(), 3),
                "greatest": round(seconds.max(), 3),
                "times ours": round(float(np.median(seconds / ours)), 2),
                "CPU s": round(float(np.median(work)), 3),
                "times our CPU": round(float(np.median(work / worked)), 2),
                "requests": int(each[-1]["requests"]),
                "MB": round(each[-1]["bytes"] / 1e6, 2),
                "of needed": round(each[-1]["bytes"] / need, 2),
                "equal cells": round(each[-1]["agree"], 4),
            }
        )
    return rows


def main() -> None:
    """Print the table, and write it as CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, told in (
        ("months", 3, "months to fill"),
        ("cells", 28, "coarse cells along the side of a tile; a cell is 25 x 25 fine cells"),
        ("tiles", 1, "tiles side by side"),
        ("block", 256, "pixels along the side of a block of a file"),
        ("rounds", 5, "rounds that count"),
        ("threads", 1, "threads of every way"),
        ("latency", 0, "milliseconds by which every answer of the server is held back"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{told} (%(default)s)")
    parser.add_argument("--sources", nargs="+", default=["lst", "et"], choices=["lst", "et"])
    parser.add_argument("--csv", type=Path, default=Path("cube.csv"))
    sizes = parser.parse_args()
    months = np.datetime64("2005-01") + np.arange(sizes.months)
    count = int(((months[-1] + np.timedelta64(1, "M")).astype("datetime64[D]") - FIRST).astype(int)) // 8 + 1
    grid = Grid("EPSG:4326", 0.25, 25, 106.0, 39.5, (sizes.cells, sizes.cells * sizes.tiles), sizes.cells)
    tiles = tuple(grid.fine[tile.fine] for tile in grid.tiles())
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(folder, sizes.latency / 1000, theirs), daemon=True
        )
        process.start()
        url = f"http://127.0.0.1:{ours.recv()}"
        for name in sizes.sources:
            pixels, quality = (1200, True) if name == "lst" else (2400, False)
            items = write(folder, name, pixels, count, sizes.block, quality=quality)
            case = Case(name, pixels, quality, tiles, months, tuple(items))
            found, _ = measure(case, url, sizes.rounds, sizes.threads)
            rows.extend(report(case, found, needed(folder, case)))
        process.terminate()
    with sizes.csv.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    lines = ["  ".join(key.ljust(width) for key, width in widths.items())]
    lines += ["  ".join(str(row[key]).ljust(width) for key, width in widths.items()) for row in rows]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
