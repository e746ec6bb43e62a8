"""Source, area and period -> frozen items and scenes: STAC APIs, static catalogs, ItemCollections, signing."""

from soilscale.catalog.frozen import search
from soilscale.catalog.query import Broken, Item, Period, Progress, Query
from soilscale.catalog.renewal import renew
from soilscale.catalog.scene import Scene, is_static, scenes
from soilscale.catalog.signing import sign

__all__ = [
    "Broken",
    "Item",
    "Period",
    "Progress",
    "Query",
    "Scene",
    "is_static",
    "renew",
    "scenes",
    "search",
    "sign",
]
