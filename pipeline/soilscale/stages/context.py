"""A configuration on a cluster: the context of every stage.

Dask is imported at its first use: a command that finds nothing to do does not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

from soilscale import __version__, config
from soilscale.config import Config
from soilscale.engine import causes as causes_engine
from soilscale.engine.output import Workspace, digest
from soilscale.engine.units import Progress, Receipt, Task, Unit
from soilscale.errors import DataError, IncompleteError

if TYPE_CHECKING:
    from distributed import Client

PACKAGES = ("dask", "numpy", "rasterio", "scikit-learn", "stackstac", "xarray", "zarr")
"""Packages whose versions are told."""


Span = tuple[str, str]
"""First and last month, inclusive."""


@dataclass(frozen=True)
class Renewal:
    """A relative period as it was resolved, once for all stages of a run."""

    asked: str
    """The period as it was written."""
    date: str
    """Date of the run, UTC, from which months are counted back."""
    renewed: Span | None
    """Months to bring up to date; None if there are none but those that an earlier release holds."""
    revised: bool
    """Whether revised inputs of all earlier months are taken too."""


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
        return causes_engine.lines(self.failures, self.items)

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
    reads: bool = False
    """Whether it only reads, as `status` does: the store is then listed once, and what stands is worked out once."""

    @cached_property
    def workspace(self) -> Workspace:
        """Where the products live."""
        workspace = Workspace(self.config.output, self.term)
        return workspace.listed() if self.reads else workspace

    @cached_property
    def config_hash(self) -> str:
        """Hash of the resolved configuration, whatever the place of its output."""
        content = config.dump(self.config)
        # Else the same output under another path would have its report made again, which hangs on this hash.
        del content["output"]
        return digest(content)

    def do(self, work: Sequence[Unit[Task]], doing: str) -> list[Receipt]:
        """Do the units of a stage that are not complete, and tell of those that are missing at its end."""
        if not work:
            return []
        from soilscale.engine import scheduler

        return scheduler.run(self.connect, self.workspace, work, self.progress, doing)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that make the products."""
        return {"soilscale": __version__} | {name: version(name) for name in PACKAGES}
