"""The additive Gaussian process as an estimator: what it has learned, ready for the pixels of a season."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from soilscale.models import area, basis
from soilscale.models.area import LENGTHS, Areas, Floats, Variances, estimate, level, smooth
from soilscale.models.basis import KNOTS, Basis
from soilscale.models.effects import Covariance, Effects

ROWS, ITERATIONS = 700, 60
"""Rows from which variances are learned, and most steps of the search for them."""

MOST = 500_000
"""Most rows that a fit learns from by default: some 300 MiB for twenty features."""


class GaussianProcess(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Gaussian process of a season: lines, smooth curves and products of the features, and smooth fields of place.

    `fit` learns the curves alone, from rows that have no place; of cells and months it is learned by `learn_areas`,
    all seasons together, and `of_season` gives each season's own.

    Parameters
    ----------
    lengths
        Lengths of the fields, in coarse cells.
    knots
        Knots of a curve.
    rows
        Most rows from which variances are learned; the effects are learned from all.
    iterations
        Most steps of the search for the variances.
    max_samples
        Most rows to learn from, drawn at random where there are more; None for all.
    random_state
        Seed of the choice of those rows.

    Attributes
    ----------
    mean_, sd_ : ndarray of shape (n_features_in_,)
        What standardises the features.
    knots_ : ndarray of shape (n_features_in_, knots)
        Where the knots of each feature's curve lie, in its unit.
    slope_ : ndarray of shape (n_features_in_,)
        Effect of a standard deviation, in units of the target.
    curve_ : ndarray of shape (n_features_in_, knots)
        Curve at its knots, in units of the target; beyond the outermost it stays, and the line goes on.
    pair_ : ndarray of shape (n_features_in_, n_features_in_)
        Effect of the product of two features, in standard deviations within their knots, in units of the target; above
        the diagonal.
    band_ : ndarray of shape (n_features_in_, knots)
        Standard deviation of a feature's whole effect, line and curve, at its knots, in units of the target.
    intercept_ : float
        Of the season, in units of the target.
    corner_ : ndarray of shape (2,)
        y and x of the centre of the first cell; empty without a place.
    side_ : float
        Side of a cell, in the same units; y falls from row to row.
    pull_ : ndarray of shape (lengths, rows, columns)
        What the field of all time and of the season is smoothed from.
    months_ : ndarray of shape (months,)
        Months that have a field of their own, counted from January 1970.
    month_ : ndarray of shape (months,)
        Intercept of each month, in units of the target.
    monthly_ : ndarray of shape (months, rows, columns)
        What the field of a month is smoothed from.
    share_ : ndarray of shape (lengths,)
        How much of each length a month's field has.
    """

    _parameter_constraints: ClassVar[Mapping[str, Any]] = {
        "lengths": ["array-like"],
        "knots": [Interval(Integral, 4, 50, closed="both")],
        "rows": [Interval(Integral, 50, 5000, closed="both")],
        "iterations": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 50, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        lengths: Sequence[float] = LENGTHS,
        knots: int = KNOTS,
        rows: int = ROWS,
        iterations: int = ITERATIONS,
        max_samples: int | None = MOST,
        random_state: int | None = None,
    ) -> None:
        self.lengths = lengths
        self.knots = knots
        self.rows = rows
        self.iterations = iterations
        self.max_samples = max_samples
        self.random_state = random_state

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> GaussianProcess:
        """Learn lines and curves from rows without a place.

        Parameters
        ----------
        X
            Features, shape ``(n, p)``, finite.
        y
            Target, shape ``(n,)``, finite.

        Raises
        ------
        ValueError
            If there are fewer than two rows or a value is not finite.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        curve_basis = basis.measure(X, [False] * X.shape[1], self.knots)
        # All in one cell, season and month: terms that would tell these apart are left out of the search
        # (`area.estimate`).
        nowhere = np.zeros(len(X), np.intp)
        areas = Areas(*basis.block_means(curve_basis, X[:, None]), nowhere, nowhere, nowhere, nowhere)
        variances = self.variances(areas, y)
        mean, scale = level(y)
        covariance = Covariance(areas, variances, tuple(self.lengths))
        effects = covariance.effects(covariance.solve((y - mean) / scale, np.ones(len(y), bool)))
        self._set_curves(curve_basis, effects, self.bands(areas, variances, curve_basis), (mean, scale), 0)
        self._set_place((), (), effects, variances, scale, 0)
        return self

    def variances(self, areas: Areas, y: Floats) -> Variances:
        """Variances of the terms by the estimator's parameters; see `area.estimate`."""
        lengths, seed = tuple(self.lengths), self.random_state or 0
        return estimate(areas, y, rows=self.rows, iterations=self.iterations, seed=seed, lengths=lengths)

    def bands(self, areas: Areas, variances: Variances, curve_basis: Basis) -> Floats:
        """Standard deviations of the effects at their knots; see `area.bands`."""
        lengths, seed = tuple(self.lengths), self.random_state or 0
        return area.bands(areas, variances, curve_basis, rows=self.rows, seed=seed, lengths=lengths)

    def of_season(
        self,
        curve_basis: Basis,
        effects: Effects,
        bands: Floats,
        variances: Variances,
        unit: tuple[float, float],
        season: int | None,
        *,
        corner: tuple[float, float, float],
        months: NDArray[np.integer],
    ) -> GaussianProcess:
        """Estimator of one season.

        Parameters
        ----------
        curve_basis
            Basis of the features.
        effects, bands, variances
            What has been learned.
        unit
            Mean and standard deviation of the observations.
        season
            Number of the season; None for what all seasons share.
        corner
            y and x of the centre of the first cell, and the side of a cell.
        months
            Every month of `effects`, counted from January 1970.
        """
        self.n_features_in_ = len(curve_basis.mean)
        self._set_curves(curve_basis, effects, bands, unit, season)
        self._set_place(corner, months, effects, variances, unit[1], season)
        return self

    def _set_curves(
        self, curve_basis: Basis, effects: Effects, bands: Floats, unit: tuple[float, float], season: int | None
    ) -> None:
        parts = [0] if season is None else [0, 1 + season]
        mean, scale = unit
        at = np.linspace(curve_basis.low, curve_basis.high, curve_basis.knots, axis=1)
        self.mean_, self.sd_ = curve_basis.mean, curve_basis.sd
        self.knots_ = curve_basis.mean[:, None] + curve_basis.sd[:, None] * at
        self.slope_ = scale * effects.line[parts].sum(axis=0)
        self.curve_ = np.zeros(at.shape)
        self.curve_[curve_basis.curved] = scale * effects.curve[parts].sum(axis=0) @ basis.bends(curve_basis.knots).T
        self.pair_ = np.zeros((len(at), len(at)))
        curved = np.flatnonzero(curve_basis.curved)
        first, second = basis.pairs(len(curved))
        self.pair_[curved[first], curved[second]] = scale * effects.pair[parts].sum(axis=0)
        self.band_ = scale * bands[parts[-1]]
        self.intercept_ = mean + (0.0 if season is None else scale * float(effects.season[season]))

    def _set_place(
        self,
        corner: Sequence[float],
        months: Sequence[int] | NDArray[np.integer],
        effects: Effects,
        variances: Variances,
        scale: float,
        season: int | None,
    ) -> None:
        *self_corner, self.side_ = corner or (1.0,)
        self.corner_ = np.array(self_corner)
        chosen = (
            np.arange(len(months)) if season is None else np.flatnonzero(effects.season_of[: len(months)] == season)
        )
        self.months_ = np.asarray(months, np.int64)[chosen]
        self.month_ = scale * effects.month[chosen]
        self.monthly_ = scale * effects.dual[chosen]
        all_time, seasonal, self.share_ = variances.field.T.copy()
        self.pull_ = scale * all_time[:, None, None] * effects.all_time()
        if season is not None:
            self.pull_ += scale * seasonal[:, None, None] * effects.of_season(season)

    def predict(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Predict what features make of a pixel, shape ``(n,)``, from features of shape ``(n, p)``."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        total = np.full(len(X), self.intercept_)
        within = np.empty((self.n_features_in_, len(X)))
        for number, (knots, curve) in enumerate(zip(self.knots_, self.curve_, strict=True)):
            values = X[:, number].astype(np.float64)
            total += self.slope_[number] / self.sd_[number] * (values - self.mean_[number])
            if curve.any():
                total += np.interp(values, knots, curve)
            # As in training: products of values beyond the knots would run away.
            within[number] = (np.clip(values, knots[0], knots[-1]) - self.mean_[number]) / self.sd_[number]
        total += np.einsum("pn,pn->n", within, self.pair_ @ within)
        return total

    def effects(self, features: Sequence[str]) -> dict[str, dict[str, list[float]]]:
        """Effect of each feature at its knots, beside that of its mean, with the standard deviation of it.

        Parameters
        ----------
        features
            Names of the features.

        Returns
        -------
        dict
            Feature -> ``at`` (in its unit), ``effect`` and ``sd`` (in that of the target).
        """
        lines = (self.slope_ / self.sd_)[:, None] * (self.knots_ - self.mean_[:, None])
        parts = zip(features, self.knots_, lines + self.curve_, self.band_, strict=True)
        return {
            name: {"at": at.tolist(), "effect": effect.tolist(), "sd": band.tolist()}
            for name, at, effect, band in parts
        }

    def surface(self, months: NDArray[np.datetime64], y: Floats, x: Floats) -> Floats:
        """What place and month add, the mean over some months, shape ``(len(y), len(x))``.

        A month that was not learned from has no field of its own.

        Parameters
        ----------
        months
            Months, datetime64[M].
        y, x
            Centres of the rows and columns of pixels.
        """
        check_is_fitted(self)
        total = np.zeros((len(y), len(x)))
        if not len(self.corner_):
            return total
        positions = np.flatnonzero(np.isin(self.months_, months.astype("datetime64[M]").astype(np.int64)))
        # By all months, also those without a field of their own, which is 0.
        total += self.month_[positions].sum() / len(months)
        monthly = self.monthly_[positions].sum(axis=0) / len(months)
        # Rows count southwards, where y falls.
        down, across = (self.corner_[0] - y) / self.side_, (x - self.corner_[1]) / self.side_
        for length, pull, share in zip(self.lengths, self.pull_, self.share_, strict=True):
            height, width = pull.shape
            total += smooth(down, height, length) @ (pull + share * monthly) @ smooth(across, width, length).T
        return total

    def check(self) -> None:
        """Raise ValueError if what was learned does not fit together."""
        p, lengths = self.n_features_in_, len(self.lengths)
        grid = self.pull_.shape[1:]
        months = self.months_.shape
        expected = {
            "mean_": (p,), "sd_": (p,), "slope_": (p,), "knots_": (p, self.knots), "curve_": (p, self.knots),
            "band_": (p, self.knots), "pair_": (p, p),
            "pull_": (lengths, *grid), "share_": (lengths,), "month_": months, "monthly_": (*months, *grid),
        }  # fmt: skip
        for name, shape in expected.items():
            values = getattr(self, name)
            if values.shape != shape or values.dtype != np.float64 or not np.isfinite(values).all():
                raise ValueError(f"{name} of a Gaussian process is not {shape} finite numbers")
        numbers = np.array([self.intercept_, self.side_, *self.lengths, *self.corner_, *self.sd_], np.float64)
        if (
            not np.isfinite(numbers).all()
            or self.side_ <= 0
            or min(self.lengths) <= 0
            or self.months_.dtype != np.int64
        ):
            raise ValueError("a Gaussian process has an invalid side, length or place")
        if self.corner_.shape not in {(0,), (2,)} or months != (len(self.months_),) or len(grid) != 2:  # noqa: PLR2004 - y and x
            raise ValueError("the grid of a Gaussian process is invalid")
