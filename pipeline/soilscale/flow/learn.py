"""What a worker does for the training table and the models: draw rows, fit one job, keep its predictions."""

from __future__ import annotations

import ctypes
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from soilscale import models, samples, storage
from soilscale.errors import DataError
from soilscale.flow.workspace import Workspace
from soilscale.models import Job
from soilscale.schema import COARSE
from soilscale.seasons import ALL, Seasons

MODEL, TREES = "model.skops", "trees.npz"
"""Files of a fitted model: the whole of it, and of a forest its trees laid out for prediction."""

MEMBERS = "members.json"
"""File of a model that is made of others: their weights and features."""

ROWS = 2**18
"""Rows of a table that are written at once."""

FORMAT = 4
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


def store(workspace: Workspace, job: Job, estimator: models.Estimator, about: Mapping[str, Any]) -> None:
    """Write a fitted model, and what is known of it before it is judged."""
    storage.write_bytes(workspace.model(job.season, job.algorithm, MODEL), models.dumps(estimator))
    if (trees := models.pack(estimator)) is not None:
        storage.write_bytes(workspace.model(job.season, job.algorithm, TREES), trees)
    storage.write_json(workspace.state("train", f"{job.name}.about.json"), about)


@contextmanager
def _parquet(url: str, words: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """Parquet object, to be read in the context; columns of some words in memory as codes.

    Raises
    ------
    storage.DamagedError
        If it is no table any more.
    """
    with storage.local_copy(url) as path:
        try:
            with pq.ParquetFile(path, read_dictionary=list(words), page_checksum_verification=True) as file:
                yield file
        except (ValueError, OSError) as error:
            raise storage.damaged(url, error) from error


def read_table(url: str, columns: list[str] | None = None) -> pd.DataFrame:
    """Table from a Parquet object, or some of its columns.

    Raises
    ------
    storage.DamagedError
        If it is no table any more; so do the functions below.
    """
    with _parquet(url) as file:
        return file.read(columns).to_pandas()


def count(url: str) -> int:
    """Rows of a table."""
    with _parquet(url) as file:
        return int(file.metadata.num_rows)


def counts(url: str) -> pd.DataFrame:
    """Season and split of every row of the training table, in memory as codes."""
    names = ["season", "split"]
    with _parquet(url, names) as file:
        found = file.read(names).to_pandas()
    return found.astype("category")


def put_together(parts: Sequence[str], url: str) -> None:
    """Write tables one below the other as one, each a row group, with one of them in memory at a time."""

    def tables() -> Iterator[pa.Table]:
        empty = True
        for number, one in enumerate(parts):
            with _parquet(one) as file:
                part = file.read()
            if len(part) or (empty and number == len(parts) - 1):
                empty = False
                yield part

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        _write(path, tables())
        storage.write_file(url, path)


def _write(target: Path | io.BytesIO, parts: Iterable[pa.Table]) -> None:
    """Write tables one below the other, with a checksum on each page; at least one."""
    writer: pq.ParquetWriter | None = None
    for part in parts:
        writer = writer or pq.ParquetWriter(target, part.schema, write_page_checksum=True)
        writer.write_table(part.cast(writer.schema))
    if writer is not None:
        writer.close()


def blocks(url: str) -> pd.DataFrame:
    """Place, month and block of every row of the training table."""
    with _parquet(url, ["block"]) as file:
        found = file.read(["time", "y", "x", "block"])
    rows: pd.DataFrame = found.unify_dictionaries().to_pandas()
    return rows


def predictions(url: str) -> pd.DataFrame:
    """Table of predictions, its words as categories: a third of the memory."""
    words = ["season", "algorithm", "model", "split"]
    with _parquet(url, words) as file:
        found = file.read().unify_dictionaries()
    rows: pd.DataFrame = found.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)
    del found
    give_back()
    return rows.astype(dict.fromkeys(words, "category"))


def row_groups(url: str, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """Parts of a table, as `put_together` joined them, one after another."""
    with _parquet(url) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns).to_pandas(ignore_metadata=True)


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


def read_csv(url: str) -> pd.DataFrame:
    """Table from a CSV object."""
    return pd.read_csv(io.BytesIO(storage.read_bytes(url)))


def write_table(url: str, table: pd.DataFrame) -> None:
    """Write a table as a Parquet object, whole or not at all; categories become words, some rows at a time."""
    words = dict.fromkeys(table.select_dtypes("category").columns, object)

    def parts() -> Iterator[pa.Table]:
        for first in range(0, max(len(table), 1), ROWS):
            yield pa.Table.from_pandas(table.iloc[first : first + ROWS].astype(words), preserve_index=False)
            give_back()

    buffer = io.BytesIO()
    _write(buffer, parts())
    storage.write_bytes(url, buffer.getvalue())


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


def give_back() -> None:
    """Let go of memory that has been freed, which Arrow and the C library would keep for themselves."""
    pa.default_memory_pool().release_unused()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def table(url: str, season: str, seed: int, folds: int, *, by_place: bool = False) -> pd.DataFrame:
    """Rows of the training table of one season, or of `ALL`, in its order; words are categories.

    A column `models.FOLD`, as the blocks of the whole table deal it, stands in place of the blocks; `by_place` keeps a
    block's years in one fold.
    """
    parts: list[pa.Table] = []
    with _parquet(url, ["season", "block", "split"]) as file:
        blocks = file.read(["block"]).unify_dictionaries().column(0).to_pandas()
        blocks = samples.places(blocks) if by_place else blocks
        fold = models.folds(blocks, folds, seed).astype("int8")
        del blocks
        columns = [name for name in file.schema_arrow.names if name != "block"]
        first = 0
        for group in range(file.num_row_groups):
            part = file.read_row_group(group, columns)
            part = part.append_column(models.FOLD, pa.array(fold[first : first + len(part)]))
            first += len(part)
            parts.append(part if season == ALL else part.filter(pc.equal(part["season"], season)))
            give_back()
    found = pa.concat_tables(parts).unify_dictionaries()
    del parts, part
    give_back()
    rows: pd.DataFrame = found.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)
    return rows


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
    told = storage.read_json(storage.join(url, MEMBERS))
    place = {name: number for number, name in enumerate(told["features"])}
    members = told["members"].items()
    return models.Blend(
        [
            (_predictor(f"{season}/{name}"), np.array([place[one] for one in member["features"]]), member["weight"])
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


def months_in_batches(n: int, size: int = 12) -> list[tuple[int, int]]:
    """First and last index, the last exclusive, of batches of months."""
    return [(first, min(first + size, n)) for first in range(0, n, size)]
