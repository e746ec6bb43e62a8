"""Attributes of a data set by which catalogs find it: Attribute Convention for Data Discovery 1.3, beside CF."""

from __future__ import annotations

from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from soilscale.publish.collections import About
from soilscale.publish.items import footprint
from soilscale.schema import CONVENTIONS

CONVENTIONS_BOTH = f"{CONVENTIONS}, ACDD-1.3"

VOCABULARY = "CF Standard Name Table v88"


def attributes(about: About, title: str, summary: str) -> dict[str, Any]:
    """What a whole store says of itself; of what nobody has said nothing.

    Parameters
    ----------
    title, summary
        What the store holds, where the configuration says nothing of it.
    """
    creators = [str(provider["name"]) for provider in about.providers]
    urls = [str(provider["url"]) for provider in about.providers if provider.get("url")]
    contact = about.contact or ""
    fields = {
        "Conventions": CONVENTIONS_BOTH,
        "title": f"{about.title}: {title}" if about.title else title,
        "summary": about.description or summary,
        "keywords": ", ".join(about.keywords),
        "license": about.license_url or (about.license if about.license != "other" else ""),
        "creator_name": ", ".join(creators),
        "creator_url": urls[0] if urls else "",
        "creator_email": contact if "@" in contact else "",
        "institution": ", ".join(creators),
        "id": about.doi or "",
        "naming_authority": "https://doi.org" if about.doi else "",
        "references": about.citation or "",
        "acknowledgement": "; ".join(dict.fromkeys(entry.citation for entry in about.inputs if entry.citation)),
        "processing_level": "L4",
        "cdm_data_type": "Grid",
        "standard_name_vocabulary": VOCABULARY,
    }
    return {key: value for key, value in fields.items() if value}


def coverage(geobox: GeoBox, start: np.datetime64, after: np.datetime64) -> dict[str, Any]:
    """Where and when a data set lies.

    Parameters
    ----------
    start, after
        First instant, and the first one after the last.
    """
    _, (west, south, east, north) = footprint(geobox)
    first, last = (moment.astype("datetime64[s]") for moment in (start, after))
    return {
        "geospatial_lon_min": west,
        "geospatial_lon_max": east,
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_bounds_crs": "EPSG:4326",
        "time_coverage_start": f"{first}Z",
        "time_coverage_end": f"{last - np.timedelta64(1, 's')}Z",
    }
