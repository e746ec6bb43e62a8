"""The maps for publication: Cloud Optimized GeoTIFFs, and a STAC catalog that states what each was made from."""

from soilscale.publish.collections import About, CatalogVersion, Input, catalog, collection
from soilscale.publish.extensions import SCHEMAS
from soilscale.publish.items import File, footprint, item, run_log
from soilscale.publish.previews import SIDES, Scale, preview
from soilscale.publish.rasters import (
    MAP_BAND,
    OPTIONAL_BANDS,
    QUALITY_BAND,
    QUALITY_COLOURS,
    Band,
    cog,
    quality_colour,
    statistics,
    write_cog,
)

__all__ = [
    "MAP_BAND",
    "OPTIONAL_BANDS",
    "QUALITY_BAND",
    "QUALITY_COLOURS",
    "SCHEMAS",
    "SIDES",
    "About",
    "Band",
    "CatalogVersion",
    "File",
    "Input",
    "Scale",
    "catalog",
    "cog",
    "collection",
    "footprint",
    "item",
    "preview",
    "quality_colour",
    "run_log",
    "statistics",
    "write_cog",
]
