"""The fits: a model per season and algorithm, the comprehensive one, and the blocked folds that judge them."""

from __future__ import annotations

import hashlib
import platform
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils._param_validation import InvalidParameterError

from soilscale.errors import ConfigurationError, DataError
from soilscale.models.algorithms import Estimator, find
from soilscale.models.gaussian_process import GaussianProcess
from soilscale.models.prediction import predict
from soilscale.samples import MIN_ROWS, TRAIN
from soilscale.schema import MAP
from soilscale.seasons import ALL

ModelName = Literal["seasonal", "comprehensive"]
SplitName = Literal["random", "blocked"]

FOLDS = 5
"""Folds of the blocked cross-validation."""

FOLD = "fold"
"""Column of a table that tells the fold of each row, dealt before by the whole table's blocks; int8."""

WITHIN = "within"
"""Parameter of placed algorithms: feature -> its standard deviation within coarse cells."""

PREDICTIONS = ("time", "season", "y", "x", "algorithm", "model", "split", "observed", "predicted")
"""Columns of the table of predictions."""

PACKAGES = ("numpy", "scikit-learn", "scipy", "skops", "soilscale", "xgboost-cpu")
"""Packages whose versions a model's description names."""


@dataclass(frozen=True)
class Job:
    """One fit; the unit in which training runs and resumes."""

    season: str
    """Season of the model; `seasons.ALL` for the comprehensive one."""
    algorithm: str
    model: ModelName
    split: SplitName
    fold: int | None
    """Fold that is held out, from 0; None for the random split."""

    @property
    def name(self) -> str:
        """Name in markers and files, such as ``winter-random_forest-seasonal-blocked-3``."""
        fold = () if self.fold is None else (str(self.fold),)
        return "-".join((self.season, self.algorithm, self.model, self.split, *fold))


def jobs(seasons: Iterable[str], algorithms: Iterable[str], folds: int = FOLDS) -> list[Job]:
    """List every fit: for each algorithm and each of its models a random one and `folds` blocked ones.

    What is made of other algorithms has none.

    A random job stores a model too, which learns from all rows (`learned`); its split and the blocked folds only tell
    how accurate the algorithm is. Of a joint algorithm one fit is of all seasons, and stores every model (see
    `joint.kept`).

    Parameters
    ----------
    seasons
        Seasons with enough rows (see `samples.check_counts`).
    algorithms
        Names in `ALGORITHMS`.
    folds
        Folds of the blocked cross-validation.

    Raises
    ------
    ConfigurationError
        If there is no such algorithm.
    """
    models: list[tuple[str, ModelName]] = [(season, "seasonal") for season in seasons]
    if models:
        models.append((ALL, "comprehensive"))
    splits: list[tuple[SplitName, int | None]] = [("random", None), *(("blocked", k) for k in range(folds))]
    together: list[tuple[str, ModelName]] = [(ALL, "seasonal")] if models else []
    return [
        Job(season, algorithm.name, model, split, fold)
        for algorithm in map(find, algorithms)
        if not algorithm.members
        for season, model in (together if algorithm.joint else models)
        for split, fold in splits
    ]


def folds(blocks: pd.Series[str], n: int = FOLDS, seed: int = 0) -> NDArray[np.int_]:
    """Assign each row to a fold, whole blocks together.

    What is held out together is a square of cells in one year: its neighbours in space and in time, which resemble
    it, are then not learned from (Roberts et al. 2017, Ecography 40, 913-929). Blocks are dealt at random, the
    largest first, each to a fold that has the fewest rows so far.

    Parameters
    ----------
    blocks
        Name of each row's block.
    n
        Number of folds; with fewer blocks than folds, some folds stay empty.
    seed
        Seed of the assignment, which does not depend on the order of the rows.

    Returns
    -------
    array
        Fold of each row, 0..n-1, in the order of `blocks`.
    """
    kinds = blocks.astype("category").cat.remove_unused_categories()
    names = sorted(kinds.cat.categories)
    codes = kinds.cat.reorder_categories(names).cat.codes.to_numpy()
    sizes = np.bincount(codes, minlength=len(names))
    rng = _generator(seed, "folds")
    order = rng.permutation(len(names))
    fold_of = np.empty(len(names), dtype=int)
    loads = np.zeros(n, dtype=int)
    for block in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[block] = rng.choice(np.flatnonzero(loads == loads.min()))
        loads[fold_of[block]] += sizes[block]
    return fold_of[codes]


