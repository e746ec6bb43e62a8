"""A configuration on a cluster: what every stage takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from distributed import Client

from soilscale import cube
from soilscale.config import Config
from soilscale.flow import plan, units
from soilscale.flow.plan import Plan, State
from soilscale.flow.units import Progress, Receipt, Unit
from soilscale.flow.workspace import Workspace


@dataclass(frozen=True)
class Run:
    """A configuration on a cluster."""

    config: Config
    client: Client
    progress: Progress

    @cached_property
    def workspace(self) -> Workspace:
        """Where the products live."""
        return Workspace(self.config.output)

    def do(self, work: Sequence[Unit], doing: str) -> list[Receipt]:
        """Do the units of a stage that are not complete."""
        return units.run(self.client, self.workspace, work, self.progress, doing)

    @cached_property
    def plan(self) -> Plan:
        """Inputs and units of the cube, from the frozen items."""
        return plan.make(self.config, self.workspace)

    @property
    def standing(self) -> State:
        """What stands in the cube."""
        return plan.state(self.workspace, self.plan, plan.cube_units(self.config, self.plan))

    @property
    def features(self) -> tuple[str, ...]:
        """Features of the models, in the cube's order."""
        return tuple(cube.features(self.plan.inputs))
