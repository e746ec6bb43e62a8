"""Forests as bytes laid out for prediction: the same to the last bit, and nothing in them is believed unseen."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from soilscale import models
from soilscale.errors import DataError
from soilscale.models.algorithms import ALGORITHMS

P = 4
FORESTS = ("random_forest", "trend_forest")

Arrays = dict[str, NDArray[Any]]


def fitted(name: str) -> models.Estimator:
    rng = np.random.default_rng(3)
    X = rng.random((200, P), dtype="float32")
    parameters = {"n_estimators": 12} if name != "knn" else {}
    return ALGORITHMS[name].make(parameters, P, 0).fit(X, X[:, 0] * X[:, 1] + rng.normal(0, 0.05, 200))


def packed(name: str) -> bytes:
    data = models.pack(fitted(name))
    assert data is not None
    return data


def arrays(data: bytes) -> Arrays:
    with np.load(io.BytesIO(data)) as archive:
        return {name: archive[name] for name in archive.files}


def again(found: Arrays, **how: Any) -> bytes:
    target = io.BytesIO()
    np.savez(target, allow_pickle=how.get("allow_pickle", True), **found)  # type: ignore[arg-type]
    return target.getvalue()


@pytest.mark.parametrize("name", FORESTS)
def test_a_packed_forest_predicts_as_the_forest_does_to_the_last_bit(name: str) -> None:
    X = np.random.default_rng(4).random((1000, P), dtype="float32") * 1.5
    estimator = fitted(name)
    expected = models.predict(models.ready(estimator), X)
    np.testing.assert_array_equal(models.predict(models.unpack(packed(name)), X), expected)
    np.testing.assert_allclose(expected, estimator.predict(X), rtol=1e-6)


def test_the_same_forest_has_the_same_bytes() -> None:
    assert packed("trend_forest") == packed("trend_forest")


@pytest.mark.parametrize("name", ["svm", "knn", "xgboost"])
def test_what_is_no_forest_is_not_packed(name: str) -> None:
    rng = np.random.default_rng(3)
    X = rng.random((60, P), dtype="float32")
    assert models.pack(ALGORITHMS[name].make({}, P, 0).fit(X, X[:, 0])) is None


def _node(found: Arrays, place: int, value: int) -> None:
    found["node"] = found["node"].copy()
    found["node"][place] = value


FAULTS: dict[str, Callable[[Arrays], object]] = {
    "a child behind the last node": lambda found: _node(found, 2, len(found["node"])),
    "a child between two nodes": lambda found: _node(found, 2, 6),
    "a child that leads back": lambda found: _node(found, 4 * 3 + 2, 0),
    "a leaf that is not there": lambda found: _node(found, 2, ~len(found["value"])),
    "a feature that is not there": lambda found: _node(found, 0, 64 * P),
    "a feature below the first": lambda found: _node(found, 0, -64),
    "a feature between two": lambda found: _node(found, 0, 1),
    "a root outside": lambda found: found.update(root=found["root"] + np.int32(len(found["node"]))),
    "no tree": lambda found: found.update(root=found["root"][:0]),
    "nodes cut": lambda found: found.update(node=found["node"][:-1]),
    "values of another type": lambda found: found.update(value=found["value"].astype("float32")),
    "steps of another shape": lambda found: found.update(steps=found["steps"][:, 1:]),
    "an array missing": lambda found: found.pop("weight"),
    "an array too many": lambda found: found.update(more=np.zeros(1)),
    "a trend of another size": lambda found: found.update(coef_=np.zeros(P + 1)),
    "a trend without value": lambda found: found.update(intercept_=np.array(np.nan)),
    "objects": lambda found: found.update(value=np.array([{}], dtype=object)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_arrays_that_are_no_forest_are_refused(fault: str) -> None:
    found = arrays(packed("trend_forest"))
    FAULTS[fault](found)
    with pytest.raises(DataError, match="retrain the model"):
        models.unpack(again(found))


@pytest.mark.parametrize("cut", [0, 10, 1000, -1])
def test_bytes_that_are_cut_or_changed_are_refused(cut: int) -> None:
    data = packed("random_forest")
    with pytest.raises(DataError, match="retrain the model"):
        models.unpack(data[:cut])
    middle = len(data) // 2
    with pytest.raises(DataError, match="retrain the model"):
        models.unpack(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