def partition(job: Job, table: pd.DataFrame, *, seed: int, folds: int = FOLDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that a job learns from and rows that it predicts.

    A random job learns from the rows with split ``train`` and predicts the others. A blocked job learns from every
    fold but its own and predicts its own; the folds are those of the whole table, so that the seasonal and the
    comprehensive model are judged on the same rows. The comprehensive model learns from as many rows as a season
    has on average, drawn from all seasons (Yan & Bai 2020, Table 4), and predicts every season's; the draw is the same
    for every algorithm.

    Parameters
    ----------
    job
        Which fit.
    table
        Training table (see `samples.draw`), rows in any order; of a seasonal job its season's are enough, if they have
        a column `FOLD`.
    seed
        The project's seed, ``models.seed``.
    folds
        Folds of the blocked cross-validation.

    Returns
    -------
    train, held_out : pandas.DataFrame
        `train` ordered by time, from north to south and from west to east; `held_out` in the order of `table`.
    """
    learn = _learned(job, table, seed, folds)
    return numbered(table.take(_drawn(job, table, learn, seed))), numbered(table[_of_season(job, table) & ~learn])


def learned(job: Job, table: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Rows that the stored model of a random job learns from: all, also those that its split holds out.

    Parameters, and how the comprehensive model draws its rows, are those of `partition`; so is the order.
    """
    return numbered(table.take(_drawn(job, table, np.ones(len(table), bool), seed)))


def _of_season(job: Job, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows of a job's season, shape ``(rows,)``."""
    return (table["season"] == job.season).to_numpy() | (job.model == "comprehensive")


def _drawn(job: Job, table: pd.DataFrame, learn: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """Places of the rows that a job learns from, of those that it may: by time, north to south, west to east."""
    rows = np.flatnonzero(_of_season(job, table) & learn)
    time, y, x = (table[name].to_numpy()[rows] for name in ("time", "y", "x"))
    rows = rows[np.lexsort((x, -y, time))]
    if job.model == "comprehensive":
        counts = table["season"].iloc[rows].value_counts()
        enough = counts[counts >= MIN_ROWS]
        size = round(enough.mean()) if len(enough) else 0
        rng = _generator(seed, job.model, job.split, job.fold)
        rows = rows[np.sort(rng.choice(len(rows), size, replace=False))]
    return rows


def numbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows numbered from 0, themselves and no copy."""
    rows.index = pd.RangeIndex(len(rows))
    return rows


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
    given = {name: value for name, value in parameters.items() if name != WITHIN}
    estimator = find(algorithm).make(given, len(features), seed)
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


def _learned(job: Job, table: pd.DataFrame, seed: int, n: int) -> NDArray[np.bool_]:
    """Rows of the table that a job of any season learns from, shape ``(rows,)``."""
    if job.split == "random":
        return np.asarray(table["split"] == TRAIN)
    return fold_of(table, n, seed) != job.fold


def fold_of(table: pd.DataFrame, n: int, seed: int) -> NDArray[np.integer]:
    """Fold of each row of a table, as its column `FOLD` tells it, else as `folds` deals its blocks."""
    return table[FOLD].to_numpy() if FOLD in table else folds(table["block"], n, seed)


def predictions(job: Job, rows: pd.DataFrame, predicted: NDArray[np.float32]) -> pd.DataFrame:
    """Table of what a job makes of rows, with the columns `PREDICTIONS`."""
    table = rows[["time", "season", "y", "x"]].assign(
        algorithm=job.algorithm,
        model=job.model,
        split=job.split,
        observed=rows[MAP].astype("float32"),
        predicted=predicted,
    )
    return table[list(PREDICTIONS)]


def matrix(rows: pd.DataFrame, features: Sequence[str]) -> NDArray[np.float32]:
    """Features of rows as an estimator takes them, shape ``(n, p)``."""
    return rows[list(features)].to_numpy(dtype=np.float32)


def _digest(rows: pd.DataFrame, features: Sequence[str]) -> str:
    """SHA-256 of the rows' place, time, features and target, little-endian, column by column."""
    digest = hashlib.sha256("\n".join(features).encode())
    digest.update(rows["time"].to_numpy().astype("datetime64[M]").astype("<i8").tobytes())
    for kind, names in (("<f8", ("y", "x")), ("<f4", (*features, MAP))):
        for name in names:
            digest.update(rows[name].to_numpy().astype(kind).tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Value of a parameter as JSON knows it."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def seed_of(seed: int, *words: object) -> int:
    """Seed of one thing, 0..2**32-1: the same on every machine, in every process and order."""
    return zlib.crc32(":".join(map(str, (seed, *words))).encode())


def _generator(seed: int, *words: object) -> np.random.Generator:
    return np.random.default_rng(seed_of(seed, *words))
