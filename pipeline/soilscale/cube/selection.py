"""The scenes of a source that make a month, and the days that they cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from soilscale import kernels
from soilscale.catalog import Scene
from soilscale.catalog.places import boxes, covers
from soilscale.catalog.relations import LONGER, MONTH
from soilscale.seasons import following
from soilscale.sources import Source

SLOW = np.timedelta64(180, "D")
"""Interval from which on a source counts as slow (yearly), so that the nearest one holds where none is given."""

SECONDS_PER_DAY = 86400

SLACK = 1e-6
"""Days by which a month may miss its least share: what sums of hours lose to rounding."""


def select(scenes: Sequence[Scene], month: np.datetime64, least: float = 0.0) -> list[Scene]:
    """Scenes that count for a month: those that share days with it, else, of a slow source, the nearest in time.

    Where intervals of different length overlap in one place, the longest that is no longer than a month counts, or
    if all are longer, the shortest.

    Parameters
    ----------
    scenes
        Those of a source that may touch a place.
    month
        The month.
    least
        Share of its days that scenes must cover, all places taken together; none counts if they cover less.
    """
    starts, ends = spans(scenes)
    # An item that only touches the month at midnight shares no days with it.
    shared = kernels.shared_days(starts, ends, month) > 0
    if not shared.any() and len(scenes) and np.median(ends - starts) >= SLOW:
        middle = month.astype("datetime64[M]").astype("datetime64[s]") + np.timedelta64(15, "D")
        away = np.maximum(np.maximum(starts - middle, middle - ends), np.timedelta64(0, "s"))
        return [scene for scene, nearest in zip(scenes, away == away.min(), strict=True) if nearest]
    chosen = _of_one_length([scene for scene, take in zip(scenes, shared, strict=True) if take], month)
    return chosen if covered_days(chosen, month) + SLACK >= least * days_of(month) else []


def is_constant(source: Source, scenes: Sequence[Scene], month: np.datetime64) -> bool:
    """Whether scenes give the same values in this month as in any other that they cover: all span the whole of it."""
    shared = kernels.shared_days(*spans(scenes), month)
    is_full = (shared == days_of(month)) | (shared == 0)
    return source.aggregate == "mean" and len(scenes) > 0 and bool(is_full.all())


def covered_days(scenes: Sequence[Scene], month: np.datetime64) -> float:
    """Days of a month that scenes cover, each counted once however many cover it; fractions included."""
    first = month.astype("datetime64[M]").astype("datetime64[s]")
    starts, ends = spans(scenes)
    order = np.argsort(starts, kind="stable")
    starts, ends = np.maximum(starts[order], first), np.minimum(ends[order], _after(month))
    # The running maximum: a long interval may reach beyond several that start after it.
    before = np.concatenate([[first], np.maximum.accumulate(ends)[:-1]]) if len(ends) else ends
    seconds = (ends - np.maximum(starts, before)).astype("int64")
    return float(np.maximum(seconds, 0).sum()) / SECONDS_PER_DAY


def days_of(month: np.datetime64) -> float:
    """Days of a month."""
    return length(month.astype("datetime64[M]"), _after(month))


def length(start: np.datetime64, end: np.datetime64) -> float:
    """Length of an interval in days."""
    seconds = end.astype("datetime64[s]") - start.astype("datetime64[s]")
    return float(seconds.astype("int64")) / SECONDS_PER_DAY


def spans(scenes: Sequence[Scene]) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    """First instants of scenes, and the first ones after them, ``datetime64[s]``."""
    return (
        np.array([scene.start for scene in scenes], dtype="datetime64[s]"),
        np.array([scene.end for scene in scenes], dtype="datetime64[s]"),
    )


def _of_one_length(scenes: list[Scene], month: np.datetime64) -> list[Scene]:
    """Scenes without those that give way to one of another length, of the same place, platform and days of a month."""
    starts, ends = spans(scenes)
    lengths = (ends - starts).astype("int64")
    if not scenes or lengths.max() < LONGER * lengths.min():
        return scenes
    starts = np.maximum(starts, month.astype("datetime64[M]").astype("datetime64[s]"))
    ends = np.minimum(ends, _after(month))
    areas, platforms = boxes([scene.bbox for scene in scenes]), np.array([scene.platform for scene in scenes])
    superseded = np.zeros(len(scenes), bool)
    for index in np.flatnonzero(lengths >= LONGER * lengths.min()):
        rivals = (starts < ends[index]) & (ends > starts[index]) & (lengths * LONGER <= lengths[index])
        rivals &= (platforms == platforms[index]) | (platforms == "") | (platforms[index] == "")
        # The longest up to a month wins, but one longer than a month gives way to what lies within it.
        if lengths[index] <= MONTH.astype("timedelta64[s]").astype("int64"):
            superseded |= rivals & covers(areas[index], areas)
        else:
            superseded[index] |= (rivals & covers(areas, areas[index])).any()
    return [scene for scene, left in zip(scenes, superseded, strict=True) if not left]


def _after(month: np.datetime64) -> np.datetime64:
    return following(month.astype("datetime64[M]")).astype("datetime64[s]")
