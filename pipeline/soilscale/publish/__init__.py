"""The maps for publication: Cloud Optimized GeoTIFFs, and a STAC catalog that states what each was made from."""

from soilscale.publish.items import catalog, collection, footprint, item
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
    "Band",
    "catalog",
    "cog",
    "collection",
    "footprint",
    "item",
    "quality_colour",
    "statistics",
    "write_cog",
]
