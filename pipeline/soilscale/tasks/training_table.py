"""What a worker does for the training table: draw the rows of some months, and read them again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from soilscale import models, samples, storage
from soilscale.engine.output import Workspace
from soilscale.engine.units import Cost, Task
from soilscale.schema import COARSE, MAP
from soilscale.seasons import ALL, Seasons
from soilscale.storage.tables import give_back, parquet_file, write_table
from soilscale.tasks.costs import AREA, Scale, Stored

STEP = 0.05
"""m3 m-3 to whose multiples the range of the colours is rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawRows(Task):
    """Draw the training rows of some months."""

    name: str
    """Of the unit: its first and last month."""
    target: str
    features: tuple[str, ...]
    seasons: Seasons
    rows: tuple[int, int]
    """First and last index in time, the last exclusive."""
    min_valid_fraction: float
    seed: int
    block: int
    """Coarse cells along the side of a block."""

    @classmethod
    def cost(cls, scale: Scale, coarse: Stored) -> Cost:
        """Cost of drawing rows from the coarse group. Work: bytes of the training table, in millions."""
        batches = months_in_batches(scale.learned)
        return Cost(
            units=len(batches),
            read=scale.learned / scale.months * coarse.size,
            written=2 * scale.table,
            objects=2 * len(batches) + 2,
            work=scale.table / 1e6,
            load=max(last - first for first, last in batches) / scale.learned * scale.table,
            grows=AREA,
        )

    def run(self, workspace: Workspace) -> None:
        """Write the rows below `state/`."""
        coarse = storage.open_group(workspace.cube, COARSE).isel(time=slice(*self.rows)).load()
        table = samples.draw(
            coarse,
            self.target,
            self.features,
            self.seasons,
            min_valid_fraction=self.min_valid_fraction,
            seed=self.seed,
            block=self.block,
        )
        write_table(workspace.state("samples", f"{self.name}.parquet"), table)


def counts(url: str) -> pd.DataFrame:
    """Season and split of every row of the training table, in memory as codes."""
    names = ["season", "split"]
    with parquet_file(url, names) as file:
        codes = file.read(names).to_pandas()
    return codes.astype("category")


def scale(url: str) -> tuple[float, float]:
    """Range of the target in the training table, rounded outward, for the colours of all maps alike."""
    with parquet_file(url) as file:
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        column = file.schema_arrow.names.index(MAP)
        statistics = [group.column(column).statistics for group in groups]
    ranges = [(column.min, column.max) for column in statistics if column is not None and column.has_min_max]
    if not ranges:
        return 0.0, 1.0
    least, greatest = min(low for low, _ in ranges), max(high for _, high in ranges)
    first = math.floor(least / STEP)
    return round(first * STEP, 2), round(max(math.ceil(greatest / STEP), first + 1) * STEP, 2)


def blocks(url: str) -> pd.DataFrame:
    """Place, month and block of every row of the training table."""
    with parquet_file(url, ["block"]) as file:
        arrow_table = file.read(["time", "y", "x", "block"])
    rows: pd.DataFrame = arrow_table.unify_dictionaries().to_pandas()
    return rows


def table(url: str, season: str, seed: int, folds: int, *, by_place: bool = False) -> pd.DataFrame:
    """Rows of the training table of one season, or of `ALL`, in its order; words are categories.

    A column `models.FOLD`, as the blocks of the whole table deal it, stands in place of the blocks; `by_place` keeps a
    block's years in one fold.
    """
    parts: list[pa.Table] = []
    with parquet_file(url, ["season", "block", "split"]) as file:
        blocks = file.read(["block"]).unify_dictionaries().column(0).to_pandas()
        blocks = samples.places(blocks) if by_place else blocks
        # Dealt over the whole table: by season, a block could be in different folds of two of them.
        fold = models.folds(blocks, folds, seed).astype("int8")
        del blocks
        columns = [name for name in file.schema_arrow.names if name != "block"]
        first = 0
        for group in range(file.num_row_groups):
            part = file.read_row_group(group, columns)
            part = part.append_column(models.FOLD, pa.array(fold[first : first + len(part)]))
            first += len(part)
            # Filtered at once, so that no more than one group of other seasons is in memory.
            parts.append(part if season == ALL else part.filter(pc.equal(part["season"], season)))
            give_back()
    arrow_table = pa.concat_tables(parts).unify_dictionaries()
    del parts, part
    give_back()
    # Given away column by column: table and frame at once would take twice the memory.
    rows: pd.DataFrame = arrow_table.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True)
    return rows


def months_in_batches(n: int, size: int = 12) -> list[tuple[int, int]]:
    """First and last index, the last exclusive, of batches of months."""
    return [(first, min(first + size, n)) for first in range(0, n, size)]
