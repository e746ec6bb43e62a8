"""Gap filling over time: levels of dates, annual cycles of places, and a remainder smoothed in space.

A value is taken as the sum of the level of its date, the departure of its place, which has an annual cycle, and a
remainder that neighbours share. A missing date or month then shifts nothing: what it would have shown is the sum of
the others' parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy  # loads its subpackages when they are first used
from numpy.typing import NDArray

from soilscale.cube import noise
from soilscale.cube.noise import Noise

Floats = NDArray[np.floating]

WIDTHS = (8.0, 3.0)
"""Standard deviations, in fine cells, of the kernels by which a remainder is smoothed, one after the other."""

WIDE = 32.0
"""That of a kernel before them, where nothing else tells how the level of a date varies over a tile."""

DOUBT = 0.02
"""Weight of the assumption that the remainder is nil, as a share of what a kernel weighs where all is known."""

REACH = 24
"""Fine cells around a tile from which its remainder is smoothed: three times the wider of `WIDTHS`."""

DAMPING = 3.0
"""Values of no departure that each coefficient of a place's annual cycle is damped by."""

LEAST = 3
"""Values of a place below which nothing is filled there: it is not known well enough."""

SPREAD = 2.0
"""Standard deviation, in coarse cells, of the kernel by which the levels of a month vary over the area."""

PLACES = 2**17
"""Places of a two-way fit that are in double precision at once."""

DATES = 40
"""Dates of a month beyond which they are averaged as they are: a missing one of so many hardly shifts it."""


def smooth(remainder: Floats, widths: Sequence[float] = WIDTHS) -> NDArray[np.float32]:
    """Remainder as its neighbours tell it, towards 0 far from what is known.

    Normalised convolution (Knutsson & Westin 1993), coarse to fine: each kernel smooths what the one before left.

    Parameters
    ----------
    remainder
        Shape ``(Y, X)``, NaN where missing.
    widths
        Standard deviations of the kernels, in cells.

    Returns
    -------
    array
        Shape ``(Y, X)``, without NaN.
    """
    observed = np.isfinite(remainder)
    weight = observed.astype("float32")
    smoothed = np.zeros(remainder.shape, "float32")
    for width in widths:
        left = np.where(observed, remainder - smoothed, 0).astype("float32")
        smoothed += _gaussian(left, width) / (_gaussian(weight, width) + np.float32(DOUBT))
    return smoothed


