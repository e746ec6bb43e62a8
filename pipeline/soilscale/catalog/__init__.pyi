from .frozen import search
from .query import Broken, Item, Period, Progress, Query
from .relations import Relations, Verdict, relate
from .renewal import renew
from .scene import Scene, is_static, scenes, scenes_of
from .signing import sign

__all__ = [
    "Broken",
    "Item",
    "Period",
    "Progress",
    "Query",
    "Relations",
    "Scene",
    "Verdict",
    "is_static",
    "relate",
    "renew",
    "scenes",
    "scenes_of",
    "search",
    "sign",
]
