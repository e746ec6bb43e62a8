"""When the steps of a file's time axis begin and end."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from soilscale.errors import DataError
from soilscale.formats import calendars
from soilscale.formats.contents import Contents, Variable

MONTHS = (27.0, 32.0)
"""Days that steps of months may be apart, those that lie in the middle of their months among them."""

ALIKE = 3
"""Days by which months with a gap between them may differ in their day, counted from the month's start or its end."""


class Step(NamedTuple):
    """A step of a time axis."""

    number: int
    """Counted from 0."""
    start: np.datetime64
    """First instant that it covers, ``datetime64[s]``."""
    end: np.datetime64
    """First instant that it does not cover any more."""


def steps(contents: Contents, side: Variable) -> tuple[Step, ...]:
    """Steps of a time axis, by time: by its bounds, else months where each lies in one of its own, else as spaced.

    Parameters
    ----------
    side
        Coordinates of the axis.

    Raises
    ------
    DataError
        If they cannot be understood.
    """
    instants = calendars.instants(side, side.values())
    # Some files begin with the latest; the number of a step stays that by which the file is read.
    order = np.argsort(instants, kind="stable")
    instants = instants[order]
    apart = np.diff(instants).astype("timedelta64[s]").astype("float64") / 86400
    if np.isnat(instants).any() or (apart <= 0).any():
        raise DataError(f"its time axis {side.name} holds a date twice, or none for a step; correct the file")
    bounds = _bounds(contents, side)
    if bounds is not None:
        ends = calendars.instants(side, bounds).reshape(-1, 2)[order]
        # Bounds that do not ascend are no bounds; the spacing must do.
        if (ends[:, 0] < ends[:, 1]).all():
            return _numbered(order, ends[:, 0], ends[:, 1])
    if _are_months(instants, apart):
        # Whole months, on whichever day of them they are stamped.
        months = instants.astype("datetime64[M]")
        return _numbered(order, months.astype("datetime64[s]"), (months + 1).astype("datetime64[s]"))
    return _numbered(order, *_spaced(instants, apart))


def _numbered(order: NDArray[Any], starts: Any, ends: Any) -> tuple[Step, ...]:
    return tuple(Step(int(number), start, end) for number, start, end in zip(order, starts, ends, strict=True))


def _are_months(instants: NDArray[Any], apart: NDArray[np.float64]) -> bool:
    """Whether each step is of a calendar month; months may lack between them if all lie alike in theirs."""
    if not len(apart) or apart.min() <= MONTHS[0]:
        return False
    months = instants.astype("datetime64[M]")
    between = np.diff(months).astype(int)
    if (between == 1).all():
        return True
    days = instants.astype("datetime64[D]")
    after_start = (days - months.astype("datetime64[D]")).astype(int)
    before_end = ((months + 1).astype("datetime64[D]") - days).astype(int)
    alike = min(np.ptp(after_start), np.ptp(before_end)) <= ALIKE
    return bool(alike and (between >= 1).all() and apart.min() < MONTHS[1])


def _spaced(instants: NDArray[Any], apart: NDArray[np.float64]) -> tuple[NDArray[Any], list[np.datetime64]]:
    """Steps that last to the next; whole days begin at midnight, wherever in the day they are stamped.

    A single one lasts no time: nothing states how long it is.
    """
    if not len(apart):
        return instants, list(instants)
    # The lower of two in the middle: of few steps, one may lie behind a gap.
    usual = float(np.percentile(apart, 50, method="lower"))
    starts = instants
    if usual >= 1 and abs(usual - round(usual)) < 1e-6:  # noqa: PLR2004
        starts = instants.astype("datetime64[D]").astype("datetime64[s]")
    length = np.timedelta64(round(usual * 86400), "s")
    # A missing step leaves a gap, and does not stretch the one before it.
    return starts, [*(min(start + length, after) for start, after in pairwise(starts)), starts[-1] + length]


def _bounds(contents: Contents, side: Variable) -> NDArray[Any] | None:
    name = str(side.attributes.get("bounds", ""))
    above = side.name.rpartition("/")[0]
    bounds = contents.variable(f"{above}/{name}".lstrip("/")) if name else None
    return bounds.values() if bounds is not None and bounds.shape == (*side.shape, 2) else None
