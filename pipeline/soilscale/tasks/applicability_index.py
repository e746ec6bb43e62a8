"""What a worker does for the area of applicability: measure it of a model, and read it again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from soilscale import models, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Task
from soilscale.errors import DataError
from soilscale.tasks import model_store, training_table

STAGE = "applicability"
"""Stage of these units."""


FORMAT = 1
"""Version of what these units write; a change redoes them and the maps."""


@dataclass(frozen=True)
class Measured:
    """Where a model's applicability was measured, and from what."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureApplicability(Task):
    """Measure where a model is applicable."""

    name: str
    season: str
    model: tuple[str, str]
    """Its folder and version."""
    features: tuple[str, ...]
    seed: int
    folds: int

    def run(self, workspace: Workspace) -> None:
        """Write the index of the training rows below `state/`."""
        rows = training_table.table(workspace.samples, self.season, self.seed, self.folds, by_place=True)
        values, folds = rows[list(self.features)].to_numpy("float32"), rows[models.FOLD].to_numpy()
        # Freed: what is measured needs the values alone.
        del rows
        measured = models.applicability.measure(model_store.load(*self.model), values, folds, seed=self.seed)
        storage.write_bytes(_url(workspace, self.name), measured.dumps())


def read(workspace: Workspace, measured: Measured) -> models.Applicability:
    """What a unit has measured; remembered by this process.

    Raises
    ------
    storage.DamagedError
        If it is something else.
    """
    return _read(_url(workspace, measured.name), measured.version)


@lru_cache(maxsize=2)
def _read(url: str, version: str) -> models.Applicability:  # noqa: ARG001 - what is remembered is of one version
    try:
        return models.applicability.loads(storage.read_bytes(url))
    except DataError as error:
        raise storage.damaged(url, error) from error


def _url(workspace: Workspace, name: str) -> str:
    return workspace.state(STAGE, f"{name}.npz")
