"""What the models rest on: factors chosen, parameters tuned, importance and ablation; each its own units of work."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from soilscale import cube, models, reports, storage
from soilscale.config import Config
from soilscale.flow import areas, learn
from soilscale.flow.session import Run
from soilscale.flow.units import Unit
from soilscale.flow.workspace import Workspace, digest
from soilscale.models import WITHIN, Job, selection
from soilscale.models.selection import Task
from soilscale.schema import MAP
from soilscale.seasons import ALL

SELECT, TUNE, IMPORTANCE, ABLATION = "select", "tune", "importance", "ablation"
"""Stages: the first two come before the fits, the others after them."""

STAGES = (SELECT, TUNE, IMPORTANCE, ABLATION)


def asked(config: Config) -> tuple[list[str], list[str]]:
    """Stages that a configuration asks for before the fits, and after them."""
    settings = config.models
    forest = any(name in selection.FORESTS for name in settings.algorithms)
    before = [stage for stage, wanted in ((SELECT, settings.select), (TUNE, bool(settings.tune))) if wanted]
    after = [stage for stage, wanted in ((IMPORTANCE, forest), (ABLATION, settings.ablation is not False)) if wanted]
    return before, after


def groups(run: Run) -> dict[str, str]:
    """Feature -> the group under which a reader knows it, in the features' order."""
    told = cube.groups(run.plan.inputs)
    return {name: told[name] for name in run.features}


def explained(run: Run) -> str:
    """Algorithm whose factors are judged: the paper's random forest if it is trained, else the first."""
    algorithms = run.config.models.algorithms
    return next((name for name in selection.FORESTS if name in algorithms), algorithms[0])


def features_of(run: Run, season: str) -> tuple[str, ...]:
    """Features that a season's models learn from: those that forward selection chose, or all."""
    url = run.workspace.state(SELECT, f"{season}.parquet")
    if not run.config.models.select or season == ALL or not storage.exists(url):
        return run.features
    steps = learn.read_table(url)
    chosen = set(steps["features"].iloc[-1].split()) if len(steps) else set(run.features)
    return tuple(name for name in run.features if name in chosen)


Within = Mapping[str, Mapping[str, float]]
"""Season, and ``all`` -> feature -> its standard deviation within coarse cells (`areas.within`)."""


def parameters_of(run: Run, season: str, algorithm: str, within: Within) -> dict[str, Any]:
    """Parameters of a fit: the algorithm's, then the season's own, then those that tuning found."""
    given = _given(run, season, algorithm, within)
    url = run.workspace.state(TUNE, f"{season}-{algorithm}.json")
    found = storage.read_json(url) if algorithm in run.config.models.tune and storage.exists(url) else []
    return given | (found[0]["parameters"] if found else {})


def _given(run: Run, season: str, algorithm: str, within: Within) -> dict[str, Any]:
    settings = run.config.models
    own: Mapping[str, Any] = settings.season_parameters.get(season, {}).get(algorithm, {})
    measured = within.get(season, within.get(ALL)) if models.find(algorithm).placed else None
    return {**settings.parameters.get(algorithm, {}), **own} | ({WITHIN: measured} if measured else {})


def select_units(run: Run, seasons: Sequence[str], samples: str) -> list[Unit]:
    """One forward selection for each season."""
    if not run.config.models.select:
        return []
    told, within = groups(run), areas.within(run)
    units = []
    for season in seasons:
        task = _task(run, season, explained(run), _given(run, season, explained(run), within))
        units.append(Unit(SELECT, season, digest(samples, told, task, learn.FORMAT), select, (told, task)))
    return units


def tune_units(run: Run, seasons: Sequence[str], samples: str) -> list[Unit]:
    """Units that tune an algorithm in each season and for the comprehensive model, and that score the choice."""
    units, within = [], areas.within(run)
    for algorithm, choices in run.config.models.tune.items() if seasons else ():
        for season in (*seasons, ALL):
            task = _task(run, season, algorithm, _given(run, season, algorithm, within))
            features = features_of(run, season)
            draws = run.config.models.tune_draws
            made_from = digest(samples, features, task, choices, draws, learn.FORMAT)
            for name, how in (
                (f"{season}-{algorithm}", models.tuning.tune),
                (f"{season}-{algorithm}-nested", models.tuning.nested),
            ):
                arguments = (name, how, features, task, choices, draws)
                units.append(Unit(TUNE, name, digest(made_from, name), tune, arguments))
    return units


def importance_units(run: Run, seasons: Sequence[str], fits: Sequence[Unit]) -> list[Unit]:
    """One unit for each season's forest; none if no forest is trained."""
    algorithm = explained(run)
    if algorithm not in selection.FORESTS or not seasons:
        return []
    made = {unit.name: unit for unit in fits}
    told = groups(run)
    units = []
    for season in (*seasons, ALL):
        job = Job(season, algorithm, "comprehensive" if season == ALL else "seasonal", "random", None)
        fit = made[job.name]
        made_from = digest(fit.digest, told)
        arguments = (job, features_of(run, season), told, fit.arguments[-1])
        units.append(Unit(IMPORTANCE, season, made_from, importance, arguments))
    return units


def ablation_units(run: Run, seasons: Sequence[str], samples: str) -> list[Unit]:
    """One unit for each season and factor left out, and one with nothing left out."""
    wanted = run.config.models.ablation
    if wanted is False:
        return []
    told, within = groups(run), areas.within(run)
    named = list(dict.fromkeys(told.values())) if wanted is True else wanted
    units = []
    for season in seasons:
        own = {name: told[name] for name in features_of(run, season)}
        task = _task(run, season, explained(run), parameters_of(run, season, explained(run), within))
        for name in (selection.NOTHING, *named):
            left = own if name == selection.NOTHING else set(own) - set(selection.members(name, told))
            if not left or (name != selection.NOTHING and len(left) == len(own)):
                continue
            units.append(
                Unit(
                    ABLATION,
                    f"{season}-without-{name}",
                    digest(samples, own, task, name, learn.FORMAT),
                    ablate,
                    (f"{season}-without-{name}", own, name, task),
                )
            )
    return units


