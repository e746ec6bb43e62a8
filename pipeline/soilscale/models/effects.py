"""Effects of an additive model: what observations say of each, and what they make of cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from soilscale.errors import DataError
from soilscale.models.area import ITERATIONS, TOLERANCE, Areas, Floats, Variances, between

BATCH = 2**16
"""Rows that are worked on at once."""


@dataclass(frozen=True)
class Effects:
    """Effects of an additive model, in units of the observations' standard deviation."""

    line: Floats
    """Slopes of the features, shape ``(1 + seasons, p)``: first the shared part, then what each season adds."""
    curve: Floats
    """Weights of the functions that curves are made of, likewise, shape ``(1 + seasons, c, r)``; see `basis.bends`."""
    season: Floats
    """Intercept of each season, shape ``(seasons,)``."""
    month: Floats
    """Intercept of each month, shape ``(months,)``."""
    dual: Floats
    """What the observations of each month pull at, on the grid of cells, shape ``(months, rows, columns)``: the fields
    are sums of these, smoothed."""
    season_of: NDArray[np.intp]
    """Season of each month, shape ``(months,)``."""

    def all_time(self) -> Floats:
        """Sum of `dual` over all months, shape ``(rows, columns)``."""
        total: Floats = self.dual.sum(axis=0)
        return total

    def of_season(self, season: int) -> Floats:
        """Sum of `dual` over the months of a season, likewise."""
        total: Floats = self.dual[self.season_of == season].sum(axis=0)
        return total


@dataclass(frozen=True)
class Covariance:
    """Covariance that all terms but the noise give to pairs of rows."""

    areas: Areas
    variances: Variances
    lengths: Sequence[float]

    @cached_property
    def _axes(self) -> list[tuple[Floats, Floats]]:
        """Covariances along the columns and the rows of cells, for each length."""
        height, width = self.areas.shape
        return [(between(height, length), between(width, length)) for length in self.lengths]

    @cached_property
    def _season_of(self) -> NDArray[np.intp]:
        season = np.zeros(int(self.areas.month.max()) + 1, np.intp)
        season[self.areas.month] = self.areas.season
        return season

    def effects(self, dual: Floats) -> Effects:
        """Effects by which rows pull, each with a weight: those of the whole model if `dual` is of `solve`."""
        areas, variances = self.areas, self.variances
        seasons, months = int(areas.season.max()) + 1, len(self._season_of)
        of_term = np.r_[0, np.ones(seasons, np.intp)]
        line, curve = np.zeros((1 + seasons, areas.line.shape[1])), np.zeros((1 + seasons, *areas.bent.shape[1:]))
        for rows in self._batches():
            weights = np.stack(
                [dual[rows], *(np.where(areas.season[rows] == n, dual[rows], 0.0) for n in range(seasons))]
            )
            line += weights @ areas.line[rows]
            curve += np.tensordot(weights, areas.bent[rows], 1)
        place = np.zeros((months, *areas.shape))
        place[areas.month, areas.row, areas.column] = dual
        return Effects(
            line * variances.line.T[of_term],
            curve * variances.curve.T[of_term, :, None],
            variances.intercept[0] * np.bincount(areas.season, dual, seasons),
            variances.intercept[1] * np.bincount(areas.month, dual, months),
            place,
            self._season_of,
        )

    def _batches(self) -> Iterator[slice]:
        """Rows that are brought to double precision at once."""
        for first in range(0, len(self.areas), BATCH):
            yield slice(first, first + BATCH)

    def evaluate(self, effects: Effects, *, own: bool = True) -> Floats:
        """What effects make of the rows, shape ``(n,)``; `own` tells whether with what seasons have of their own."""
        areas = self.areas
        fields = self._fields(effects, own=own) + self.variances.cell * effects.all_time()
        total = effects.month[areas.month] + fields[areas.month, areas.row, areas.column]
        if own:
            total += effects.season[areas.season]
        for rows in self._batches():
            by_season = areas.line[rows] @ effects.line.T + np.tensordot(
                areas.bent[rows], effects.curve, ([1, 2], [1, 2])
            )
            total[rows] += by_season[:, 0]
            if own:
                total[rows] += np.take_along_axis(by_season, 1 + areas.season[rows, None], axis=1)[:, 0]
        return total

    def _fields(self, effects: Effects, *, own: bool) -> Floats:
        """Fields at every month and cell, shape ``(months, rows, columns)``."""
        ever = effects.all_time()
        season = np.stack([effects.of_season(number) for number in range(len(effects.season))])[effects.season_of]
        total = np.zeros_like(effects.dual)
        for (down, across), (all_time, seasonal, monthly) in zip(self._axes, self.variances.field, strict=True):
            pull = all_time * ever + monthly * effects.dual + (seasonal * season if own else 0.0)
            total += down @ pull @ across
        return total

    def solve(self, z: Floats, learned: NDArray[np.bool_]) -> Floats:
        """Weights of the rows: the inverse of covariance and noise, times the observations.

        Parameters
        ----------
        z
            Standardised observations, shape ``(n,)``.
        learned
            Whether each row is learned from; the others have no weight.

        Raises
        ------
        DataError
            If that takes more than `ITERATIONS` steps of conjugate gradients. They apply the covariance, and never form
            it, so that memory goes with the rows and not with their square.
        """
        right = np.where(learned, z, 0.0)
        dual, rest = np.zeros_like(right), right.copy()
        step, size = rest.copy(), rest @ rest
        goal = TOLERANCE**2 * size
        if not size:
            return dual
        for _ in range(ITERATIONS):
            image = self.evaluate(self.effects(step)) * learned + self.variances.noise * step
            far = size / (step @ image)
            dual += far * step
            rest -= far * image
            size, before = rest @ rest, size
            if size <= goal:
                return dual
            step = rest + size / before * step
        raise DataError(
            f"gaussian_process: {np.count_nonzero(learned)} rows were not solved in {ITERATIONS} steps, the residual "
            f"is {np.sqrt(size / goal) * TOLERANCE:.1g} of the observations, expected {TOLERANCE:g}; leave out "
            "features that are sums of others, or learn from fewer months (training)"
        )
