"""Units of a stack: what its members predicted, weighted; it rests on their units and copies none of their models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from soilscale import cube, models, storage
from soilscale.flow import explain, learn
from soilscale.flow.session import Run
from soilscale.flow.units import Unit
from soilscale.flow.workspace import Workspace, digest
from soilscale.models import FOLD, Job
from soilscale.seasons import ALL

STACK = "stack"
"""Stage that comes after the fits."""

FORMAT = 1
"""Version of what a stack writes; a change redoes it."""

Parts = Mapping[str, Sequence[tuple[str, str, int]]]
"""Member -> stage and name of each table of its predictions, and the fold that it is of, -1 of the random split."""


def algorithms(run: Run) -> list[str]:
    """Algorithms of a configuration that are made of others."""
    return [name for name in run.config.models.algorithms if models.find(name).members]


def stack_units(run: Run, seasons: Sequence[str], fits: Sequence[Unit]) -> list[Unit]:
    """One unit for each stack.

    Parameters
    ----------
    seasons
        Seasons with a model of their own.
    fits
        Units of all fits.
    """
    settings, told = run.config.models, cube.feature_units(run.plan.inputs)
    units = []
    for name in algorithms(run) if seasons else ():
        members = models.find(name).members
        under = [unit for unit in fits if unit.arguments[0].algorithm in members]
        parts = {member: [_part(unit) for unit in under if unit.arguments[0].algorithm == member] for member in members}
        columns = {
            season: {member: features_of(run, member, season) for member in members} for season in (*seasons, ALL)
        }
        weights = str(models.find(name).make(settings.parameters.get(name, {}), 1, 0).get_params()["weights"])
        job = Job(ALL, name, "seasonal", "random", None)
        origin = digest(FORMAT, [unit.digest for unit in under], columns, seasons, weights)
        options = {"weights": weights, "seed": settings.seed, "folds": settings.folds}
        arguments = (job, tuple(seasons), parts, columns, run.features, told, options)
        units.append(Unit(STACK, job.name, origin, fit, arguments))
    return units


def features_of(run: Run, algorithm: str, season: str) -> tuple[str, ...]:
    """Features that an algorithm's model of a season takes."""
    known = models.find(algorithm)
    return run.features if known.joint or known.members else explain.features_of(run, season)


def _part(unit: Unit) -> tuple[str, str, int]:
    fold = unit.arguments[0].fold
    return unit.stage, unit.name, -1 if fold is None else fold


def fit(
    workspace: Workspace,
    job: Job,
    seasons: Sequence[str],
    parts: Parts,
    columns: Mapping[str, Mapping[str, Sequence[str]]],
    features: Sequence[str],
    units: Mapping[str, str],
    options: Mapping[str, Any],
) -> None:
    """Weigh the members on a worker; keep the predictions, and of each model its members, weights and description."""
    table = models.stack.together({member: _predictions(workspace, found) for member, found in parts.items()})
    judged = models.stack.judge(table, list(parts), job.algorithm, seasons, options["weights"])
    del table
    learn.write_table(workspace.state(STACK, f"{job.name}.parquet"), judged.predictions)
    for model in models.kept(job, seasons):
        weights = dict(zip(parts, judged.stacks[model.season].weights_.tolist(), strict=True))
        members = {
            member: {"weight": weight, "features": list(columns[model.season][member])}
            for member, weight in weights.items()
        }
        told = {"members": members, "features": list(features)}
        storage.write_json(workspace.model(model.season, model.algorithm, learn.MEMBERS), told)
        rows = learn.all_rows(workspace, model, options["seed"], options["folds"])
        scored = judged.predictions["model"] == model.model
        if model.season != ALL:
            scored &= judged.predictions["season"] == model.season
        estimator = judged.stacks[model.season]
        about = models.describe(model, estimator, rows, features, units, judged.predictions[scored])
        held_out = int((judged.predictions[scored]["split"] == "random").sum())
        about["rows"] = {**about["rows"], "validation": held_out}
        storage.write_json(workspace.state(STACK, f"{model.name}.about.json"), about | {"members": weights})


def _predictions(workspace: Workspace, parts: Sequence[tuple[str, str, int]]) -> pd.DataFrame:
    """Predictions of one member, with the fold that each row was held out in."""
    tables = [learn.read_table(workspace.state(stage, f"{name}.parquet")) for stage, name, _ in parts]
    marked = [table.assign(**{FOLD: fold}) for table, (_, _, fold) in zip(tables, parts, strict=True)]
    return pd.concat([table for table in marked if len(table)] or marked[:1], ignore_index=True)
