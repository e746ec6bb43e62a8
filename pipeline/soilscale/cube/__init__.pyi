from .layers import codes, meets
from .months import read_month, read_static
from .mosaics import Reading
from .naming import factor, feature_names, lagged
from .selection import covered_days, days_of, is_constant, select
from .variables import FRACTION, TOGETHER, Input, feature_units, features, fractions, groups, template

__all__ = [
    "FRACTION",
    "TOGETHER",
    "Input",
    "Reading",
    "codes",
    "covered_days",
    "days_of",
    "factor",
    "feature_names",
    "feature_units",
    "features",
    "fractions",
    "groups",
    "is_constant",
    "lagged",
    "meets",
    "read_month",
    "read_static",
    "select",
    "template",
]
