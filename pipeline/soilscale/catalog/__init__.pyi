from .frozen import search
from .query import Broken, Item, Period, Progress, Query
from .renewal import renew
from .scene import Scene, is_static, scenes
from .signing import sign

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
