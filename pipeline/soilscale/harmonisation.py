"""Harmonisation of several sensors: by calendar month or by their distributions; NumPy alone.

A sensor (the part) is brought to the level of another (the reference) by a relation between samples of the two:

- ``overlap``: the months in which both see a cell;
- ``through``: none such, but a third series covers both; the part is brought to its level, and that to the reference's;
- ``climatology``: neither; what each sees in the years that it has. A true change of climate between the two periods
  is then taken for a difference between the sensors, and removed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Float64s = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.integer]

Method = Literal["cdf", "linear"]
Basis = Literal["overlap", "through", "climatology"]

YEAR = 12
OVERLAP = 12
"""Months in which both sensors must see a cell, anywhere in the area, for these months to be the basis."""

OWN, PAIRED = 24, 12
"""Values that each sensor must have in a cell, in calendar months that both have, for a relation of its own; and so
many where they are of the same months, whose weather is the same."""

MONTHLY = 6
"""Values that each must have in a calendar month and its two neighbours, for that month to have a level of its own."""

POOLED = 12
"""Values that each must have in the whole area."""

FREEDOM = 12
"""Degrees of freedom that a spread about the months' means must have."""

STEEPEST = 4.0
"""Times that the slope of a cell may differ from that of the area, either way."""

NOTHING = 1e-6
"""Spread, as a share of the level, that counts as none."""

NODES = np.linspace(0.05, 0.95, 10)
"""Probabilities at which distributions are matched; beyond them the relation goes on as a straight line."""


class Support(IntEnum):
    """What the relation of a cell rests on, from the least to the most."""

    NONE = 0
    """Nothing: the sensor has no value in the cell."""
    AREA = 1
    """The area's pooled relation, in some month at least."""
    CELL = 2
    """The cell's own, over all months."""
    MONTH = 3
    """The cell's own, by calendar month."""


@dataclass(frozen=True)
class Relation:
    """From one level to another, in every cell or, without further axes, over the area."""

    given: Float64s
    """Shape ``(12, ...)``: level in each calendar month; or ``(nodes, ...)``: quantiles."""
    wanted: Float64s
    """The same of the other."""
    slope: Float64s
    """Shape ``(...)``: ratio of spreads; of quantiles, how the relation goes on beyond the outermost."""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {key: getattr(self, key).tolist() for key in ("given", "wanted", "slope")}


@dataclass(frozen=True)
class Area:
    """How a part relates to the reference over the whole area."""

    basis: Basis
    relations: tuple[Relation, ...]
    """One, or two of which the first leads to the third series."""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"basis": self.basis, "relations": [relation.plain() for relation in self.relations]}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Area:
        """From what `plain` gives."""
        relations = [
            {key: np.asarray(value, "float64") for key, value in fields.items()} for fields in plain["relations"]
        ]
        return cls(plain["basis"], tuple(Relation(**fields) for fields in relations))


@dataclass(frozen=True)
class Trio:
    """A part, the reference and, if there is one, the series that covers both: ``(time, ...)``, NaN where missing."""

    part: Floats
    reference: Floats
    calendar: Ints
    """Month of the year of each time, 1..12."""
    through: Floats | None = None
    limits: tuple[float, float] = (-np.inf, np.inf)
    """Physical range: values of the sensors outside it are not used, and none is given."""

    def samples(self, basis: Basis) -> list[tuple[Float64s, Float64s]]:
        """Samples that a basis relates to each other, one pair for each relation."""
        part, reference = within(self.part, self.limits), within(self.reference, self.limits)
        if basis == "climatology":
            return [(part, reference)]
        if basis == "overlap":
            return [_paired(part, reference)]
        if self.through is None:
            raise ValueError("there is no bridge series")
        return [_paired(part, self.through), _paired(self.through, reference)]

    def basis(self) -> Basis:
        """What the part is related to the reference by."""
        paired, _ = self.samples("overlap")[0]
        if np.isfinite(paired).reshape(len(paired), -1).any(axis=1).sum() >= OVERLAP:
            return "overlap"
        return "climatology" if self.through is None else "through"


def within(values: Floats, limits: tuple[float, float]) -> Float64s:
    """Values, missing where they stand outside limits."""
    with np.errstate(invalid="ignore"):
        return np.where((values >= limits[0]) & (values <= limits[1]), values, np.nan).astype("float64")


