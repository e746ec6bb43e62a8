"""What the report needs of a month of a tile, as sums that add up over tiles and months: no map is read for it twice.

A summary is a mapping of names to arrays, so that it is stored and added up as it is:

=============  ==========================================================================================
``flags``      cells that carry each bit of `Quality`, then those left out as frozen; shape ``(bits + 1,)``
``area``       weight of the cells with a value, and their weighted sum (`tables.area_sum`)
``common``     weight of the cells with a value and an observation, and the weighted sums of both
``pairs``      moments of the coarse observation, laid on the fine grid as nearest, and the map
``difference`` largest absolute difference between an observation and the mean of the map in its cell
``index``      counts of the index of applicability (`applicability.count`)
``truth``      moments of each of `METHODS` and the known truth
``intervals``  counts of the truth within the intervals (`uncertainty.count`)
``errors``     counts of the index with squared errors against the truth
=============  ==========================================================================================

Counts stay exact in float64; other sums depend on their order by rounding alone, and their order is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soilscale import kernels, maps
from soilscale.reports import applicability, uncertainty
from soilscale.reports.scores import Moments, moments
from soilscale.reports.tables import BILINEAR, NEAREST, Piece, area_sum, below, beside_truth, nearest

Summary = Mapping[str, NDArray[np.float64]]

OURS = "maps"
"""The maps themselves, among the methods that are compared with the truth."""

PIXELS = 1200
"""Cells along an axis of a drawn map, at most; of a larger map every n-th is drawn."""

METHODS = (NEAREST, BILINEAR, OURS)


@dataclass(frozen=True)
class Layers:
    """A month of a tile; arrays of shape ``(Y, X)``."""

    values: NDArray[np.floating]
    flags: NDArray[np.uint8]
    observed: NDArray[np.float64]
    """The observation of the whole area, NaN where missing: a bilinear field needs the cells around a tile."""
    piece: Piece
    """Rows and columns of the tile."""
    ratio: int
    latitude: NDArray[np.float64] | None = None
    """Of the rows, degrees, on a grid in degrees."""
    ends: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None
    """Lower and upper layer, where there are such."""
    index: NDArray[np.floating] | None = None
    """Index of applicability, where there is one."""
    known: NDArray[np.floating] | None = None
    """Known truth, where there is one."""


def summarise(layers: Layers) -> dict[str, NDArray[np.float64]]:
    """Summary of a month of a tile."""
    fine = layers.values.astype("float64")
    observed = layers.observed[below(layers.piece, layers.ratio)]
    counts, masked = maps.count_flags([layers.flags])
    laid = nearest(observed, layers.ratio)
    common = np.isfinite(laid) & np.isfinite(fine)
    weight, of_coarse = area_sum(np.where(common, laid, np.nan), layers.latitude)
    _, of_fine = area_sum(np.where(common, fine, np.nan), layers.latitude)
    difference = np.abs(kernels.block_mean(fine, layers.ratio)[0] - observed)
    summary = {
        "flags": np.array([*counts.values(), masked], "float64"),
        "area": np.array(area_sum(fine, layers.latitude)),
        "common": np.array([weight, of_coarse, of_fine]),
        "pairs": moments(laid, fine).row(),
        # fmax passes over NaN: with max one unobserved coarse cell would make the month's figure NaN.
        "difference": np.array(np.fmax.reduce(difference, axis=None, initial=math.nan)),
    }
    index = None if layers.index is None else layers.index.astype("float64")
    if index is not None:
        summary["index"] = applicability.count(index, np.where(np.isfinite(fine), 0.0, np.nan))
    if layers.known is not None:
        truth = layers.known.astype("float64")
        parts = beside_truth(truth, layers.observed, layers.ratio, {OURS: fine}, layers.piece)
        summary["truth"] = np.stack([parts[name].row() for name in METHODS])
        if layers.ends is not None:
            lower, upper = (end.astype("float64") for end in layers.ends)
            summary["intervals"] = uncertainty.count(truth, lower, upper, layers.flags)
        if index is not None:
            summary["errors"] = applicability.count(index, fine - truth)
    return summary


def add(first: Summary, second: Summary) -> dict[str, NDArray[np.float64]]:
    """Summary of what two are of; one that is empty adds nothing."""
    return {name: _join(name, first, second) for name in {**first, **second}}


def _join(name: str, first: Summary, second: Summary) -> NDArray[np.float64]:
    if name not in first or name not in second:
        return first[name] if name in first else second[name]
    left_values, right_values = first[name], second[name]
    if name == "difference":
        return np.fmax(left_values, right_values)
    if name in {"pairs", "truth"}:
        pairs = zip(np.atleast_2d(left_values), np.atleast_2d(right_values), strict=True)
        rows = [(Moments.of(a) + Moments.of(b)).row() for a, b in pairs]
        return np.stack(rows).reshape(left_values.shape)
    return left_values + right_values


def stride(shape: Sequence[int]) -> int:
    """Rows and columns from one that is drawn to the next, of a map that may have too many."""
    return max(1, -(-max(shape) // PIXELS))


def drawn(part: slice, step: int) -> NDArray[np.int_]:
    """Rows or columns of a tile that a thinned map of the whole area shows, counted on the whole fine grid."""
    return np.arange(-(-part.start // step) * step, part.stop, step)
