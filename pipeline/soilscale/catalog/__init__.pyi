from .account import account, refuse_unclear
from .frozen import find, search
from .intervals import start
from .query import Broken, Found, Item, Period, Progress, Query
from .relations import Relations, Verdict, relate
from .renewal import renew
from .scene import STEP, Scene, is_static, scenes, scenes_of
from .signing import sign

__all__ = [
    "STEP",
    "Broken",
    "Found",
    "Item",
    "Period",
    "Progress",
    "Query",
    "Relations",
    "Scene",
    "Verdict",
    "account",
    "find",
    "is_static",
    "refuse_unclear",
    "relate",
    "renew",
    "scenes",
    "scenes_of",
    "search",
    "sign",
    "start",
]
