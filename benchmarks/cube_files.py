"""Files that `cube.py` reads: six kinds of source as STAC items, and a server of ranges that may answer late."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import gaussian_filter

from soilscale import kernels
from soilscale.cube import warping
from soilscale.sources import QualityRule, Source
from soilscale.synthetic.frames import SINUSOIDAL, TILE, TILES

QUALITY = QualityRule(asset="quality", bits=(0, 1), accept=(0, 1))
FIRST = np.datetime64("2005-01-01")
LONLAT = "EPSG:4326"
BLOCK = 256


@dataclass(frozen=True)
class Kind:
    """A kind of source."""

    days: int
    """That a file covers."""
    pixels: int
    """Along the side of a MODIS tile; of a file in degrees, along a degree times 10."""
    factor: int = 1
    """Nearest pixels taken along the side of a cell, whose mean, or shares of classes, the cell gets."""
    quality: bool = False
    degrees: bool = False
    classes: tuple[int, ...] = ()
    scale: float = 1.0


KINDS = {
    "lst": Kind(8, 1200, quality=True, scale=0.02),
    "et": Kind(8, 2400, factor=2, quality=True, scale=0.1),
    "ndvi": Kind(31, 1200, quality=True, scale=0.0001),
    "rain": Kind(1, 40, degrees=True, scale=0.1),
    "cover": Kind(365, 2400, factor=2, classes=(1, 2, 3, 4, 5)),
    "elevation": Kind(365, 4000, factor=4, degrees=True),
}


@dataclass(frozen=True)
class Case:
    """A source as it lies on the disk, and the grid to fill."""

    name: str
    geobox: GeoBox
    months: NDArray[np.datetime64]
    items: tuple[dict[str, Any], ...]
    """STAC items; the address of an asset is its path below the folder's."""

    @property
    def kind(self) -> Kind:
        """What the source is like."""
        return KINDS[self.name]

    @property
    def samples(self) -> GeoBox:
        """Grid of the pixels that are taken."""
        return warping.finer(self.geobox, self.kind.factor)

    @property
    def assets(self) -> list[str]:
        """Names of the assets."""
        return ["data", "quality"] if self.kind.quality else ["data"]

    @property
    def source(self) -> Source:
        """The source as a configuration would have it."""
        known = Source(self.name, "lab", self.name, "data", scale=self.kind.scale, offset=0.0, nodata=(0.0,))
        return replace(known, resampling="nearest", quality=(QUALITY,) if self.kind.quality else ())

    def at(self, place: str) -> list[dict[str, Any]]:
        """Items whose assets lie below an address."""
        return [
            item
            | {"assets": {key: asset | {"href": f"{place}/{asset['href']}"} for key, asset in item["assets"].items()}}
            for item in self.items
        ]

    def overlapping(self, month: np.datetime64) -> list[tuple[np.datetime64, float]]:
        """Starts of the composites that share days with a month, and how many."""
        starts = np.unique([np.datetime64(item["properties"]["start_datetime"][:10]) for item in self.items])
        first = starts.astype("datetime64[s]")
        found = kernels.shared_days(first, (starts + self.kind.days).astype("datetime64[s]"), month)
        return [(start, float(days)) for start, days in zip(starts, found, strict=True) if days]

    def finish(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Cells from their samples: mean of the valid ones, or shares of classes."""
        if self.kind.classes:
            return kernels.class_fractions(samples, self.kind.classes, self.kind.factor)[0]
        return kernels.block_mean(samples, self.kind.factor)[0] if self.kind.factor > 1 else samples


def write(folder: Path, name: str, geobox: GeoBox, months: NDArray[np.datetime64]) -> Case:
    """Write the files of a source that the months need, smooth with noise and clouds, and describe them."""
    kind, rng = KINDS[name], np.random.default_rng(20050101)
    end = (months[-1] + 1).astype("datetime64[D]")
    items = []
    for tile, crs, transform, shape in _frames(kind, geobox):
        smooth = gaussian_filter(rng.normal(0, 400, shape), 20) * 20
        for number, start in enumerate(np.arange(FIRST, end, kind.days)):
            stored = np.rint(9500 + smooth + 300 * np.sin(number / 7) + rng.normal(0, 20, shape))
            if kind.classes:
                stored = stored.astype(int) // 100 % (len(kind.classes) + 1)
            cloud = np.roll(smooth, 37 * number, axis=(0, 1)) > 1.2 * smooth.std()
            bands = {"data": stored.astype("uint8" if kind.classes else "uint16")}
            if kind.quality:
                bands["data"][cloud & (smooth > 0)] = 0
                bands["quality"] = np.where(cloud, 2, rng.integers(0, 2, shape)).astype("uint8")
            item = f"{name}.{number:03d}.{tile}"
            for key, values in bands.items():
                _write(folder / f"{item}.{key}.tif", values, crs, transform)
            items.append(_item(item, crs, transform, shape, (start, start + kind.days), list(bands)))
    return Case(name, geobox, months, tuple(items))


def _frames(kind: Kind, geobox: GeoBox) -> list[tuple[str, str, Affine, tuple[int, int]]]:
    """Name, CRS, transform and shape of the tiles of a source."""
    if kind.degrees:
        box, step = geobox.boundingbox, 10 / kind.pixels
        left, top = np.floor(box.left) - 1, np.ceil(box.top) + 1
        shape = round((top - box.bottom + 1) / step), round((box.right + 1 - left) / step)
        return [("globe", LONLAT, Affine(step, 0, left, 0, -step, top), shape)]
    step = TILE / kind.pixels
    return [
        (f"h{h}v{v:02d}", SINUSOIDAL, Affine(step, 0, (h - 18) * TILE, 0, -step, (9 - v) * TILE), (kind.pixels,) * 2)
        for h, v in TILES
    ]


def _write(path: Path, values: NDArray[Any], crs: str, transform: Affine) -> None:
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype.name}
    coded = {"compress": "DEFLATE", "predictor": "STANDARD", "blocksize": BLOCK, "overview_resampling": "nearest"}
    with rasterio.open(path, "w", driver="COG", crs=crs, transform=transform, nodata=None, **shape, **coded) as file:
        file.write(values, 1)


def _item(
    name: str, crs: str, transform: Affine, shape: tuple[int, int], days: tuple[Any, Any], assets: list[str]
) -> dict[str, Any]:
    edge = np.linspace(0, 1, 33)
    x, y = transform @ np.meshgrid(shape[1] * edge, shape[0] * edge)
    lon, lat = Transformer.from_crs(crs, LONLAT, always_xy=True).transform(x, y)
    west, south, east, north = (float(v) for v in (lon.min(), lat.min(), lon.max(), lat.max()))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    code = {"proj:epsg": 4326} if crs == LONLAT else {"proj:epsg": None, "proj:wkt2": SINUSOIDAL}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "datetime": f"{days[0]}T00:00:00Z",
            "start_datetime": f"{days[0]}T00:00:00Z",
            "end_datetime": f"{days[1] - 1}T23:59:59Z",
            "proj:shape": list(shape),
            "proj:transform": list(transform)[:6],
            **code,
        },
        "links": [],
        "assets": {
            key: {"href": f"{name}.{key}.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]}
            for key in assets
        },
    }


def needed(folder: Path, case: Case) -> int:
    """Bytes of the headers, and of the compressed blocks in which a sample's centre lies, of all files."""
    samples = case.samples
    rows, columns = samples.shape
    x, y = samples.transform @ np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    total, blocks = 0, {}
    for item in case.items:
        for asset in item["assets"].values():
            with rasterio.open(folder / asset["href"]) as file:
                if file.transform not in blocks:
                    there = Transformer.from_crs(LONLAT, file.crs.to_wkt(), always_xy=True).transform(x, y)
                    column, row = (np.floor(part).astype(int) for part in ~file.transform @ there)
                    inside = (row >= 0) & (row < file.height) & (column >= 0) & (column < file.width)
                    blocks[file.transform] = set(
                        zip((column[inside] // BLOCK).tolist(), (row[inside] // BLOCK).tolist(), strict=True)
                    )
                some = blocks[file.transform]
                total += sum(int(file.get_tag_item(f"BLOCK_SIZE_{i}_{j}", "TIFF", bidx=1) or 0) for i, j in some)
                levels = [None, *range(len(file.overviews(1)))] if some else []
                first = (file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=level) for level in levels)
                total += min((int(place) for place in first), default=0)
    return total


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
