from .frozen import find, search
from .intervals import start
from .query import Broken, Found, Item, Period, Progress, Query
from .renewal import renew
from .scene import Scene, is_static, scenes
from .signing import sign

__all__ = [
    "Broken",
    "Found",
    "Item",
    "Period",
    "Progress",
    "Query",
    "Scene",
    "find",
    "is_static",
    "renew",
    "scenes",
    "search",
    "sign",
    "start",
]