def pool(trio: Trio, method: Method) -> Area:
    """Relate a part to the reference over the whole area.

    Parameters
    ----------
    trio
        The series of the whole area.
    method
        ``linear``: the mean and the spread of the part become those of the reference (Draper et al. 2009, Remote
        Sens. Environ. 113, 2259-2270, there without seasons). The mean is that of a calendar month and its two
        neighbours, which count alike; the spread that about the means of the calendar months, over the whole year.
        ``cdf``: the quantiles of the part become those of the reference (Reichle & Koster 2004, Geophys. Res. Lett.
        31, L19501), each calendar month counting alike.

    Raises
    ------
    ValueError
        If the two have fewer than `POOLED` values each in cells and calendar months that both have, or vary too
        little to go through a third series.
    """
    basis = trio.basis()
    fit = _area_line if method == "linear" else _area_curve
    relations = [fit(*pair, trio.calendar) for pair in trio.samples(basis)]
    if basis == "through" and any(np.isnan(relation.slope) for relation in relations):
        raise ValueError("the spread of the bridge series or of a sensor cannot be measured")
    # Where the spreads are not known, a slope of 1 shifts the level and keeps the part's own variation.
    return Area(basis, tuple(replace(relation, slope=np.nan_to_num(relation.slope, nan=1.0)) for relation in relations))


def adjust(trio: Trio, method: Method, area: Area) -> tuple[Float64s, NDArray[np.int8]]:
    """Bring a part to the level of the reference, cell by cell, by the area's relation where a cell has too little.

    Parameters
    ----------
    trio
        The series of some cells.
    method
        As given to `pool`.
    area
        What `pool` found for the whole area.

    Returns
    -------
    values, support
        The part's values at the reference's level, shape of the part, clipped to the limits; and what each cell's
        relation rests on, as `Support`.
    """
    values = within(trio.part, trio.limits)
    fit = _cell_line if method == "linear" else _cell_curve
    carry = _along_line if method == "linear" else _along_curve
    finite = np.isfinite(values)
    support = np.where(finite.any(axis=0), Support.MONTH, Support.NONE).astype("int8")
    least = OWN if area.basis == "climatology" else PAIRED
    for pair, pooled in zip(trio.samples(area.basis), area.relations, strict=True):
        # Each relation is fitted to the original samples; only the values pass through one after the other.
        relation, rests = fit(*pair, trio.calendar, pooled, least)
        values = carry(relation, values, trio.calendar)
        for month, month_support in enumerate(np.broadcast_to(rests, (YEAR, *support.shape)), start=1):
            # The weakest support of the months in which the cell has values; months without values do not count.
            used = finite[trio.calendar == month].any(axis=0)
            support = np.where(used, np.minimum(support, month_support), support).astype("int8")
    return np.clip(values, *trio.limits), support


def climatology(values: Floats, calendar: Ints) -> tuple[Ints, Float64s]:
    """Number of values in each calendar month and their mean, shapes ``(12, ...)``; NaN where there is none."""
    counts = np.zeros((YEAR, *values.shape[1:]), "int64")
    totals = np.zeros(counts.shape)
    for month in range(YEAR):
        month_values = values[calendar == month + 1]
        valid = np.isfinite(month_values)
        counts[month] = valid.sum(axis=0)
        totals[month] = np.where(valid, month_values, 0).sum(axis=0, dtype="float64")
    return counts, _ratio(totals, counts)


def _paired(first: Floats, second: Floats) -> tuple[Float64s, Float64s]:
    shared = np.isfinite(first) & np.isfinite(second)
    return np.where(shared, first, np.nan).astype("float64"), np.where(shared, second, np.nan).astype("float64")


