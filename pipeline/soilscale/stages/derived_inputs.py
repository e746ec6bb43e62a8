"""Predictors derived from others, as inputs with their units."""

from __future__ import annotations

from collections.abc import Sequence

from soilscale.cube import Input
from soilscale.errors import ConfigurationError
from soilscale.sources import Source
from soilscale.tasks.soil import KELVIN


def inputs(sources: Sequence[Source], measured: Sequence[Input]) -> list[Input]:
    """Predictors that are made from others, with their units.

    Raises
    ------
    ConfigurationError
        If what one is made from does not change from month to month, or has another unit than is expected.
    """
    by_name = {source_input.source.name: source_input for source_input in measured}
    return [
        Input(source, static=False, unit=_unit(source.name, how.kind, [by_name[name] for name in how.of]))
        for source in sources
        for how in filter(None, (source.derivation,))
    ]


def _unit(name: str, kind: str, parts: Sequence[Input]) -> str:
    for part in parts:
        if part.static:
            raise ConfigurationError(
                f"source {name}: it is derived from {part.source.name}, which is static; expected one that changes "
                "from month to month; remove the key that derives it"
            )
    first, *other_units = (part.unit for part in parts)
    if kind == "range" and other_units != [first]:
        raise ConfigurationError(
            f"source {name}: got {parts[0].source.name} in {first} and {parts[1].source.name} in {other_units[0]}; "
            "expected day and night in the same unit; set `unit` of both"
        )
    if kind != "tvdi":
        return first
    if first not in KELVIN:
        raise ConfigurationError(
            f"source {name}: got {parts[0].source.name} in {first}; expected a land surface temperature in "
            f"{' or '.join(KELVIN)}"
        )
    return "1"
