"""Names in the products: dimensions, variables, CF attributes, quality bits."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any

import numpy as np

DIMS = ("time", "y", "x")
FINE, COARSE = "fine", "coarse"
MAP = "soil_moisture"
"""Variable of the maps and of the target's column in the training table."""
PREDICTION, RESIDUAL = "prediction", "residual"
PREDICTION_QUALITY, QUALITY = "prediction_quality", "quality"
LOWER, UPPER = "lower", "upper"
"""Ends of the interval of a map."""
APPLICABILITY = "applicability"
"""How dissimilar the features of a map are to those that its model has learned from."""
VALID_FRACTION = "valid_fraction"
SPATIAL_REF = "spatial_ref"
ROLE, PART = "soilscale_role", "part"
"""Attribute of a coarse variable that is no feature, and its value: one of the sensors that the target is made from."""
CONVENTIONS = "CF-1.11"

KEYS = ("time", "season", "y", "x", "block", "split")
"""Columns of the training table that are not features; `MAP` is the target's."""


class Quality(IntFlag):
    """Bits of the quality layer of a map."""

    OBSERVED = 1
    PREDICTED = 2
    """Predicted where the coarse product has no observation."""
    GAP_FILLED = 4
    """A predictor was not seen in this month and is filled."""
    CLAMPED = 8
    """The value stood outside the physical range and was brought back to it."""
    OUTSIDE = 16
    """Outside the area that was asked for."""
    COMPREHENSIVE = 32
    """Predicted by the comprehensive model: the season has too few training rows for one of its own."""
    EXTRAPOLATED = 64
    """The features are less like those of training than training rows are like each other: beyond the threshold of
    `APPLICABILITY`."""
    FROZEN = 128
    """The land surface is frozen, or under snow, in the month's mean; without another bit: left out for that."""


QUALITY_MEANINGS: Mapping[Quality, str] = {
    Quality.OBSERVED: "the coarse cell has an observation",
    Quality.PREDICTED: "the coarse cell has no observation",
    Quality.GAP_FILLED: "a predictor was not observed and is filled",
    Quality.CLAMPED: "the value had left the physical range and was brought back to it",
    Quality.OUTSIDE: "outside the polygon of the area",
    Quality.COMPREHENSIVE: "predicted by the comprehensive model",
    Quality.EXTRAPOLATED: "beyond the model's area of applicability",
    Quality.FROZEN: "frozen or under snow in the month's mean",
}
"""What each bit of the quality layer says, wherever a reader meets it."""

QUALITY_ATTRS: Mapping[str, Any] = {
    "standard_name": "quality_flag",
    "long_name": "origin and state of the soil moisture value",
    "flag_masks": np.array([bit.value for bit in Quality], dtype="uint8"),
    "flag_meanings": " ".join(str(bit.name).lower() for bit in Quality),
}

APPLICABILITY_ATTRS: Mapping[str, Any] = {
    "long_name": "dissimilarity index of the predictors, 1 = threshold of the area of applicability",
    "units": "1",
    "references": "Meyer & Pebesma 2021, doi:10.1111/2041-210X.13650",
}

MAP_ATTRS: Mapping[str, Any] = {
    "standard_name": "volume_fraction_of_condensed_water_in_soil",
    "long_name": "surface soil moisture",
    "units": "m3 m-3",
    "cell_methods": "area: mean time: mean",
}