def _ratio(numerator: Floats, denominator: Floats | Ints) -> Float64s:
    """Quotient, NaN where nothing is divided by."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


@dataclass(frozen=True)
class _Moments:
    """What a sample has in each calendar month; what stands in months that the other sample lacks is left out."""

    counts: Float64s
    """Shape ``(12, ...)``."""
    means: Float64s
    squares: Float64s
    """Shape ``(...)``: sum of the squared deviations from the months' means."""
    freedom: Float64s

    def pooled(self) -> _Moments:
        """Moments over all cells; each cell counts alike in a month."""
        cells = tuple(range(1, self.counts.ndim))
        has_value = self.counts > 0
        means = _ratio(np.where(has_value, self.means, 0).sum(axis=cells), has_value.sum(axis=cells))
        return _Moments(self.counts.sum(axis=cells), means, self.squares.sum(), self.freedom.sum())


def _moments(values: Float64s, calendar: Ints, shared: Bools) -> _Moments:
    counts, means = climatology(values, calendar)
    # Months missing in one sample are left out of both: otherwise a sensor that never sees winter would differ in mean
    # and spread for that reason alone.
    deviations = np.where(shared[calendar - 1], values - means[calendar - 1], np.nan)
    counts = np.where(shared, counts, 0)
    return _Moments(
        counts.astype("float64"),
        np.where(shared, means, np.nan),
        np.nansum(deviations**2, axis=0),
        (counts - shared).sum(axis=0).astype("float64"),
    )


def _shared_months(source: Float64s, target: Float64s, calendar: Ints) -> Bools:
    """Calendar months that both samples have, shape ``(12, ...)``."""
    return (climatology(source, calendar)[0] > 0) & (climatology(target, calendar)[0] > 0)


def _pair_of_moments(source: Float64s, target: Float64s, calendar: Ints) -> tuple[_Moments, _Moments]:
    shared = _shared_months(source, target, calendar)
    return _moments(source, calendar, shared), _moments(target, calendar, shared)


def _levels(first: _Moments, second: _Moments) -> tuple[Relation, Bools]:
    """Levels of both by calendar month, and over the year where a month has too little; and where it has enough."""
    counts = np.minimum(first.counts, second.counts)
    around = (np.arange(YEAR)[:, None] + np.array([-1, 0, 1])) % YEAR
    # Three months together: in the five to nine years of AMSR a single month's mean errs as much as the sensors differ.
    enough = counts[around].sum(axis=1) >= MONTHLY
    levels = []
    for means in (first.means, second.means):
        has_value = np.isfinite(means)
        filled = np.where(has_value, means, 0)
        month = _ratio(filled[around].sum(axis=1), has_value[around].sum(axis=1))
        levels.append(np.where(enough, month, _ratio(filled.sum(axis=0), has_value.sum(axis=0))))
    return Relation(levels[0], levels[1], _spread(first, second)), enough


def _spread(first: _Moments, second: _Moments) -> Float64s:
    """Ratio of spreads; NaN where one is too little known, or nothing varies."""
    spreads = [np.sqrt(_ratio(np.asarray(moments.squares), np.asarray(moments.freedom))) for moments in (first, second)]
    usable = np.minimum(first.freedom, second.freedom) >= FREEDOM
    for spread, moments in zip(spreads, (first, second), strict=True):
        # Even a constant series has a tiny spread from rounding, and a ratio of such spreads could be anything.
        usable &= spread > NOTHING * np.abs(np.where(moments.counts > 0, moments.means, 0)).max(axis=0)
    return np.divide(spreads[1], spreads[0], out=np.full(spreads[0].shape, np.nan), where=usable)


def _tempered(slope: Float64s, area: Float64s) -> Float64s:
    """Slopes of cells, not too far from the area's, which stands where a cell has none."""
    return np.clip(np.where(np.isfinite(slope), slope, area), area / STEEPEST, area * STEEPEST)


def _area_line(source: Float64s, target: Float64s, calendar: Ints) -> Relation:
    first, second = (moments.pooled() for moments in _pair_of_moments(source, target, calendar))
    _need(min(first.counts.sum(), second.counts.sum()))
    relation, _ = _levels(first, second)
    return relation


def _cell_line(source: Float64s, target: Float64s, calendar: Ints, area: Relation, least: int) -> tuple[Relation, Ints]:
    first, second = _pair_of_moments(source, target, calendar)
    fitted, enough = _levels(first, second)
    sufficient = np.minimum(first.counts.sum(axis=0), second.counts.sum(axis=0)) >= least
    shape = (YEAR, *(1 for _ in sufficient.shape))
    levels = [
        np.where(sufficient, mine, np.reshape(ours, shape))
        for mine, ours in ((fitted.given, area.given), (fitted.wanted, area.wanted))
    ]
    return Relation(levels[0], levels[1], _tempered(np.where(sufficient, fitted.slope, np.nan), area.slope)), np.where(
        sufficient, np.where(enough, Support.MONTH, Support.CELL), Support.AREA
    )


