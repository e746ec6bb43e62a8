"""Predictors that are made from others month by month: units that derive them after gaps are filled."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soilscale.engine.output import digest
from soilscale.engine.payloads import Piece
from soilscale.engine.units import Unit
from soilscale.grid import Tile
from soilscale.seasons import month_range, position
from soilscale.stages.cube_state import MISSING, State
from soilscale.stages.cube_units import unit_name
from soilscale.stages.plan import Plan
from soilscale.tasks import cube_regions
from soilscale.tasks.derived_features import DERIVE, EDGES, SCATTER, Made, count, derive, draw_edges
from soilscale.tasks.soil import KELVIN

STAGES = (SCATTER, EDGES, DERIVE)

FORMAT = 1
"""Version of how predictors are derived; a change redoes them."""


@dataclass(frozen=True)
class _Month:
    """What a derived predictor is made from in a month."""

    made: Made
    month: np.datetime64
    origins: Sequence[tuple[Tile, str]]
    """Tiles, each with a digest of what the predictor is made from there."""

    @property
    def area(self) -> str:
        """Digest of what it is made from in the whole area."""
        return digest([origin for _, origin in self.origins])


def _months(plan: Plan, below: State) -> Iterator[_Month]:
    """Derived predictors and months, by what stands of their sources."""
    by_name = {given.source.name: given for given in plan.inputs}
    tiles = list(plan.grid.tiles())
    for given in plan.inputs:
        how = given.source.derivation
        if how is None:
            continue
        parts = [by_name[name] for name in how.of]
        made = Made(given.source, how, KELVIN.get(parts[0].unit, (1.0, 0.0)))
        recipe = digest(FORMAT, plan.recipes[given.source.name])
        for month in plan.months:
            span = month_range(month - np.timedelta64(how.months, "M"), month)
            origins = [(tile, digest(recipe, [below.of(part, tile, span) for part in parts])) for tile in tiles]
            yield _Month(made, month, origins)


def units(plan: Plan, below: State, found: Mapping[str, Collection[str]]) -> dict[str, list[Unit]]:
    """Units of each stage.

    Parameters
    ----------
    below
        What stands in the cube of the sources that have items.
    found
        Stage -> names of the markers of those that are complete.
    """
    work: dict[str, list[Unit]] = {stage: [] for stage in STAGES}
    for what in _months(plan, below):
        made, index = what.made, position(plan.months, what.month)
        area, marker = "", ""
        if made.how.kind == "tvdi":
            area = what.area
            counts = [
                Unit(SCATTER, unit_name(made.source, what.month, tile), origin, count, (made, tile, index))
                for tile, origin in what.origins
            ]
            pieces = tuple(
                Piece(SCATTER, unit.marker, made.source.name, *tile.coarse)
                for unit, (tile, _) in zip(counts, what.origins, strict=True)
                if unit.marker in found[SCATTER]
            )
            lines = Unit(EDGES, f"{made.source.name}/{what.month}", area, draw_edges, (pieces,))
            marker = lines.marker if lines.marker in found[EDGES] else ""
            work[SCATTER] += counts
            work[EDGES].append(lines)
        for tile, origin in what.origins:
            arguments = (made, marker, plan.grid, tile, plan.months, (what.month,))
            name = unit_name(made.source, what.month, tile)
            work[DERIVE].append(Unit(DERIVE, name, digest(origin, area), derive, arguments, cube_regions.blank))
    return work


def standing(plan: Plan, below: State, found: Collection[str]) -> dict[str, str]:
    """What derived predictors are made from, by the names of their units."""
    made = units(plan, below, dict.fromkeys(STAGES, ()))[DERIVE]
    return {unit.name: unit.digest if unit.marker in found else MISSING for unit in made}
