from . import causes, commands, deriving, dispatch, gaps, gathering, owner, period, plan, releases, units, workspace
from .commands import cube, make_maps, report, samples, search, train
from .lease import held
from .overview import check, status
from .seal import is_sealed, run
from .session import Outcome, Progress, Run
from .sizing import Size, Sizing, foresee

__all__ = [
    "Outcome",
    "Progress",
    "Run",
    "Size",
    "Sizing",
    "causes",
    "check",
    "commands",
    "cube",
    "deriving",
    "dispatch",
    "foresee",
    "gaps",
    "gathering",
    "held",
    "is_sealed",
    "make_maps",
    "owner",
    "period",
    "plan",
    "releases",
    "report",
    "run",
    "samples",
    "search",
    "status",
    "train",
    "units",
    "workspace",
]
