"""Predictors derived month by month: what soil remembers of rain, and what surfaces show of water.

NumPy alone; `stages/derived_units.py` reads and writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

LOWEST, HIGHEST, STEP = 180.0, 360.0, 0.5
"""Bins of a land surface temperature, K: of STEP from LOWEST to HIGHEST."""

GREENNESS = 20
"""Bins of a vegetation index between 0 and 1."""

FEWEST = 30
"""Pixels that a bin of the vegetation index needs, so that its outermost hundredth is more than chance."""

TAIL = 0.01
"""Share of a bin's pixels beyond an edge: its very hottest and coldest are fires and clouds, not soil."""

NARROWEST = 1.0
"""K between the edges below which the index would be noise."""


def antecedent(months: Iterable[Floats], decay: float) -> Floats:
    """Antecedent precipitation index: the rain of a month and of those before it, each weighted less (Kohler 1951).

    Parameters
    ----------
    months
        Rain of the month, then of those before it, backwards, shape ``(Y, X)``.
    decay
        Weight of each month as a share of that of the month after it.

    Returns
    -------
    array
        Sum, in the unit of the rain; NaN where any of the months is missing: a shorter sum would pass for a dry time.
    """
    first, *earlier = months
    total = first.astype(np.float64)
    for back, month in enumerate(earlier, 1):
        total += decay**back * month
    return total


def scatter(surface: Floats, greenness: Floats) -> NDArray[np.float32]:
    """How many pixels have which land surface temperature and vegetation index.

    Parameters
    ----------
    surface
        Land surface temperature, K, NaN where missing.
    greenness
        Vegetation index; pixels below 0 are water and do not count.

    Returns
    -------
    array
        Counts of shape ``(GREENNESS, bins)``: they add up over tiles, so that edges are those of the whole area.
    """
    valid = np.isfinite(surface) & (greenness >= 0) & (surface >= LOWEST) & (surface < HIGHEST)
    bins = round((HIGHEST - LOWEST) / STEP)
    # A vegetation index of exactly 1 would fall into a bin beyond the last.
    row = np.minimum((greenness[valid] * GREENNESS).astype(int), GREENNESS - 1)
    column = ((surface[valid] - LOWEST) / STEP).astype(int)
    counts = np.bincount(row * bins + column, minlength=GREENNESS * bins)
    return counts.reshape(GREENNESS, bins).astype(np.float32)


def edges(counts: Floats) -> NDArray[np.float32]:
    """Dry and wet edge of a scatter: lines through the hottest and the coldest hundredth of each bin.

    Parameters
    ----------
    counts
        Sum of `scatter` over an area, shape ``(GREENNESS, bins)``.

    Returns
    -------
    array
        Shape ``(2, 2)``: slope and level, K, of the dry edge and of the wet edge. Level lines where fewer than three
        bins hold pixels enough, NaN where none does.
    """
    rows = np.flatnonzero(counts.sum(axis=1) >= FEWEST)
    if not len(rows):
        return np.full((2, 2), np.nan, np.float32)
    greenness = (rows + 0.5) / GREENNESS
    lines = []
    for share in (1 - TAIL, TAIL):
        ends = [_quantile(counts[row], share) for row in rows]
        enough = len(rows) > 2  # noqa: PLR2004 - a line through two bins would be both of them
        lines.append(np.polyfit(greenness, ends, 1) if enough else (0.0, np.mean(ends)))
    return np.array(lines, np.float32)


def _quantile(counts: Floats, share: float) -> float:
    """Quantile of binned temperatures, linear within its bin."""
    reached = np.cumsum(counts, dtype=np.float64)
    target = share * reached[-1]
    at = int(np.searchsorted(reached, target))
    before = reached[at - 1] if at else 0.0
    return float(LOWEST + STEP * (at + (target - before) / counts[at]))


def dryness(surface: Floats, greenness: Floats, lines: Floats) -> Floats:
    """Temperature vegetation dryness index (Sandholt et al. 2002): 0 at the wet edge, 1 at the dry edge.

    Parameters
    ----------
    surface, greenness
        As `scatter` takes them.
    lines
        What `edges` gives.
    """
    green = np.maximum(greenness.astype(np.float64), 0)
    dry, wet = (slope * green + level for slope, level in lines.astype(np.float64))
    # Edges that meet or cross in dense vegetation would make the index infinite or turn its sign.
    return np.clip((surface - wet) / np.maximum(dry - wet, NARROWEST), 0, 1)
