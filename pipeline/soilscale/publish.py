"""The maps as others take them: Cloud Optimized GeoTIFFs, and a STAC catalog that says what each was made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from shapely.geometry import box, mapping

from soilscale.grid import LONLAT, project
from soilscale.schema import MAP, QUALITY, QUALITY_ATTRS, Quality

STAC_VERSION = "1.1.0"
MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
SMALLEST_OVERVIEW = 256
"""Cells along the longer side of the smallest overview, at most; there is always one."""

COLORMAP = "viridis_r"
"""Dry is bright, wet is dark; told to viewers as a hint."""

Colours = Mapping[int, tuple[int, int, int]]

QUALITY_COLOURS: Colours = {
    0: (255, 255, 255),
    Quality.OBSERVED.value: (49, 130, 189),
    Quality.PREDICTED.value: (253, 174, 97),
    Quality.OUTSIDE.value: (200, 200, 200),
}
"""Colours of the quality layer's commonest values."""


@dataclass(frozen=True)
class Band:
    """What is said of a raster in its file and its item."""

    name: str
    long_name: str
    units: str
    nodata: float
    colours: Colours | None = None


MAP_BAND = Band(MAP, "surface soil moisture", "m3 m-3", float("nan"))
QUALITY_BAND = Band(QUALITY, str(QUALITY_ATTRS["long_name"]), "1", 0, QUALITY_COLOURS)


def statistics(values: NDArray[Any], nodata: float) -> dict[str, float]:
    """Minimum, maximum, mean and standard deviation of the valid cells, and their share in per cent.

    Parameters
    ----------
    values
        Shape ``(Y, X)``.
    nodata
        Value of a missing cell; NaN in a float raster.
    """
    valid = values[np.isfinite(values) & (values != nodata)].astype("float64")
    share = {"valid_percent": 100 * valid.size / max(values.size, 1)}
    if not valid.size:
        return share
    return {
        "minimum": float(valid.min()),
        "maximum": float(valid.max()),
        "mean": float(valid.mean()),
        "stddev": float(valid.std()),
    } | share


def cog(values: NDArray[Any], geobox: GeoBox, band: Band, tags: Mapping[str, str] | None = None) -> bytes:
    """Cloud Optimized GeoTIFF with overviews, unit, description and statistics; the same input gives the same bytes.

    Parameters
    ----------
    values
        Float32 or uint8, shape ``(Y, X)``.
    geobox
        Grid of the values.
    band
        What the values are.
    tags
        Further metadata of the file.
    """
    profile = {
        "driver": "GTiff",
        "height": values.shape[0],
        "width": values.shape[1],
        "count": 1,
        "dtype": values.dtype.name,
        "crs": str(geobox.crs),
        "transform": geobox.transform,
        "nodata": band.nodata,
    }
    continuous = band.colours is None
    options = {
        "driver": "COG",
        "compress": "DEFLATE",
        "predictor": "YES",
        "blocksize": 512,
        "overview_resampling": "AVERAGE" if continuous else "MODE",
        "num_threads": 1,
        "overview_count": max(1, math.ceil(math.log2(max(values.shape) / SMALLEST_OVERVIEW))),
    }
    with MemoryFile() as memory, MemoryFile() as result:
        with memory.open(**profile) as file:
            file.write(values, 1)
            file.set_band_description(1, band.long_name)
            file.set_band_unit(1, band.units)
            if band.colours is None:
                file.colorinterp = [ColorInterp.gray]
            else:
                file.write_colormap(1, dict(band.colours))
            file.update_tags(AREA_OR_POINT="Area", **(tags or {}))
            told = {
                f"STATISTICS_{key.upper()}": f"{value:.9g}" for key, value in statistics(values, band.nodata).items()
            }
            file.update_tags(1, **told)
        with memory.open() as source:
            copy(source, result.name, **options)
        return bytes(result.read())


def item(
    identifier: str,
    collection: str,
    geobox: GeoBox,
    span: tuple[np.datetime64, np.datetime64],
    files: Mapping[str, tuple[str, Band, Mapping[str, float]]],
    properties: Mapping[str, Any],
    sources: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """STAC item of one map.

    The core schemas suffice to validate it: fields such as ``proj:code`` are given, but the extensions' schemas, which
    a validator would have to fetch, are not named.

    Parameters
    ----------
    identifier, collection
        Its id, and that of its collection.
    geobox
        Grid of the map.
    span
        First instant, and the first one after it.
    files
        Asset name -> its href, its band and its statistics.
    properties
        Further properties; ``created`` among them, if it shall be told.
    sources
        Items that the map was made from, each with ``href`` and ``title``.
    """
    bounds = geobox.boundingbox
    footprint = project(box(bounds.left, bounds.bottom, bounds.right, bounds.top), str(geobox.crs), LONLAT, points=8)
    start, after = (moment.astype("datetime64[s]") for moment in span)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": identifier,
        "collection": collection,
        "geometry": mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": None,
            "start_datetime": f"{start}Z",
            "end_datetime": f"{after - np.timedelta64(1, 's')}Z",
        }
        | _projection(geobox)
        | dict(properties),
        "assets": {name: _asset(*file) for name, file in files.items()},
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
            *({"rel": "derived_from", "type": "application/geo+json", **source} for source in sources),
        ],
    }


def _projection(geobox: GeoBox) -> dict[str, Any]:
    crs = CRS.from_user_input(str(geobox.crs))
    code = crs.to_authority()
    told: dict[str, Any] = {"proj:code": ":".join(code)} if code else {"proj:code": None, "proj:wkt2": crs.to_wkt()}
    return told | {"proj:shape": list(geobox.shape), "proj:transform": list(geobox.transform)[:6]}


def _asset(href: str, band: Band, found: Mapping[str, float]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "href": href,
        "type": MEDIA_TYPE,
        "title": band.long_name,
        "roles": ["data"] if band.colours is None else ["metadata"],
        "data_type": "float32" if band.colours is None else "uint8",
        "nodata": "nan" if np.isnan(band.nodata) else band.nodata,
        "unit": band.units,
        "statistics": dict(found),
        "bands": [{"name": band.name, "description": band.long_name}],
    }
    if band.colours is None and "maximum" in found:
        told["render"] = {"colormap_name": COLORMAP, "rescale": [[found["minimum"], found["maximum"]]]}
    return told


def collection(name: str, description: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """STAC collection of the maps of one kind, with the extent of its items; links are relative."""
    boxes = np.array([item["bbox"] for item in items])
    starts = sorted(item["properties"]["start_datetime"] for item in items)
    ends = sorted(item["properties"]["end_datetime"] for item in items)
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": name,
        "description": description,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]]},
            "temporal": {"interval": [[starts[0], ends[-1]]]},
        },
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            *(
                {"rel": "item", "href": f"./{item['id']}/{item['id']}.json", "type": "application/geo+json"}
                for item in items
            ),
        ],
    }


def catalog(name: str, description: str, collections: Sequence[str]) -> dict[str, Any]:
    """STAC catalog of the collections in the folders of their names; links are relative."""
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": name,
        "description": description,
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": "application/json"},
            *(
                {"rel": "child", "href": f"./{name}/collection.json", "type": "application/json"}
                for name in collections
            ),
        ],
    }
