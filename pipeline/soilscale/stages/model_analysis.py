"""Analysis of the models: predictors chosen, parameters tuned, importance and ablation; each with its own units."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from soilscale import cube, models, reports, storage
from soilscale.config import Config
from soilscale.engine.output import digest
from soilscale.engine.units import Task, Unit
from soilscale.models import WITHIN, Job, selection
from soilscale.models.selection import Setup
from soilscale.seasons import ALL
from soilscale.stages import joint_fits
from soilscale.stages.project import Project
from soilscale.storage import tables as tables_storage
from soilscale.tasks import single_fits, training_table
from soilscale.tasks.joint_learning import FitJoint
from soilscale.tasks.model_factors import (
    ABLATION,
    IMPORTANCE,
    SELECT,
    TUNE,
    LeaveOut,
    MeasureImportance,
    SelectFactors,
    Tune,
)
from soilscale.tasks.single_fits import FitSingle

Fit = FitSingle | FitJoint
"""Tasks that fit a job."""

STAGES = (SELECT, TUNE, IMPORTANCE, ABLATION)

IMPORTANCE_FORMAT = 1
"""Form of a table of importance; raised with its columns."""


def stages_of(config: Config) -> tuple[list[str], list[str]]:
    """Stages that a configuration asks for before the fits, and after them."""
    settings = config.models
    forest = any(name in selection.FORESTS for name in settings.algorithms)
    before = [stage for stage, switched_on in ((SELECT, settings.select), (TUNE, bool(settings.tune))) if switched_on]
    after = [
        stage
        for stage, switched_on in ((IMPORTANCE, forest), (ABLATION, settings.ablation is not False))
        if switched_on
    ]
    return before, after


def groups(run: Project) -> dict[str, str]:
    """Feature -> the group under which a reader knows it, in the features' order."""
    group_of = cube.groups(run.plan.inputs)
    return {name: group_of[name] for name in run.features}


def explained(run: Project) -> str:
    """Algorithm whose factors are judged: the paper's random forest if it is trained, else the first."""
    algorithms = run.config.models.algorithms
    return next((name for name in selection.FORESTS if name in algorithms), algorithms[0])


def features_of(run: Project, season: str) -> tuple[str, ...]:
    """Features that a season's models learn from: those that forward selection chose, or all."""
    url = run.workspace.state(SELECT, f"{season}.parquet")
    if not run.config.models.select or season == ALL or not storage.exists(url):
        return run.features
    steps = tables_storage.read_table(url)
    # A season for which no step was taken learns from all features, as if none had been selected.
    chosen = set(steps["features"].iloc[-1].split()) if len(steps) else set(run.features)
    return tuple(name for name in run.features if name in chosen)


Within = Mapping[str, Mapping[str, float]]
"""Season, and ``all`` -> feature -> its standard deviation within coarse cells (`joint_fits.within`)."""


def parameters_of(run: Project, season: str, algorithm: str, within: Within) -> dict[str, Any]:
    """Parameters of a fit: the algorithm's, then the season's own, then those that tuning found."""
    configured = _configured(run, season, algorithm, within)
    url = run.workspace.state(TUNE, f"{season}-{algorithm}.json")
    tuned = storage.read_json(url) if algorithm in run.config.models.tune and storage.exists(url) else []
    # The table has the combination with the least error first.
    return configured | (tuned[0]["parameters"] if tuned else {})


def _configured(run: Project, season: str, algorithm: str, within: Within) -> dict[str, Any]:
    settings = run.config.models
    season_parameters: Mapping[str, Any] = settings.season_parameters.get(season, {}).get(algorithm, {})
    # Only few months are looked at, so a season may have no measure of its own.
    measured = within.get(season, within.get(ALL)) if models.find(algorithm).placed else None
    return {**settings.parameters.get(algorithm, {}), **season_parameters} | ({WITHIN: measured} if measured else {})


def select_units(run: Project, seasons: Sequence[str], samples: str) -> list[Unit[SelectFactors]]:
    """One forward selection for each season."""
    if not run.config.models.select:
        return []
    group_of, within = groups(run), joint_fits.within(run)
    units = []
    for season in seasons:
        task = _task(run, season, explained(run), _configured(run, season, explained(run), within))
        made_from = digest(samples, group_of, task, single_fits.FORMAT)
        units.append(Unit(SELECT, season, made_from, SelectFactors(groups=group_of, task=task)))
    return units


def tune_units(run: Project, seasons: Sequence[str], samples: str) -> list[Unit[Tune]]:
    """Units that tune an algorithm in each season and for the comprehensive model, and that score the choice."""
    units, within = [], joint_fits.within(run)
    for algorithm, choices in run.config.models.tune.items() if seasons else ():
        for season in (*seasons, ALL):
            task = _task(run, season, algorithm, _configured(run, season, algorithm, within))
            features = features_of(run, season)
            draws = run.config.models.tune_draws
            made_from = digest(samples, features, task, choices, draws, single_fits.FORMAT)
            for name, how in (
                (f"{season}-{algorithm}", models.tuning.tune),
                (f"{season}-{algorithm}-nested", models.tuning.nested),
            ):
                tuning = Tune(name=name, how=how, features=features, task=task, choices=choices, draws=draws)
                units.append(Unit(TUNE, name, digest(made_from, name), tuning))
    return units


