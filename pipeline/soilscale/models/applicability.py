"""How far from its training data a model is applied: dissimilarity index and area of applicability.

Meyer & Pebesma 2021, Methods in Ecology and Evolution 12, 1620-1633.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from soilscale.errors import DataError
from soilscale.models.prediction import BATCH, Predictor

ROWS = 10_000
"""Most training rows that distances are measured to, drawn at random where there are more."""

WEIGHING = 2_000
"""Most rows on which the weights of the features are measured."""

WHISKER = 1.5
"""Interquartile ranges beyond the upper quartile from which a distance is an outlier."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Applicability:
    """Training rows of a model as points, whose distances say how dissimilar they are to the model."""

    scale: Floats
    """Importance of each feature over its standard deviation in training, shape ``(p,)``."""
    points: Floats
    """Training rows times `scale`, shape ``(n, p)``."""
    threshold: float
    """Greatest distance of a training row from those of other folds, outliers left out; greater than 0."""

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points[:, self.scale > 0])

    def index(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Dissimilarity index over its threshold: the model is applicable up to 1.

        The index is the distance to the nearest training row over the mean distance between training rows,
        the threshold likewise, so that the mean distance drops out of their ratio.

        Parameters
        ----------
        features
            Shape ``(m, p)``, finite.

        Returns
        -------
        array
            Shape ``(m,)``; 0 everywhere where the model rests on no feature.
        """
        used = self.scale > 0
        if not used.any() or not len(features):
            return np.zeros(len(features), np.float32)
        dissimilarity = np.empty(len(features), np.float32)
        for first in range(0, len(features), BATCH):
            part = slice(first, first + BATCH)
            # A feature without weight moves no distance, but slows the search.
            distance, _ = self._tree.query(features[part][:, used] * self.scale[used])
            dissimilarity[part] = distance / self.threshold
        return dissimilarity

    def dumps(self) -> bytes:
        """Bytes of it, a compressed NumPy archive."""
        target = io.BytesIO()
        np.savez_compressed(target, scale=self.scale, points=self.points, threshold=self.threshold)
        return target.getvalue()


def loads(data: bytes) -> Applicability:
    """Read what `Applicability.dumps` wrote.

    Raises
    ------
    DataError
        If it is something else, or does not fit together.
    """
    try:
        # Pickled objects would run what they hold.
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            scale, points, threshold = (archive[name] for name in ("scale", "points", "threshold"))
    except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"the stored applicability data of a model cannot be read: {error}; run again") from error
    finite = all(np.isfinite(part).all() for part in (scale, points, threshold))
    if not finite or scale.ndim != 1 or points.ndim != 2 or points.shape[1:] != scale.shape or not threshold > 0:  # noqa: PLR2004 - rows and columns
        raise DataError("the stored applicability data of a model are inconsistent; run again")
    return Applicability(scale, points, float(threshold))


def importance(predictor: Predictor, X: NDArray[np.float32], seed: int = 0) -> Floats:
    """Spread of a prediction that rests on each feature: the root of its total effect on the variance.

    Half the mean square of what changes when one feature is permuted among the rows (Jansen 1999, Computer Physics
    Communications 117, 35-43), which any model can be asked for; of an additive model it is the standard
    deviation of the feature's effect.

    Parameters
    ----------
    predictor
        A fitted model.
    X
        Rows, shape ``(n, p)``, finite.

    Returns
    -------
    array
        Shape ``(p,)``, in units of the target.
    """
    rng = np.random.default_rng(seed)
    before, effect = predictor.predict(X), np.zeros(X.shape[1])
    for number in range(X.shape[1]):
        permuted = X.copy()
        permuted[:, number] = rng.permutation(permuted[:, number])
        effect[number] = np.sqrt(np.mean((predictor.predict(permuted) - before) ** 2) / 2)
    return effect


def measure(
    predictor: Predictor, X: NDArray[np.float32], folds: NDArray[np.integer], *, seed: int = 0, most: int = ROWS
) -> Applicability:
    """Measure where a model is applicable.

    Parameters
    ----------
    predictor
        The fitted model.
    X
        Features that it has learned from, shape ``(n, p)``, finite.
    folds
        Fold of each row. A place should be in the same fold in every year: its static features would otherwise have a
        twin in another fold, and the threshold would shrink with every year of training.
    most
        Most rows that are kept.
    """
    rng = np.random.default_rng(seed)
    if len(X) > most:
        # The threshold comes from these rows as well: from more, distances are shorter, and 1 would mean something
        # else.
        sampled = np.sort(rng.choice(len(X), most, replace=False))
        X, folds = X[sampled], folds[sampled]
    weighed = X if len(X) <= WEIGHING else X[rng.choice(len(X), WEIGHING, replace=False)]
    weight, spread = importance(predictor, weighed, seed), X.std(axis=0, dtype=np.float64)
    # A feature that never varied has no effect that could be learned, but for rounding.
    varied = spread > np.abs(X.mean(axis=0, dtype=np.float64)) * np.finfo(np.float32).eps
    scale = np.divide(weight, spread, out=np.zeros(len(spread)), where=varied)
    points = X * scale
    return Applicability(scale, points, _threshold(points[:, scale > 0], folds))


def _threshold(points: Floats, folds: NDArray[np.integer]) -> float:
    """Upper whisker of the distances of rows from those of other folds; from any other row if all are of one fold."""
    if not points.shape[1]:
        return 1.0
    distance = np.empty(len(points))
    for fold in np.unique(folds):
        in_fold = folds == fold
        if in_fold.all():
            # The nearest of all is the row itself.
            distance = cKDTree(points).query(points, k=2)[0][:, 1]
        else:
            distance[in_fold] = cKDTree(points[~in_fold]).query(points[in_fold])[0]
    lower, upper = np.quantile(distance, [0.25, 0.75])
    whisker = float(distance[distance <= upper + WHISKER * (upper - lower)].max())
    # If most rows have a twin the whisker is 0, which nothing can be divided by.
    return whisker or float(distance[distance > 0].min(initial=np.inf))
