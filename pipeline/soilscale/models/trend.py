"""A linear trend with a random forest on its residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted, validate_data

from soilscale.models.bagging import MOST, RandomForest

ALPHAS = tuple(10.0 ** (half / 2) for half in range(-4, 11))
"""Ridge penalties among which `TrendForest` chooses, for standardised features: 0.01 to 100,000."""

PARTS = 10
"""Parts into which places are dealt; each is predicted by slopes that others gave."""

OF_FOREST = ("n_estimators", "max_features", "min_samples_split", "min_samples_leaf", "max_depth", "max_samples")
"""Parameters that `TrendForest` shares with its forest."""


class TrendForest(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A linear trend with a random forest on what it leaves, so that it extrapolates where trees cannot.

    A forest predicts no value outside those it was trained on; fine cells leave the range of the coarse means it
    learns from. The trend is a ridge regression; the forest learns its residuals (Zhang, Nettleton & Zhu 2019,
    arXiv:1904.10416, do so with a lasso).

    A slope that is wrong does the more harm, the more its feature varies at fine scale, and is known the worse, the
    less of that lies between cells. With `within` features are therefore scaled by `spread`, so that slopes which cells
    hardly show are shrunk, not believed; else by their standard deviation. The penalty is chosen by places that are
    left out (`penalty`): rows of one place share what no feature knows, and left out one by one they would praise any
    slope that tells places apart. Without places it is chosen by leave-one-out (Rifkin & Lippert 2007,
    MIT-CSAIL-TR-2007-025).

    Parameters
    ----------
    alphas
        Ridge penalties to choose from.
    within
        Standard deviation of each feature within coarse cells, in its unit; None where it is not known.
    n_estimators, max_features, min_samples_split, min_samples_leaf, max_depth, max_samples
        As in `RandomForest`; the defaults are those of R's randomForest, but for a bound on what a tree draws. The
        trend learns from every row.
    random_state, n_jobs
        Likewise.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features_in_,)
        Slope of the trend, in units of the target per unit of each feature.
    intercept_ : float
        Value of the trend where every feature is 0.
    alpha_ : float
        Penalty that was chosen.
    forest_ : RandomForest
        Forest that predicts the residual.
    """

    _parameter_constraints: ClassVar[Mapping[str, Any]] = {
        "alphas": ["array-like"],
        "within": ["array-like", None],
        **{name: RandomForest._parameter_constraints[name] for name in OF_FOREST},  # noqa: SLF001 - the same
    }

    def __init__(
        self,
        *,
        alphas: Sequence[float] = ALPHAS,
        within: Sequence[float] | None = None,
        n_estimators: int = 500,
        max_features: float | str | None = 1 / 3,
        min_samples_split: float = 6,
        min_samples_leaf: float = 1,
        max_depth: int | None = None,
        max_samples: float | None = MOST,
        random_state: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.alphas = alphas
        self.within = within
        self.n_estimators = n_estimators
        self.max_features = max_features
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.max_depth = max_depth
        self.max_samples = max_samples
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: NDArray[Any], y: NDArray[Any], place: NDArray[np.integer] | None = None) -> TrendForest:
        """Fit the trend, then the forest on its residuals.

        Parameters
        ----------
        X
            Features, shape ``(n, p)``, finite.
        y
            Target, shape ``(n,)``, finite.
        place
            Number of the place of each row, shape ``(n,)``; None where it is not known.

        Raises
        ------
        ValueError
            If there are fewer than two rows or a value is not finite.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        mean, scale = X.mean(axis=0), spread(X, self.within)
        Z, alphas = (X - mean) / scale, self.alphas
        if place is not None and len(np.unique(place)) > 1:
            alphas = [penalty(Z, y, place, alphas)]
        ridge = RidgeCV(alphas=alphas).fit(Z, y)
        self.alpha_ = float(ridge.alpha_)
        self.coef_ = ridge.coef_ / scale
        self.intercept_ = float(ridge.intercept_ - self.coef_ @ mean)
        self.forest_: Any = RandomForest(
            n_estimators=self.n_estimators,
            max_features=self.max_features,
            min_samples_split=self.min_samples_split,
            min_samples_leaf=self.min_samples_leaf,
            max_depth=self.max_depth,
            max_samples=self.max_samples,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        ).fit(X, y - self._trend(X))
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Predict trend plus residual, shape ``(n,)``, from features of shape ``(n, p)``."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        predicted: NDArray[np.float64] = self._trend(X) + self.forest_.predict(X)
        return predicted

    def _trend(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        # Not `@`, which would take the threads of BLAS beside those of the worker.
        trend: NDArray[np.float64] = np.einsum("ij,j->i", X, self.coef_) + self.intercept_
        return trend


def spread(X: NDArray[np.float64], within: Sequence[float] | None) -> NDArray[np.float64]:
    """What features are divided by: the fine variance, over the standard deviation between rows.

    That is the fine standard deviation over the root of the share of the fine variance that lies between cells; where
    nothing varies within cells, it is the standard deviation between rows.

    Parameters
    ----------
    X
        Means over cells, shape ``(n, p)``.
    within
        Standard deviation of each feature within cells, shape ``(p,)``; None counts as 0.

    Returns
    -------
    array
        Shape ``(p,)``; 1 of a feature that is the same in every row.
    """
    between = X.std(axis=0)
    # Features were float32: what differs by less than its rounding is the same in every row.
    alike = between <= np.abs(X).max(axis=0) * np.finfo(np.float32).eps
    between[alike] = 1.0
    inside = np.zeros(len(between)) if within is None else np.asarray(within, np.float64)
    scale: NDArray[np.float64] = (between**2 + inside**2) / between
    return scale


def penalty(
    Z: NDArray[np.float64], y: NDArray[np.float64], place: NDArray[np.integer], alphas: Sequence[float]
) -> float:
    """Ridge penalty for places that are not learned from.

    Of the penalties whose squared error there is within a standard error of the least, the largest (Breiman et al.
    1984, Classification and Regression Trees, 3.4.3): at fine scale a slope that is too steep costs more than at the
    coarse scale of these errors, and one that is too flat does not.

    Parameters
    ----------
    Z, y
        Scaled features, shape ``(n, p)``, and target.
    place
        Number of each row's place, shape ``(n,)``; at least two.
    alphas
        Penalties to choose from.
    """
    parts = GroupKFold(min(PARTS, len(np.unique(place))))
    errors = []
    for learn, test in parts.split(Z, y, place):
        mean, level = Z[learn].mean(axis=0), y[learn].mean()
        # One decomposition serves all penalties, where a fit for each would be fifteen.
        U, s, V = np.linalg.svd(Z[learn] - mean, full_matrices=False)
        pulled = s * (U.T @ (y[learn] - level))
        slopes = V.T @ (pulled[:, None] / (s[:, None] ** 2 + np.asarray(alphas, np.float64)))
        errors.append((((Z[test] - mean) @ slopes + level - y[test, None]) ** 2).mean(axis=0))
    error, doubt = np.mean(errors, axis=0), np.std(errors, axis=0, ddof=1) / np.sqrt(len(errors))
    least = int(np.argmin(error))
    return float(
        max(alpha for alpha, squares in zip(alphas, error, strict=True) if squares <= error[least] + doubt[least])
    )
