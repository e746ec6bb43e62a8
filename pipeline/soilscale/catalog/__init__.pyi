from .account import account, refuse_unclear
from .query import Broken, Found, Item, Period, Progress, Query
from .relations import Relations, Verdict, relate
from .renewal import renew
from .scene import REDUCTION, STEP, Scene, is_static, scenes, scenes_of
from .search import find, search
from .shared import Shared
from .signing import sign
from .time_coverage import start
from .written import Writing, write

__all__ = [
    "REDUCTION",
    "STEP",
    "Broken",
    "Found",
    "Item",
    "Period",
    "Progress",
    "Query",
    "Relations",
    "Scene",
    "Shared",
    "Verdict",
    "Writing",
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
    "write",
]
