"""When the steps of a file's time axis begin and end."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xarray.coding.times import decode_cf_datetime

from soilscale.errors import DataError
from soilscale.formats.contents import Contents, Variable

MONTHS = (27.0, 32.0)
"""Days that steps of months may be apart, those that lie in the middle of their months among them."""


class Step(NamedTuple):
    """A step of a time axis."""

    number: int
    """Counted from 0."""
    start: np.datetime64
    """First instant that it covers, ``datetime64[s]``."""
    end: np.datetime64
    """First instant that it does not cover any more."""


def steps(contents: Contents, side: Variable) -> tuple[Step, ...]:
    """Steps of a time axis: by its bounds, else months where each lies in one of its own, else as they are spaced.

    Parameters
    ----------
    side
        Coordinates of the axis.

    Raises
    ------
    DataError
        If they cannot be understood.
    """
    instants = _decoded(side, side.values())
    bounds = _bounds(contents, side)
    if bounds is not None:
        ends = _decoded(side, bounds).reshape(-1, 2)
        # Bounds that do not ascend are no bounds; the spacing must do.
        if (ends[:, 0] < ends[:, 1]).all():
            return tuple(Step(number, *pair) for number, pair in enumerate(ends))
    # Whole months, on whichever day of them they are stamped.
    months = instants.astype("datetime64[M]")
    apart = np.diff(instants).astype("timedelta64[s]").astype("float64") / 86400
    if len(instants) > 1 and (np.diff(months).astype(int) == 1).all() and (apart > MONTHS[0]).all():
        first, after = months.astype("datetime64[s]"), (months + 1).astype("datetime64[s]")
        return tuple(Step(number, *pair) for number, pair in enumerate(zip(first, after, strict=True)))
    # Sorted here, steps would no longer be those by which the file is read.
    if (apart <= 0).any():
        raise DataError(f"its time axis {side.name} does not ascend")
    return _spaced(instants, apart)


def _spaced(instants: NDArray[Any], apart: NDArray[np.float64]) -> tuple[Step, ...]:
    """Steps that last to the next; whole days begin at midnight, wherever in the day they are stamped."""
    usual = float(np.median(apart)) if len(apart) else 1.0
    starts = instants
    if usual >= 1 and abs(usual - round(usual)) < 1e-6:  # noqa: PLR2004
        starts = instants.astype("datetime64[D]").astype("datetime64[s]")
    length = np.timedelta64(round(usual * 86400), "s")
    # A missing step leaves a gap, and does not stretch the one before it.
    ends = [min(start + length, after) for start, after in pairwise(starts)]
    return tuple(
        Step(number, *pair) for number, pair in enumerate(zip(starts, [*ends, starts[-1] + length], strict=True))
    )


def _bounds(contents: Contents, side: Variable) -> NDArray[Any] | None:
    name = str(side.attributes.get("bounds", ""))
    above = side.name.rpartition("/")[0]
    bounds = contents.variable(f"{above}/{name}".lstrip("/")) if name else None
    return bounds.values() if bounds is not None and bounds.shape == (*side.shape, 2) else None


def _decoded(side: Variable, values: NDArray[Any]) -> NDArray[Any]:
    unit, calendar = str(side.attributes.get("units", "")), str(side.attributes.get("calendar", "standard")).lower()
    try:
        instants = decode_cf_datetime(values, unit, calendar, use_cftime=False)
        return np.asarray(instants).astype("datetime64[s]")
    except (ValueError, OverflowError, TypeError) as error:
        raise DataError(
            f"its time axis {side.name} has units {unit!r} and calendar {calendar!r}, which are not understood: {error}"
        ) from error
