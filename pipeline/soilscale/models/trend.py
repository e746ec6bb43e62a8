"""A linear trend with a random forest on what it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from soilscale.models.bagging import MOST, RandomForest

ALPHAS = tuple(10.0 ** (half / 2) for half in range(-4, 11))
"""Ridge penalties among which `TrendForest` chooses, for standardised features: 0.01 to 100,000."""

OF_FOREST = ("n_estimators", "max_features", "min_samples_split", "min_samples_leaf", "max_depth", "max_samples")
"""Parameters that `TrendForest` shares with its forest."""


class TrendForest(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A linear trend with a random forest on what it leaves, so that it extrapolates where trees cannot.

    A forest predicts no value outside those it was trained on; fine cells leave the range of the coarse means it
    learns from. The trend is a ridge regression on standardised features, its penalty chosen by efficient
    leave-one-out cross-validation (Rifkin & Lippert 2007, MIT-CSAIL-TR-2007-025); the forest learns its residuals
    (Zhang, Nettleton & Zhu 2019, arXiv:1904.10416, do so with a lasso).

    Parameters
    ----------
    alphas
        Ridge penalties to choose from.
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
        **{name: RandomForest._parameter_constraints[name] for name in OF_FOREST},  # noqa: SLF001 - the same
    }

    def __init__(
        self,
        *,
        alphas: Sequence[float] = ALPHAS,
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
        self.n_estimators = n_estimators
        self.max_features = max_features
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.max_depth = max_depth
        self.max_samples = max_samples
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> TrendForest:
        """Fit the trend, then the forest on its residuals.

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
        scaler = StandardScaler().fit(X)
        ridge = RidgeCV(alphas=self.alphas).fit(scaler.transform(X), y)
        self.alpha_ = float(ridge.alpha_)
        self.coef_ = ridge.coef_ / scaler.scale_
        self.intercept_ = float(ridge.intercept_ - self.coef_ @ scaler.mean_)
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
        trend: NDArray[np.float64] = np.einsum("ij,j->i", X, self.coef_) + self.intercept_
        return trend
