"""Units that harmonise the sensors of a target."""

from __future__ import annotations

from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.stages.cube_state import State
from soilscale.stages.plan import Plan
from soilscale.tasks.cube_regions import HarmoniseTile, Relate

RELATE, HARMONISE, MERGE = "relate", "harmonise", "merge"
"""Stages of a target of several parts: their relation over the area, the tiles of the target, and all together."""


def relate_units(plan: Plan, standing: State) -> list[Unit[Relate]]:
    """The unit that relates a target's parts over the area; none if it has none, or they stay as they are."""
    name, how = plan.target.source.name, plan.target.source.harmonise
    if how is None or how.method == "none":
        return []
    made_from = digest(plan.layout, how, [standing.parts(tile, how) for tile in plan.grid.tiles()])
    return [Unit(RELATE, name, made_from, Relate(name=name, how=how, months=plan.months))]


def harmonise_units(plan: Plan, standing: State) -> list[Unit[HarmoniseTile]]:
    """Units that bring a target's parts to one level: one for each tile, since each month hangs on all; or none."""
    name, how = plan.target.source.name, plan.target.source.harmonise
    if how is None:
        return []
    related = [unit.digest for unit in relate_units(plan, standing)]
    return [
        Unit(
            HARMONISE,
            f"{name}_{tile.name}",
            digest(plan.layout, how, related, standing.parts(tile, how)),
            HarmoniseTile(name=name, how=how, months=plan.months, tile=tile),
        )
        for tile in plan.grid.tiles()
    ]
