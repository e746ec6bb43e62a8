"""Arithmetic on plain arrays: block means, shares of months, interpolation, and conservation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]

SOLVER_STEPS = 2
"""Iterations of `residual_nodes`, few on purpose: the finest pattern of residuals is mostly noise of the observation,
which the full solution would amplify up to fourfold."""

RIM = 3
"""Fine cells at the border of a coarse one over which the bump that closes its mean rises; inside it is flat."""

FADE, REACH = 0.9, 4
"""Share of its neighbours' mean that a node without an observation of its own takes, and how many cells that goes on
from an observation."""

TOLERANCE = 1e-12
"""Difference of a mean from its observation that counts as none."""

CLAMP_STEPS = 100
"""Most rounds in which a cell's excess is handed to its free values; each round fixes at least one value."""


def blocks(values: NDArray[np.generic], ratio: int) -> NDArray[np.generic]:
    """View of the last two axes as blocks.

    Parameters
    ----------
    values
        Shape ``(..., Y, X)``, both multiples of `ratio`.
    ratio
        Cells along the side of a block.

    Returns
    -------
    array
        Shape ``(..., Y // ratio, ratio, X // ratio, ratio)``.
    """
    *leading, high, wide = values.shape
    return values.reshape(*leading, high // ratio, ratio, wide // ratio, ratio)


def block_mean(values: Floats, ratio: int) -> tuple[Float64s, Float64s]:
    """Mean of the valid cells of each block, and their share.

    Parameters
    ----------
    values
        Shape ``(..., Y, X)``; NaN marks a missing cell.
    ratio
        Cells along the side of a block.

    Returns
    -------
    mean, fraction
        Each of shape ``(..., Y // ratio, X // ratio)``; the mean is NaN where no cell is valid.

    Examples
    --------
    >>> mean, valid = block_mean(np.array([[1.0, 3.0], [5.0, np.nan]]), 2)
    >>> mean.tolist(), valid.tolist()
    ([[3.0]], [[0.75]])
    """
    if ratio == 1:
        valid = np.isfinite(values)
        return np.where(valid, values, np.nan).astype("float64", copy=False), valid.astype("float64")
    parts = blocks(values, ratio)
    valid = np.isfinite(parts)
    count = valid.sum(axis=(-3, -1))
    total = np.where(valid, parts, 0).sum(axis=(-3, -1), dtype="float64")
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return mean, count / ratio**2


def class_fractions(codes: Floats, classes: tuple[int, ...], ratio: int) -> tuple[Float64s, Float64s]:
    """Share of each class among the valid cells of each block.

    Parameters
    ----------
    codes
        Class codes, shape ``(Y, X)``; NaN marks a missing cell.
    classes
        Codes to look for.
    ratio
        Cells along the side of a block.

    Returns
    -------
    shares, fraction
        Shape ``(classes, Y // ratio, X // ratio)``, NaN where no cell is valid, and the share of valid cells.
    """
    indicators = np.stack([np.where(np.isfinite(codes), codes == code, np.nan) for code in classes])
    shares, fraction = block_mean(indicators, ratio)
    return shares, fraction[0]


def shared_days(starts: NDArray[np.datetime64], ends: NDArray[np.datetime64], month: np.datetime64) -> Float64s:
    """Days that intervals share with a month.

    Parameters
    ----------
    starts, ends
        First instant, and the first instant after the interval, shape ``(n,)``.
    month
        Any instant of the month.

    Returns
    -------
    array
        Shape ``(n,)``, days, fractions of a day included, 0 where they do not meet.
    """
    first = month.astype("datetime64[M]")
    left = np.maximum(starts, first.astype("datetime64[s]"))
    right = np.minimum(ends, (first + np.timedelta64(1, "M")).astype("datetime64[s]"))
    return np.maximum((right - left).astype("timedelta64[s]").astype("float64"), 0) / 86400


def weighted_mean(total: Floats, weight: Floats) -> Float64s:
    """Quotient of a weighted sum and its weights, NaN where nothing had weight; shapes equal."""
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)


