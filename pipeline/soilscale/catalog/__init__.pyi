from .account import account, refuse_unclear
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
    "account",
    "is_static",
    "refuse_unclear",
    "relate",
    "renew",
    "scenes",
    "scenes_of",
    "search",
    "sign",
]
