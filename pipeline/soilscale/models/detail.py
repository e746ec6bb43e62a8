"""The features behind the detail of a map within coarse cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from soilscale.models.prediction import Predictor, predict

PLACE = "place"
"""What place and month add to a prediction, beside the features."""

Floats = NDArray[np.float64]


def within_shares(predictor: Predictor, pixels: NDArray[np.float32], surface: Floats | None = None) -> Floats:
    """Share of a prediction's variance within cells that rests on each feature, and on the surface.

    A feature is set to its mean over each cell; what the prediction then lacks is the feature's part of the detail. Its
    share is the covariance of that part with the prediction within cells, over the prediction's variance there. Of a
    sum of effects, the shares add up to 1; otherwise they do nearly so. A share below 0 is of a feature that works
    against the others.

    Parameters
    ----------
    predictor
        A fitted model.
    pixels
        Features of the pixels of cells, shape ``(cells, pixels, p)``, finite.
    surface
        What place and month add (`models.surface`), shape ``(cells, pixels)``; None of a model that knows of neither.

    Returns
    -------
    array
        Shape ``(p + 1,)``, the surface last; NaN if the prediction does not vary within cells.
    """
    cells, count, p = pixels.shape

    def detail(values: NDArray[np.floating]) -> Floats:
        parts = values.astype(np.float64).reshape(cells, count)
        away: Floats = parts - parts.mean(axis=1, keepdims=True)
        return away

    of_features = detail(predict(predictor, pixels.reshape(-1, p)))
    place = np.zeros((cells, count)) if surface is None else detail(surface)
    detail_map = of_features + place
    total = float((detail_map**2).mean())
    if total == 0.0:
        return np.full(p + 1, np.nan)
    shares = np.empty(p + 1)
    for number in range(p):
        level = pixels.copy()
        level[..., number] = pixels[..., number].mean(axis=1, keepdims=True)
        shares[number] = (detail_map * (of_features - detail(predict(predictor, level.reshape(-1, p))))).mean() / total
    shares[p] = (detail_map * place).mean() / total
    return shares
