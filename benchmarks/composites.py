"""Composites with clumps hidden, and the months that a run with `maps.gaps: cycle` makes of them: for `accuracy.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from soilscale import kernels
from soilscale.cube import gaps, months, noise

Array = NDArray[np.float32]

CLUMP = 6.0
"""Standard deviation of the kernel of hidden clumps, pixels."""

SPELL, WEATHER = 1.5, 20.0
"""Standard deviation of a composite's own warmth, over the area and within it, K, and the length of it, pixels."""


@dataclass(frozen=True)
class Composite:
    """What is, in an interval of days."""

    start: np.datetime64
    end: np.datetime64
    values: Array


def hide(composites: Sequence[Composite], share: float, rng: np.random.Generator) -> list[Composite]:
    """Composites with a share of each hidden in clumps, and each share as it falls: some dates are nearly clear."""
    seen = []
    for one in composites:
        cloud = gaussian_filter(rng.standard_normal(one.values.shape), CLUMP)
        part = rng.beta(4 * share, 4 * (1 - share))
        seen.append(Composite(one.start, one.end, np.where(cloud < np.quantile(cloud, part), np.nan, one.values)))
    return seen


def of_month(composites: Sequence[Composite], month: np.datetime64) -> list[Composite]:
    """Composites that share a day with a month."""
    starts, ends = (np.array([getattr(one, end) for one in composites]) for end in ("start", "end"))
    return [composites[place] for place in np.flatnonzero(kernels.shared_days(starts, ends, month))]


def _shown(composites: Sequence[Composite]) -> Iterator[months.Shown]:
    for one in composites:
        values = one.values.astype(float)
        yield one.start, one.end, (values, np.isfinite(values).astype(float))


def observed(composites: Sequence[Composite], period: NDArray[np.datetime64]) -> tuple[Array, Array]:
    """Months of what is seen, and the share of each that is, both of shape ``(months, Y, X)``."""
    shape = composites[0].values.shape
    made = [months.completed(_shown(of_month(composites, month)), month, shape) for month in period]
    values, shares = zip(*made, strict=True)
    return np.stack(values).astype("float32"), np.stack([np.broadcast_to(share, shape) for share in shares])


def filled(composites: Sequence[Composite], period: NDArray[np.datetime64], ratio: int) -> tuple[Array, Array]:
    """Months as a run makes them, gaps filled and noise smoothed, and the share of each that is filled, all of a shape.

    What a run does tile by tile is done of the whole, and the noise is measured in all pairs of months a year apart.
    """
    seen, shown = observed(composites, period)
    means, shares = zip(*(kernels.block_mean(values, ratio) for values in seen), strict=True)
    levels = gaps.area_levels(np.stack(means), np.stack(shares), np.ones(len(period), bool))
    fine = [kernels.spread(np.pad(level, 1, mode="edge"), ratio).astype("float32") for level in levels]
    away = ((gaps.phase(month), values - level) for month, values, level in zip(period, seen, fine, strict=True))
    changes = ((after - before) / np.sqrt(2) for before, after in zip(seen, seen[12:], strict=False))
    found = noise.estimate(noise.variogram(change) for change in changes)
    cycle = gaps.smooth_cycle(gaps.annual_cycle(away, seen.shape[1:]), found.variance, len(period))
    made = []
    for month, values, share, level in zip(period, seen, shown, fine, strict=True):
        usual = gaps.expected(level, cycle, gaps.phase(month))
        if ((share > 0) & (share < 1)).any():
            members = _shown(of_month(composites, month))
            whole = months.completed(members, month, level.shape, usual=(level, cycle))[0]
        else:
            whole = gaps.fill(values, level, cycle, gaps.phase(month))
        made.append(gaps.quiet(whole, usual, found))
    return np.stack(made).astype("float32"), 1 - np.where(np.isfinite(seen), shown, 0)


def of_days(monthly: Array, period: NDArray[np.datetime64], rng: np.random.Generator) -> list[Composite]:
    """Composites of 8 days: between the months linear in time, with spells over the area and weather within it."""
    first, after = (edge.astype("datetime64[D]") for edge in (period[0], period[-1] + 1))
    middles = (period.astype("datetime64[D]").astype(int) + (period + 1).astype("datetime64[D]").astype(int)) / 2
    made = []
    for start in np.arange(first, after, 8):
        end = min(start + 8, after)
        at = np.interp((start.astype(int) + end.astype(int)) / 2, middles, np.arange(len(period)))
        left = min(int(at), len(period) - 2)
        values = monthly[left] * (left + 1 - at) + monthly[left + 1] * (at - left)
        weather = gaussian_filter(rng.standard_normal(values.shape), WEATHER)
        made.append(
            Composite(start, end, (values + rng.normal(0, SPELL) + SPELL * weather / weather.std()).astype("float32"))
        )
    return made


def mean(composites: Sequence[Composite], month: np.datetime64) -> Array:
    """Mean of a month by the days that composites share with it."""
    members = of_month(composites, month)
    days = kernels.shared_days(*(np.array([getattr(one, end) for one in members]) for end in ("start", "end")), month)
    total: Array = np.tensordot(days / days.sum(), [one.values for one in members], axes=1).astype("float32")
    return total


def of_months(monthly: Array, period: NDArray[np.datetime64]) -> list[Composite]:
    """Months as composites."""
    return [
        Composite(month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]"), values)
        for month, values in zip(period, monthly, strict=True)
    ]
