"""What the cost of a task depends on: the size of the area and period, the arrays that are written, and the fits."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import xarray as xr

from soilscale import models
from soilscale.seasons import ALL

AREA, MODELS = "area", "models"
"""What the memory of a task grows with, where that is not the tile: the whole area, or the rows and the models."""

FLOAT = 8
"""Bytes of a value of a table."""

STORED = 1.65
"""Times its size that a forest takes while it is laid out for prediction and stored."""

COPIES = 2.1
"""Times its size that the table of a fit takes while it is read and split into learned and held-out rows."""

PREDICTED, REPORTED = 40, 54
"""Bytes of a row of predictions, in the worker that makes them and in the report."""

FOR_DRAWS, FOR_PREDICTION = 1 / 40, 1 / 15
"""Work of a tree for a row that it may draw, and for one that it predicts, of that for one that it draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Size of a run."""

    tiles: int
    tile_cells: int
    """Fine cells of a whole tile."""
    tile_coarse: int
    """Coarse cells of a whole tile."""
    cells: int
    """Fine cells of the grid."""
    coarse: int
    """Coarse cells of the grid."""
    months: int
    learned: int
    """Months that the models learn from."""
    features: int
    row: int
    """Bytes of a row of the training table as a fit holds it."""
    table: int
    """Bytes of the training table."""
    basis: int
    """Bytes of the basis of a joint fit, of all rows."""

    @property
    def rows(self) -> int:
        """Rows of the training table, if every cell and month that is learned from is observed."""
        return self.coarse * self.learned

    @property
    def series(self) -> int:
        """Bytes of the coarse values of all months."""
        return self.coarse * self.months * FLOAT


@dataclass(frozen=True, slots=True)
class Stored:
    """Arrays of a store, before compression."""

    size: float = 0.0
    """Bytes."""
    objects: int = 0

    def __add__(self, second: Stored) -> Stored:
        return Stored(self.size + second.size, self.objects + second.objects)


def stored(template: xr.Dataset, names: Iterable[Hashable]) -> Stored:
    """Variables of a template, in the chunks or shards in which they are laid out."""
    size, objects = 0, 0
    for name in names:
        encoding = template[name].encoding
        sides = encoding.get("shards") or encoding["chunks"]
        objects += math.prod(math.ceil(n / side) for n, side in zip(template[name].shape, sides, strict=True))
        size += int(template[name].nbytes)
    return Stored(size, objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fit, as far as it is known before there is a table."""

    job: models.Job
    rows: float
    """Rows that it learns from, at most at once."""
    held_out: float
    """Rows that it predicts."""
    drawn: float
    """Rows that each tree draws."""
    size: float
    """Bytes of the model."""
    trees: int
    times: float = 1.0
    """How often it learns from as many: a model that is stored comes after another that shows how accurate it is."""

    @property
    def joint(self) -> bool:
        """Whether it learns all seasons together."""
        return models.find(self.job.algorithm).joint

    @property
    def work(self) -> float:
        """Rows that each of its trees learns from, as much as all that a tree does for others is like."""
        return self.times * (self.drawn + self.rows * FOR_DRAWS) + self.held_out * FOR_PREDICTION


def fit_load(scale: Scale, fits: Iterable[Fit]) -> float:
    """Bytes that the largest fit holds: while it reads its rows, or while it lays out its model."""
    loads = [0.0]
    for fit in fits:
        if fit.joint:
            memory = 2 * fit.size + scale.row * fit.rows + PREDICTED * fit.held_out
            loads += [COPIES * scale.row * scale.rows, memory]
            continue
        # A fit reads the rows of its season alone, the comprehensive one all.
        table = scale.row * (scale.rows if fit.job.season == ALL else fit.rows + fit.held_out)
        learned = scale.row * (fit.rows + fit.held_out) + PREDICTED * fit.held_out
        loads += [COPIES * table, learned + STORED * fit.size]
    return max(loads)
