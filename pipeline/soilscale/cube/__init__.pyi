from . import gaps, memory, noise
from .layers import codes, meeting, meets
from .months import margin, read_completed, read_month, read_static
from .naming import factor, feature_names, lagged
from .overviews import choose_overview
from .probes import Place, Probe, crs_name, file_unit, probe
from .quantities import cube_unit
from .reading import Reading
from .selection import covered_days, days_of, is_constant, select
from .variables import (
    BEFORE,
    CYCLE,
    EARLIER,
    FILLED,
    FRACTION,
    HARMONICS,
    LEVEL,
    OBSERVED,
    TOGETHER,
    Input,
    feature_units,
    features,
    fillable,
    fractions,
    groups,
    template,
)

__all__ = [
    "BEFORE",
    "CYCLE",
    "EARLIER",
    "FILLED",
    "FRACTION",
    "HARMONICS",
    "LEVEL",
    "OBSERVED",
    "TOGETHER",
    "Input",
    "Place",
    "Probe",
    "Reading",
    "choose_overview",
    "codes",
    "covered_days",
    "crs_name",
    "cube_unit",
    "days_of",
    "factor",
    "feature_names",
    "feature_units",
    "features",
    "file_unit",
    "fillable",
    "fractions",
    "gaps",
    "groups",
    "is_constant",
    "lagged",
    "margin",
    "meeting",
    "meets",
    "memory",
    "noise",
    "probe",
    "read_completed",
    "read_month",
    "read_static",
    "select",
    "template",
]