def _task(run: Run, season: str, algorithm: str, parameters: Mapping[str, Any]) -> Task:
    settings = run.config.models
    return Task(season, algorithm, parameters, settings.seed, settings.folds)


def _rows(workspace: Workspace, task: Task) -> pd.DataFrame:
    """Rows of a task's season."""
    return learn.table(workspace.samples, task.season, task.seed, task.folds)


def select(workspace: Workspace, told: Mapping[str, str], task: Task) -> None:
    """Choose a season's factors on a worker."""
    steps = selection.forward(_rows(workspace, task), told, task)
    learn.write_table(workspace.state(SELECT, f"{task.season}.parquet"), steps)


def tune(
    workspace: Workspace,
    name: str,
    how: Callable[..., pd.DataFrame],
    features: Sequence[str],
    task: Task,
    choices: models.tuning.Choices,
    draws: int | None,
) -> None:
    """Tune an algorithm in a season, or score its tuning, on a worker."""
    found = how(_rows(workspace, task), features, task, choices, draws)
    storage.write_json(workspace.state(TUNE, f"{name}.json"), found.to_dict("records"))


def importance(
    workspace: Workspace, job: Job, features: Sequence[str], told: Mapping[str, str], options: Mapping[str, Any]
) -> None:
    """Measure the importance of a season's factors on a worker, on the rows that the stored model learned from.

    The forest is grown anew, the same to the byte: to read the stored one takes three times its memory.
    """
    seed, parameters = options["seed"], options["parameters"]
    rows = learn.all_rows(workspace, job, seed, options["folds"])
    X, y = rows[list(features)], rows[MAP]
    estimator = models.fit(job, rows, features, parameters=parameters, seed=seed)
    del rows
    found, score = models.measure(estimator, X, y, told, seed=seed), models.oob_r2(estimator, X, y)
    found.insert(0, "season", job.season)
    found = found.assign(algorithm=job.algorithm, oob_r2=score)
    learn.write_table(workspace.state(IMPORTANCE, f"{job.season}.parquet"), found)


def ablate(workspace: Workspace, name: str, told: Mapping[str, str], left_out: str, task: Task) -> None:
    """Predict a season's rows without a factor, on a worker."""
    found = selection.without(_rows(workspace, task), told, left_out, task)
    found = found.assign(season=task.season, without=left_out)
    learn.write_table(workspace.state(ABLATION, f"{name}.parquet"), found)


def tables(
    run: Run, seasons: Sequence[str], fits: Sequence[Unit], samples: str, predictions: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Tables of what the models rest on, by the name of their file; those that nothing is known of are left out."""
    order, seed, rows = run.config.season_scheme.names, run.config.models.seed, learn.blocks(run.workspace.samples)
    found = {
        "comparison": reports.comparison(predictions if len(order) > 1 else predictions[:0], rows, order, seed=seed),
        "importance": _joined(run, importance_units(run, seasons, fits)),
        "ablation": reports.ablation(_with_unused(run, _joined(run, ablation_units(run, seasons, samples))), order),
        "selection": _joined(run, select_units(run, seasons, samples)),
        "tuning": _tuned(run, seasons),
        "effects": _effects(run, seasons),
    }
    return {name: table for name, table in found.items() if len(table)}


def _effects(run: Run, seasons: Sequence[str]) -> pd.DataFrame:
    """Curves of the features by the models that have such, as their descriptions tell them."""
    parts = []
    for season in seasons:
        for algorithm in areas.algorithms(run.config):
            about = storage.read_json(run.workspace.model(season, algorithm, "model.json"))
            parts += [
                pd.DataFrame({"season": season, "feature": feature, **curve})
                for feature, curve in about.get("effects", {}).items()
            ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _with_unused(run: Run, predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions without each factor, also of the seasons that do not use it: those with nothing left out."""
    told, parts = groups(run), [predictions]
    whole = predictions[predictions["without"] == selection.NOTHING] if len(predictions) else predictions
    for season, rows in whole.groupby("season") if len(whole) else ():
        own = features_of(run, str(season))
        used = {*own, *(told[name] for name in own), selection.NOTHING}
        parts += [rows.assign(without=name) for name in pd.unique(predictions["without"]) if name not in used]
    return pd.concat(parts, ignore_index=True)


def _joined(run: Run, units: Sequence[Unit]) -> pd.DataFrame:
    """What the units of one stage wrote, one below the other; empty if nothing stands."""
    urls = [run.workspace.state(unit.stage, f"{unit.name}.parquet") for unit in units]
    parts = [learn.read_table(url) for url in urls if storage.exists(url)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _tuned(run: Run, seasons: Sequence[str]) -> pd.DataFrame:
    """Every combination of parameters that was tried, with its blocked error, and what the choice is worth."""
    found: list[dict[str, Any]] = []
    for algorithm in run.config.models.tune:
        for season in (*seasons, ALL):
            for name in (f"{season}-{algorithm}", f"{season}-{algorithm}-nested"):
                url = run.workspace.state(TUNE, f"{name}.json")
                found += storage.read_json(url) if storage.exists(url) else []
    table = pd.DataFrame(found)
    return table.assign(parameters=table["parameters"].map(json.dumps)) if len(table) else table
