"""Items and a grid become a chunked monthly cube: the template first, then its regions in any order."""

from soilscale.cube.layers import codes, meets
from soilscale.cube.months import factor, feature_names, is_constant, lagged, read_month, read_static, select
from soilscale.cube.mosaics import Reading
from soilscale.cube.template import FRACTION, Input, features, fractions, groups, template

__all__ = [
    "FRACTION",
    "Input",
    "Reading",
    "codes",
    "factor",
    "feature_names",
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
