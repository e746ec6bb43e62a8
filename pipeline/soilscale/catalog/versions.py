"""Which of several items of one place and time is the newest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from soilscale.catalog.query import links
from soilscale.catalog.time_coverage import instant

STATED = ("version", "processing:version", "product_version", "s2:processing_baseline")
"""Properties that state a version; the first that all of several items have decides."""

DATED = ("forecast:reference_datetime", "processing:datetime", "updated", "published", "created")
"""Properties that state when an item or its data were made; likewise."""

RUN = timedelta(days=1)
"""Times that lie closer together may be of one run of a catalog's writer."""

SUCCESSORS = ("latest-version", "successor-version")
"""Relations of links that lead from an item to a newer one."""

BY_ID = "the version in the id"
"""What decided where nothing but ids told two items apart."""

_PRELIMINARY = re.compile(r"(?:^|[^a-z])(?:nrt|early|prelim\w*|provisional|rapid|beta)(?:[^a-z]|$)")
_IN_ID = re.compile(
    r"(?:^|[._-])(?:v|ver|version|c|col|collection|r|rev|revision)[._-]?(\d+(?:[._-]\d+)*[a-z]?)(?=$|[._-])"
)
_MODIS = re.compile(r"[._](\d{3})[._](\d{13})$")
"""Collection and time of production at the end of a MODIS product's id."""

_COLLECTION = re.compile(r"^((?:m[coy]d|vnp|vj\d)\w+[._].*)[._]((?:0[056]|1\d|20)\d)(?=$|\.\D)")
"""Collection, such as 006 or 061, at the end of an id of MODIS or VIIRS without a time of production."""

Rung = Callable[[Mapping[str, Any]], Any]
"""What of an item is compared, larger in a newer one; None if the item does not say."""


def newest(items: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """Index of the newest of several items of one place and time, and what decided; None if nothing tells them apart.

    Compared in this order, each only where all that are still alike state it: not ``deprecated``; no link to a later
    version; the version (`STATED`); not preliminary; the time of processing, of update, of publication and of
    creation (`DATED`), where they lie a day apart; a version within ids that are otherwise alike; the same times to
    the second. A catalog that was written in one go dates items by their turn, which says less than an id.
    """
    left = list(range(len(items)))
    for name, rung in _rungs():
        values = [rung(items[index]) for index in left]
        if any(value is None for value in values) or not _comparable(values):
            continue
        if name in DATED and max(values) - min(values) < RUN:
            continue
        left = _greatest(left, values)
        if len(left) == 1:
            return left[0], name
    return _newest_by_id(items, left) or _newest_to_the_second(items, left)


def _greatest(indices: Sequence[int], values: Sequence[Any]) -> list[int]:
    best = max(values)
    return [index for index, value in zip(indices, values, strict=True) if value == best]


def _newest_by_id(items: Sequence[Mapping[str, Any]], left: Sequence[int]) -> tuple[int, str] | None:
    entries = [_id_version(items[index]) for index in left]
    # Ids that differ in more than the version may be of two products, not of two versions.
    parsed = [entry for entry in entries if entry is not None]
    if len(parsed) == len(left) and len({stem for stem, _, _ in parsed}) == 1:
        values = [order for _, _, order in parsed]
        best = _greatest(left, values) if _comparable(values) else ()
        if len(best) == 1:
            return best[0], BY_ID
    return None


def _newest_to_the_second(items: Sequence[Mapping[str, Any]], left: Sequence[int]) -> tuple[int, str] | None:
    for key in DATED:
        values = [_dated(key, items[index]) for index in left]
        if None not in values and len(best := _greatest(left, values)) == 1:
            return best[0], key
    return None


def version(item: Mapping[str, Any]) -> str | None:
    """Version of an item as it states it, else as its id holds it; None if neither does."""
    for key in STATED:
        value = item["properties"].get(key)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    by_id = _id_version(item)
    return None if by_id is None else by_id[1]


def _rungs() -> Iterator[tuple[str, Rung]]:
    yield "not deprecated", lambda item: item["properties"].get("deprecated") is not True
    yield "no link to a later version", lambda item: not _succeeded(item)
    for key in STATED:
        yield key, partial(_stated_version, key)
    yield "not preliminary", _final
    for key in DATED:
        yield key, partial(_dated, key)


def _comparable(values: Sequence[Any]) -> bool:
    """Whether values order: versions that mix words and numbers in one place do not."""
    try:
        return max(values) is not None
    except TypeError:
        return False


def _succeeded(item: Mapping[str, Any]) -> bool:
    self = next((link["href"] for link in links(item, "self")), None)
    return any(link["href"] != self for link in links(item, *SUCCESSORS))


def _stated_version(key: str, item: Mapping[str, Any]) -> tuple[Any, ...] | None:
    return _natural(item["properties"].get(key))


def _dated(key: str, item: Mapping[str, Any]) -> datetime | None:
    return instant(item["properties"].get(key))


def _natural(value: Any) -> tuple[Any, ...] | None:
    """Version as numbers and words that compare as a reader would: 7 < 10, 6 < 6.1, V07A < V07B."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    parts = re.findall(r"\d+|[a-z]+", re.sub(r"^\s*(?:version|v)[\s._-]*(?=\d)", "", str(value).lower()))
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts) or None


def _final(item: Mapping[str, Any]) -> bool:
    properties = item["properties"]
    words = [str(item["id"]), *(str(properties.get(key, "")) for key in (*STATED, "product:timeliness_category"))]
    return not any(_PRELIMINARY.search(word.lower()) for word in words)


def _id_version(item: Mapping[str, Any]) -> tuple[str, str, tuple[Any, ...]] | None:
    """What of an id is no version, the version, and the version as it compares."""
    name = str(item["id"]).lower()
    match = _MODIS.search(name)
    if match:
        return name[: match.start()], match.group(1), tuple((0, int(part), "") for part in match.groups())
    match = _COLLECTION.search(name)
    if match:
        return match.group(1), match.group(2), ((0, int(match.group(2)), ""),)
    matches = list(_IN_ID.finditer(name))
    if not matches:
        return None
    last = matches[-1]
    natural = _natural(last.group(1))
    return (name[: last.start()] + name[last.end() :], last.group(1), natural) if natural else None
