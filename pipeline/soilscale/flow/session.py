"""A configuration on a cluster: what every stage takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

from distributed import Client

from soilscale import __version__, config, cube
from soilscale.config import Config
from soilscale.flow import dispatch, plan
from soilscale.flow.dispatch import Progress
from soilscale.flow.plan import Plan, State
from soilscale.flow.units import Receipt, Unit
from soilscale.flow.workspace import Workspace, digest

PACKAGES = ("dask", "numpy", "rasterio", "scikit-learn", "stackstac", "xarray", "zarr")
"""Packages whose versions are told."""


@dataclass(frozen=True)
class Run:
    """A configuration on a cluster."""

    config: Config
    connect: Callable[[], Client]
    """Gives the cluster's client; called only when there is something to do."""
    progress: Progress

    @cached_property
    def workspace(self) -> Workspace:
        """Where the products live."""
        return Workspace(self.config.output)

    @cached_property
    def config_hash(self) -> str:
        """Hash of the resolved configuration."""
        return digest(config.dump(self.config))

    def do(self, work: Sequence[Unit], doing: str) -> list[Receipt]:
        """Do the units of a stage that are not complete, and tell of those that are missing at its end."""
        if not work:
            return []
        return dispatch.run(self.connect, self.workspace, work, self.progress, doing)

    @cached_property
    def plan(self) -> Plan:
        """Inputs and units of the cube, from the frozen items."""
        return plan.make(self.config, self.workspace)

    @property
    def standing(self) -> State:
        """What stands in the cube."""
        return plan.state(self.workspace, self.plan, self.cube_units)

    @cached_property
    def cube_units(self) -> list[Unit]:
        """Units that fill the cube."""
        return plan.cube_units(self.config, self.plan)

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
