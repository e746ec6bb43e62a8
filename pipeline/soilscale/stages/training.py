"""The stages in their order: each reads the product before it, does what is not complete, and writes its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from soilscale import cube, models, reports, samples, storage
from soilscale.engine.output import digest
from soilscale.engine.units import Unit, raise_failed
from soilscale.models import Job
from soilscale.seasons import ALL
from soilscale.stages import joint_fits, model_analysis, stacking
from soilscale.stages.joined_tables import is_joined, join, mark_joined
from soilscale.stages.model_analysis import Fit
from soilscale.stages.project import Project
from soilscale.stages.samples import TRAIN, samples_digest
from soilscale.tasks import single_fits, training_table
from soilscale.tasks.stack_weights import WeighMembers

logger = logging.getLogger(__name__)


SCORED = "models like this one that did not learn from the rows they are scored on; this one learned from all rows"
"""What the accuracy in a model's description is of."""


def train(run: Project) -> None:
    """Fit a model per season and algorithm, and judge them by random and blocked splits.

    Raises
    ------
    DataError
        If no season has rows enough for a model.
    """
    settings = run.config
    short_counts = samples.check_counts(training_table.counts(run.workspace.samples), settings.season_scheme)
    samples.refuse_too_few(short_counts, settings.season_scheme)
    for name, count in short_counts.items():
        logger.warning(
            "season %s has %d training rows, too few for a model; the comprehensive one is used", name, count
        )
    seasons, made_from = trained_seasons(run), samples_digest(run)
    # In this order, each planned when the one before has ended: parameters hold what `knots` measures, tuning takes the
    # features selected, fits both.
    raise_failed(run.do(joint_fits.knots_units(run), "train: fine features"))
    raise_failed(run.do(model_analysis.select_units(run, seasons, made_from), "train: forward selection"))
    raise_failed(run.do(model_analysis.tune_units(run, seasons, made_from), "train: tuning"))
    raise_failed(run.do(joint_fits.basis_units(run), "train: basis"))
    raise_failed(run.do(joint_fits.variance_units(run, made_from), "train: variances"))
    fits = train_units(run, seasons)
    raise_failed(run.do(fits, "train"))
    stacks = stacking.stack_units(run, seasons, fits)
    raise_failed(run.do(stacks, "train: stack"))
    work = [*fits, *stacks]
    run.do(model_analysis.importance_units(run, seasons, fits), "train: importance")
    run.do(model_analysis.ablation_units(run, seasons, made_from), "train: ablation")
    if not is_joined(run, work, run.workspace.predictions):
        join(run, work, run.workspace.predictions)
        _describe(run, [(unit.stage, model) for unit in work for model in models.stored_models(unit.task.job, seasons)])
        # Last: a run that was killed before it finds no mark, and writes table and descriptions again.
        mark_joined(run, work)


def trained_seasons(run: Project) -> list[str]:
    """Seasons that have rows enough for a model of their own."""
    short_counts = samples.check_counts(training_table.counts(run.workspace.samples), run.config.season_scheme)
    return [name for name in run.config.season_scheme.names if name not in short_counts]


def train_units(run: Project, seasons: Sequence[str]) -> list[Unit[Fit]]:
    """One unit for each fit."""
    settings = run.config.models
    made_from = samples_digest(run)
    unit_of_feature, within = cube.feature_units(run.plan.inputs), joint_fits.within(run)
    units: list[Unit[Fit]] = []
    for job in models.jobs(seasons, settings.algorithms, settings.folds):
        if models.find(job.algorithm).joint:
            units.append(joint_fits.fit_unit(run, TRAIN, job, seasons, made_from, unit_of_feature))
            continue
        features = model_analysis.features_of(run, job.season)
        parameters = model_analysis.parameters_of(run, job.season, job.algorithm, within)
        feature_units = {name: unit_of_feature[name] for name in features}
        origin = digest(made_from, job, parameters, settings.folds, features, single_fits.FORMAT)
        task = single_fits.FitSingle(
            job=job,
            features=features,
            units=feature_units,
            parameters=parameters,
            seed=settings.seed,
            folds=settings.folds,
        )
        units.append(Unit(TRAIN, job.name, origin, task))
    return units


def model_units(run: Project, seasons: Sequence[str]) -> list[Unit[Fit | WeighMembers]]:
    """One unit for each fit, and for each model that is made of others."""
    fits = train_units(run, seasons)
    return [*fits, *stacking.stack_units(run, seasons, fits)]


def _describe(run: Project, jobs: Sequence[tuple[str, Job]]) -> None:
    """Write the description of every model, each with its stage, with its accuracy."""
    accuracy = reports.accuracy(single_fits.predictions(run.workspace.predictions), run.config.season_scheme.names)
    for stage, job in jobs:
        description = storage.read_json(run.workspace.state(stage, f"{job.name}.about.json"))
        rows = accuracy[(accuracy["algorithm"] == job.algorithm) & (accuracy["model"] == job.model)]
        # The comprehensive model serves all seasons, and tells its accuracy in each.
        if job.season != ALL:
            rows = rows[rows["season"] == job.season]
        description["accuracy"] = [
            {key: _plain(value) for key, value in row.items() if key in {"season", "split", "metric", "value", "n"}}
            for row in rows.to_dict("records")
        ]
        description["accuracy_of"] = SCORED
        storage.write_json(run.workspace.model(job.season, job.algorithm, "model.json"), description)


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
