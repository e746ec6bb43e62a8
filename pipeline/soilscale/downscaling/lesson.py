"""A training table from a person's arrays, and what fits take beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray

from soilscale import models, samples
from soilscale.downscaling.stack import TARGET, Compute, Stack
from soilscale.errors import DataError
from soilscale.models import FOLD, FOLDS
from soilscale.models.basis import KNOTS, Basis
from soilscale.schema import MAP
from soilscale.seasons import Seasons
from soilscale.tasks import joint_learning, training_table

MOST_BEYOND = 0.5
"""Largest share of observations outside the physical range with which the target counts as soil moisture."""


@dataclass(frozen=True)
class How:
    """How models learn."""

    seasons: Seasons
    algorithm: Any
    """Name of an algorithm, ``best``, or an estimator of scikit-learn's kind."""
    parameters: Mapping[str, Any]
    """Of the algorithm, those that differ from its defaults."""
    interval: float | None
    valid_range: tuple[float, float]
    min_valid_fraction: float
    seed: int
    folds: int = FOLDS
    """Folds of the blocked cross-validation."""

    @property
    def names(self) -> tuple[str, ...]:
        """Algorithms that are trained."""
        if not isinstance(self.algorithm, str):
            return (type(self.algorithm).__name__,)
        return models.RECOMMENDED if self.algorithm == "best" else models.with_members([self.algorithm])

    @property
    def judges(self) -> bool:
        """Whether models are judged by held-out rows, which takes a fit for every fold."""
        return self.algorithm == "best" or self.interval is not None or len(self.names) > 1

    def known(self, name: str) -> models.Algorithm | None:
        """Algorithm of a name; None of a person's estimator."""
        return models.find(name) if isinstance(self.algorithm, str) else None

    def parameters_of(self, name: str) -> dict[str, Any]:
        """Parameters of a trained algorithm; those of the members of others are their defaults."""
        return dict(self.parameters) if name == self.algorithm else {}


@dataclass(frozen=True)
class Lesson:
    """A training table, and what the fits take beside it."""

    stack: Stack
    how: How
    coarse: xr.Dataset
    table: pd.DataFrame
    """Rows of `samples.draw` with a column `models.FOLD`."""
    compute: Compute

    @property
    def trained(self) -> tuple[str, ...]:
        """Seasons with enough rows for a model of their own."""
        short_seasons = samples.check_counts(self.table, self.how.seasons)
        return tuple(name for name in self.how.seasons.names if name not in short_seasons)

    @cached_property
    def _blocks(self) -> list[NDArray[Any]]:
        """Delayed chunks of every feature, by month and tile."""
        return [np.array(array.to_delayed()) for array in self.stack.features.values()]

    def chunks(self, month: int, row: int, column: int) -> list[Any]:
        """Delayed chunks of the features in a tile's month."""
        return [blocks[(month, row, column)[-blocks.ndim :]] for blocks in self._blocks]

    @cached_property
    def spread(self) -> tuple[Basis, dict[str, dict[str, float]]]:
        """Basis of the fine features, and how each varies within cells."""
        stack, how = self.stack, self.how
        first = next(
            (name for name in how.names if (definition := how.known(name)) is not None and definition.joint), ""
        )
        size = int(how.parameters_of(first).get("knots", KNOTS))
        places = joint_learning.places_of(list(stack.grid.tiles()), stack.months, how.seed)

        def looks() -> Iterator[tuple[str, NDArray[np.floating]]]:
            for tile, month in places:
                index = int(np.searchsorted(stack.months, month))
                (values,) = self.compute(delayed(_side_by_side)(self.chunks(index, tile.row, tile.column)))
                yield how.seasons.name(month), values

        return joint_learning.spread_of(looks(), stack.names, stack.shares, ratio=stack.grid.ratio, size=size)

    def basis(self) -> Iterator[pd.DataFrame]:
        """Tables of the basis, a tile and a year at a time, so that memory does not go with the area."""
        stack, (ground, _) = self.stack, self.spread
        y, x = stack.coarse
        for first, last in training_table.months_in_batches(len(stack.months)):
            for tile in stack.grid.tiles():
                # Named and seeded as the units of a run are.
                name = f"{stack.months[first]}_{stack.months[last - 1]}_{tile.name}"
                place = y[tile.coarse[0]], x[tile.coarse[1]]
                rows = [
                    delayed(_basis_rows)(
                        self.chunks(month, tile.row, tile.column),
                        ground,
                        stack.names,
                        (stack.months[month].astype("datetime64[ns]"), *place),
                        stack.grid.ratio,
                        models.seed_of(0, name, month),
                    )
                    for month in range(first, last)
                ]
                yield pd.concat(self.compute(*rows), ignore_index=True)


def _side_by_side(values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Chunks of features as one array, (y, x, feature)."""
    return np.stack([chunk[0] if chunk.ndim > 2 else chunk for chunk in values], axis=-1)  # noqa: PLR2004 - a month


def _basis_rows(
    values: Sequence[NDArray[np.float32]],
    ground: Basis,
    names: Sequence[str],
    place: Any,
    ratio: int,
    seed: int,
) -> pd.DataFrame:
    return joint_learning.basis_rows(_side_by_side(values), ground, names, place, ratio, np.random.default_rng(seed))


def lesson(stack: Stack, coarse: xr.Dataset, how: How, compute: Compute) -> Lesson:
    """Draw the training table.

    Raises
    ------
    DataError
        If it is enough for no season, or its observations are likely in another unit.
    """
    table = samples.draw(
        coarse,
        TARGET,
        stack.names,
        how.seasons,
        min_valid_fraction=how.min_valid_fraction,
        seed=how.seed,
        block=samples.block_side(stack.grid.shape),
    )
    if table.empty:
        raise DataError(
            "no coarse cell has an observation and enough valid predictors in any month, so nothing can be learned; "
            "see where both have values, fill gaps of the predictors, or lower min_valid_fraction"
        )
    lower, upper = how.valid_range
    beyond = float(((table[MAP] < lower) | (table[MAP] > upper)).mean())
    if beyond > MOST_BEYOND:
        raise DataError(
            f"coarse: {beyond:.0%} of its values lie outside valid_range [{lower:g}, {upper:g}] m3 m-3, their median "
            f"is {table[MAP].median():.4g}; state their unit in attrs['units'], such as %, or give another valid_range"
        )
    samples.refuse_too_few(samples.check_counts(table, how.seasons), how.seasons)
    # Dealt over the whole table: by season, a block could be in different folds of two of them.
    fold = models.folds(table["block"], how.folds, how.seed)
    return Lesson(stack, how, coarse, table.assign(**{FOLD: fold}), compute)
