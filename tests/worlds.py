"""Small worlds whose truth is a formula: fields on the globe, files that hold them in any grid, scenes of the files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
import yaml
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from soilscale import kernels, schema
from soilscale.catalog import Scene, sign
from soilscale.cube import Reading
from soilscale.seasons import following
from soilscale.sources import Source

Array = NDArray[np.float64]
Field = Callable[[Array, Array], Array]
"""Value at longitudes and latitudes, degrees."""

SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
MODIS_1KM = 926.625433055833
DEGREE = 111_195.0
"""Metres along a degree of a great circle."""

NOTHING: Mapping[str, Any] = dict.fromkeys(("scale", "offset", "nodata", "unit", "valid_range"))


def waves(longitude: float, latitude: float, shortest: float, mean: float = 10.0, seed: int = 0) -> Field:
    """Sum of plane waves in every direction, of standard deviation 1, from `shortest` metres to ten times that.

    The waves are plane in metres east and north of the given place, so that their length is true near it.
    """
    random = np.random.default_rng(seed)
    lengths = shortest * np.array([1.0, 1.3, 2.0, 3.5, 6.0, 10.0])
    angles, phases = random.uniform(0, 2 * np.pi, (2, len(lengths)))
    amplitudes = np.sqrt(lengths / lengths.sum() * 2)

    def field(lon: Array, lat: Array) -> Array:
        east = (lon - longitude) * DEGREE * np.cos(np.radians(latitude))
        north = (lat - latitude) * DEGREE
        total = np.full(np.shape(lon), float(mean))
        for length, angle, phase, amplitude in zip(lengths, angles, phases, amplitudes, strict=True):
            along = east * np.cos(angle) + north * np.sin(angle)
            total += amplitude * np.sin(2 * np.pi * along / length + phase)
        return total

    return field


def lonlat(geobox: GeoBox) -> tuple[Array, Array]:
    """Longitude and latitude of every cell's centre."""
    rows, columns = geobox.shape
    x, y = geobox.transform * np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    return Transformer.from_crs(str(geobox.crs), 4326, always_xy=True).transform(x, y)


def cell_means(field: Field, geobox: GeoBox, samples: int = 6) -> Array:
    """Mean of a field over every cell."""
    return kernels.block_mean(field(*lonlat(finer(geobox, samples))), samples)[0]


def finer(geobox: GeoBox, factor: int) -> GeoBox:
    """Grid of `factor` times as many rows and columns."""
    rows, columns = geobox.shape
    left, top = geobox.transform.c, geobox.transform.f
    return box(str(geobox.crs), left, top, geobox.transform.a / factor, (rows * factor, columns * factor))


def box(crs: str, left: float, top: float, pixel: float, shape: tuple[int, int]) -> GeoBox:
    """North-up grid from its corner."""
    return GeoBox(shape, Affine(pixel, 0, left, 0, -pixel, top), crs)


