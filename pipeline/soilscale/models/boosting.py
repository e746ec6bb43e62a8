"""Gradient-boosted trees by XGBoost, kept as text that can be checked before XGBoost follows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import xgboost
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

LEAF = -1
"""Child of a node that has none."""

WHOLE = ("default_left", "left_children", "parents", "right_children", "split_indices", "split_type")
"""Lists of a stored tree that hold an integer for each node."""

REAL = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
"""Lists of a stored tree that hold a float for each node."""

CATEGORICAL = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
"""Lists of a stored tree that only categorical features fill."""

MOST = float(np.finfo(np.float32).max)
"""Greatest number that XGBoost can hold."""


class BoostedTrees(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Gradient-boosted trees: each corrects the sum of those before it (Chen & Guestrin 2016, KDD '16, 785-794).

    The defaults suit a few thousand noisy rows: shallow trees, each grown on half of the rows, with a third of the
    features tried at each split and no leaf of fewer than 5 rows. Fitted on one core, the same seed gives the same
    trees everywhere.

    Parameters
    ----------
    n_estimators
        Number of trees.
    learning_rate, max_depth, min_child_weight, subsample, colsample_bynode, gamma, reg_alpha, reg_lambda, max_bin
        As in `xgboost.XGBRegressor`.
    random_state
        Seed of the rows and features that are tried.
    n_jobs
        Threads of the fit and of the prediction; None is one.

    Attributes
    ----------
    booster_ : bytes
        The trees in XGBoost's JSON format.
    """

    _parameter_constraints: ClassVar[Mapping[str, Any]] = {
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, 1, closed="right")],
        "max_depth": [Interval(Integral, 1, 32, closed="both")],
        "min_child_weight": [Interval(Real, 0, None, closed="left")],
        "subsample": [Interval(Real, 0, 1, closed="right")],
        "colsample_bynode": [Interval(Real, 0, 1, closed="right")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "reg_alpha": [Interval(Real, 0, None, closed="left")],
        "reg_lambda": [Interval(Real, 0, None, closed="left")],
        "max_bin": [Interval(Integral, 2, 65535, closed="both")],
        "random_state": ["random_state"],
        "n_jobs": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        n_estimators: int = 500,
        learning_rate: float = 0.05,
        max_depth: int = 4,
        min_child_weight: float = 5,
        subsample: float = 0.5,
        colsample_bynode: float = 1 / 3,
        gamma: float = 0,
        reg_alpha: float = 0,
        reg_lambda: float = 1,
        max_bin: int = 256,
        random_state: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.min_child_weight = min_child_weight
        self.subsample = subsample
        self.colsample_bynode = colsample_bynode
        self.gamma = gamma
        self.reg_alpha = reg_alpha
        self.reg_lambda = reg_lambda
        self.max_bin = max_bin
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: NDArray[Any], y: NDArray[Any]) -> BoostedTrees:
        """Grow the trees.

        Parameters
        ----------
        X
            Features, shape ``(n, p)``, finite in float32.
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
        X, y = validate_data(self, X, y, dtype=np.float32, y_numeric=True, ensure_min_samples=2)
        threads = self.n_jobs or 1
        same_names = ("learning_rate", "max_depth", "min_child_weight", "subsample", "colsample_bynode", "gamma")
        settings = {name: getattr(self, name) for name in (*same_names, "reg_alpha", "reg_lambda", "max_bin")} | {
            "objective": "reg:squarederror",
            "tree_method": "hist",
            # XGBoost takes a number; scikit-learn's `random_state` may be a generator.
            "seed": int(check_random_state(self.random_state).randint(2**31)),
            "nthread": threads,
            "verbosity": 0,
        }
        table = xgboost.QuantileDMatrix(X, y, max_bin=self.max_bin, nthread=threads)
        booster = xgboost.train(settings, table, self.n_estimators)
        self.booster_ = bytes(booster.save_raw("json"))
        return self

    def predict(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Predict the target, shape ``(n,)``, from features of shape ``(n, p)``."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        booster = xgboost.Booster({"nthread": self.n_jobs or 1, "verbosity": 0})
        # XGBoost takes a bytearray for the model itself, and a string for the name of its file.
        booster.load_model(bytearray(self.booster_))
        predicted: NDArray[np.float32] = booster.inplace_predict(X, validate_features=False)
        return predicted

    def check(self) -> None:
        """Raise an exception unless `booster_` is what `fit` makes of `n_features_in_` features.

        XGBoost follows the numbers of nodes and features without looking.

        Raises
        ------
        ValueError, LookupError, TypeError
            If it is not.
        """
        self._validate_params()
        if not isinstance(self.booster_, bytes):
            raise TypeError(f"the booster is of type {type(self.booster_).__name__}, expected bytes")
        document = json.loads(self.booster_, object_pairs_hook=_unique, parse_constant=_refuse)
        if set(document) != {"learner", "version"}:
            raise ValueError(f"the booster has the parts {', '.join(document)}; expected learner and version")
        for tree in _trees(document["learner"], self.n_features_in_):
            _check_tree(tree, self.n_features_in_)


def _trees(learner: Mapping[str, Any], p: int) -> list[Mapping[str, Any]]:
    """Trees of a learner, if it sums them for a single target and is otherwise as `fit` makes it."""
    booster, parameters = learner["gradient_booster"], learner["learner_model_param"]
    model = booster["model"]
    trees: list[Mapping[str, Any]] = model["trees"]
    (base,) = json.loads(parameters["base_score"])
    pairs = {
        "attributes": (learner["attributes"], {}),
        "feature_names": (learner["feature_names"], []),
        "feature_types": (learner["feature_types"], []),
        "booster": (booster["name"], "gbtree"),
        "objective": (learner["objective"]["name"], "reg:squarederror"),
        "num_class": (parameters["num_class"], "0"),
        "num_feature": (parameters["num_feature"], str(p)),
        "num_target": (parameters["num_target"], "1"),
        "num_parallel_tree": (model["gbtree_model_param"]["num_parallel_tree"], "1"),
        "num_trees": (model["gbtree_model_param"]["num_trees"], str(len(trees))),
        "categories": (model["cats"]["enc"], []),
        "tree_info": (model["tree_info"], [0] * len(trees)),
        "iteration_indptr": (model["iteration_indptr"], list(range(len(trees) + 1))),
        "base_score": (isinstance(base, float) and abs(base) <= MOST, True),
    }
    _compare(pairs, "booster")
    return trees


def _check_tree(tree: Mapping[str, Any], p: int) -> None:
    """Raise ValueError unless each inner node leads to two later nodes, by one of `p` features."""
    n = len(tree["left_children"])
    sizes = {"num_deleted": "0", "num_feature": str(p), "num_nodes": str(n), "size_leaf_vector": "1"}
    pairs = {name: (tree["tree_param"][name], size) for name, size in sizes.items()}
    _compare(pairs | {name: (tree[name], []) for name in CATEGORICAL}, "tree")
    _check_columns(tree, n)
    children = np.array([tree["left_children"], tree["right_children"]])
    feature, parents = np.array(tree["split_indices"]), np.array(tree["parents"])
    inner = (children != LEAF).any(axis=0)
    below, above = children[:, inner], np.flatnonzero(inner)
    # A child that stands behind its parent leads into no circle.
    inside = (below > above) & (below < n)
    once = below.size == n - 1 and len(set(below.flat)) == n - 1
    if not (inside.all() and once and (parents[below] == above).all() and ((feature >= 0) & (feature < p)).all()):
        raise ValueError("a tree's nodes lead outside it")


def _check_columns(tree: Mapping[str, Any], n: int) -> None:
    for names, kind in ((WHOLE, int), (REAL, float)):
        for name in names:
            column = tree[name]
            # The exact type: True is an instance of int.
            if not (isinstance(column, list) and len(column) == n and all(type(value) is kind for value in column)):
                raise ValueError(f"a tree's {name} is not a list of {n} numbers of type {kind.__name__}")
            if max(map(abs, column)) > MOST:
                raise ValueError(f"a tree's {name} holds a number that is too large")
    if any(tree["split_type"]) or not {0, 1}.issuperset(tree["default_left"]):
        raise ValueError("a tree's splits are not all numerical")


def _compare(pairs: Mapping[str, tuple[Any, Any]], where: str) -> None:
    for name, (stored, expected) in pairs.items():
        if stored != expected:
            raise ValueError(f"the {where}'s {name} is {str(stored)[:80]}, expected {str(expected)[:80]}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two keys alike Python keeps the last; should XGBoost keep the first, it would follow what nobody has checked.
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key of the booster occurs twice")
    return document


def _refuse(constant: str) -> Any:
    raise ValueError(f"the booster holds {constant}")
