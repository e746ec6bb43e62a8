"""What a worker does for the training table and the models: draw rows, fit one job, keep its predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from soilscale import models
from soilscale.engine.output import Workspace
from soilscale.engine.units import Cost, Task
from soilscale.models import Job
from soilscale.storage.tables import give_back, parquet_file, row_groups, write_table
from soilscale.tasks.costs import MODELS, Fit, Scale, fit_load
from soilscale.tasks.model_store import store
from soilscale.tasks.training_table import table

FORMAT = 4
"""Version of what a fit writes; a change redoes every fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSingle(Task):
    """Fit one job."""

    job: Job
    features: tuple[str, ...]
    units: Mapping[str, str]
    """Feature -> its unit."""
    parameters: Mapping[str, Any]
    seed: int
    folds: int

    @classmethod
    def cost(cls, scale: Scale, fits: Sequence[Fit]) -> Cost:
        """Cost of all fits, joint ones too. Work: rows times trees that learn from them, in millions."""
        stored = [fit for fit in fits if fit.job.split == "random" and not fit.joint]
        return Cost(
            units=len(fits),
            read=len(fits) * scale.table,
            written=sum(fit.size for fit in stored) + scale.table,
            objects=2 * len(fits) + 3 * len(stored) + 2,
            work=sum(fit.work * fit.trees for fit in fits) / 1e6,
            load=fit_load(scale, fits),
            grows=MODELS,
        )

    def run(self, workspace: Workspace) -> None:
        """Keep its predictions and, of a random one, the model and its description."""
        split = rows_of(workspace, self.job, self.seed, self.folds)
        predictions = models.judge(self.job, *split, self.features, parameters=self.parameters, seed=self.seed)
        del split
        write_table(workspace.state("train", f"{self.job.name}.parquet"), predictions)
        if self.job.split == "random":
            rows = all_rows(workspace, self.job, self.seed, self.folds)
            estimator = models.fit(self.job, rows, self.features, parameters=self.parameters, seed=self.seed)
            about = models.describe(self.job, estimator, rows, self.features, self.units, predictions)
            del rows, predictions
            give_back()
            store(workspace, self.job, estimator, about)


def predictions(url: str) -> pd.DataFrame:
    """Table of predictions, its words as categories: a third of the memory."""
    words = ["season", "algorithm", "model", "split"]
    with parquet_file(url, words) as file:
        arrow_table = file.read().unify_dictionaries()
    # Given away column by column: table and frame at once would take twice the memory.
    rows: pd.DataFrame = arrow_table.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)
    del arrow_table
    give_back()
    return rows.astype(dict.fromkeys(words, "category"))


def blocked_errors(url: str) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
    """Errors on held-out blocks by season and model, and by algorithm, as `models.best` takes them."""
    # Group by group, so that memory does not go with the number of rows.
    return errors_of(row_groups(url, list(ERROR_COLUMNS)))


ERROR_COLUMNS = ("season", "model", "algorithm", "time", "split", "observed", "predicted")
"""Columns of predictions by which algorithms are compared."""


def errors_of(tables: Iterable[pd.DataFrame]) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
    """Errors as of `blocked_errors`, from tables of predictions."""
    keys = list(ERROR_COLUMNS[:4])
    parts = []
    for rows in tables:
        square = (rows["predicted"].astype(float) - rows["observed"].astype(float)) ** 2
        blocked = rows.assign(square=square)[rows["split"] == "blocked"]
        parts.append(blocked.groupby(keys, observed=True)["square"].agg(["sum", "count"]))
    sums = pd.concat(parts).groupby(keys).sum().reset_index("time")
    errors: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for names, months in sums.groupby(keys[:3]):
        season, model, algorithm = map(str, names)
        errors.setdefault((season, model), {})[algorithm] = months.set_index("time")
    return errors


def rows_of(workspace: Workspace, job: Job, seed: int, folds: int = models.FOLDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that a job learns from and rows that it predicts, of `models.partition`; no other is left in memory."""
    split = models.partition(job, table(workspace.samples, job.season, seed, folds), seed=seed, folds=folds)
    give_back()
    return split


def all_rows(workspace: Workspace, job: Job, seed: int, folds: int = models.FOLDS) -> pd.DataFrame:
    """Rows that the stored model of a random job learns from, of `models.learned`; no other is left in memory."""
    rows = models.learned(job, table(workspace.samples, job.season, seed, folds), seed=seed)
    give_back()
    return rows
