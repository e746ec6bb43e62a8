"""Frozen items updated from a given instant on, and unchanged before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soilscale.catalog import time_coverage
from soilscale.catalog.query import Item


def renew(frozen: Sequence[Item], answer: Sequence[Item], since: np.datetime64) -> list[Item]:
    """Items of a source, of which those that end before an instant stay as they were frozen.

    Parameters
    ----------
    frozen
        Items as an earlier search gave them.
    answer
        Items as the search gives them that follows it, of the same source, area and first month.
    since
        First instant, UTC, from which the catalog counts: of an item that ends by then what was frozen stays, be it
        revised, removed or new; one that reaches beyond it, then or before, is as the catalog has it.

    Returns
    -------
    list of dict
        Items by start and id, one per id.
    """
    # By the intervals that are resolved: an item that has only a date ends where its neighbours say.
    early, ended = (_ended(items, since) for items in (answer, frozen))
    # What was still open when it was frozen may have ended since, and counts as the catalog has it now.
    reached = {item["id"] for item in frozen} - ended
    fresh = [item for item in answer if item["id"] not in early - reached]
    left = ended - {item["id"] for item in fresh}
    renewed = [*fresh, *(item for item in frozen if item["id"] in left)]
    return sorted(renewed, key=lambda item: (item["properties"]["start_datetime"], item["id"]))


def _ended(items: Sequence[Item], since: np.datetime64) -> set[str]:
    """Ids of the items that end by an instant."""
    spans = time_coverage.resolve(items, None)
    return {item["id"] for item, (_, end) in zip(items, spans, strict=True) if end <= since}
