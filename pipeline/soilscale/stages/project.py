"""The plan of a run in its context: the inputs, the units of the cube, and its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from soilscale import cube
from soilscale.engine import units
from soilscale.engine.units import Unit, markers
from soilscale.stages import coarse_units, completeness, cube_state, derived_units, gap_units, harmonise_units
from soilscale.stages import cube_units as units_of_cube
from soilscale.stages import plan as plan_stages
from soilscale.stages.context import Outcome, Run
from soilscale.stages.cube_state import State
from soilscale.stages.cube_units import Read
from soilscale.stages.derived_units import DerivedUnits
from soilscale.stages.gap_units import GapUnits
from soilscale.stages.plan import Plan
from soilscale.tasks import cube_regions, derived_features, gap_filling
from soilscale.tasks.cube_regions import Gather


@dataclass(frozen=True)
class Project(Run):
    """A run and its plan, from the frozen items."""

    @classmethod
    def of(cls, run: Run) -> Project:
        """Project of a run; what it has planned already is kept."""
        return run if isinstance(run, cls) else cls(**{entry.name: getattr(run, entry.name) for entry in fields(Run)})

    @cached_property
    def plan(self) -> Plan:
        """Inputs and units of the cube, from the frozen items."""
        return plan_stages.make(self.config, self.workspace)

    @property
    def standing(self) -> State:
        """What stands in the cube: once for a run that only reads, else anew each time, for units become complete."""
        return self._standing if self.reads else self._anew("_standing")

    @cached_property
    def _standing(self) -> State:
        return completeness.state(self.workspace, self.plan, self.cube_units)

    @cached_property
    def cube_units(self) -> list[Unit[Read]]:
        """Units that fill the cube."""
        return units_of_cube.cube_units(self.config, self.plan)

    @property
    def gaps_units(self) -> GapUnits:
        """Units that fill the gaps of predictors, by their stage; none where gaps are left in the cube."""
        # Planned anew at each call, for more is complete each time; a cached plan would leave out what has just been
        # read.
        return self._gaps_units if self.reads else self._anew("_gaps_units")

    @cached_property
    def _gaps_units(self) -> GapUnits:
        complete = markers(self.workspace, cube_regions.CUBE)
        observed = cube_state.observed(self.plan, self.cube_units, complete)
        return gap_units.units(self.plan, self.cube_units, observed, complete) if self.plan.filled else GapUnits()

    @property
    def derive_units(self) -> DerivedUnits:
        """Units that derive predictors from others month by month, by their stage."""
        if not self.config.derived_list:
            return DerivedUnits()
        complete = {stage: markers(self.workspace, stage) for stage in derived_units.STAGES}
        return derived_units.units(self.plan, self.standing, complete)

    @property
    def gather_units(self) -> list[Unit[Gather]]:
        """Units that write the coarse group from what those keep that are complete."""
        stages = (cube_regions.CUBE, gap_filling.GAPS, derived_features.DERIVE)
        complete = {stage: markers(self.workspace, stage) for stage in stages}
        later = [*self.gaps_units.gaps, *self.derive_units.derive]
        return coarse_units.gather_units(self.plan, self.cube_units, later, complete)

    @property
    def merge_units(self) -> list[Unit[Gather]]:
        """Units that write a harmonised target likewise."""
        return coarse_units.merge_units(self.plan, self.standing, markers(self.workspace, harmonise_units.HARMONISE))

    def _anew(self, name: str) -> Any:
        """Attribute that is worked out again."""
        self.__dict__.pop(name, None)
        return getattr(self, name)

    @property
    def items(self) -> dict[str, int]:
        """Number of frozen items of each source."""
        return {name: len(scenes) for name, scenes in self.plan.scenes.items()}

    def ended(self, lines: Sequence[str]) -> Outcome:
        """How a command ended: what it tells, and the units that are missing."""
        failed = units.failures(self.workspace)
        return Outcome(lines, failed, self.items if failed else {})

    def forget(self) -> None:
        """Plan anew: the frozen items, or the classes found in them, have changed."""
        for name in ("plan", "cube_units"):
            self.__dict__.pop(name, None)

    @property
    def features(self) -> tuple[str, ...]:
        """Features of the models, in the cube's order."""
        return tuple(cube.features(self.plan.inputs))
