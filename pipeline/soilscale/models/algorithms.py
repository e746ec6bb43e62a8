"""The algorithms that a model can be, each with its defaults; an entry in `ALGORITHMS` adds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from soilscale.errors import ConfigurationError, nearest
from soilscale.models.boosting import BoostedTrees
from soilscale.models.distance import NearestNeighbours, SupportVectors

ALPHAS = tuple(10.0 ** (half / 2) for half in range(-4, 11))
"""Ridge penalties among which `TrendForest` chooses, for standardised features: 0.01 to 100,000."""

OF_FOREST = ("n_estimators", "max_features", "min_samples_split", "min_samples_leaf", "max_depth")
"""Parameters that `TrendForest` shares with its forest."""

RESERVED: Mapping[str, str] = {
    "random_state": "set models.seed instead",
    "n_jobs": "every fit runs on one core and the fits run side by side; set --workers instead",
}
"""Parameters that a person cannot set, and what to do instead."""


class Estimator(Protocol):
    """What a model is: an estimator of scikit-learn's kind."""

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> Estimator:
        """Learn from features ``(n, p)`` and a target ``(n,)``."""

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Predict the target, shape ``(n,)``, from features ``(n, p)``."""

    def get_params(self) -> dict[str, Any]:
        """Parameters by name."""

    def set_params(self, **params: Any) -> Estimator:
        """Set parameters by name."""


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
    n_estimators, max_features, min_samples_split, min_samples_leaf, max_depth
        As in `sklearn.ensemble.RandomForestRegressor`; the defaults are those of R's randomForest.
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
    forest_ : RandomForestRegressor
        Forest that predicts the residual.
    """

    _parameter_constraints: ClassVar[Mapping[str, Any]] = {
        "alphas": ["array-like"],
        **{name: RandomForestRegressor._parameter_constraints[name] for name in OF_FOREST},  # noqa: SLF001 - the same
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
        random_state: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.alphas = alphas
        self.n_estimators = n_estimators
        self.max_features = max_features
        self.min_samples_split = min_samples_split
        self.min_samples_leaf = min_samples_leaf
        self.max_depth = max_depth
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
        self.forest_ = RandomForestRegressor(
            n_estimators=self.n_estimators,
            max_features=self.max_features,
            min_samples_split=self.min_samples_split,
            min_samples_leaf=self.min_samples_leaf,
            max_depth=self.max_depth,
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


@dataclass(frozen=True)
class Algorithm:
    """A way to learn soil moisture from features, under the name that a configuration gives."""

    name: str
    about: str
    """What it is, and whose defaults it has."""
    build: Callable[[int], Estimator]
    """Number of features -> unfitted estimator with the default parameters, running on one core."""

    def make(self, parameters: Mapping[str, Any], p: int, seed: int) -> Estimator:
        """Make an unfitted estimator.

        Parameters
        ----------
        parameters
            Those that differ from the defaults, by name.
        p
            Number of features, on which defaults may depend.
        seed
            Seed of everything random in the fit.

        Raises
        ------
        ConfigurationError
            If the algorithm has no such parameter, it is not the user's to set, or it cannot have such a value.
        """
        estimator = self.build(p)
        known = estimator.get_params()
        for name in parameters:
            where = f"models.parameters.{self.name}.{name}"
            if name in RESERVED:
                raise ConfigurationError(f"{where} cannot be set: {RESERVED[name]}")
            if name not in known:
                choices = [one for one in known if one not in RESERVED]
                raise ConfigurationError(f"{where}: there is no such parameter{nearest(name, choices)}")
        seeds = {"random_state": seed} if "random_state" in known else {}
        estimator.set_params(**parameters, **seeds)
        try:
            estimator._validate_params()  # type: ignore[attr-defined]  # noqa: SLF001 - the check that comes first in fit
        except ValueError as error:
            raise ConfigurationError(f"models.parameters.{self.name}: {error}") from error
        return estimator


def _forest(p: int) -> Estimator:
    estimator: Estimator = RandomForestRegressor(
        n_estimators=500, max_features=max(p // 3, 1), min_samples_split=6, bootstrap=True, n_jobs=1
    )
    return estimator


def _trend_forest(p: int) -> Estimator:
    estimator: Estimator = TrendForest(n_estimators=500, max_features=max(p // 3, 1), min_samples_split=6, n_jobs=1)
    return estimator


ALGORITHMS: Mapping[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "random_forest",
            "Random forest with the defaults of R's randomForest: 500 trees, a third of the features tried at each "
            "split, nodes of 5 rows or fewer left whole, bootstrap (Breiman 2001, Machine Learning 45, 5-32).",
            _forest,
        ),
        Algorithm(
            "trend_forest",
            "Linear trend by ridge regression, and a random forest with the same defaults on its residuals: "
            "extrapolates where a forest alone cannot.",
            _trend_forest,
        ),
        Algorithm(
            "svm",
            "Support vector regression with the defaults of R's e1071::svm: radial kernel, cost 1, gamma 1/p, epsilon "
            "0.1, features and target scaled. Learns from 20,000 rows at most.",
            lambda _: SupportVectors(),
        ),
        Algorithm(
            "knn",
            "Mean of the 7 nearest rows with the defaults of R's kknn::kknn: Euclidean distance of scaled features, "
            "optimal weights (Samworth 2012, Annals of Statistics 40, 2733-2763).",
            lambda _: NearestNeighbours(),
        ),
        Algorithm(
            "xgboost",
            "Gradient-boosted trees by XGBoost (Chen & Guestrin 2016, KDD '16, 785-794): 500 shallow trees, each "
            "grown on half of the rows.",
            lambda _: BoostedTrees(n_jobs=1),
        ),
    )
}
"""Every algorithm by name."""

RECOMMENDED = ("random_forest", "trend_forest")
"""Algorithms that are trained where the configuration names none."""


def find(name: str) -> Algorithm:
    """Algorithm of the given name.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if name not in ALGORITHMS:
        raise ConfigurationError(f"models.algorithms: there is no {name!r}{nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]
