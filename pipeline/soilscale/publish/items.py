"""STAC items of the maps, with links to everything that each was made from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely.affinity import translate
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from soilscale.grid import LONLAT, project
from soilscale.publish.rasters import Band, reference

STAC_VERSION = "1.1.0"
MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
COLORMAP = "viridis_r"
"""Dry is bright, wet is dark; told to viewers as a hint."""

FULL_TURN = 360.0
DEGREE_STEP = 1e-7
"""Step to which footprints are rounded, in degrees: about a centimetre on the ground."""


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
    shape, bbox = footprint(geobox)
    start, after = (moment.astype("datetime64[s]") for moment in span)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": identifier,
        "collection": collection,
        "geometry": json.loads(shapely.to_geojson(shape)),
        "bbox": bbox,
        "properties": {
            "datetime": None,
            "start_datetime": f"{start}Z",
            # STAC intervals include their end.
            "end_datetime": f"{after - np.timedelta64(1, 's')}Z",
        }
        | _projection(geobox)
        | _renders(files)
        | dict(properties),
        "assets": {name: _asset(*file) for name, file in files.items()},
        "links": [
            {"rel": "root", "href": "../../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../../collection.json", "type": "application/json"},
            *({"rel": "derived_from", "type": "application/geo+json", **source} for source in sources),
        ],
    }


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
    whole = _unwrapped(geobox)
    west, south, east, north = whole.bounds
    first, after = (round_((end + 180) / FULL_TURN) for round_, end in ((math.floor, west), (math.ceil, east)))
    parts = [
        translate(shapely.intersection(whole, box(turn - 180, -90, turn + 180, 90)), -turn)
        for turn in (FULL_TURN * index for index in range(first, after))
    ]
    shape = shapely.orient_polygons(shapely.union_all(parts, grid_size=DEGREE_STEP))
    west, east = _wrapped(west, east)
    return shape, [round(degrees, 7) for degrees in (west, south, east, north)]


def _unwrapped(geobox: GeoBox) -> Polygon:
    """Outline of a grid whose longitudes go on beyond 180 degrees instead of jumping there."""
    bounds = geobox.boundingbox
    ring = project(box(bounds.left, bounds.bottom, bounds.right, bounds.top), str(geobox.crs), LONLAT)
    lon, lat = shapely.get_coordinates(ring).T
    lon = np.unwrap(lon, period=FULL_TURN)
    turned = lon[-1] - lon[0]
    if abs(turned) > FULL_TURN / 2:
        # A counterclockwise ring has the pole it runs around on its left: eastward the North Pole, westward the South.
        lon = np.append(lon, [lon[-1], lon[0]])
        lat = np.append(lat, np.full(2, math.copysign(90, turned)))
    shape = Polygon(np.column_stack([lon, lat]).round(7))
    west, south, east, north = shape.bounds
    return shapely.simplify(shape, min(east - west, north - south) / 1000)


def _wrapped(west: float, east: float) -> tuple[float, float]:
    """West and east of a box within -180..180 degrees; west > east across the antimeridian."""
    if east - west > FULL_TURN - DEGREE_STEP:
        return -180.0, 180.0
    turns = FULL_TURN * math.floor((west + 180) / FULL_TURN)
    east -= turns
    return west - turns, east - FULL_TURN if east > FULL_TURN / 2 else east


def _projection(geobox: GeoBox) -> dict[str, Any]:
    """Fields of STAC's projection extension: a code only where it names this very CRS, else the CRS itself."""
    code, crs = reference(geobox)
    fields: dict[str, Any] = {"proj:code": code}
    if code is None:
        fields |= {"proj:wkt2": crs.to_wkt(), "proj:projjson": crs.to_json_dict()}
    return fields | {"proj:shape": list(geobox.shape), "proj:transform": list(geobox.transform)[:6]}


def _renders(files: Mapping[str, tuple[str, Band, Mapping[str, float]]]) -> dict[str, Any]:
    """Field of STAC's render extension: how a viewer may show each continuous layer that has a value."""
    return {
        "renders": {
            name: {
                "title": band.long_name,
                "assets": [name],
                "rescale": [[figures["minimum"], figures["maximum"]]],
                "colormap_name": COLORMAP,
            }
            for name, (_, band, figures) in files.items()
            if band.colours is None and "maximum" in figures
        }
    }


def _asset(href: str, band: Band, figures: Mapping[str, float]) -> dict[str, Any]:
    return {
        "href": href,
        "type": MEDIA_TYPE,
        "title": band.long_name,
        "roles": ["data"] if band.colours is None else ["metadata"],
        "data_type": "float32" if band.colours is None else "uint8",
        "nodata": "nan" if np.isnan(band.nodata) else band.nodata,
        "unit": band.units,
        "statistics": dict(figures),
        "bands": [{"name": band.name, "description": band.long_name}],
    }


def collection(name: str, description: str, items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """STAC collection of the maps of one kind, with the extent of its items, which are given by their relative href."""
    starts = sorted(item["properties"]["start_datetime"] for item in items.values())
    ends = sorted(item["properties"]["end_datetime"] for item in items.values())
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": name,
        "description": description,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [_around([item["bbox"] for item in items.values()])]},
            "temporal": {"interval": [[starts[0], ends[-1]]]},
        },
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            *({"rel": "item", "href": href, "type": "application/geo+json"} for href in items),
        ],
    }


def _around(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Bounding box of bounding boxes; one whose west > east crosses the antimeridian."""
    west, south, east, north = np.array(boxes, dtype="float64").T
    crossing = west > east
    if crossing.any():
        # Once one box crosses, all are counted 0..360; otherwise some would lie a full turn away.
        width = east - west + np.where(crossing, FULL_TURN, 0)
        west = west % FULL_TURN
        east = west + width
    left, right = _wrapped(float(west.min()), float(east.max()))
    return [left, float(south.min()), right, float(north.max())]


def catalog(
    name: str, description: str, collections: Sequence[str], version: str, predecessor: str | None = None
) -> dict[str, Any]:
    """STAC catalog of the collections in the folders of their names; links are relative.

    Parameters
    ----------
    version
        Number of the release, a field of STAC's version extension.
    predecessor
        Href of the catalog of the release before.
    """
    earlier = [{"rel": "predecessor-version", "href": predecessor, "type": "application/json"}] if predecessor else []
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": name,
        "description": description,
        "version": version,
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": "application/json"},
            *(
                {"rel": "child", "href": f"./{kind}/collection.json", "type": "application/json"}
                for kind in collections
            ),
            *earlier,
        ],
    }
