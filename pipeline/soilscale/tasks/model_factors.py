"""What a worker does to explain models: select factors, tune, measure importance, leave factors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from soilscale import models, storage
from soilscale.engine.output import Workspace
from soilscale.models import Job, selection
from soilscale.models.selection import Task
from soilscale.schema import MAP
from soilscale.storage import tables
from soilscale.tasks import single_fits, training_table

SELECT, TUNE, IMPORTANCE, ABLATION = "select", "tune", "importance", "ablation"
"""Stages: the first two come before the fits, the others after them."""


def _rows(workspace: Workspace, task: Task) -> pd.DataFrame:
    """Rows of a task's season."""
    return training_table.table(workspace.samples, task.season, task.seed, task.folds)


def select(workspace: Workspace, told: Mapping[str, str], task: Task) -> None:
    """Choose a season's factors on a worker."""
    steps = selection.forward(_rows(workspace, task), told, task)
    tables.write_table(workspace.state(SELECT, f"{task.season}.parquet"), steps)


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
    rows = single_fits.all_rows(workspace, job, seed, options["folds"])
    X, y = rows[list(features)], rows[MAP]
    estimator = models.fit(job, rows, features, parameters=parameters, seed=seed)
    del rows
    found, score = models.measure(estimator, X, y, told, seed=seed), models.oob_r2(estimator, X, y)
    found.insert(0, "season", job.season)
    found = found.assign(algorithm=job.algorithm, oob_r2=score)
    tables.write_table(workspace.state(IMPORTANCE, f"{job.season}.parquet"), found)


def ablate(workspace: Workspace, name: str, told: Mapping[str, str], left_out: str, task: Task) -> None:
    """Predict a season's rows without a factor, on a worker."""
    found = selection.without(_rows(workspace, task), told, left_out, task)
    found = found.assign(season=task.season, without=left_out)
    tables.write_table(workspace.state(ABLATION, f"{name}.parquet"), found)
