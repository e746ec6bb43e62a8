"""Fitting a model to the rows of a job, and predicting those that it holds out."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils._param_validation import InvalidParameterError

from soilscale.errors import ConfigurationError, DataError
from soilscale.models.algorithms import Estimator, find
from soilscale.models.fits import FOLDS, WITHIN, Job, learned, matrix, partition, predictions, seed_of
from soilscale.models.gaussian_process import GaussianProcess
from soilscale.models.prediction import predict
from soilscale.samples import MIN_ROWS
from soilscale.schema import MAP

PACKAGES = ("numpy", "scikit-learn", "scipy", "skops", "soilscale", "xgboost-cpu")
"""Packages whose versions a model's description names."""


def run(
    job: Job,
    table: pd.DataFrame,
    features: Sequence[str],
    *,
    parameters: Mapping[str, Any],
    seed: int,
    folds: int = FOLDS,
) -> tuple[Estimator | None, pd.DataFrame]:
    """Predict the rows that a job holds out by a model of the others, and of a random job fit the model of all rows.

    The result depends on the seed, the job and the content of the table, not on the order of its rows or on where
    it runs.

    Parameters
    ----------
    job
        Which fit.
    table
        Training table.
    features
        Feature columns, in the order in which the model takes them.
    parameters
        The algorithm's parameters that differ from the defaults.
    seed
        The project's seed, ``models.seed``.
    folds
        Folds of the blocked cross-validation.

    Returns
    -------
    estimator
        The model of a random job, fitted to all rows (see `learned`); None for a blocked one.
    predictions : pandas.DataFrame
        Columns `PREDICTIONS`; observed and predicted are float32, m3 m-3. A blocked job that holds out no row, or
        leaves fewer than `samples.MIN_ROWS` to learn from, has none.

    Raises
    ------
    ConfigurationError
        If a parameter is unknown or has a value that the algorithm refuses.
    DataError
        If a random job has fewer than `samples.MIN_ROWS` rows to learn from.
    """
    train, held_out = partition(job, table, seed=seed, folds=folds)
    predicted = judge(job, train, held_out, features, parameters=parameters, seed=seed)
    if job.split != "random":
        return None, predicted
    return fit(job, learned(job, table, seed=seed), features, parameters=parameters, seed=seed), predicted


def judge(
    job: Job,
    train: pd.DataFrame,
    held_out: pd.DataFrame,
    features: Sequence[str],
    *,
    parameters: Mapping[str, Any],
    seed: int,
) -> pd.DataFrame:
    """Predict what `partition` holds out by a model of the others; predictions and errors are those of `run`."""
    if len(train) < MIN_ROWS and job.split == "random":
        raise DataError(
            f"{job.name}: got {len(train)} rows to learn from, expected at least {MIN_ROWS}; choose a longer period, a "
            "larger area or a lower samples.min_valid_fraction, or join seasons"
        )
    if len(train) < MIN_ROWS or (job.split == "blocked" and held_out.empty):
        # A parameter that the algorithm refuses is to be told, whether or not there are rows to fit.
        make(job.algorithm, parameters, features, seed)
        return predictions(job, held_out[:0], np.empty(0, dtype=np.float32))
    estimator = fit(job, train, features, parameters=parameters, seed=seed)
    return predictions(job, held_out, predict(estimator, matrix(held_out, features)))


def fit(
    job: Job, train: pd.DataFrame, features: Sequence[str], *, parameters: Mapping[str, Any], seed: int
) -> Estimator:
    """Fit a job's estimator to rows of `partition` or `learned`, the same each time.

    Raises
    ------
    ConfigurationError
        If a parameter is unknown or has a value that the algorithm refuses.
    """
    estimator = make(job.algorithm, parameters, features, seed_of(seed, job.name))
    try:
        return estimator.fit(matrix(train, features), train[MAP].to_numpy(), **beside(job.algorithm, train))
    except InvalidParameterError as error:
        raise ConfigurationError(f"models.parameters.{job.algorithm}: {error}") from error


def make(algorithm: str, parameters: Mapping[str, Any], features: Sequence[str], seed: int) -> Estimator:
    """Make an unfitted estimator of some features.

    Parameters
    ----------
    parameters
        Those that differ from the defaults; `WITHIN` among them by feature, for an algorithm that takes it.

    Raises
    ------
    ConfigurationError
        As `Algorithm.make`.
    """
    # `Algorithm.make` refuses it from a person; it is set below, in the order of the features.
    plain = {name: value for name, value in parameters.items() if name != WITHIN}
    estimator = find(algorithm).make(plain, len(features), seed)
    if WITHIN in parameters:
        estimator.set_params(**{WITHIN: [parameters[WITHIN][name] for name in features]})
    return estimator


def beside(algorithm: str, rows: pd.DataFrame) -> dict[str, NDArray[np.integer]]:
    """What a fit takes beside features and target: of a placed algorithm the number of each row's place."""
    if not find(algorithm).placed:
        return {}
    return {"place": rows.groupby(["y", "x"], sort=True).ngroup().to_numpy()}


def describe(
    job: Job,
    estimator: Estimator,
    rows: pd.DataFrame,
    features: Sequence[str],
    units: Mapping[str, str],
    predictions: pd.DataFrame,
) -> dict[str, Any]:
    """Describe a stored model; everything in it can be written as JSON.

    Parameters
    ----------
    job, estimator, predictions
        A random job and what `run` made of it.
    rows, features
        What the estimator was fitted to (see `learned`).
    units
        Unit of every feature.

    Returns
    -------
    dict
        ``season``, ``algorithm``, ``model``, ``features`` in order, ``units``, ``range`` (least and greatest value of
        each feature in training), ``parameters``, ``rows`` (train: all of them; fitted: fewer
        where the algorithm has a cap; validation: held out by the random split, for the score alone), ``sample_hash``
        (SHA-256 of the training rows, whatever their order) and ``versions``; of a Gaussian process ``effects`` too.
    """
    values = matrix(rows, features)
    low, high = (ends.astype(float).tolist() for ends in (values.min(axis=0), values.max(axis=0)))
    return {
        "season": job.season,
        "algorithm": job.algorithm,
        "model": job.model,
        "features": list(features),
        "units": {name: units[name] for name in features},
        "range": {name: list(pair) for name, *pair in zip(features, low, high, strict=True)},
        "parameters": {name: _plain(value) for name, value in estimator.get_params().items()},
        **({"effects": estimator.effects(features)} if isinstance(estimator, GaussianProcess) else {}),
        "rows": {
            "train": len(rows),
            "fitted": getattr(estimator, "n_samples_fit_", len(rows)),
            "validation": len(predictions),
        },
        "sample_hash": _digest(rows, features),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def _digest(rows: pd.DataFrame, features: Sequence[str]) -> str:
    """SHA-256 of the rows' place, time, features and target, little-endian, column by column."""
    digest = hashlib.sha256("\n".join(features).encode())
    # In one byte order, or the same rows would have another hash on another machine.
    digest.update(rows["time"].to_numpy().astype("datetime64[M]").astype("<i8").tobytes())
    for kind, names in (("<f8", ("y", "x")), ("<f4", (*features, MAP))):
        for name in names:
            digest.update(rows[name].to_numpy().astype(kind).tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Value of a parameter as JSON knows it."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
