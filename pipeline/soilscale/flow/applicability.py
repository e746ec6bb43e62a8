"""Units that measure where the models of the maps are applicable, and what a worker reads of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from soilscale import models, storage
from soilscale.errors import DataError
from soilscale.flow import learn, stacking
from soilscale.flow.session import Run
from soilscale.flow.units import Unit
from soilscale.flow.workspace import Workspace, digest

if TYPE_CHECKING:
    from soilscale.flow.mapping import Chosen

STAGE = "applicability"
"""Stage of these units."""

FORMAT = 1
"""Version of what these units write; a change redoes them and the maps."""


@dataclass(frozen=True)
class Measured:
    """Where a model's applicability was measured, and from what."""

    name: str
    version: str


def units(run: Run, chosen: Iterable[Chosen]) -> dict[Chosen, Unit]:
    """One unit for each model that makes maps; none if the configuration asks for none."""
    if not run.config.maps.applicability:
        return {}
    settings = run.config.models
    found = {}
    for model in set(chosen):
        features = stacking.features_of(run, model.algorithm, model.season)
        name = f"{model.season}-{model.algorithm}"
        url = run.workspace.model(model.season, model.algorithm)
        options = {"seed": settings.seed, "folds": settings.folds}
        origin = digest(FORMAT, model, features, options)
        arguments = (name, model.season, (url, model.version), features, options)
        found[model] = Unit(STAGE, name, origin, measure, arguments)
    return found


def measure(
    workspace: Workspace,
    name: str,
    season: str,
    model: tuple[str, str],
    features: Sequence[str],
    options: Mapping[str, int],
) -> None:
    """Measure where a model, given by its folder and version, is applicable, on a worker."""
    rows = learn.table(workspace.samples, season, options["seed"], options["folds"], by_place=True)
    values, folds = rows[list(features)].to_numpy("float32"), rows[models.FOLD].to_numpy()
    del rows
    known = models.applicability.measure(learn.load(*model), values, folds, seed=options["seed"])
    storage.write_bytes(_url(workspace, name), known.dumps())


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
