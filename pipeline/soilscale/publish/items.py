"""The item of a map: its content, place and time, with links to everything that it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import antimeridian
import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from soilscale import extents
from soilscale.grid import LONLAT, project
from soilscale.publish import previews
from soilscale.publish.extensions import band_fields, extensions, projection
from soilscale.publish.previews import COLORMAP, COLORMAPS, Scale
from soilscale.publish.rasters import MAP_BAND, OPTIONAL_BANDS, Band
from soilscale.schema import APPLICABILITY, LOWER, MAP, RESIDUAL, UPPER

STAC_VERSION = "1.1.0"
MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"

SHA_256 = "1220"
"""Prefix of a multihash: SHA-256, of 32 bytes."""

DEGREE_STEP = 1e-7
"""Step to which footprints are rounded, in degrees: about a centimetre on the ground."""


@dataclass(frozen=True)
class File:
    """One file of a map."""

    name: str
    """Relative to its item."""
    size: int
    """Bytes."""
    checksum: str
    """SHA-256 as hexadecimal digits."""
    band: Band | None = None
    """What a raster holds; None of a picture."""
    statistics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, band: Band | None = None, statistics: Mapping[str, float] | None = None) -> File:
        """Describe a local file."""
        with path.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(path.name, path.stat().st_size, checksum, band, statistics or {})


def item(
    identifier: str,
    collection: str,
    geobox: GeoBox,
    span: tuple[np.datetime64, np.datetime64],
    files: Mapping[str, File],
    properties: Mapping[str, Any],
    sources: Sequence[Mapping[str, str]],
    *,
    scale: Scale,
    home: str | None = None,
    run: int | None = None,
    log: str | None = None,
) -> dict[str, Any]:
    """STAC item of one map, which names the schemas of its extensions.

    Parameters
    ----------
    identifier, collection
        Its id, and that of its collection.
    geobox
        Grid of the map.
    span
        First instant, and the first one after it.
    files
        Asset name -> its file.
    properties
        Further properties, ``created`` and ``version`` among them.
    sources
        Items that the map was made from, each with ``href`` and ``title``.
    scale
        Values of the first and the last colour of every map of the collection.
    home
        Public URL of the item's folder, for hrefs that hold wherever the item is copied to; None: they are relative.
    run, log
        Number of the run that writes it, and address of a run's log with ``{run}`` for the number.
    """
    shape, bbox = footprint(geobox)
    start, after = (moment.astype("datetime64[s]") for moment in span)
    place = "." if home is None else home
    document = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": identifier,
        "collection": collection,
        "geometry": json.loads(shapely.to_geojson(shape)),
        "bbox": bbox,
        "properties": {
            # Loaders take their time axis from it; it is the time of the map in maps.zarr.
            "datetime": f"{start}Z",
            "start_datetime": f"{start}Z",
            # STAC intervals include their end.
            "end_datetime": f"{after - np.timedelta64(1, 's')}Z",
        }
        | projection(geobox)
        | {"renders": renders(files, scale)}
        | dict(properties)
        | run_field(log, run),
        "assets": {name: _asset(name, file, place, geobox) for name, file in files.items()},
        "links": [
            *([] if home is None else [link("self", f"{home}/{identifier}.json", "application/geo+json")]),
            link("root", "../../../catalog.json"),
            link("parent", "../../collection.json"),
            link("collection", "../../collection.json"),
            *log_link(log, run),
            *(link("derived_from", type_="application/geo+json", **source) for source in sources),
        ],
    }
    return document | {"stac_extensions": extensions(document)}


def link(rel: str, href: str, type_: str = "application/json", **fields: str) -> dict[str, str]:
    """Link of a STAC document."""
    return {"rel": rel, "type": type_, "href": href, **fields}


def run_field(log: str | None, run: int | None) -> dict[str, int]:
    """Field of the number of the run that wrote a document, by which its log lines are marked too.

    Only where there is an address of logs: else documents of the same content would differ from run to run.
    """
    return {} if log is None or run is None else {"soilscale:run": run}


def log_link(log: str | None, run: int | None) -> list[dict[str, str]]:
    """Link to the log of that run, by the relation of the processing extension."""
    if log is None or run is None:
        return []
    return [link("processing-execution", run_log(log, run), "text/html", title=f"Log of run {run}")]


def run_log(log: str, run: int) -> str:
    """Address of a run's log; braces of other kinds, as in queries of log stores, stay."""
    return log.replace("{run}", str(run))


