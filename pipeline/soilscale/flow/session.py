"""A configuration on a cluster: what every stage takes.

Dask and what plans the cube are imported at their first use: a command that finds nothing to do needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

from soilscale import __version__, config, cube, flow
from soilscale.config import Config
from soilscale.errors import DataError, IncompleteError
from soilscale.flow.units import Receipt, Unit, markers
from soilscale.flow.workspace import Workspace, digest

if TYPE_CHECKING:
    from distributed import Client

    from soilscale.flow.period import Renewal
    from soilscale.flow.plan import Plan, State

PACKAGES = ("dask", "numpy", "rasterio", "scikit-learn", "stackstac", "xarray", "zarr")
"""Packages whose versions are told."""

Progress = Callable[[str, int, int | None], None]
"""Takes what is being done, how much of it is done, and how much there is of it (None: not known)."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    lines: Sequence[str]
    """What to tell."""
    failures: Sequence[Receipt]
    """Units that are missing: their input could not be used, or they killed their workers."""
    items: Mapping[str, int] = field(default_factory=dict)
    """Source -> number of its items, where units are missing."""

    @property
    def causes(self) -> list[str]:
        """Why units are missing, a line for each source and cause."""
        return flow.causes.lines(self.failures, self.items)

    @property
    def status(self) -> int:
        """Exit status: what a rerun may mend comes before what it will not."""
        if any(receipt.outcome == "killed" for receipt in self.failures):
            return IncompleteError.status
        return DataError.status if self.failures else 0


@dataclass(frozen=True)
class Run:
    """A configuration on a cluster."""

    config: Config
    connect: Callable[[], Client]
    """Gives the cluster's client; called only when there is something to do."""
    progress: Progress
    renewal: Renewal | None = None
    """How the months of a relative period were found."""
    term: int | None = None
    """Term of the output's lease by which this run writes."""

    @cached_property
    def workspace(self) -> Workspace:
        """Where the products live."""
        return Workspace(self.config.output, self.term)

    @cached_property
    def config_hash(self) -> str:
        """Hash of the resolved configuration, whatever the place of its output."""
        told = config.dump(self.config)
        del told["output"]
        return digest(told)

    def do(self, work: Sequence[Unit], doing: str) -> list[Receipt]:
        """Do the units of a stage that are not complete, and tell of those that are missing at its end."""
        if not work:
            return []
        return flow.dispatch.run(self.connect, self.workspace, work, self.progress, doing)

    @cached_property
    def plan(self) -> Plan:
        """Inputs and units of the cube, from the frozen items."""
        return flow.plan.make(self.config, self.workspace)

    @property
    def standing(self) -> State:
        """What stands in the cube."""
        return flow.plan.state(self.workspace, self.plan, self.cube_units)

    @cached_property
    def cube_units(self) -> list[Unit]:
        """Units that fill the cube."""
        return flow.plan.cube_units(self.config, self.plan)

    @property
    def gaps_units(self) -> dict[str, list[Unit]]:
        """Units that fill the gaps of predictors, by their stage; none where they are left in the cube."""
        found = markers(self.workspace, flow.plan.CUBE)
        seen = flow.plan.observed(self.plan, self.cube_units, found)
        return flow.gaps.units(self.plan, self.cube_units, seen, found) if self.plan.filled else {}

    @property
    def derive_units(self) -> dict[str, list[Unit]]:
        """Units that derive predictors from others month by month, by their stage."""
        if not self.config.derived_list:
            return {stage: [] for stage in flow.deriving.STAGES}
        found = {stage: markers(self.workspace, stage) for stage in flow.deriving.STAGES}
        return flow.deriving.units(self.plan, self.standing, found)

    @property
    def gather_units(self) -> list[Unit]:
        """Units that write the coarse group from what those keep that are complete."""
        stages = (flow.plan.CUBE, flow.gaps.GAPS, flow.deriving.DERIVE)
        found = {stage: markers(self.workspace, stage) for stage in stages}
        later = [*self.gaps_units.get(flow.gaps.GAPS, ()), *self.derive_units[flow.deriving.DERIVE]]
        return flow.gathering.gather_units(self.plan, self.cube_units, later, found)

    @property
    def merge_units(self) -> list[Unit]:
        """Units that write a harmonised target likewise."""
        return flow.gathering.merge_units(self.plan, self.standing, markers(self.workspace, flow.plan.HARMONISE))

    @property
    def items(self) -> dict[str, int]:
        """Number of frozen items of each source."""
        return {name: len(scenes) for name, scenes in self.plan.scenes.items()}

    def ended(self, lines: Sequence[str]) -> Outcome:
        """How a command ended: what it tells, and the units that are missing."""
        failed = flow.units.failures(self.workspace)
        return Outcome(lines, failed, self.items if failed else {})

    def forget(self) -> None:
        """Plan anew: the frozen items, or the classes found in them, have changed."""
        for name in ("plan", "cube_units"):
            self.__dict__.pop(name, None)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that make the products."""
        return {"soilscale": __version__} | {name: version(name) for name in PACKAGES}

    @property
    def features(self) -> tuple[str, ...]:
        """Features of the models, in the cube's order."""
        return tuple(cube.features(self.plan.inputs))
