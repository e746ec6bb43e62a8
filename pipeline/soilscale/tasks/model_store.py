"""Fitted models in the output: written without code, read back once per process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from soilscale import models, storage
from soilscale.engine.output import Workspace
from soilscale.errors import DataError
from soilscale.models import Job

MODEL, TREES = "model.skops", "trees.npz"
"""Files of a fitted model: the whole of it, and of a forest its trees laid out for prediction."""


MEMBERS = "members.json"
"""File of a model that is made of others: their weights and features."""


def store(workspace: Workspace, job: Job, estimator: models.Estimator, about: Mapping[str, Any]) -> None:
    """Write a fitted model, and what is known of it before it is judged."""
    storage.write_bytes(workspace.model(job.season, job.algorithm, MODEL), models.dumps(estimator))
    # Maps read the trees of a forest alone, laid out for prediction.
    if (trees := models.pack(estimator)) is not None:
        storage.write_bytes(workspace.model(job.season, job.algorithm, TREES), trees)
    storage.write_json(workspace.state("train", f"{job.name}.about.json"), about)


@lru_cache(maxsize=2)
def load(url: str, version: str) -> models.Predictor:  # noqa: ARG001 - what is remembered is of one version
    """Model from its folder, ready to predict; remembered by this process, as one other is.

    Raises
    ------
    storage.DamagedError
        If it holds anything but a model of ours.
    """
    season, _, algorithm = url.rpartition("/")
    if not models.find(algorithm).members:
        return _predictor(url)
    description = storage.read_json(storage.join(url, MEMBERS))
    # Members may take fewer features than the stack, each in an order of its own.
    place = {name: number for number, name in enumerate(description["features"])}
    members = description["members"].items()
    return models.Blend(
        [
            (
                _predictor(f"{season}/{name}"),
                np.array([place[feature] for feature in member["features"]]),
                member["weight"],
            )
            for name, member in members
        ]
    )


def _predictor(url: str) -> models.Predictor:
    """Model that was fitted, from its folder; errors as `load`."""
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