def bilinear(coarse: Floats, ratio: int) -> Float64s:
    """Coarse values interpolated bilinearly between cell centres.

    Missing neighbours are skipped and the weights of the others scaled up; a cell that is itself missing stays so;
    beyond the outermost centres the nearest value holds.

    Parameters
    ----------
    coarse
        Shape ``(y, x)``, NaN where missing.
    ratio
        Fine cells along the side of a coarse cell.

    Returns
    -------
    array
        Shape ``(y * ratio, x * ratio)``.
    """
    valid = np.isfinite(coarse)
    total = spread(np.pad(np.where(valid, coarse, 0), 1, mode="edge"), ratio)
    # Weights are interpolated like the values, so dividing by them makes up for missing neighbours.
    weight = spread(np.pad(valid.astype("float64"), 1, mode="edge"), ratio)
    return weighted_mean(total, np.where(_repeat(valid, ratio) > 0, weight, 0))


def spread(nodes: Floats, ratio: int) -> Float64s:
    """Bilinear surface through nodes at coarse cell centres.

    Parameters
    ----------
    nodes
        Shape ``(y + 2, x + 2)``: one more node on every side than there are coarse cells to fill.
    ratio
        Fine cells along the side of a coarse cell.

    Returns
    -------
    array
        Shape ``(y * ratio, x * ratio)``.
    """
    return _interpolate(_interpolate(nodes, ratio).T, ratio).T


def _interpolate(nodes: Floats, ratio: int) -> Float64s:
    """Linear interpolation along the first axis: ``(n + 2, m)`` nodes to ``(n * ratio, m)`` values."""
    cells = nodes.shape[0] - 2
    # Centres of fine cells, counted in nodes; node 0 lies half a cell outside the first coarse cell.
    at = (np.arange(cells * ratio) + 0.5) / ratio + 0.5
    left = np.floor(at).astype(int)
    weight = (at - left)[:, None]
    return nodes[left] * (1 - weight) + nodes[left + 1] * weight


def nodes_around(nodes: Floats, part: tuple[slice, slice]) -> Floats:
    """Nodes of a part of the coarse grid and one more on every side, as `spread` takes them; at the edge the last."""
    rows, columns = part
    around: Floats = np.pad(nodes, 1, mode="edge")[rows.start : rows.stop + 2, columns.start : columns.stop + 2]
    return around


def residual_nodes(residual: Floats, ratio: int, steps: int = SOLVER_STEPS) -> Float64s:
    """Nodes of the smooth surface whose block means are the residuals.

    The block mean of a bilinear surface weighs the node of the cell and its neighbours, along each axis, by
    ``(w, 1 - 2 w, w)`` with ``w = k (ratio - k) / (2 ratio^2)``, ``k = ratio // 2`` (1/8 for an even ratio). The
    system is solved by Richardson iteration, which converges since its eigenvalues lie between 1/4 and 1, and is
    stopped early. A cell without a residual takes `FADE` of its neighbours' mean, so that a correction fades out over
    unobserved land.

    Parameters
    ----------
    residual
        Observation minus block mean of the prediction, shape ``(y, x)``, NaN where unobserved.
    ratio
        Fine cells along the side of a coarse cell.
    steps
        Iterations; what they leave over, `conserve` adds within each cell.

    Returns
    -------
    array
        Shape ``(y, x)``.
    """
    finite = np.isfinite(residual)
    half = ratio // 2
    weight = half * (ratio - half) / (2 * ratio**2)
    target = np.where(finite, residual, 0.0)
    nodes = target.copy()
    # The solver stops early, but the correction must still fade out over `REACH` unobserved cells.
    for step in range(max(steps, REACH)):
        smooth = _three(_three(nodes, weight).T, weight).T
        # Mean of the eight neighbours: that of all nine, less the cell itself.
        around = (9 * _three(_three(nodes, 1 / 3).T, 1 / 3).T - nodes) / 8
        nodes = np.where(finite, nodes + target - smooth if step < steps else nodes, FADE * around)
    return nodes


def _three(values: Float64s, weight: float) -> Float64s:
    """Weighted mean of each row and its two neighbours along the first axis; edges repeat."""
    padded = np.pad(values, ((1, 1), (0, 0)), mode="edge")
    return weight * (padded[:-2] + padded[2:]) + (1 - 2 * weight) * values


