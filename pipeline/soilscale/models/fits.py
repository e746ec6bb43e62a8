"""The fits: a model per season and algorithm, the comprehensive one, and the blocked folds that evaluate them.

Which rows a fit learns from and which it predicts is decided here; nothing here needs the libraries that fit models, so
that a command that only plans does not wait for them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from soilscale.models.algorithms import find
from soilscale.models.columns import FOLD, PREDICTIONS
from soilscale.samples import MIN_ROWS, TRAIN
from soilscale.schema import MAP
from soilscale.seasons import ALL

ModelName = Literal["seasonal", "comprehensive"]
SplitName = Literal["random", "blocked"]

FOLDS = 5
"""Folds of the blocked cross-validation."""


WITHIN = "within"
"""Parameter of placed algorithms: feature -> its standard deviation within coarse cells."""


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

    A mean of other algorithms has no fits of its own.

    A random job stores a model too, which learns from all rows (`learned`); its split and the blocked folds only tell
    how accurate the algorithm is. Each fit of a joint algorithm covers all
    seasons, and its random one stores every model (see `stored_models`).

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


def stored_models(job: Job, seasons: Sequence[str]) -> list[Job]:
    """Models that a job stores, each as the job that would store it alone: those of a random one.

    Parameters
    ----------
    seasons
        Seasons with enough rows for a model.
    """
    if job.split != "random":
        return []
    algorithm = find(job.algorithm)
    if not (algorithm.joint or algorithm.members):
        return [job]
    models: list[tuple[str, ModelName]] = [*((season, "seasonal") for season in seasons), (ALL, "comprehensive")]
    return [Job(season, job.algorithm, model, "random", None) for season, model in models]


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
    # By name, so that the deal does not depend on the order of the rows.
    names = sorted(kinds.cat.categories)
    codes = kinds.cat.reorder_categories(names).cat.codes.to_numpy()
    sizes = np.bincount(codes, minlength=len(names))
    rng = _generator(seed, "folds")
    order = rng.permutation(len(names))
    fold_of = np.empty(len(names), dtype=int)
    loads = np.zeros(n, dtype=int)
    # Largest first, and stable after the shuffle: blocks of one size stay in random order.
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
    # The last key counts first. The order is fixed because what a forest draws goes by the place of a row.
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
    # `reset_index` would copy the table.
    rows.index = pd.RangeIndex(len(rows))
    return rows


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


def seed_of(seed: int, *words: object) -> int:
    """Seed of one thing, 0..2**32-1: the same on every machine, in every process and order."""
    # Not `hash`, which Python salts anew in every process.
    return zlib.crc32(":".join(map(str, (seed, *words))).encode())


def _generator(seed: int, *words: object) -> np.random.Generator:
    return np.random.default_rng(seed_of(seed, *words))