def importance_units(run: Project, seasons: Sequence[str], fits: Sequence[Unit[Fit]]) -> list[Unit[MeasureImportance]]:
    """One unit for each season's forest; none if no forest is trained."""
    algorithm = explained(run)
    if algorithm not in selection.FORESTS or not seasons:
        return []
    fit_units = {unit.name: unit for unit in fits}
    group_of = groups(run)
    units = []
    for season in (*seasons, ALL):
        # The job whose model is stored and makes maps; a fold would tell the importance of a model that nobody uses.
        job = Job(season, algorithm, "comprehensive" if season == ALL else "seasonal", "random", None)
        fit = fit_units[job.name]
        made_from = digest(fit.digest, group_of, IMPORTANCE_FORMAT)
        task = MeasureImportance(
            job=job,
            features=features_of(run, season),
            groups=group_of,
            parameters=fit.task.parameters,
            seed=fit.task.seed,
            folds=run.config.models.folds,
        )
        units.append(Unit(IMPORTANCE, season, made_from, task))
    return units


def ablation_units(run: Project, seasons: Sequence[str], samples: str) -> list[Unit[LeaveOut]]:
    """One unit for each season and factor left out, and one with nothing left out."""
    ablation = run.config.models.ablation
    if ablation is False:
        return []
    group_of, within = groups(run), joint_fits.within(run)
    names = list(dict.fromkeys(group_of.values())) if ablation is True else ablation
    units = []
    for season in seasons:
        season_groups = {name: group_of[name] for name in features_of(run, season)}
        task = _task(run, season, explained(run), parameters_of(run, season, explained(run), within))
        for name in (selection.NOTHING, *names):
            left = (
                season_groups
                if name == selection.NOTHING
                else set(season_groups) - set(selection.members(name, group_of))
            )
            # A season that does not use the factor would fit the same model again; `_with_unused` copies its scores
            # instead.
            if not left or (name != selection.NOTHING and len(left) == len(season_groups)):
                continue
            units.append(
                Unit(
                    ABLATION,
                    f"{season}-without-{name}",
                    digest(samples, season_groups, task, name, single_fits.FORMAT),
                    LeaveOut(name=f"{season}-without-{name}", groups=season_groups, left_out=name, task=task),
                )
            )
    return units


def _task(run: Project, season: str, algorithm: str, parameters: Mapping[str, Any]) -> Setup:
    settings = run.config.models
    return Setup(season, algorithm, parameters, settings.seed, settings.folds)


def tables(
    run: Project, seasons: Sequence[str], fits: Sequence[Unit[Fit]], samples: str, predictions: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Tables of what the models rest on, by the name of their file; those that nothing is known of are left out."""
    order, seed, rows = (
        run.config.season_scheme.names,
        run.config.models.seed,
        training_table.blocks(run.workspace.samples),
    )
    by_file = {
        # With one season the comprehensive model learns from the same rows as the seasonal one: nothing to compare.
        "comparison": reports.comparison(predictions if len(order) > 1 else predictions[:0], rows, order, seed=seed),
        "importance": _joined(run, importance_units(run, seasons, fits)),
        "ablation": reports.ablation(_with_unused(run, _joined(run, ablation_units(run, seasons, samples))), order),
        "selection": _joined(run, select_units(run, seasons, samples)),
        "tuning": _tuned(run, seasons),
        "effects": _effects(run, seasons),
    }
    return {name: table for name, table in by_file.items() if len(table)}


def _effects(run: Project, seasons: Sequence[str]) -> pd.DataFrame:
    """Curves of the features by the models that have such, as their descriptions tell them."""
    parts = []
    for season in seasons:
        for algorithm in joint_fits.algorithms(run.config):
            about = storage.read_json(run.workspace.model(season, algorithm, "model.json"))
            parts += [
                pd.DataFrame({"season": season, "feature": feature, **curve})
                for feature, curve in about.get("effects", {}).items()
            ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _with_unused(run: Project, predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions without each factor, also of the seasons that do not use it: those with nothing left out."""
    group_of, parts = groups(run), [predictions]
    full_fits = predictions[predictions["without"] == selection.NOTHING] if len(predictions) else predictions
    for season, rows in full_fits.groupby("season") if len(full_fits) else ():
        season_features = features_of(run, str(season))
        used = {*season_features, *(group_of[name] for name in season_features), selection.NOTHING}
        parts += [rows.assign(without=name) for name in pd.unique(predictions["without"]) if name not in used]
    return pd.concat(parts, ignore_index=True)


def _joined(run: Project, units: Sequence[Unit[Task]]) -> pd.DataFrame:
    """What the units of one stage wrote, one below the other; empty if nothing stands."""
    urls = [run.workspace.state(unit.stage, f"{unit.name}.parquet") for unit in units]
    parts = [tables_storage.read_table(url) for url in urls if storage.exists(url)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _tuned(run: Project, seasons: Sequence[str]) -> pd.DataFrame:
    """Every combination of parameters that was tried, with its blocked error, and what the choice is worth."""
    records: list[dict[str, Any]] = []
    for algorithm in run.config.models.tune:
        for season in (*seasons, ALL):
            for name in (f"{season}-{algorithm}", f"{season}-{algorithm}-nested"):
                url = run.workspace.state(TUNE, f"{name}.json")
                records += storage.read_json(url) if storage.exists(url) else []
    table = pd.DataFrame(records)
    return table.assign(parameters=table["parameters"].map(json.dumps)) if len(table) else table