def footprint(geobox: GeoBox) -> tuple[BaseGeometry, list[float]]:
    """Outline of a grid in longitude and latitude, and its bounding box, as RFC 7946 wants them.

    A grid across the antimeridian has an outline cut in two there (section 3.1.9) and a box whose west is greater than
    its east (5.2); one around a pole, or all around the Earth, has a box from -180 to 180 (5.3). Outer rings run
    counterclockwise (3.1.6).

    Returns
    -------
    shape, bbox
        Polygon or MultiPolygon, and west, south, east, north; degrees.
    """
    outline, bounds = _outline(geobox)
    return outline, rounded(bounds)


@lru_cache(maxsize=16)  # the maps of a run share a grid, and cutting its outline takes a tenth of a second
def _outline(geobox: GeoBox) -> tuple[BaseGeometry, tuple[float, float, float, float]]:
    """Outline and bounding box as of `footprint`."""
    bounds, crs = geobox.boundingbox, str(geobox.crs)
    ring = project(box(bounds.left, bounds.bottom, bounds.right, bounds.top), crs, LONLAT)
    around_earth = extents.turn(crs)
    if around_earth is not None and bounds.right - bounds.left >= around_earth * (1 - DEGREE_STEP):
        # A band all around the Earth has no end to cut at; antimeridian would let it overlap itself.
        _, south, _, north = ring.bounds
        shape: BaseGeometry = box(-180.0, south, 180.0, north)
    else:
        # Edges are dense, hence straight in degrees from one vertex to the next.
        shape = antimeridian.fix_polygon(ring, fix_winding=True, great_circle=False)
    west, south, east, north = antimeridian.bbox(shape)
    side = min(extents.width((west, south, east, north)), north - south)
    outline = shapely.set_precision(shapely.simplify(shape, side / 1000), DEGREE_STEP)
    return shapely.orient_polygons(outline), (west, south, east, north)


def rounded(bounds: Sequence[float]) -> list[float]:
    """Bounding box as documents state it."""
    return [round(degrees, 7) for degrees in bounds]


def renders(layers: Collection[str], scale: Scale) -> dict[str, Any]:
    """Field of the render extension: how to show each continuous layer; the viewer takes its scales from it."""
    ranges = dict.fromkeys((MAP, LOWER, UPPER), scale) | {APPLICABILITY: (0.0, 2.0), RESIDUAL: (-0.1, 0.1)}
    return {
        name: {
            "title": title,
            "assets": [name],
            "rescale": [list(ranges[name])],
            "nodata": "nan",
            "colormap_name": COLORMAPS.get(name, COLORMAP).lower(),
        }
        for name, title in TITLES.items()
        if name in layers
    }


TITLES = {name: band.long_name for name, band in {MAP: MAP_BAND, **OPTIONAL_BANDS}.items()}
"""Continuous layer of a map -> what it is."""


def _asset(name: str, file: File, place: str, geobox: GeoBox) -> dict[str, Any]:
    """Asset of a file that lies at a place."""
    stored = {"file:size": file.size, "file:checksum": f"{SHA_256}{file.checksum}"}
    if file.band is None:
        return {"href": f"{place}/{file.name}", **picture_fields(name), **stored}
    return {
        "href": f"{place}/{file.name}",
        **raster_fields(file.band, geobox, file.statistics),
        **stored,
    }


def picture_fields(name: str) -> dict[str, Any]:
    """Fields of an asset that is a picture of the map."""
    return {
        "type": previews.MEDIA_TYPE,
        "title": f"Soil moisture, {name} of at most {previews.SIDES[name]} pixels",
        "roles": [name],
    }


def raster_fields(band: Band, geobox: GeoBox, figures: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Fields of an asset that is a raster; without statistics those of all maps of a collection."""
    return {
        "type": MEDIA_TYPE,
        "title": band.long_name,
        "roles": ["data"] if band.colours is None else ["metadata"],
        **band_fields(band, geobox, figures),
    }
