"""Forests as bytes arranged for prediction, so that a worker need not rebuild their trees."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from soilscale.errors import DataError
from soilscale.forests import traversal
from soilscale.forests.traversal import Descent
from soilscale.models.algorithms import Estimator
from soilscale.models.prediction import Predictor, Trees, lay
from soilscale.models.trend import TrendForest

PARTS = tuple(field.name for field in fields(Descent))
"""Arrays of a forest; a trend beside it has two more."""

TREND = ("coef_", "intercept_")


def pack(estimator: Estimator) -> bytes | None:
    """Bytes of a fitted forest laid out for prediction: a ZIP archive of arrays in NumPy's format, deflated.

    Returns
    -------
    bytes or None
        The same for the same forest; None for what is neither a forest nor a trend with one.
    """
    trend = isinstance(estimator, TrendForest)
    forest = estimator.forest_ if isinstance(estimator, TrendForest) else estimator
    if not isinstance(forest, RandomForestRegressor):
        return None
    laid = lay(forest)
    arrays = {name: getattr(laid, name) for name in PARTS}
    arrays |= {name: np.asarray(getattr(estimator, name), np.float64) for name in TREND if trend}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, values in arrays.items():
            # An entry made so always has the same date; made from a name alone it would have that of now, and the same
            # forest other bytes.
            entry = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(_deflated(entry), "w") as stream:
                np.lib.format.write_array(stream, values, allow_pickle=False)
    return target.getvalue()


def _deflated(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def unpack(data: bytes) -> Predictor:
    """Predictor from the bytes of `pack`; nothing in them is run, and no node leads outside the forest.

    Raises
    ------
    DataError
        If the bytes are no such archive, or its arrays are no forest.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        laid = Descent(**{name: arrays.pop(name) for name in PARTS})
        p = len(laid.weight)
        # Before anything goes down these trees: the kernel follows their node numbers without looking.
        traversal.check(laid, p)
        trees = Trees(traversal.align(laid), p)
        return _with_trend(trees, p, **arrays) if arrays else trees
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, OSError, TypeError, ValueError) as error:
        raise DataError(
            f"the trees of a stored model cannot be read ({type(error).__name__}: {error}); retrain the model"
        ) from error


def _with_trend(trees: Trees, p: int, coef_: NDArray[Any], intercept_: NDArray[Any]) -> Predictor:
    if coef_.shape != (p,) or intercept_.shape != () or not np.isfinite([*coef_, intercept_]).all():
        raise ValueError("the trend does not match its forest")
    model = TrendForest()
    model.coef_, model.intercept_, model.forest_, model.n_features_in_ = coef_, float(intercept_), trees, p
    return model
