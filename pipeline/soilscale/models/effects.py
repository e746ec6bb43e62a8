"""Effects of an additive model: estimates from observations, and predictions for cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

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
    pair: Floats
    """Weights of the products of two features, likewise, shape ``(1 + seasons, q)``; see `basis.pairs`."""
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
        line, curve, pair = self._split(self._pull(dual) * self._variance)
        place = np.zeros((months, *areas.shape))
        place[areas.month, areas.row, areas.column] = dual
        return Effects(
            line,
            curve,
            pair,
            variances.intercept[0] * np.bincount(areas.season, dual, seasons),
            variances.intercept[1] * np.bincount(areas.month, dual, months),
            place,
            self._season_of,
        )

    @cached_property
    def _variance(self) -> Floats:
        """Variance of each weight of the features' effects, shape ``(1 + seasons, p + c * r + q)``."""
        areas, variances = self.areas, self.variances
        curve = np.repeat(variances.curve, areas.bent.shape[2], axis=0)
        pair = np.broadcast_to(variances.pair, (areas.paired.shape[1], 2))
        stacked = np.vstack([variances.line, curve, pair])
        seasons = int(areas.season.max()) + 1
        variance: Floats = stacked.T[np.r_[0, np.ones(seasons, np.intp)]]
        return variance

    def _split(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Weights of lines, those of curves, feature by feature, and those of products."""
        p, (_, c, r) = self.areas.line.shape[1], self.areas.bent.shape
        line, curve, pair = np.split(weights, [p, p + c * r], axis=1)
        return line, curve.reshape(len(weights), c, r), pair

    def _basis(self, rows: slice) -> list[NDArray[np.floating]]:
        """Lines, curves and products of some rows, each of shape ``(n, width)``, of the widths that `_split` makes."""
        areas = self.areas
        bent = areas.bent[rows]
        return [areas.line[rows], bent.reshape(len(bent), -1), areas.paired[rows]]

    def _pull(self, dual: Floats) -> Floats:
        """Sums of the basis over all rows and over each season's, shape ``(1 + seasons, p + c * r + q)``."""
        total = np.zeros(self._variance.shape)
        for rows in self._batches():
            season = self.areas.season[rows]
            by_season = (np.where(season == number, dual[rows], 0.0) for number in range(len(total) - 1))
            weights = np.stack([dual[rows], *by_season])
            total += np.hstack([weights @ part for part in self._basis(rows)])
        return total

    def _push(self, weights: Floats, *, with_season: bool = True) -> Floats:
        """What the features' effects make of the rows, shape ``(n,)``."""
        areas, total = self.areas, np.empty(len(self.areas))
        by_part = [part.reshape(len(weights), -1).T for part in self._split(weights)]
        for rows in self._batches():
            line, bent, paired = (part @ of_part for part, of_part in zip(self._basis(rows), by_part, strict=True))
            effect = line + bent + paired
            total[rows] = effect[:, 0]
            if with_season:
                total[rows] += np.take_along_axis(effect, 1 + areas.season[rows, None], axis=1)[:, 0]
        return total

    def _batches(self) -> Iterator[slice]:
        """Rows that are brought to double precision at once."""
        for first in range(0, len(self.areas), BATCH):
            yield slice(first, first + BATCH)

    def evaluate(self, effects: Effects, *, with_season: bool = True) -> Floats:
        """What effects make of the rows, shape ``(n,)``; `with_season` adds the effects of single seasons."""
        areas = self.areas
        fields = self._fields(effects, with_season=with_season) + self.variances.cell * effects.all_time()
        curve = effects.curve.reshape(len(effects.curve), -1)
        total = self._push(np.hstack([effects.line, curve, effects.pair]), with_season=with_season)
        total += effects.month[areas.month] + fields[areas.month, areas.row, areas.column]
        return total + effects.season[areas.season] if with_season else total

    def _fields(self, effects: Effects, *, with_season: bool) -> Floats:
        """Fields at every month and cell, shape ``(months, rows, columns)``."""
        ever = effects.all_time()
        season = np.stack([effects.of_season(number) for number in range(len(effects.season))])[effects.season_of]
        total = np.zeros_like(effects.dual)
        for (down, across), (all_time, seasonal, monthly) in zip(self._axes, self.variances.field, strict=True):
            pull = all_time * ever + monthly * effects.dual + (seasonal * season if with_season else 0.0)
            # A Gaussian covariance is the product of those along either axis: two small matrices instead of cells times
            # cells.
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
        residual = np.where(learned, z, 0.0)
        dual, goal = np.zeros_like(residual), TOLERANCE**2 * (residual @ residual)
        # Observations that are all 0 are solved, and the first step would divide 0 by 0.
        if not goal:
            return dual
        without_fields = self._without_fields(learned)
        step = near = without_fields(residual)
        size = residual @ near
        for _ in range(ITERATIONS):
            # Rows left out are set to 0, so that the system is that of the others alone.
            image = self.evaluate(self.effects(step)) * learned + self.variances.noise * step
            far = size / (step @ image)
            dual += far * step
            residual -= far * image
            if residual @ residual <= goal:
                return dual
            near = without_fields(residual)
            size, before = residual @ near, size
            step = near + size / before * step
        raise DataError(
            f"gaussian_process: {np.count_nonzero(learned)} rows did not converge in {ITERATIONS} steps, the residual "
            f"is {np.sqrt(residual @ residual / goal) * TOLERANCE:.1g} of the observations, expected {TOLERANCE:g}; "
            "leave out features that are linear combinations of others, or learn from fewer months (training)"
        )

    def _without_fields(self, learned: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
        """Inverse of the covariance that features and noise alone would give, to begin each step with.

        What has few and large directions is so solved at once (Woodbury's identity), and the steps are left to the
        fields, which are smooth and small beside it.
        """
        spread, noise = np.sqrt(self._variance), self.variances.noise
        seasons, width = len(spread) - 1, spread.shape[1]
        gram = np.zeros((1 + seasons, width, 1 + seasons, width))
        for rows in self._batches():
            basis = np.hstack(self._basis(rows)).astype(np.float64)
            for number in range(seasons):
                part = basis[learned[rows] & (self.areas.season[rows] == number)]
                product = part.T @ part
                # A season's rows count in what all share, in its own, and between the two; between two seasons there is
                # nothing.
                gram[0, :, 0] += product
                gram[1 + number, :, 1 + number] += product
                gram[0, :, 1 + number] += product
                gram[1 + number, :, 0] += product
        gram *= spread[:, :, None, None] * spread
        flat = gram.reshape(spread.size, spread.size)
        flat[np.diag_indices(spread.size)] += noise
        factor = linalg.cho_factor(flat, lower=True, check_finite=False)

        def inverse(values: Floats) -> Floats:
            pulled = (self._pull(values) * spread).ravel()
            weights = linalg.cho_solve(factor, pulled, check_finite=False).reshape(spread.shape) * spread
            return (values - self._push(weights) * learned) / noise

        return inverse
