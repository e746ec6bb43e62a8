"""What a worker does for the training table and the models: draw rows, fit one job, keep its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from soilscale import models
from soilscale.engine.output import Workspace
from soilscale.models import Job
from soilscale.storage.tables import _parquet, give_back, row_groups, write_table
from soilscale.tasks.model_store import store
from soilscale.tasks.training_table import table

FORMAT = 4
"""Version of what a fit writes; a change redoes every fit."""


def fit(
    workspace: Workspace,
    job: Job,
    features: Sequence[str],
    units: Mapping[str, str],
    options: Mapping[str, Any],
) -> None:
    """Fit one job; keep its predictions and, of a random one, the model and its description."""
    split = rows_of(workspace, job, options["seed"], options["folds"])
    fitting = {name: options[name] for name in ("parameters", "seed")}
    predictions = models.judge(job, *split, features, **fitting)
    del split
    write_table(workspace.state("train", f"{job.name}.parquet"), predictions)
    if job.split == "random":
        rows = all_rows(workspace, job, options["seed"], options["folds"])
        estimator = models.fit(job, rows, features, **fitting)
        about = models.describe(job, estimator, rows, features, units, predictions)
        del rows, predictions
        give_back()
        store(workspace, job, estimator, about)


def predictions(url: str) -> pd.DataFrame:
    """Table of predictions, its words as categories: a third of the memory."""
    words = ["season", "algorithm", "model", "split"]
    with _parquet(url, words) as file:
        found = file.read().unify_dictionaries()
    rows: pd.DataFrame = found.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)
    del found
    give_back()
    return rows.astype(dict.fromkeys(words, "category"))


def blocked_errors(url: str) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
    """Errors on held-out blocks by season and model, and by algorithm, as `models.best` takes them."""
    names = ["season", "model", "algorithm", "time", "split", "observed", "predicted"]
    parts = []
    for part in row_groups(url, names):
        part["square"] = (part["predicted"].astype(float) - part["observed"].astype(float)) ** 2
        blocked = part[part["split"] == "blocked"]
        parts.append(blocked.groupby(names[:4], observed=True)["square"].agg(["sum", "count"]))
    sums = pd.concat(parts).groupby(names[:4]).sum().reset_index("time")
    errors: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for keys, months in sums.groupby(names[:3]):
        season, model, algorithm = map(str, keys)
        errors.setdefault((season, model), {})[algorithm] = months.set_index("time")
    return errors


def rows_of(workspace: Workspace, job: Job, seed: int, folds: int = models.FOLDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that a job learns from and rows that it predicts, of `models.partition`; no other is left in memory."""
    found = models.partition(job, table(workspace.samples, job.season, seed, folds), seed=seed, folds=folds)
    give_back()
    return found


def all_rows(workspace: Workspace, job: Job, seed: int, folds: int = models.FOLDS) -> pd.DataFrame:
    """Rows that the stored model of a random job learns from, of `models.learned`; no other is left in memory."""
    found = models.learned(job, table(workspace.samples, job.season, seed, folds), seed=seed)
    give_back()
    return found
