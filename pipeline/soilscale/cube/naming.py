"""Names and units of the features of a source."""

from __future__ import annotations

from soilscale.sources import Source

TERRAIN = ("slope", "northness", "eastness")
"""Features derived from elevation, in the order of `relief.terrain`."""

WETNESS = "twi"
"""The topographic wetness index, likewise derived only where it is asked for."""

ANGLE = "aspect_angle"
"""The paper's aspect, whose mean over a coarse cell means nothing: derived only where it is asked for by name."""


def feature_names(source: Source) -> tuple[str, ...]:
    """Features that a source gives, lags left out: itself, its classes, what is derived from it."""
    if source.kind == "categorical":
        return tuple(f"{source.name}_{code}" for code in source.classes or ())
    derived: list[str] = []
    if "slope" in source.derive:
        derived.append(TERRAIN[0])
    if "aspect" in source.derive:
        derived.extend(TERRAIN[1:])
    if ANGLE in source.derive:
        derived.append(ANGLE)
    if WETNESS in source.derive:
        derived.append(WETNESS)
    return (source.name, *derived)


def factor(source: Source, name: str) -> str:
    """What a reader takes a feature of a source for, lags left out: the source, the slope or the aspect.

    A factor of several features has a name that none of them has.
    """
    if source.kind == "categorical":
        return source.name
    if name in TERRAIN[1:]:
        return "aspect"
    if name in {TERRAIN[0], ANGLE, WETNESS}:
        return name
    return f"{source.name}_and_lags" if source.lags else source.name


def lagged(name: str, lag: int) -> str:
    """Name of a feature shifted back by some months.

    Examples
    --------
    >>> lagged("precipitation", 1)
    'precipitation_lag1'
    """
    return f"{name}_lag{lag}" if lag else name


def units(source: Source, unit: str) -> dict[str, str]:
    """Unit of each feature of a source, given the source's own."""
    if source.kind == "categorical":
        return dict.fromkeys(feature_names(source), "1")
    return {source.name: unit, "slope": "degree", "northness": "1", "eastness": "1", ANGLE: "degree", WETNESS: "1"}