def _along_line(relation: Relation, values: Float64s, calendar: Ints) -> Float64s:
    month = calendar - 1
    return relation.wanted[month] + relation.slope * (values - relation.given[month])


def _area_curve(source: Float64s, target: Float64s, calendar: Ints) -> Relation:
    weights = _weights(source, target, calendar)
    _need(min((weight > 0).sum() for weight in weights))
    nodes = [_quantiles(*pair) for pair in zip((source, target), weights, strict=True)]
    return Relation(nodes[0], nodes[1], np.asarray(_outer_slope(*nodes)))


def _cell_curve(
    source: Float64s, target: Float64s, calendar: Ints, area: Relation, least: int
) -> tuple[Relation, Ints]:
    weights = _weights(source, target, calendar)
    sufficient = np.minimum(*((weight > 0).sum(axis=0) for weight in weights)) >= least
    given_nodes, wanted_nodes = (
        np.repeat(nodes, sufficient.size).reshape(len(NODES), *sufficient.shape) for nodes in (area.given, area.wanted)
    )
    fitted = Relation(given_nodes, wanted_nodes, np.full(sufficient.shape, np.nan))
    for cell in zip(*np.nonzero(sufficient), strict=True):
        at = (slice(None), *cell)
        fitted.given[at] = _quantiles(source[at], weights[0][at])
        fitted.wanted[at] = _quantiles(target[at], weights[1][at])
        fitted.slope[cell] = _outer_slope(fitted.given[at], fitted.wanted[at])
    return replace(fitted, slope=_tempered(fitted.slope, area.slope)), np.where(sufficient, Support.CELL, Support.AREA)


def _weights(source: Float64s, target: Float64s, calendar: Ints) -> tuple[Float64s, Float64s]:
    """Weight of each value: every calendar month that both have in a cell counts alike, the others do not."""
    shared = _shared_months(source, target, calendar)
    weights = []
    for values in (source, target):
        counts, _ = climatology(values, calendar)
        weight = np.where(shared, _ratio(np.ones(counts.shape), counts), 0)[calendar - 1]
        weights.append(np.where(np.isfinite(values), weight, 0))
    return weights[0], weights[1]


def _quantiles(values: Float64s, weights: Float64s) -> Float64s:
    """Quantiles at `NODES`; a value stands in the middle of its weight."""
    weighted = weights > 0
    order = np.argsort(values[weighted], kind="stable")
    ordered, weight = values[weighted][order], weights[weighted][order]
    return np.interp(NODES, (np.cumsum(weight) - weight / 2) / weight.sum(), ordered)


def _outer_slope(source: Float64s, target: Float64s) -> float:
    span = source[-1] - source[0]
    return float((target[-1] - target[0]) / span) if span > 0 else math.nan


def _along_curve(relation: Relation, values: Float64s, _calendar: Ints) -> Float64s:
    carried = np.full(values.shape, np.nan)
    for cell in zip(*np.nonzero(np.isfinite(values).any(axis=0)), strict=True):
        at = (slice(None), *cell)
        carried[at] = _along(relation.given[at], relation.wanted[at], float(relation.slope[cell]), values[at])
    return carried


def _along(source: Float64s, target: Float64s, slope: float, values: Float64s) -> Float64s:
    """Piecewise linear between the nodes, a straight line beyond them; where the nodes are one, a shift."""
    if source[-1] <= source[0]:
        return values + (target.mean() - source[0])
    # `np.interp` holds the end values constant beyond the nodes, so only the distance past them is added.
    inside = np.interp(values, source, target)
    beyond = np.minimum(values - source[0], 0) + np.maximum(values - source[-1], 0)
    return inside + slope * beyond


def _need(count: float) -> None:
    if count < POOLED:
        raise ValueError(
            f"the two have {int(count)} values in common cells and calendar months, of the {POOLED} needed"
        )
