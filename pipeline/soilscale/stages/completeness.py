"""Which regions of the cube are complete, and what they were made from."""

from __future__ import annotations

from collections.abc import Sequence

from soilscale.engine.output import Workspace
from soilscale.engine.units import Unit, markers
from soilscale.stages import derived_units, gap_units
from soilscale.stages.cube_state import MISSING, State, observed
from soilscale.stages.cube_units import Read, unit_name
from soilscale.stages.harmonise_units import HARMONISE, harmonise_units
from soilscale.stages.plan import Plan
from soilscale.tasks import derived_features, gap_filling
from soilscale.tasks.cube_regions import CUBE


def state(workspace: Workspace, plan: Plan, units: Sequence[Unit[Read]]) -> State:
    """State of the cube as its markers tell."""
    # In the order of the stages: filled months take the place of what was read under the same names, and derived
    # predictors hang on those.
    observed_state = observed(plan, units, markers(workspace, CUBE))
    standing = dict(observed_state.units) | gap_units.standing(
        plan, units, observed_state, markers(workspace, gap_filling.GAPS)
    )
    complete = markers(workspace, derived_features.DERIVE)
    standing |= derived_units.standing(plan, State(plan, standing), complete)
    if plan.target.source.harmonise is not None:
        complete = markers(workspace, HARMONISE)
        for unit in harmonise_units(plan, State(plan, standing)):
            origin = unit.digest if unit.marker in complete else MISSING
            standing |= {unit_name(plan.target.source, month, unit.task.tile): origin for month in plan.months}
    return State(plan, standing)
