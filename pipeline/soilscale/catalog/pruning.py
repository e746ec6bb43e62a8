"""Parts of a static catalog that need not be read, judged by extents and by names of folders and files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from soilscale.catalog.query import Span
from soilscale.catalog.time_coverage import instant
from soilscale.extents import Box, box, intersects, padded
from soilscale.seasons import following

PAD_DEGREES = 1.0
PAD_DAYS = np.timedelta64(31, "D")
"""How far outside a collection's extent must lie before it is left out: extents are written carelessly."""

_DATE = re.compile(r"((?:18|19|20|21)\d\d)(?:-?(0[1-9]|1[0-2])(?:(?<=-\d\d)-(0[1-9]|[12]\d|3[01]))?)?")
_BAND = re.compile(r"([EWNS])(\d{1,3}\.\d+)-([EWNS])(\d{1,3}\.\d+)")
_LEVEL = re.compile(r"[0-3]")


def outside_area(collection: Mapping[str, Any], area: Box) -> str | None:
    """Why the spatial extent of a collection lies clearly outside an area; None if it does not."""
    boxes = [box(values) for values in _extent(collection, "spatial", "bbox")]
    extents_stated = [extent for extent in boxes if extent]
    # A collection without an extent is read: nothing says that it lies elsewhere.
    if not extents_stated or any(intersects(padded(extent, PAD_DEGREES), area) for extent in extents_stated):
        return None
    return f"its extent.spatial {extents_stated[0]} lies outside the area"


def outside_period(collection: Mapping[str, Any], span: Span) -> str | None:
    """Why the temporal extent of a collection lies clearly outside a period; an end that is null is open."""
    ranges = [pair for pair in _extent(collection, "temporal", "interval") if _is_pair(pair)]
    if not ranges or any(_overlaps(pair, span) for pair in ranges):
        return None
    return f"its extent.temporal {ranges[0]} lies outside the period"


def _extent(collection: Mapping[str, Any], kind: str, key: str) -> Sequence[Any]:
    extent = collection.get("extent")
    part = extent.get(kind) if isinstance(extent, dict) else None
    values = part.get(key) if isinstance(part, dict) else None
    return values if isinstance(values, list) else ()


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2  # noqa: PLR2004 - first and last


def _overlaps(pair: Sequence[Any], span: Span) -> bool:
    first, last = (
        None if moment is None else np.datetime64(moment.replace(tzinfo=None), "s") for moment in map(instant, pair)
    )
    begins = first is None or first - PAD_DAYS < span[1]
    lasts = last is None or last + PAD_DAYS >= span[0]
    return bool(begins and lasts)


def dates(urls: Sequence[str], parent: str) -> list[Span] | None:
    """What the names of folders are as years, months or days; None unless all are so named, in one format.

    Numbered tiles may look like dates too: what lies below one must show that it is one (`probing.is_dated`).
    """
    dated_names = [next((name for name in _names(url, parent) if _dates(name)), None) for url in urls]
    spans = [_dates(name) for name in dated_names if name is not None]
    if not spans or len(spans) < len(urls) or len({_form(name) for name in dated_names if name}) > 1:
        return None
    return [span for span in spans if span is not None]


def form(url: str, parent: str) -> str:
    """Format of the date that a folder is named as, such as ``9999-99``."""
    return next(_form(name) for name in _names(url, parent) if _dates(name))


def _form(name: str) -> str:
    return re.sub(r"\d", "9", name)


def banded_outside(url: str, parent: str, area: Box) -> bool:
    """Whether a link leads to a band of longitude or latitude outside an area, named as ``E000.00-E090.00``."""
    known_band = band(url, parent)
    return known_band is not None and not intersects(known_band, area)


def band(url: str, parent: str) -> Box | None:
    """Band that a link leads to by its name; None if it is no band's."""
    for name in _names(url, parent):
        if match := _BAND.fullmatch(name):
            side, low, high_side, high = match.groups()
            first, last = _degrees(side, low), _degrees(high_side, high)
            return (first, -90.0, last, 90.0) if side in "EW" else (-180.0, first, 180.0, last)
    return None


def levels(urls: Sequence[str], parent: str) -> dict[str, str]:
    """Levels of resolution of one image among links, the coarsest first: number -> link; none if they are none.

    JAXA Earth holds each image at several resolutions, in folders 0 to 3 below its date.
    """
    numbers = [(_names(url, parent) or [""])[0] for url in urls]
    dated = any(_dates(part) for part in parent.partition("?")[0].split("/")[-3:])
    if not dated or not numbers or not all(map(_LEVEL.fullmatch, numbers)):
        return {}
    return dict(sorted(zip(numbers, urls, strict=True)))


def _dates(name: str) -> Span | None:
    """Day, month or year that a name is, as its first instant and the next one's."""
    match = _DATE.fullmatch(name)
    if match is None:
        return None
    parts = [part for part in match.groups() if part]
    try:
        begin = np.datetime64("-".join(parts))
    except ValueError:
        return None
    return begin.astype("datetime64[s]"), following(begin).astype("datetime64[s]")


def _names(url: str, parent: str) -> list[str]:
    """Names that a link adds to those of its parent: the stem of its file, if that says anything, and its folder."""
    folder, _, file = url.partition("?")[0].rstrip("/").rpartition("/")
    stem = re.sub(r"\.(geo)?json$", "", file)
    stem_names = [] if stem in ("catalog", "collection", "index") else [stem]
    in_folder = folder == parent.partition("?")[0].rpartition("/")[0]
    return stem_names if in_folder else [*stem_names, folder.rpartition("/")[2]]


def _degrees(side: str, value: str) -> float:
    return -float(value) if side in "WS" else float(value)
