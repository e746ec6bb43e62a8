"""Whether folders named like dates contain those dates: numbered tiles, 1905 and 2005, look like years too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from soilscale.catalog import documents, time_coverage
from soilscale.catalog.query import Query, Span, kind_of, links
from soilscale.errors import DataError

DEEPEST = 8
"""Documents from a folder down to an item, at most."""

SPARE = np.timedelta64(1, "D")
"""By how much an item may miss the date of its folder: days begin at different times around the Earth."""


def is_dated(url: str, span: Span, query: Query) -> bool:
    """Whether the first and the last item below a folder are of the date that the folder is named as.

    Parameters
    ----------
    url
        The folder's catalog.
    span
        First instant of its date, and the first one after it.
    query
        What is wanted, for whose source.

    Returns
    -------
    bool
        False also if no item can be read there.
    """
    try:
        root = query.shared.read(url, query.where)
        items = [_outermost(url, root, end, query) for end in (0, -1)]
    except DataError:
        return False
    # Both ends: the first folder of numbered tiles may look like a date by chance.
    return all(item is not None and _within(item[1], span) for item in items)


def pixels_per_degree(url: str, query: Query) -> float | None:
    """Pixels of the source's asset along a degree, of the first item below a folder; None if it does not show that."""
    from soilscale.catalog import rasters

    try:
        first_item = _outermost(url, query.shared.read(url, query.where), 0, query)
        if first_item is None:
            return None
        at, item = first_item
        asset = item["assets"][query.source.asset]
        with rasters.opened(documents.resolve(at, asset["href"]), query.catalog.sign) as file:
            return 1 / abs(file.transform.a) if file.crs is not None and file.crs.is_geographic else None
    except (DataError, KeyError, TypeError):
        return None


def _outermost(url: str, document: Mapping[str, Any], end: int, query: Query) -> tuple[str, Mapping[str, Any]] | None:
    """First or last item below a document, and where it was read."""
    for _ in range(DEEPEST):
        kind = kind_of(document)
        if kind == "Feature":
            return url, document
        if kind == "FeatureCollection":
            features = document.get("features") or [None]
            return (url, features[end]) if isinstance(features[end], dict) else None
        below = [documents.resolve(url, link["href"]) for link in links(document, "child", "item", "items")]
        if not below:
            return None
        url = below[end]
        document = query.shared.read(url, query.where)
    return None


def _within(item: Mapping[str, Any], span: Span) -> bool:
    properties = item.get("properties") or {}
    first, end = time_coverage.start(properties), time_coverage.instant(properties.get("end_datetime"))
    if first is None:
        return False
    last = first if end is None else np.datetime64(end.replace(tzinfo=None), "s")
    return bool(first < span[1] + SPARE and last > span[0] - SPARE)
