"""A random forest whose trees each draw a bounded number of rows, so it does not grow with the table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

MOST = 20_000
"""Rows that each tree draws, at most, by default."""


class RandomForest(RandomForestRegressor):  # type: ignore[misc]  # scikit-learn has no types
    """A `sklearn.ensemble.RandomForestRegressor` of which ``max_samples`` says how many rows a tree draws *at most*.

    scikit-learn would draw that many from a smaller table as well, each of its rows several times. Here such a tree
    draws as many as there are, as in R's randomForest (Breiman 2001, Machine Learning 45, 5-32); from a larger table
    each tree draws its own ``max_samples``, with replacement, so that all trees together learn from more rows than one.
    Size, memory and time of prediction are then those of a forest of that many rows. Without bootstrap every tree
    learns from all rows.
    """

    max_samples: Any

    def fit(self, X: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> RandomForest:
        """Grow the trees.

        Parameters
        ----------
        X
            Features, shape ``(n, p)``, finite.
        y
            Target, shape ``(n,)``, finite.
        sample_weight
            As in scikit-learn.
        """
        most: Any = self.max_samples
        if isinstance(most, int | np.integer) and (most >= len(X) or not self.bootstrap):
            self.max_samples = None
        try:
            super().fit(X, y, sample_weight)
        finally:
            # As it was set: a clone of this forest would otherwise draw from any table without a bound.
            self.max_samples = most
        return self