def _gaussian(values: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Gaussian filter with nothing beyond the border; a wide one on a coarser grid, which takes no more time."""
    step = max(1, int(width // 4))
    if step == 1 or min(values.shape) < step:
        filtered: NDArray[np.float32] = scipy.ndimage.gaussian_filter(values, width, mode="constant", truncate=3)
        return filtered
    rows, columns = (-(-size // step) for size in values.shape)
    padded = np.zeros((rows * step, columns * step), "float32")
    padded[: values.shape[0], : values.shape[1]] = values
    means = padded.reshape(rows, step, columns, step).mean(axis=(1, 3))
    wide = scipy.ndimage.gaussian_filter(means, width / step, mode="constant", truncate=3)
    fine = scipy.ndimage.zoom(wide, step, order=1, mode="nearest", grid_mode=True)
    return np.asarray(fine[: values.shape[0], : values.shape[1]], "float32")


def levels(values: Floats, observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Level of each date by a two-way fit of date and place, least squares.

    Parameters
    ----------
    values
        Shape ``(dates, places)``; what they are where nothing is seen does not matter.
    observed
        Where they are known, likewise.

    Returns
    -------
    array
        Shape ``(dates,)``, with mean 0. Dates that share no place with others have the mean of these.
    """
    dates, places = observed.shape
    normal, right = np.zeros((dates, dates)), np.zeros(dates)
    for first in range(0, places, PLACES):
        weight = observed[:, first : first + PLACES].astype("float64")
        filled = np.where(observed[:, first : first + PLACES], values[:, first : first + PLACES], 0).astype("float64")
        count = weight.sum(axis=0)
        share = np.divide(weight, count, out=np.zeros_like(weight), where=count > 0)
        # Places are eliminated, so that the system has only as many unknowns as there are dates.
        normal += np.diag(weight.sum(axis=1)) - share @ weight.T
        right += filled.sum(axis=1) - share @ filled.sum(axis=0)
    # Only differences of levels are determined, so the system is singular: a plain solve would fail.
    level, *_ = np.linalg.lstsq(normal, right, rcond=1e-9)
    return np.asarray(level - level.mean(), "float64")


def complete(layers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dates of a month, each with a value wherever one of them has one.

    What a date does not show of a place is the level of the date, the departure of the place in the dates that show
    it, and what is left of the neighbours in that date; never beyond all that the dates show.

    Parameters
    ----------
    layers
        In single precision, shape ``(dates, Y, X)``, NaN where missing.
    """
    observed = np.isfinite(layers)
    # The plain mean of a date would shift with the places that clouds happen to hide.
    date = levels(layers.reshape(len(layers), -1), observed.reshape(len(layers), -1)).astype("float32")
    left = layers - date[:, None, None]
    place = _mean(left, observed)
    local = [smooth(layer - place, (WIDE, *WIDTHS)) for layer in left]
    for number, near in enumerate(local):
        left[number] -= near
    place = _mean(left, observed)
    return _completed(layers, [place + level + near for level, near in zip(date, local, strict=True)])


def complete_by(layers: NDArray[np.float32], usual: Sequence[Floats]) -> NDArray[np.float32]:
    """Dates of a month, each with a value wherever it is known what is usual.

    What a date does not show of a place is what is usual there, the level of the date above it, what is left of the
    neighbours in that date, and what is left of the place in the dates that show it, damped.

    Parameters
    ----------
    layers
        As `complete` takes them.
    usual
        What is expected at each date, each of shape ``(Y, X)``, NaN where it is not known.
    """
    left = np.stack([layer - expected for layer, expected in zip(layers, usual, strict=True)])
    observed = np.isfinite(left)
    near = []
    for number, shown in enumerate(observed):
        total, weight = left[number][shown].sum(dtype="float64"), shown.sum() + DOUBT * shown.size
        level = np.float32(total / weight)
        near.append(level + smooth(left[number] - level, (WIDE, *WIDTHS)))
        left[number] -= near[-1]
    count = observed.sum(axis=0).astype("float32")
    # Damped by one date of no departure: a place seen once would else carry that date's noise into all others.
    place = np.nan_to_num(_mean(left, observed)) * count / (count + 1)
    fillings = [expected + local + place for expected, local in zip(usual, near, strict=True)]
    return _completed(layers, fillings)


def _completed(layers: NDArray[np.float32], fillings: Sequence[Floats]) -> NDArray[np.float32]:
    """Dates with what is not seen taken from what was found for each, within all that the dates show."""
    # A sum of parts may leave the range of the data, as soil moisture below 0.
    ends = (np.nanmin(layers), np.nanmax(layers)) if np.isfinite(layers).any() else (-np.inf, np.inf)
    filled = [
        np.where(np.isfinite(values), values, np.clip(filling, *ends))
        for values, filling in zip(layers, fillings, strict=True)
    ]
    return np.stack(filled).astype("float32")


def _mean(values: Floats, observed: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean of the dates that show a place, NaN where none does."""
    total = np.zeros(observed.shape[1:], "float32")
    for layer, shown in zip(values, observed, strict=True):
        np.add(total, layer, out=total, where=shown)
    count = observed.sum(axis=0).astype("float32")
    return np.divide(total, count, out=np.full(count.shape, np.nan, "float32"), where=count > 0)


def area_levels(means: Floats, shares: Floats, learned: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Level of each month over the area, smooth from cell to cell.

    Parameters
    ----------
    means
        Means of the coarse cells, shape ``(months, y, x)``, NaN where missing.
    shares
        Share of each that is known, 0 to 1.
    learned
        Months from which the departures of cells are learned, shape ``(months,)``: the level of any month goes by
        these and by the month itself, so that later months change none.

    Returns
    -------
    array
        Shape ``(months, y, x)``, NaN in a month of which nothing is known.
    """
    # Squared, so that cells that are mostly hidden hardly bend the level around them.
    weight = np.where(np.isfinite(means), shares, 0).astype("float64") ** 2
    flat, observed = means.reshape(len(means), -1), weight.reshape(len(means), -1) > 0
    # Only learned months: else a month that is added later would change the levels of all earlier ones.
    base = levels(flat[learned], observed[learned])
    has_value = observed[learned]
    count = has_value.sum(axis=0)
    total = np.where(has_value, flat[learned] - base[:, None], 0).sum(axis=0)
    cell = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0).reshape(means.shape[1:])
    result = np.full(means.shape, np.nan, "float32")
    for month, (values, known_share) in enumerate(zip(means - cell, weight, strict=True)):
        use = np.isfinite(values) & (known_share > 0)
        if use.any():
            part = np.where(use, known_share, 0)
            level = np.average(values[use], weights=part[use])
            above = np.where(use, values - level, 0) * part
            above = scipy.ndimage.gaussian_filter(above, SPREAD, mode="constant", truncate=3)
            result[month] = level + above / (
                scipy.ndimage.gaussian_filter(part, SPREAD, mode="constant", truncate=3) + DOUBT
            )
    return result


def bridged(levels: Floats, empty: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Levels of months, those of empty ones halfway between the months beside them, if both are known.

    Parameters
    ----------
    levels
        As `area_levels` gives them, shape ``(months, y, x)``.
    empty
        Months of which nothing was read, shape ``(months,)``.
    """
    result = levels.astype("float32")
    # From the levels as they came, so that of two empty months in a row neither is bridged from the other.
    result[1:-1][empty[1:-1]] = ((levels[:-2] + levels[2:]) / 2)[empty[1:-1]]
    return result


def phase(month: np.datetime64) -> float:
    """Part of the year at which a month begins, 0 to 1."""
    return float(month.astype("datetime64[M]").astype(int) % 12 / 12)


def moment(start: np.datetime64, end: np.datetime64) -> float:
    """Part of the year of an interval, as `phase` has it for its months: that of its middle, half a month earlier."""
    middle = start.astype("datetime64[s]") + (end.astype("datetime64[s]") - start.astype("datetime64[s]")) // 2
    month = middle.astype("datetime64[M]")
    passed, length = middle - month, (month + 1).astype("datetime64[s]") - month.astype("datetime64[s]")
    return phase(month) + (float(passed / length) - 0.5) / 12


def expected(level: Floats, cycle: Floats, phase: float) -> NDArray[np.float32]:
    """What is usual at a part of the year: the level, and the departure of each place.

    Parameters
    ----------
    level
        Shape ``(Y, X)``.
    cycle
        As `annual_cycle` gives it, shape ``(3, Y, X)``.
    phase
        Part of the year, 0 to 1.
    """
    return (level + np.tensordot(harmonics(phase), cycle, axes=1)).astype("float32")


def harmonics(phase: float) -> NDArray[np.float32]:
    """Constant and annual wave at a part of the year."""
    turn = 2 * np.pi * phase
    return np.array([1, np.cos(turn), np.sin(turn)], "float32")


def annual_cycle(dates: Iterable[tuple[float, Floats]], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Mean departure of each place and its annual wave, in bounded memory.

    Parameters
    ----------
    dates
        Part of the year of each date, and its values less its level, shape ``(Y, X)``, NaN where missing.
    shape
        ``(Y, X)``.

    Returns
    -------
    array
        Coefficients of `harmonics`, shape ``(3, Y, X)``, NaN where fewer than `LEAST` values are known. The wave is
        damped towards none by `DAMPING`.
    """
    normal = np.zeros((3, 3, *shape), "float32")
    right = np.zeros((3, *shape), "float32")
    for part, values in dates:
        observed = np.isfinite(values)
        wave = harmonics(part)
        filled = np.where(observed, values, 0).astype("float32")
        for i in range(3):
            right[i] += wave[i] * filled
            for j in range(i + 1):
                normal[i, j] += wave[i] * wave[j] * observed
    count = normal[0, 0].copy()
    for i in range(3):
        # The mean itself is not damped, only kept solvable where nothing is known.
        normal[i, i] += DAMPING if i else 1e-6
        for j in range(i):
            normal[j, i] = normal[i, j]
    flat = normal.reshape(3, 3, -1).transpose(2, 0, 1)
    coefficients = np.linalg.solve(flat, right.reshape(3, -1).T[..., None])[..., 0].T.reshape(3, *shape)
    # The damped system has a solution for places with one value too, which only repeats it.
    return np.where(count >= LEAST, coefficients, np.nan).astype("float32")


def fill(values: Floats, level: Floats, cycle: Floats, phase: float) -> NDArray[np.float32]:
    """Values of a date, missing ones filled by the level, the place's annual cycle and the remainder around.

    Parameters
    ----------
    values
        Shape ``(Y, X)``, NaN where missing.
    level
        Level of the date, of the same shape; NaN where it is not known.
    cycle
        As `annual_cycle` gives it, shape ``(3, Y, X)``.
    phase
        Part of the year of the date, 0 to 1.

    Returns
    -------
    array
        Shape ``(Y, X)``, NaN where the level or the cycle is not known.
    """
    usual = expected(level, cycle, phase)
    return np.where(np.isfinite(values), values, usual + smooth(values - usual)).astype("float32")


def smooth_cycle(cycle: Floats, variance: float, months: int) -> NDArray[np.float32]:
    """Annual cycles without the noise that months of such a variance leave in them.

    Parameters
    ----------
    cycle
        As `annual_cycle` gives it, shape ``(3, Y, X)``.
    variance
        Of the noise of a month, in the square of the unit.
    months
        Months from which the cycles are learned.
    """
    if not variance or not months:
        return cycle.astype("float32")
    wave = months / 2
    left = (variance / months, *[variance * wave / (wave + DAMPING) ** 2] * 2)
    parts = zip(cycle, left, strict=True)
    return np.stack([noise.smooth(part, noise.of_texture(part, of_part)) for part, of_part in parts])


def quiet(values: Floats, usual: Floats, measured: Noise) -> NDArray[np.float32]:
    """Values whose departures from what is usual have their noise smoothed; the very values where there is none.

    Parameters
    ----------
    values
        Of a month, shape ``(Y, X)``, NaN where missing.
    usual
        What is expected there, of the same shape; where that is not known, values stay as they are.
    measured
        Noise of the source.
    """
    single = values.astype("float32")
    if not measured.variance:
        return single
    quieted = usual + noise.smooth(values - usual, measured)
    return np.where(np.isfinite(quieted), quieted, single).astype("float32")
