"""Units that measure the area of applicability of the maps' models, and what a worker reads of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.stages import stacking
from soilscale.stages.project import Project
from soilscale.tasks.applicability_index import FORMAT, STAGE, MeasureApplicability

if TYPE_CHECKING:
    from soilscale.tasks.map_making import Chosen


def units(run: Project, chosen: Iterable[Chosen]) -> dict[Chosen, Unit[MeasureApplicability]]:
    """One unit for each model that makes maps; none if the configuration asks for none."""
    if not run.config.maps.applicability:
        return {}
    settings = run.config.models
    by_model = {}
    # A set: seasons with too few rows of their own share the comprehensive model, which is measured once.
    for model in set(chosen):
        features = stacking.features_of(run, model.algorithm, model.season)
        name = f"{model.season}-{model.algorithm}"
        url = run.workspace.model(model.season, model.algorithm)
        options = {"seed": settings.seed, "folds": settings.folds}
        origin = digest(FORMAT, model, features, options)
        task = MeasureApplicability(
            name=name, season=model.season, model=(url, model.version), features=features, **options
        )
        by_model[model] = Unit(STAGE, name, origin, task)
    return by_model
