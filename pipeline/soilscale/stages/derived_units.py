"""Predictors derived from others month by month: units that derive them after gaps are filled."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from soilscale.engine.output import digest
from soilscale.engine.payloads import Piece
from soilscale.engine.units import Task, Unit
from soilscale.grid import Tile
from soilscale.seasons import month_range, position
from soilscale.stages.cube_state import MISSING, State
from soilscale.stages.cube_units import unit_name
from soilscale.stages.plan import Plan
from soilscale.tasks.derived_features import DERIVE, EDGES, SCATTER, CountScatter, Derive, DrawEdges, Made
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
    by_name = {source_input.source.name: source_input for source_input in plan.inputs}
    tiles = list(plan.grid.tiles())
    for source_input in plan.inputs:
        how = source_input.source.derivation
        if how is None:
            continue
        parts = [by_name[name] for name in how.of]
        derived = Made(source_input.source, how, KELVIN.get(parts[0].unit, (1.0, 0.0)))
        recipe = digest(FORMAT, plan.recipes[source_input.source.name])
        for month in plan.months:
            span = month_range(month - np.timedelta64(how.months, "M"), month)
            origins = [(tile, digest(recipe, [below.of(part, tile, span) for part in parts])) for tile in tiles]
            yield _Month(derived, month, origins)


@dataclass(frozen=True)
class DerivedUnits:
    """Units of the stages that derive predictors, in their order."""

    scatter: Sequence[Unit[CountScatter]] = ()
    edges: Sequence[Unit[DrawEdges]] = ()
    derive: Sequence[Unit[Derive]] = ()

    def by_stage(self) -> dict[str, Sequence[Unit[Task]]]:
        """Stage -> its units."""
        return {SCATTER: self.scatter, EDGES: self.edges, DERIVE: self.derive}


def units(plan: Plan, below: State, complete: Mapping[str, Collection[str]]) -> DerivedUnits:
    """Units of each stage.

    Parameters
    ----------
    below
        What stands in the cube of the sources that have items.
    complete
        Stage -> names of the markers of those that are complete.
    """
    scatter: list[Unit[CountScatter]] = []
    edges: list[Unit[DrawEdges]] = []
    derive: list[Unit[Derive]] = []
    for derived_month in _months(plan, below):
        derived, index = derived_month.made, position(plan.months, derived_month.month)
        # Edges are drawn from the scatter of the whole area, so a tile of `tvdi` hangs on all tiles; of the other kinds
        # on itself alone.
        area, marker = "", ""
        if derived.how.kind == "tvdi":
            area = derived_month.area
            counts = [
                Unit(
                    SCATTER,
                    unit_name(derived.source, derived_month.month, tile),
                    origin,
                    CountScatter(made=derived, tile=tile, index=index),
                )
                for tile, origin in derived_month.origins
            ]
            pieces = tuple(
                Piece(SCATTER, unit.marker, derived.source.name, *tile.coarse)
                for unit, (tile, _) in zip(counts, derived_month.origins, strict=True)
                if unit.marker in complete[SCATTER]
            )
            lines = Unit(EDGES, f"{derived.source.name}/{derived_month.month}", area, DrawEdges(pieces=pieces))
            marker = lines.marker if lines.marker in complete[EDGES] else ""
            scatter += counts
            edges.append(lines)
        for tile, origin in derived_month.origins:
            task = Derive(
                made=derived, marker=marker, grid=plan.grid, tile=tile, months=plan.months, alike=(derived_month.month,)
            )
            derive.append(
                Unit(DERIVE, unit_name(derived.source, derived_month.month, tile), digest(origin, area), task)
            )
    return DerivedUnits(scatter, edges, derive)


def standing(plan: Plan, below: State, complete: Collection[str]) -> dict[str, str]:
    """What derived predictors are made from, by the names of their units."""
    # Names and digests do not hang on what is complete, so no markers need be listed for them.
    derive_units = units(plan, below, dict.fromkeys(STAGES, ())).derive
    return {unit.name: unit.digest if unit.marker in complete else MISSING for unit in derive_units}
