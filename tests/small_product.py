"""A published product without a run: COGs, items, stores and tables as a run lays them out, of known fields."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from shapely.geometry import box

from soilscale import kernels, publish, viewer
from soilscale.grid import Grid, cover
from soilscale.schema import Quality
from soilscale.seasons import Seasons
from soilscale.stages.publication import label
from soilscale.viewer.index import Viewed, describe

SEASONS = Seasons({"wet": (5, 6, 7, 8, 9), "dry": (10, 11, 12, 1, 2, 3, 4)})
MONTHS = np.arange("2003-10", "2004-10", dtype="datetime64[M]")
STARTS = {"dry": (np.datetime64("2003-10"), 7), "wet": (np.datetime64("2004-05"), 5)}
NAME = "valley"
SCALE = (0.1, 0.45)
"""Values of the first and the last colour."""


@dataclass(frozen=True)
class Product:
    """A product on a disk, and the fields that it was made from."""

    folder: Path
    grid: Grid
    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    quality: NDArray[np.uint8]
    stations: pd.DataFrame

    def cog(self, kind: str, start: str, layer: str) -> Path:
        """COG of a layer of a map."""
        return next((self.folder / "maps" / kind).glob(f"{NAME}-{kind}-{start}/*/{NAME}_*_{layer}.tif"))


def grid(crs: str = "EPSG:3035", ratio: int = 25) -> Grid:
    if crs == "EPSG:4326":
        return cover(box(108.5, 34.25, 110.5, 35.75), crs, 0.25, ratio)
    return Grid(crs, 25_000, ratio, 4_000_000, 3_000_000, (6, 8), 4)


def fields(nested: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Fine and coarse soil moisture and quality of every month; a corner has no value, a coarse cell no observation."""
    rows, columns = nested.fine.shape
    generator = np.random.default_rng(3)
    y, x = np.mgrid[0:rows, 0:columns] / nested.ratio
    terrain = np.sin(1.7 * x + np.cos(2.1 * y)) + 0.5 * np.sin(5.3 * x) * np.cos(4.1 * y)
    terrain = terrain + 0.15 * generator.standard_normal((rows, columns))
    level = 0.25 + 0.09 * np.cos(2 * np.pi * np.arange(len(MONTHS)) / 12)
    fine = (level[:, None, None] + 0.035 * terrain - 0.012 * y).astype("float32")
    fine[:, : rows // 5, : columns // 6] = np.nan
    coarse = np.stack([kernels.block_mean(month, nested.ratio)[0] for month in fine]).astype("float32")
    coarse[3, 2, 4] = np.nan
    seen = np.isfinite(coarse).repeat(nested.ratio, 1).repeat(nested.ratio, 2)
    quality = np.where(seen, Quality.OBSERVED, Quality.PREDICTED).astype("uint8")
    quality[:, -rows // 3 :, -columns // 4 :] |= np.uint8(Quality.EXTRAPOLATED)
    return fine, coarse, np.where(np.isfinite(fine), quality, 0).astype("uint8")


def make(folder: Path, nested: Grid | None = None) -> Product:
    """Write a product: months, seasons, stores, stations, and what leads to them."""
    nested = nested or grid()
    fine, coarse, quality = fields(nested)
    maps = {"month": [(month, 1) for month in MONTHS], "season": list(STARTS.values())}
    items: dict[str, dict[str, dict[str, object]]] = {}
    for kind, spans in maps.items():
        layers = _layers(fine, quality, spans)
        _zarr(folder / "maps.zarr", kind, nested, nested.ratio, [start for start, _ in spans], layers)
        items[kind] = dict(_publish(folder, nested, kind, span, at, layers) for at, span in enumerate(spans))
    _zarr(folder / "cube.zarr", "coarse", nested, 1, list(MONTHS), {"soil_moisture": coarse})
    viewed = Viewed(nested, "soil_moisture", "AMSR2", SEASONS, (0.0, 0.6), 0.9, None, stations=True)
    for below, number in (("", 2), ("releases/2/", 2), ("releases/1/", 1)):
        time = f"2026-11-{28 + number}T12:00:00Z"
        listed = {} if below else {"releases": [{"release": n, "time": f"2026-11-{28 + n}T12:00:00Z"} for n in (2, 1)]}
        _write(folder / "maps" / below / viewer.INDEX, describe(NAME, number, time, viewed, items) | listed)
    (folder / "maps" / viewer.PAGE).write_bytes(viewer.page())
    return Product(folder, nested, fine, coarse, quality, _stations(folder, fine))


def large(folder: Path) -> tuple[Grid, NDArray[np.float32]]:
    """Write a product of one map of 1600 x 1600 cells of noise, the worst to compress; its grid and values."""
    nested = Grid("EPSG:3035", 25_000, 25, 4_000_000, 3_000_000, (64, 64), 8)
    values = np.random.default_rng(5).normal(0.25, 0.05, (1, *nested.fine.shape)).astype("float32")
    items = {"month": dict([_publish(folder, nested, "month", (MONTHS[0], 1), 0, {"soil_moisture": values})])}
    viewed = Viewed(nested, "soil_moisture", "AMSR2", SEASONS, (0.0, 0.6), None, None, stations=False)
    _write(folder / "maps" / viewer.INDEX, describe(NAME, 1, "2026-11-30T12:00:00Z", viewed, items))
    return nested, values[0]


def _layers(
    fine: NDArray[np.float32], quality: NDArray[np.uint8], spans: list[tuple[np.datetime64, int]]
) -> dict[str, NDArray[np.float32] | NDArray[np.uint8]]:
    at = [slice(first := int((start - MONTHS[0]).astype(int)), first + count) for start, count in spans]
    mean = np.stack([fine[part].mean(axis=0) for part in at])
    index = np.where(np.isfinite(mean), np.linspace(0.3, 1.6, mean.shape[2]), np.nan).astype("float32")
    flags = np.stack([np.bitwise_or.reduce(quality[part], axis=0) for part in at])
    return {
        "soil_moisture": mean,
        "quality": flags,
        "lower": mean - np.float32(0.03),
        "upper": mean + np.float32(0.03),
        "applicability": index,
    }


def _zarr(store: Path, group: str, nested: Grid, ratio: int, starts: list[np.datetime64], layers: dict) -> None:  # type: ignore[type-arg]
    geobox = nested.fine if ratio > 1 else nested.coarse
    y, x = (geobox.coords[axis].values for axis in geobox.dims)  # noqa: PD011 - odc-geo, not pandas
    data = {name: (("time", "y", "x"), values) for name, values in layers.items()}
    dataset = xr.Dataset(data, {"time": np.array(starts, dtype="datetime64[ns]"), "y": y, "x": x})
    high, wide = nested.tile_shape
    # As a run lays them: fine chunks are a month of a tile, coarse ones twelve months of the whole area.
    chunks = (1, high * ratio, wide * ratio) if ratio > 1 else (12, *nested.shape)
    encoding = {name: {"chunks": chunks} for name in layers} | {"time": {"units": "days since 1970-01-01"}}
    dataset.to_zarr(store, group=group, mode="a", encoding=encoding, consolidated=False, zarr_format=3)


def _publish(
    folder: Path,
    nested: Grid,
    kind: str,
    span: tuple[np.datetime64, int],
    at: int,
    layers: dict,  # type: ignore[type-arg]
) -> tuple[str, dict[str, object]]:
    start, count = span
    identifier = f"{NAME}-{kind}-{start}"
    place = folder / "maps" / kind / identifier / "0123456789abcdef"
    place.mkdir(parents=True)
    bands = {"soil_moisture": publish.MAP_BAND, "quality": publish.QUALITY_BAND, **publish.OPTIONAL_BANDS}
    whole = tuple(slice(0, extent) for extent in nested.fine.shape)
    stem = f"{NAME}_{label(SEASONS, kind, start)}"
    files = {}
    for name, values in layers.items():
        file = place / f"{stem}_{name}.tif"
        described = publish.write_cog(file, [(whole, values[at])], nested.fine, bands[name])  # type: ignore[list-item]
        files[name] = publish.File.of(file, bands[name], described)
    item = publish.item(
        identifier,
        f"{NAME}-{kind}",
        nested.fine,
        (start, start + count),
        files,
        {
            "soilscale:season": SEASONS.name(start),
            "soilscale:quality": {"observed": 0.9, "predicted": 0.1, "extrapolated": 0.2, "clamped": 0.0},
        },
        (),
        scale=SCALE,
        home=f"https://maps.example.org/maps/{kind}/{identifier}/0123456789abcdef",
    )
    path = f"{kind}/{identifier}/0123456789abcdef/{identifier}.json"
    _write(folder / "maps" / path, item)
    return path, item


def _stations(folder: Path, fine: NDArray[np.float32]) -> pd.DataFrame:
    places = pd.DataFrame(
        {
            "station": ["NET/upper", 'lower, "wet"'],
            "longitude": 0.0,
            "latitude": 0.0,
            "row": [70, 120],
            "column": [90, 150],
        }
    )
    values = {name: fine[:, row, column] + 0.01 for name, _, _, row, column in places.itertuples(index=False)}
    pairs = pd.concat(
        pd.DataFrame({"station": name, "time": MONTHS.astype("datetime64[D]"), "unit": "m3 m-3", "observed": series})
        for name, series in values.items()
    )
    (folder / "report").mkdir()
    places.to_csv(folder / "report" / "station_places.csv", index=False)
    pairs.to_csv(folder / "report" / "station_pairs.csv", index=False)
    pairs[pairs["time"].isin([start for start, _ in STARTS.values()])].to_csv(
        folder / "report" / "station_seasonal_pairs.csv", index=False
    )
    return pairs


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
