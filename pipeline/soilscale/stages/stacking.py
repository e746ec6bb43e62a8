"""Units of a stack: the weighted predictions of its members; it uses their units and copies none of their models."""

from __future__ import annotations

from collections.abc import Sequence

from soilscale import cube, models
from soilscale.engine.output import digest
from soilscale.engine.units import Unit
from soilscale.models import Job
from soilscale.seasons import ALL
from soilscale.stages import model_analysis
from soilscale.stages.model_analysis import Fit
from soilscale.stages.project import Project
from soilscale.tasks.stack_weights import STACK, WeighMembers

FORMAT = 1
"""Version of what a stack writes; a change redoes it."""


def algorithms(run: Project) -> list[str]:
    """Algorithms of a configuration that are made of others."""
    return [name for name in run.config.models.algorithms if models.find(name).members]


def stack_units(run: Project, seasons: Sequence[str], fits: Sequence[Unit[Fit]]) -> list[Unit[WeighMembers]]:
    """One unit for each stack.

    Parameters
    ----------
    seasons
        Seasons with a model of their own.
    fits
        Units of all fits.
    """
    settings, feature_units = run.config.models, cube.feature_units(run.plan.inputs)
    units = []
    for name in algorithms(run) if seasons else ():
        members = models.find(name).members
        under = [unit for unit in fits if unit.task.job.algorithm in members]
        parts = {member: [_part(unit) for unit in under if unit.task.job.algorithm == member] for member in members}
        columns = {
            season: {member: features_of(run, member, season) for member in members} for season in (*seasons, ALL)
        }
        weights = str(models.find(name).make(settings.parameters.get(name, {}), 1, 0).get_params()["weights"])
        job = Job(ALL, name, "seasonal", "random", None)
        # Digests of the members' units say all of their data; what is added is how they are weighed.
        origin = digest(FORMAT, [unit.digest for unit in under], columns, seasons, weights)
        task = WeighMembers(
            job=job,
            seasons=tuple(seasons),
            parts=parts,
            columns=columns,
            features=run.features,
            units=feature_units,
            weights=weights,
            seed=settings.seed,
            folds=settings.folds,
        )
        units.append(Unit(STACK, job.name, origin, task))
    return units


def features_of(run: Project, algorithm: str, season: str) -> tuple[str, ...]:
    """Features that an algorithm's model of a season takes."""
    definition = models.find(algorithm)
    return run.features if definition.joint or definition.members else model_analysis.features_of(run, season)


def _part(unit: Unit[Fit]) -> tuple[str, str, int]:
    fold = unit.task.job.fold
    return unit.stage, unit.name, -1 if fold is None else fold
