"""What a worker does to explain models: select predictors, tune, measure importance, leave predictors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from soilscale import models, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Task
from soilscale.models import Job, selection
from soilscale.models.selection import Setup
from soilscale.schema import MAP
from soilscale.storage import tables
from soilscale.tasks import single_fits, training_table

SELECT, TUNE, IMPORTANCE, ABLATION = "select", "tune", "importance", "ablation"
"""Stages: the first two come before the fits, the others after them."""


def _rows(workspace: Workspace, task: Setup) -> pd.DataFrame:
    """Rows of a task's season."""
    return training_table.table(workspace.samples, task.season, task.seed, task.folds)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectFactors(Task):
    """Choose a season's factors."""

    groups: Mapping[str, str]
    """Feature -> the group under which a reader knows it."""
    task: Setup

    def run(self, workspace: Workspace) -> None:
        """Write the steps of forward selection below `state/`."""
        steps = selection.forward(_rows(workspace, self.task), self.groups, self.task)
        tables.write_table(workspace.state(SELECT, f"{self.task.season}.parquet"), steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune(Task):
    """Tune an algorithm in a season, or score its tuning."""

    name: str
    how: Callable[..., pd.DataFrame]
    """`models.tuning.tune` or `models.tuning.nested`."""
    features: tuple[str, ...]
    task: Setup
    choices: models.tuning.Choices
    draws: int | None

    def run(self, workspace: Workspace) -> None:
        """Write what was tried below `state/`."""
        trials = self.how(_rows(workspace, self.task), self.features, self.task, self.choices, self.draws)
        storage.write_json(workspace.state(TUNE, f"{self.name}.json"), trials.to_dict("records"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureImportance(Task):
    """Measure the importance of a season's factors, on the rows that the stored model learned from.

    The forest is grown anew, the same to the byte: to read the stored one takes three times its memory.
    """

    job: Job
    features: tuple[str, ...]
    groups: Mapping[str, str]
    """Feature -> the group under which a reader knows it."""
    parameters: Mapping[str, Any]
    seed: int
    folds: int

    def run(self, workspace: Workspace) -> None:
        """Write the table below `state/`."""
        rows = single_fits.all_rows(workspace, self.job, self.seed, self.folds)
        X, y = rows[list(self.features)], rows[MAP]
        estimator = models.fit(self.job, rows, self.features, parameters=self.parameters, seed=self.seed)
        # The forest is grown; X and y hold all that is still needed.
        del rows
        importance, score = models.measure(estimator, X, y, self.groups, seed=self.seed), models.oob_r2(estimator, X, y)
        importance.insert(0, "season", self.job.season)
        importance = importance.assign(algorithm=self.job.algorithm, oob_r2=score)
        tables.write_table(workspace.state(IMPORTANCE, f"{self.job.season}.parquet"), importance)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOut(Task):
    """Predict a season's rows without a factor."""

    name: str
    groups: Mapping[str, str]
    """Feature -> the group under which a reader knows it."""
    left_out: str
    task: Setup

    def run(self, workspace: Workspace) -> None:
        """Write the predictions below `state/`."""
        predictions = selection.without(_rows(workspace, self.task), self.groups, self.left_out, self.task)
        predictions = predictions.assign(season=self.task.season, without=self.left_out)
        tables.write_table(workspace.state(ABLATION, f"{self.name}.parquet"), predictions)
