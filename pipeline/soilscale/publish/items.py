"""STAC items of the maps, with links to everything that each was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import antimeridian
import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from soilscale import extents
from soilscale.grid import LONLAT, project
from soilscale.publish.rasters import Band, reference

STAC_VERSION = "1.1.0"
MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
COLORMAP = "viridis_r"
"""Dry is bright, wet is dark; told to viewers as a hint."""

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
    return shapely.orient_polygons(outline), _rounded((west, south, east, north))


def _rounded(bounds: Sequence[float]) -> list[float]:
    return [round(degrees, 7) for degrees in bounds]


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
            "spatial": {"bbox": [_rounded(extents.around_boxes([item["bbox"] for item in items.values()]))]},
            "temporal": {"interval": [[starts[0], ends[-1]]]},
        },
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            *({"rel": "item", "href": href, "type": "application/geo+json"} for href in items),
        ],
    }


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
