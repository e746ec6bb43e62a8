"""Estimators based on distances to training rows: support vectors and nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.svm import SVR
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

Floats = NDArray[np.float64]

PAIRS = 2**20
"""Distances that a prediction holds in memory at once; 8 MiB in float64."""


class SupportVectors(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Support vector regression with a radial kernel and the defaults of R's e1071::svm.

    Epsilon-regression by libsvm (Chang & Lin 2011, ACM TIST 2, 27) on features *and* target of mean 0 and standard
    deviation 1 (divisor n - 1), as R scales them. A feature that is constant in training tells nothing and is
    ignored, where e1071 would leave every feature unscaled; it still counts in the default of `gamma`.

    Parameters
    ----------
    C
        Cost of a residual beyond `epsilon`.
    gamma
        Width of the kernel ``exp(-gamma * d**2)``, `d` the distance of two scaled rows; None is 1 / p for p features.
    epsilon
        Residual that costs nothing, in standard deviations of the target.
    tol
        Tolerance of the optimisation.
    max_samples
        Most rows to learn from, since time grows with their square; where there are more, this many are drawn,
        stratified by the target. None learns from all.
    cache_size
        Memory of the optimisation's cache, MB.
    random_state
        Seed of the draw.

    Attributes
    ----------
    n_samples_fit_ : int
        Number of rows that were learned from.
    mean_, weight_ : ndarray of shape (n_features_in_,)
        Mean of each feature, and the reciprocal of its standard deviation; 0 where it is constant.
    support_vectors_ : ndarray of shape (m, n_features_in_)
        Scaled rows of training that the prediction rests on.
    dual_coef_ : ndarray of shape (m,)
        Weight of each, in units of the target.
    intercept_ : float
        Prediction far from all of them.
    gamma_ : float
        Width of the kernel.
    """

    _parameter_constraints: ClassVar[Mapping[str, Any]] = {
        "C": [Interval(Real, 0, None, closed="neither")],
        "gamma": [Interval(Real, 0, None, closed="neither"), None],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_samples": [Interval(Integral, 2, None, closed="left"), None],
        "cache_size": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        C: float = 1.0,
        gamma: float | None = None,
        epsilon: float = 0.1,
        tol: float = 1e-3,
        max_samples: int | None = 20_000,
        cache_size: float = 200,
        random_state: int | None = None,
    ) -> None:
        self.C = C
        self.gamma = gamma
        self.epsilon = epsilon
        self.tol = tol
        self.max_samples = max_samples
        self.cache_size = cache_size
        self.random_state = random_state

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> SupportVectors:
        """Choose the support vectors and their weights.

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
        InvalidParameterError
            If a parameter is out of its range.
        """
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        X, y = _draw(X, y, self.max_samples, self.random_state)
        self.n_samples_fit_ = len(X)
        self.mean_, self.weight_ = X.mean(axis=0), _weight(X)
        self.gamma_ = 1 / X.shape[1] if self.gamma is None else float(self.gamma)
        middle = y.mean()
        # A constant target has no deviation to be scaled by, and stays as it is.
        scale = 1 / (_weight(y[:, None])[0] or 1)
        machine = SVR(C=self.C, gamma=self.gamma_, epsilon=self.epsilon, tol=self.tol, cache_size=self.cache_size)
        machine.fit((X - self.mean_) * self.weight_, (y - middle) / scale)
        self.support_vectors_ = machine.support_vectors_
        self.dual_coef_ = machine.dual_coef_[0] * scale
        self.intercept_ = float(machine.intercept_[0] * scale + middle)
        return self

    def predict(self, X: NDArray[Any]) -> Floats:
        """Predict the target, shape ``(n,)``, from features of shape ``(n, p)``, on one core."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        predicted = np.empty(len(X))
        for rows in _batches(len(X), len(self.support_vectors_)):
            kernel = cdist((X[rows] - self.mean_) * self.weight_, self.support_vectors_, "sqeuclidean")
            kernel *= -self.gamma_
            # In place, since `PAIRS` bounds distances that are held once.
            np.exp(kernel, out=kernel)
            # Not `@`, which would take the threads of BLAS beside those of the worker.
            predicted[rows] = np.einsum("ij,j->i", kernel, self.dual_coef_) + self.intercept_
        return predicted

    def check(self) -> None:
        """Raise ValueError unless what was learned fits together."""
        self._validate_params()
        p, m = self.n_features_in_, len(self.support_vectors_)
        _expect("mean_", self.mean_, (p,))
        _expect("weight_", self.weight_, (p,))
        _expect("support_vectors_", self.support_vectors_, (m, p))
        _expect("dual_coef_", self.dual_coef_, (m,))
        if not (np.isfinite(self.intercept_) and 0 < self.gamma_ < np.inf):
            raise ValueError(f"got intercept_ {self.intercept_} and gamma_ {self.gamma_}, expected finite numbers")


class NearestNeighbours(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Weighted mean of the nearest rows of training, with the defaults of R's kknn::kknn.

    The distance is Euclidean, every feature scaled to a standard deviation of 1 (divisor n - 1); one that is
    constant in training is ignored.

    Parameters
    ----------
    n_neighbors
        Number of neighbours; all rows where there are fewer.
    kernel
        Weights of the neighbours: ``optimal`` falls with their rank (see `optimal_weights`), ``rectangular`` is
        equal, ``inverse`` is the reciprocal of the distance, relative to that of the next neighbour beyond them.
    max_samples
        Most rows to keep; where there are more, this many are drawn, stratified by the target. None keeps all.
    random_state
        Seed of the draw.

    Attributes
    ----------
    n_samples_fit_ : int
        Number of rows that are kept.
    weight_ : ndarray of shape (n_features_in_,)
        Reciprocal of each feature's standard deviation; 0 where it is constant.
    rows_ : ndarray of shape (n_samples_fit_, n_features_in_)
        Scaled rows.
    target_ : ndarray of shape (n_samples_fit_,)
        Their target.
    """

    _parameter_constraints: ClassVar[Mapping[str, Any]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "kernel": [StrOptions({"optimal", "rectangular", "inverse"})],
        "max_samples": [Interval(Integral, 2, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        n_neighbors: int = 7,
        kernel: str = "optimal",
        max_samples: int | None = 100_000,
        random_state: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.kernel = kernel
        self.max_samples = max_samples
        self.random_state = random_state

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> NearestNeighbours:
        """Keep the scaled rows.

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
        InvalidParameterError
            If a parameter is out of its range.
        """
        self._validate_params()
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        X, y = _draw(X, y, self.max_samples, self.random_state)
        self.n_samples_fit_ = len(X)
        self.weight_ = _weight(X)
        self.rows_ = X * self.weight_
        self.target_ = y.astype(np.float64)
        return self

    def predict(self, X: NDArray[Any]) -> Floats:
        """Predict the target, shape ``(n,)``, from features of shape ``(n, p)``, on one core."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        k = min(self.n_neighbors, self.n_samples_fit_)
        # One more, by whose distance `inverse` scales; and a range, since for a bare 1 SciPy drops the second
        # dimension.
        near = range(1, min(k + 1, self.n_samples_fit_) + 1)
        tree = cKDTree(self.rows_)
        predicted = np.empty(len(X))
        for rows in _batches(len(X), len(near)):
            distance, index = tree.query(X[rows] * self.weight_, near)
            weights = self._weights(distance, k)
            predicted[rows] = (weights * self.target_[index[:, :k]]).sum(axis=1) / weights.sum(axis=1)
        return predicted

    def check(self) -> None:
        """Raise ValueError unless what was learned fits together."""
        self._validate_params()
        n, p = self.n_samples_fit_, self.n_features_in_
        _expect("weight_", self.weight_, (p,))
        _expect("rows_", self.rows_, (n, p))
        _expect("target_", self.target_, (n,))

    def _weights(self, distance: Floats, k: int) -> Floats:
        """Weights ``(n, k)`` or ``(1, k)``, to be divided by their sum, from ascending distances ``(n, >= k)``."""
        if self.kernel == "rectangular":
            return np.ones((1, k))
        if self.kernel == "optimal":
            return optimal_weights(k, self.n_features_in_)[None]
        beyond = np.maximum(distance[:, -1:], 1e-6)
        # A row that lies on one of training would have an infinite weight.
        return 1 / np.clip(distance[:, :k] / beyond, 1e-6, 1 - 1e-6)


def optimal_weights(k: int, d: int) -> Floats:
    """Weights of k nearest neighbours, nearest first, that make the error least for large samples.

    ``w_i = 1/k (1 + d/2 - d / (2 k^(2/d)) (i^(1+2/d) - (i-1)^(1+2/d)))`` of Samworth 2012 (Annals of Statistics 40,
    2733-2763); `d` is the number of features, as kknn takes the number of terms of its formula.

    Returns
    -------
    array
        float64, shape ``(k,)``, of sum 1.
    """
    steps = np.diff(np.arange(k + 1.0) ** (1 + 2 / d))
    weights: Floats = (1 + d / 2 - d / (2 * k ** (2 / d)) * steps) / k
    return weights


def _draw(X: Floats, y: NDArray[Any], most: int | None, seed: int | None) -> tuple[Floats, NDArray[Any]]:
    """At most so many rows, in their order: one at random from each of as many equal strata of the sorted target."""
    if most is None or len(X) <= most:
        return X, y
    edges = np.arange(most + 1) * len(X) // most
    drawn = check_random_state(seed).randint(edges[:-1], edges[1:])
    rows = np.sort(np.argsort(y, kind="stable")[drawn])
    return X[rows], y[rows]


def _weight(X: Floats) -> Floats:
    """Reciprocal of each column's standard deviation (divisor n - 1); 0 where it is constant."""
    # The deviation of equal numbers may be rounding rather than 0; their range is 0.
    sd = np.where(np.ptp(X, axis=0) > 0, X.std(axis=0, ddof=1), 0)
    return np.divide(1, sd, out=np.zeros_like(sd), where=sd > 0)


def _batches(n: int, width: int) -> Iterator[slice]:
    """Runs of rows that hold at most `PAIRS` distances, at `width` a row."""
    size = max(PAIRS // max(width, 1), 1)
    return (slice(start, start + size) for start in range(0, n, size))


def _expect(name: str, values: Any, shape: tuple[int, ...]) -> None:
    if not (isinstance(values, np.ndarray) and values.dtype == np.float64 and values.shape == shape):
        raise ValueError(f"{name} is not an array of float64 of shape {shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} is not finite")
