"""The order of the stages, and where each product lives; the only place that reads and writes, through storage."""

from soilscale.flow.commands import Outcome, cube, make_maps, report, run, samples, search, train
from soilscale.flow.dispatch import Progress
from soilscale.flow.lease import held
from soilscale.flow.overview import check, status
from soilscale.flow.session import Run
from soilscale.flow.sizing import Size, Sizing, foresee

__all__ = [
    "Outcome",
    "Progress",
    "Run",
    "Size",
    "Sizing",
    "check",
    "cube",
    "foresee",
    "held",
    "make_maps",
    "report",
    "run",
    "samples",
    "search",
    "status",
    "train",
]