def conserve(
    prediction: Floats,
    observed: Floats,
    ratio: int,
    lower: float,
    upper: float | Floats,
    nodes: Floats | None = None,
) -> tuple[Float64s, Bools]:
    """Prediction shifted so that its block means equal the observation, smoothly and within the physical range.

    Three steps: a bilinear surface through `nodes` carries the residuals across cell borders without a step; what
    it leaves over in a cell (its fine cells may be valid in part only) is added as a bump that is flat but for
    `RIM` cells, over which it vanishes towards the cell's border; values outside the range are set to it and their
    excess goes to the cell's other values alike.

    Parameters
    ----------
    prediction
        Shape ``(Y, X)``, NaN where missing.
    observed
        Shape ``(y, x) = (Y, X) / ratio``, NaN where unobserved; a value outside the range, or above the mean of `upper`
        over the cell, counts as unobserved.
    ratio
        Fine cells along the side of a coarse cell.
    lower, upper
        Physical range, in the unit of the prediction; its upper end may be an array of shape ``(Y, X)``.
    nodes
        Nodes of the residual surface with one more on every side, shape ``(y + 2, x + 2)``; by default those of
        this array alone. Tiles of one map pass those of the whole, so that no step shows between them.

    Returns
    -------
    map, clamped
        Shape ``(Y, X)``; `clamped` marks values that had left the range.

    Examples
    --------
    The mean of the cell becomes the observation; the pattern within it stays:

    >>> fitted, clamped = conserve(np.array([[0.1, 0.2], [0.2, 0.3]]), np.array([[0.25]]), 2, 0.0, 0.6)
    >>> round(float(fitted.mean()), 6), bool(clamped.any())
    (0.25, False)
    """
    most, _ = block_mean(np.where(np.isfinite(prediction), upper, np.nan), ratio)
    # No map within the range has such a mean; aiming for it would push the whole cell to a bound.
    observed = np.where((observed >= lower) & (observed <= most + TOLERANCE), observed, np.nan)
    if nodes is None:
        nodes = np.pad(residual_nodes(observed - block_mean(prediction, ratio)[0], ratio), 1, mode="edge")
    surface = prediction + spread(nodes, ratio)
    # First without bounds, so that `clamped` marks every value that would leave the range.
    surface = surface + _fit(surface, observed, ratio, -np.inf, np.inf)
    clamped = (surface < lower) | (surface > upper)
    fitted = np.clip(surface, lower, upper)
    if clamped.any():
        # Clipping shifts the mean again. The excess goes to values that are still free, and some of them then hit the
        # bound too.
        for _ in range(CLAMP_STEPS):
            step = _fit(fitted, observed, ratio, lower, upper)
            if not step.any():
                break
            fitted = np.clip(fitted + step, lower, upper)
    return fitted, clamped


def _fit(values: Float64s, observed: Floats, ratio: int, lower: float, upper: float | Floats) -> Float64s:
    """Bump in each observed cell that brings its mean to the observation, were it not for the bounds.

    It vanishes towards the cell's border, and leaves out values that stand at the bound it pushes to.
    """
    mean, _ = block_mean(values, ratio)
    shared = np.isfinite(observed) & np.isfinite(mean)
    missing = np.where(shared & (np.abs(observed - mean) > TOLERANCE), observed - mean, 0.0)
    need = _repeat(missing, ratio)
    free = np.isfinite(values) & np.where(need > 0, values < upper, values > lower) & (need != 0)
    at = np.arange(ratio) + 0.5
    profile = np.minimum(np.minimum(at, ratio - at) / min(RIM, ratio / 2), 1.0)
    shape = np.where(free, np.tile(np.outer(profile, profile), missing.shape), 0.0)
    # Over valid cells only: theirs is the mean that has to match.
    norm, _ = block_mean(np.where(np.isfinite(values), shape, np.nan), ratio)
    height = np.divide(missing, norm, out=np.zeros_like(missing), where=(missing != 0) & (norm > 0))
    return shape * _repeat(height, ratio)


def _repeat(coarse: NDArray[Any], ratio: int) -> NDArray[Any]:
    return np.repeat(np.repeat(coarse, ratio, axis=0), ratio, axis=1)


def porosity(sand: Floats, clay: Floats) -> Floats:
    """Volume of pores that a mineral soil can fill with water, m3 m-3, from its texture.

    Multiple regression of Cosby et al. 1984, Water Resources Research 20, 682-690: 50.5 - 0.142 sand - 0.037 clay,
    in %.

    Parameters
    ----------
    sand, clay
        % of weight, of equal shape, NaN where missing.

    Examples
    --------
    >>> porosity(np.array([40.0]), np.array([20.0])).round(4).tolist()
    [0.4408]
    """
    return (50.5 - 0.142 * sand - 0.037 * clay) / 100
