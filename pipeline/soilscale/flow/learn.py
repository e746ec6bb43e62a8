"""What a worker does for the training table and the models: draw rows, fit one job, keep its predictions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from soilscale import models, samples, storage
from soilscale.errors import DataError
from soilscale.flow.workspace import Workspace
from soilscale.models import Job
from soilscale.schema import COARSE
from soilscale.seasons import Seasons

MODEL, TREES = "model.skops", "trees.npz"
"""Files of a fitted model: the whole of it, and of a forest its trees laid out for prediction."""

FORMAT = 3
"""Version of what a fit writes; a change redoes every fit."""


def draw(
    workspace: Workspace,
    name: str,
    target: str,
    features: Sequence[str],
    seasons: Seasons,
    rows: tuple[int, int],
    options: Mapping[str, Any],
) -> None:
    """Draw the training rows of some months, given as first and last index in time, the last exclusive."""
    coarse = storage.open_group(workspace.cube, COARSE).isel(time=slice(*rows)).load()
    table = samples.draw(coarse, target, features, seasons, **options)
    write_table(workspace.state("samples", f"{name}.parquet"), table)


def fit(
    workspace: Workspace,
    job: Job,
    features: Sequence[str],
    units: Mapping[str, str],
    options: Mapping[str, Any],
    version: str,
) -> None:
    """Fit one job; keep its predictions and, of a random one, the model and its description."""
    rows = table(workspace.samples, version)
    estimator, predictions = models.run(job, rows, features, **options)
    write_table(workspace.state("train", f"{job.name}.parquet"), predictions)
    if estimator is not None:
        told = models.describe(job, estimator, rows, features, units, predictions, seed=options["seed"])
        storage.write_bytes(workspace.model(job.season, job.algorithm, MODEL), models.dumps(estimator))
        if (trees := models.pack(estimator)) is not None:
            storage.write_bytes(workspace.model(job.season, job.algorithm, TREES), trees)
        storage.write_json(workspace.state("train", f"{job.name}.about.json"), told)


def read_table(url: str) -> pd.DataFrame:
    """Table from a Parquet object.

    Raises
    ------
    storage.DamagedError
        If it is no table any more.
    """
    try:
        return pd.read_parquet(io.BytesIO(storage.read_bytes(url)))
    except (ValueError, OSError) as error:
        raise storage.damaged(url, error) from error


def read_csv(url: str) -> pd.DataFrame:
    """Table from a CSV object."""
    return pd.read_csv(io.BytesIO(storage.read_bytes(url)))


def write_table(url: str, table: pd.DataFrame) -> None:
    """Write a table as a Parquet object, whole or not at all."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    storage.write_bytes(url, buffer.getvalue())


@lru_cache(maxsize=1)
def table(url: str, version: str) -> pd.DataFrame:  # noqa: ARG001 - the version tells one table from the next
    """Training table, remembered by this process until another version is asked for."""
    return read_table(url)


@lru_cache(maxsize=2)
def load(url: str, version: str) -> models.Predictor:  # noqa: ARG001 - likewise
    """Model from its folder, ready to predict; remembered by this process, as one other is.

    Raises
    ------
    storage.DamagedError
        If it holds anything but a model of ours.
    """
    try:
        trees = storage.read_bytes(storage.join(url, TREES))
    except FileNotFoundError:
        return models.ready(estimator(url))
    try:
        return models.unpack(trees)
    except DataError as error:
        raise storage.damaged(storage.join(url, TREES), error) from error


def estimator(url: str) -> models.Estimator:
    """Model from its folder, as it was fitted; errors as `load`."""
    stored = storage.join(url, MODEL)
    try:
        return models.loads(storage.read_bytes(stored))
    except DataError as error:
        raise storage.damaged(stored, error) from error


def months_in_batches(n: int, size: int = 12) -> list[tuple[int, int]]:
    """First and last index, the last exclusive, of batches of months."""
    return [(first, min(first + size, n)) for first in range(0, n, size)]
