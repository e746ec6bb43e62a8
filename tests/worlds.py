"""Small worlds whose truth is a formula: fields on the globe, files that hold them in any grid, scenes of the files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from soilscale import kernels
from soilscale.catalog import Scene, sign
from soilscale.cube import Reading
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
