"""The algorithms, each with its defaults; an entry in `ALGORITHMS` adds one.

A configuration is checked against their names, so what they are made of is imported when one is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from soilscale.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    import pandas as pd

FOREST: Mapping[str, Any] = {
    "n_estimators": 500,
    "min_samples_split": 6,
    "min_samples_leaf": 1,
    "max_depth": None,
    "max_samples": 20_000,
}
"""Defaults of both forests: those of R, whose nodes of 5 rows or fewer stay whole (a split of 6 at least)."""

RESERVED: Mapping[str, str] = {
    "random_state": "set models.seed instead",
    "n_jobs": "every fit runs on one core, and the fits run in parallel; set --workers instead",
    "within": "it is measured on the fine features of the area",
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


@dataclass(frozen=True)
class Algorithm:
    """A way to learn soil moisture from features, under the name that a configuration gives."""

    name: str
    about: str
    """What it is, and whose defaults it has."""
    build: Callable[[int], Estimator]
    """Number of features -> unfitted estimator with the default parameters, running on one core."""
    joint: bool = False
    """Whether one fit learns all seasons together, from means over cells of functions of their fine features."""
    members: tuple[str, ...] = ()
    """Algorithms whose predictions it weighs; its estimator learns from those. They are trained beside it."""
    placed: bool = False
    """Whether a fit takes each row's place (`fit(X, y, place=...)`), and `within`: how features vary in a cell."""
    sizing: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of the parameters by which a model grows: a run is estimated by them without making an estimator,
    which takes a second of imports."""

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
        defaults = estimator.get_params()
        for name in parameters:
            where = f"models.parameters.{self.name}.{name}"
            if name in RESERVED:
                raise ConfigurationError(f"{where} cannot be set: {RESERVED[name]}")
            if name not in defaults:
                choices = [parameter for parameter in defaults if parameter not in RESERVED]
                raise ConfigurationError(f"{where}: unknown parameter{nearest(name, choices)}")
        seeds = {"random_state": seed} if "random_state" in defaults else {}
        estimator.set_params(**parameters, **seeds)
        try:
            estimator._validate_params()  # type: ignore[attr-defined]  # noqa: SLF001 - the check that comes first in fit
        except ValueError as error:
            raise ConfigurationError(f"models.parameters.{self.name}: {error}") from error
        return estimator


def _forest(p: int) -> Estimator:
    from soilscale.models.bagging import RandomForest

    estimator: Estimator = RandomForest(**FOREST, max_features=max(p // 3, 1), n_jobs=1)
    return estimator


def _trend_forest(p: int) -> Estimator:
    from soilscale.models.trend import TrendForest

    estimator: Estimator = TrendForest(**FOREST, max_features=max(p // 3, 1), n_jobs=1)
    return estimator


def _support_vectors(_: int) -> Estimator:
    from soilscale.models.distance import SupportVectors

    return SupportVectors()


def _nearest_neighbours(_: int) -> Estimator:
    from soilscale.models.distance import NearestNeighbours

    return NearestNeighbours()


def _boosted_trees(_: int) -> Estimator:
    from soilscale.models.boosting import BoostedTrees

    return BoostedTrees(n_jobs=1)


def _stack(_: int) -> Estimator:
    from soilscale.models.stack import Stack

    return Stack()


def _gaussian_process(_: int) -> Estimator:
    from soilscale.models.gaussian_process import GaussianProcess

    return GaussianProcess()


ALGORITHMS: Mapping[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "random_forest",
            "Random forest with the defaults of R's randomForest: 500 trees, a third of the features tried at each "
            "split, nodes of 5 rows or fewer not split, bootstrap (Breiman 2001, Machine Learning 45, 5-32). A tree "
            "draws at most 20,000 rows.",
            _forest,
            sizing=FOREST,
        ),
        Algorithm(
            "trend_forest",
            "Linear trend by ridge regression, and a random forest with the same defaults on its residuals: "
            "extrapolates where a forest alone cannot. The less of a feature's fine variance lies between cells, the "
            "more its slope is shrunk.",
            _trend_forest,
            placed=True,
            sizing=FOREST,
        ),
        Algorithm(
            "svm",
            "Support vector regression with the defaults of R's e1071::svm: radial kernel, cost 1, gamma 1/p, "
            "epsilon 0.1, features and target scaled. Learns from at most 20,000 rows.",
            _support_vectors,
            sizing={"max_samples": 20_000},
        ),
        Algorithm(
            "knn",
            "Mean of the 7 nearest rows with the defaults of R's kknn::kknn: Euclidean distance of scaled features, "
            "optimal weights (Samworth 2012, Annals of Statistics 40, 2733-2763).",
            _nearest_neighbours,
            sizing={"max_samples": 100_000},
        ),
        Algorithm(
            "xgboost",
            "Gradient-boosted trees by XGBoost (Chen & Guestrin 2016, KDD '16, 785-794): 500 shallow trees, each "
            "grown on half of the rows.",
            _boosted_trees,
            sizing={"n_estimators": 500, "max_depth": 4},
        ),
        Algorithm(
            "gaussian_process",
            "Area-to-point regression with Gaussian processes (Kyriakidis 2004, Geographical Analysis 36, 259-289; "
            "Tanaka et al. 2019, NeurIPS 32, 6203-6213): lines and smooth curves of the fine features and smooth "
            "fields of place, learned from means over cells, all seasons together.",
            _gaussian_process,
            joint=True,
            sizing={"max_samples": 500_000},
        ),
        Algorithm(
            "stack",
            "Weighted mean of gaussian_process, trend_forest and xgboost, which are trained beside it: equal weights, "
            "or those of non-negative least squares on blocked predictions (Breiman 1996, Machine Learning 24, 49-64).",
            _stack,
            members=("gaussian_process", "trend_forest", "xgboost"),
        ),
    )
}
"""Every algorithm by name."""

RECOMMENDED = ("random_forest", "trend_forest", "gaussian_process")
"""Algorithms that are trained where the configuration names none."""


def find(name: str) -> Algorithm:
    """Algorithm of the given name.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if name not in ALGORITHMS:
        raise ConfigurationError(f"models.algorithms: unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]


def with_members(names: Iterable[str]) -> tuple[str, ...]:
    """Names of algorithms, each after those of its members that are not named themselves; unknown ones as they are."""
    requested = tuple(names)
    ordered: list[str] = []
    for name in requested:
        members = ALGORITHMS[name].members if name in ALGORITHMS else ()
        ordered += [member for member in members if member not in (*requested, *ordered)]
        ordered.append(name)
    return tuple(ordered)


def best(errors: Mapping[str, pd.DataFrame]) -> str:
    """Algorithm to map with, by the errors of its predictions of cells that were held out.

    It is the one with the least error, or one that learns from areas if its error is larger by no more than a standard
    error (the rule of Breiman et al. 1984, Classification and Regression Trees): what a map gains within its cells is
    not seen in cells held out, and a model of means over cells has to guess it.

    Parameters
    ----------
    errors
        Algorithm -> its squared errors by month: ``sum`` and ``count``, for the same months and cells.
    """
    mean = {name: months["sum"].sum() / months["count"].sum() for name, months in errors.items()}
    # Ties go by name, not by the order in which a configuration lists them.
    least = min(sorted(mean), key=mean.__getitem__)

    def near(name: str) -> bool:
        monthly = (errors[name]["sum"] - errors[least]["sum"]) / errors[least]["count"].mean()
        return float(mean[name] - mean[least]) <= monthly.std(ddof=1) / math.sqrt(len(monthly))

    areal = [name for name in sorted(mean, key=mean.__getitem__) if find(name).joint and near(name)]
    return areal[0] if areal else least
