"""STAC extensions of the published documents: which they use, and their fields of grids, bands and quality bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from soilscale.publish.rasters import Band, reference
from soilscale.schema import QUALITY_MEANINGS, Quality

BASE = "https://stac-extensions.github.io"

SCHEMAS: Mapping[str, str] = {
    "classification:": f"{BASE}/classification/v1.1.0/schema.json",
    "contacts": f"{BASE}/contacts/v0.1.1/schema.json",
    "cube:": f"{BASE}/datacube/v2.2.0/schema.json",
    "file:": f"{BASE}/file/v2.1.0/schema.json",
    "processing:": f"{BASE}/processing/v1.2.0/schema.json",
    # Version 2 refuses `proj:epsg`, the only field of a CRS that stackstac reads; 1.2 has `proj:code` beside it.
    "proj:": f"{BASE}/projection/v1.2.0/schema.json",
    # Version 2 has no `raster:bands`, which GDAL and stackstac read; STAC 1.1's `bands` stand beside them.
    "raster:": f"{BASE}/raster/v1.1.0/schema.json",
    "renders": f"{BASE}/render/v2.0.0/schema.json",
    "sci:": f"{BASE}/scientific/v1.0.0/schema.json",
    "version": f"{BASE}/version/v1.2.0/schema.json",
    "xarray:": f"{BASE}/xarray-assets/v1.0.0/schema.json",
}
"""Field, or the prefix of fields, of an extension -> the URL of its schema."""


def extensions(document: Mapping[str, Any]) -> list[str]:
    """URLs of the extensions whose fields an item, collection or catalog holds, sorted."""
    fields = set(_fields(document))
    return sorted(
        url
        for prefix, url in SCHEMAS.items()
        if any(field.startswith(prefix) if prefix.endswith(":") else field == prefix for field in fields)
    )


def _fields(document: Mapping[str, Any]) -> Iterator[str]:
    """Names of the fields of a document and of its assets; of summaries none, which extensions do not ask for."""
    yield from document
    yield from document.get("properties", {})
    for asset in [*document.get("assets", {}).values(), *document.get("item_assets", {}).values()]:
        yield from asset


def projection(geobox: GeoBox) -> dict[str, Any]:
    """Fields of a grid: a code only where it names this very CRS, else the CRS itself."""
    code, crs = reference(geobox)
    fields: dict[str, Any] = {"proj:code": code}
    epsg = epsg_code(geobox)
    if epsg is not None:
        fields["proj:epsg"] = epsg
    if code is None:
        fields |= {"proj:wkt2": crs.to_wkt(), "proj:projjson": crs.to_json_dict()}
    bounds = geobox.boundingbox
    return fields | {
        "proj:shape": list(geobox.shape),
        "proj:transform": list(geobox.transform)[:6],
        "proj:bbox": [bounds.left, bounds.bottom, bounds.right, bounds.top],
    }


def epsg_code(geobox: GeoBox) -> int | None:
    """EPSG code that names a grid's very CRS, if there is one."""
    authority, _, number = (reference(geobox)[0] or "").partition(":")
    return int(number) if authority == "EPSG" else None


def band_fields(band: Band, geobox: GeoBox, figures: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Fields of an asset that holds one band, in the words of STAC 1.1 and of the raster extension before it.

    Parameters
    ----------
    figures
        Statistics of the file; None for what is said of all files of a collection.
    """
    stored = {
        "data_type": "float32" if band.colours is None else "uint8",
        "nodata": "nan" if np.isnan(band.nodata) else band.nodata,
        "unit": band.units,
        **({} if figures is None else {"statistics": dict(figures)}),
    }
    bits = {} if band.colours is None else {"classification:bitfields": quality_bits()}
    return {
        **stored,
        **bits,
        "bands": [{"name": band.name, "description": band.long_name}],
        "raster:bands": [stored | {"sampling": "area", "spatial_resolution": abs(geobox.transform.a)}],
    }


def quality_bits() -> list[dict[str, Any]]:
    """What each bit of the quality layer says, in the words of the classification extension."""
    return [
        {
            "offset": int(bit).bit_length() - 1,
            "length": 1,
            "name": str(bit.name).lower(),
            "description": QUALITY_MEANINGS[bit],
            "classes": [
                {"value": value, "name": name, "description": name} for value, name in enumerate(("no", "yes"))
            ],
        }
        for bit in Quality
    ]