def around(longitude: float, latitude: float, crs: str, pixel: float, size: int) -> GeoBox:
    """Square grid about a place, its pixels on multiples of `pixel`."""
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, latitude)
    left, top = (round(v / pixel) for v in (x, y))
    return box(crs, (left - size // 2) * pixel, (top + size // 2) * pixel, pixel, (size, size))


def cover(geobox: GeoBox, crs: str, pixel: float, tile: int | None = None, margin: int = 4) -> list[GeoBox]:
    """Tiles of `tile` pixels, on multiples of their side, that cover a grid; without `tile` one, just large enough."""
    bounds = geobox.boundingbox
    found = transform_bounds(str(geobox.crs), crs, *bounds.bbox, densify_pts=101)
    west, south, east, north = (round(v / pixel) for v in found)
    if tile is None:
        shape = north - south + 2 * margin, east - west + 2 * margin
        return [box(crs, (west - margin) * pixel, (north + margin) * pixel, pixel, shape)]
    rows = range(north // tile + 1, (south // tile), -1)
    columns = range(west // tile, east // tile + 1)
    return [
        box(crs, column * tile * pixel, row * tile * pixel, pixel, (tile, tile))
        for row, column in itertools.product(rows, columns)
    ]


def write(path: Path, values: NDArray[Any], geobox: GeoBox, **tags: Any) -> Path:
    """Write a cloud-optimised GeoTIFF.

    Parameters
    ----------
    tags
        ``nodata``, ``scale``, ``offset``, ``unit`` and further options of the file.
    """
    own = {key: tags.pop(key) for key in ("scale", "offset", "unit") if key in tags}
    rows, columns = geobox.shape
    profile = {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "count": 1,
        "compress": "deflate",
    }
    shape = {"height": rows, "width": columns, "dtype": values.dtype}
    grid = {"crs": CRS.from_user_input(str(geobox.crs)), "transform": geobox.transform}
    with rasterio.open(path, "w", **(profile | shape | grid | tags)) as file:
        file.write(values, 1)
        file.scales, file.offsets = (own.get("scale", 1.0),), (own.get("offset", 0.0),)
        if "unit" in own:
            file.units = (own["unit"],)
    return path


def scene(path: Path | str, name: str | None = None, **more: Any) -> Scene:
    """Scene of one file, of January 2005 unless told otherwise; its bounding box is the file's.

    Parameters
    ----------
    more
        Fields of the scene; ``quality`` is the path of a second asset of that name.
    """
    hrefs = {"data": str(path)} | ({"quality": str(more.pop("quality"))} if "quality" in more else {})
    given = {
        "item": name or Path(path).stem,
        "hrefs": hrefs,
        "start": np.datetime64("2005-01-01", "s"),
        "end": np.datetime64("2005-02-01", "s"),
        "decoding": NOTHING,
        "missing": (),
        "digest": "",
    } | more
    if "bbox" not in given:
        with rasterio.open(path) as file:
            given["bbox"] = transform_bounds(file.crs, "EPSG:4326", *file.bounds, densify_pts=101)
    given["decoding"] = {**NOTHING, **given["decoding"]}
    return Scene(**given)


def reading(**keys: Any) -> Reading:
    """Reading of a source named ``field`` with the given keys."""
    known = {"name": "field", "catalog": "lab", "collection": "field", "asset": "data"}
    return Reading(Source(**(known | keys)), lambda href: sign(href, "none"))


def relative_error(got: Array, truth: Array) -> float:
    """Root mean square difference over the standard deviation of the truth."""
    return float(np.sqrt(np.mean((got - truth) ** 2)) / np.std(truth))


SIDE, FINER, CELLS = 0.25, 4, 3
"""Side of a coarse cell in degrees, fine cells along it, and coarse cells along the side of the area."""
GAIN, OFFSET = 1.2, 0.03
"""What the older sensor makes of the newer one's soil moisture."""


@dataclass(frozen=True)
class TwoSensors:
    """World whose soil moisture follows its rain and height, seen by an older and a newer sensor without noise."""

    config: Path
    truth: xr.DataArray
    """Soil moisture (time, y, x) on the fine grid, as the newer sensor sees it."""

    @property
    def coarse(self) -> Array:
        """Block means of the truth, shape ``(time, y, x)``."""
        return kernels.block_mean(self.truth.to_numpy(), FINER)[0]


def two_sensors(folder: Path, old: tuple[str, str], new: tuple[str, str], **harmonise: Any) -> TwoSensors:
    """Write a world of 3 x 3 coarse cells that two sensors see in the months given, the first and the last.

    Rain is an independent draw for each cell and month about a seasonal cycle, so that the years differ.

    Parameters
    ----------
    harmonise
        Further keys of the target, ``period`` if it is not from the first month to the last, and ``models``.
    """
    rasters = folder / "rasters"
    rasters.mkdir(parents=True)
    period = harmonise.pop("period", (min(old[0], new[0]), max(old[1], new[1])))
    models = harmonise.pop("models", {"algorithms": ["random_forest"]})
    months = np.arange(np.datetime64(period[0], "M"), np.datetime64(period[1], "M") + np.timedelta64(1, "M"))
    fine = box("EPSG:4326", 108.0, 35.0, SIDE / FINER, (CELLS * FINER, CELLS * FINER))
    coarse = box("EPSG:4326", 108.0, 35.0, SIDE, (CELLS, CELLS))
    random = np.random.default_rng(0)
    height = 500 + 300 * random.random(fine.shape)
    items = [_item(rasters, "height", "dem", height, fine, None)]
    truth = np.empty((len(months), *fine.shape))
    for index, month in enumerate(months):
        cycle = 1 - np.cos(2 * np.pi * (int(month.astype(int)) % 12) / 12)
        patches = np.repeat(np.repeat(random.standard_normal((CELLS, CELLS)), FINER, 0), FINER, 1)
        rain = 20 + 40 * cycle + 12 * patches + 6 * random.standard_normal(fine.shape)
        truth[index] = 0.10 + 0.0012 * rain + 0.0001 * (height - 650)
        seen = kernels.block_mean(truth[index], FINER)[0]
        items.append(_item(rasters, f"rain-{month}", "rain", rain, fine, month))
        if np.datetime64(old[0]) <= month <= np.datetime64(old[1]):
            items.append(_item(rasters, f"old-{month}", "old", OFFSET + GAIN * seen, coarse, month))
        if np.datetime64(new[0]) <= month <= np.datetime64(new[1]):
            items.append(_item(rasters, f"new-{month}", "new", seen, coarse, month))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    known = xr.Dataset(
        {schema.MAP: (schema.DIMS, truth.astype("float32"))},
        schema.coordinates(fine, months),
        {"Conventions": "CF-1.11"},
    )
    known.to_zarr(folder / "truth.zarr", group="month", zarr_format=3, consolidated=False)
    config = folder / "two.yaml"
    west, north = coarse.transform.c, coarse.transform.f
    content = {
        "name": "two-sensors",
        "output": "run",
        "area": {"bbox": [west + 0.01, north - CELLS * SIDE + 0.01, west + CELLS * SIDE - 0.01, north - 0.01]},
        "grid": {"crs": "EPSG:4326", "coarse": SIDE, "ratio": FINER},
        "period": list(period),
        "catalogs": {"own": {"url": "items.json"}},
        "sources": {
            "soil_moisture": {"role": "target", "parts": ["old", "new"], **harmonise},
            **{name: _source(name, role="part", unit="m3 m-3") for name in ("old", "new")},
            "rain": _source("rain"),
            "height": _source("dem"),
        },
        "models": models,
        "maps": {"every": ["month"]},
    }
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    return TwoSensors(config, known[schema.MAP])


def _source(collection: str, **keys: Any) -> dict[str, Any]:
    return {"catalog": "own", "collection": collection, "asset": "data", **keys}


def _item(
    folder: Path, name: str, collection: str, values: Array, geobox: GeoBox, month: np.datetime64 | None
) -> dict[str, Any]:
    """Item of one raster, of a month or of one date."""
    path = write(folder / f"{name}.tif", values.astype("float32"), geobox, nodata=-9999)
    first = np.datetime64("2000-01") if month is None else month
    last = str(following(first).astype("datetime64[s]") - np.timedelta64(1, "s"))
    times = {"start_datetime": f"{first}-01T00:00:00Z", "end_datetime": f"{last}Z"}
    west, south, east, north = geobox.boundingbox.bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": "2000-01-01T00:00:00Z"} if month is None else {"datetime": None, **times},
        "links": [],
        "assets": {"data": {"href": str(path)}},
    }
