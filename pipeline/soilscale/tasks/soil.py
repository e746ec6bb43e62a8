"""Soil properties from the features of a run: how much water it can hold, and whether it is frozen."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from soilscale.sources import Source

FREEZING = 273.15
"""K of the land surface below which ground counts as frozen, or under snow."""

SURFACE = frozenset({"lst", "mod11", "myd11", "mod21", "myd21"})
"""Words in the name of a source, or of its profile, by which a land surface temperature is known."""

PERCENT: Mapping[str, tuple[float, float]] = {"%": (1.0, 0.0), "1": (100.0, 0.0), "g kg-1": (0.1, 0.0)}
KELVIN: Mapping[str, tuple[float, float]] = {"K": (1.0, 0.0), "degC": (1.0, FREEZING)}
"""Unit of a feature -> factor and offset by which it becomes % of weight, or K."""


@dataclass(frozen=True)
class Reading:
    """A feature, and how its values become those that a rule of physics takes."""

    name: str
    factor: float
    offset: float


@dataclass(frozen=True)
class Soil:
    """Features that tell of the soil."""

    texture: tuple[Reading, Reading] | None = None
    """Sand and clay, in % of weight; None where they are not known, or shall not count."""
    surface: tuple[Reading, ...] = ()
    """Land surface temperatures, in K, of day and night where there are both."""
    frozen: Literal["mask", "unobserved", "flag"] = "unobserved"
    """Where frozen ground is left out: everywhere, where nothing is observed, or nowhere."""


def soil_features(features: Mapping[str, Source], units: Mapping[str, str]) -> Soil:
    """Features that tell of the soil, known by the words in the names of their sources or profiles, and by their units.

    Parameters
    ----------
    features, units
        Name of each feature -> its source, and its unit.
    """

    def readings(words: Collection[str], ways: Mapping[str, tuple[float, float]]) -> list[Reading]:
        return [
            Reading(name, *ways[units[name]])
            for name, source in features.items()
            # A lag or a class has another name, and is no temperature of this month.
            if name == source.name and units[name] in ways and not _words(source).isdisjoint(words)
        ]

    sand, clay = readings({"sand"}, PERCENT), readings({"clay"}, PERCENT)
    return Soil((sand[0], clay[0]) if sand and clay else None, tuple(readings(SURFACE, KELVIN)))


def _words(source: Source) -> set[str]:
    """Words in the name of a source and of its profile, such as ``mod11`` of MOD11A2, in small letters."""
    if source.derivation is not None:  # the range of a temperature is none itself
        return set()
    return set(re.findall(r"[a-z]+[0-9]*", f"{source.name} {source.profile or ''}".lower()))
