"""The search: the items that a source needs, from any kind of catalog, frozen so that no one searches again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np

from soilscale import storage
from soilscale.catalog import api, documents, time_coverage, walk
from soilscale.catalog.items import deduplicate
from soilscale.catalog.query import Broken, Found, Item, Progress, Query, Span, conditions
from soilscale.catalog.scene import within_data
from soilscale.errors import ConfigurationError, DataError

logger = logging.getLogger(__name__)

SHOWN = 40
"""Names that a message lists at most."""

Gather = Callable[..., Found]
"""Called with the period to search, or None, and ``prune=False`` to read also what extents leave out."""


def search(query: Query, *, progress: Progress | None = None, broken: Broken | None = None) -> list[Item]:
    """Find the items of a source, in any kind of catalog, and freeze them; see `find`."""
    return find(query, progress=progress, broken=broken)[0]


def find(query: Query, *, progress: Progress | None = None, broken: Broken | None = None) -> tuple[list[Item], Found]:
    """Find the items of a source, in any kind of catalog, freeze them, and say how they were found.

    The document at the catalog's URL decides: the landing page of a STAC API is searched; a static catalog or
    collection is walked; an item or a collection of items is read. What lies outside the area or the period, or
    does not meet the source's query, is left out. A source that is static, or has no item in the period, is
    searched in all time; where none was found, what extents and names left out is read too.

    Parameters
    ----------
    query
        What is wanted, and where.
    progress
        Called with a text, the number done, and the number known of or None.
    broken
        Called with the URL of each document that cannot be used, and why; the search goes on without it.

    Returns
    -------
    items
        STAC items, one per id, place and start, by start and id: absolute hrefs, the wanted assets only, the links
        ``self`` and to later versions only, and ``start_datetime`` and ``end_datetime`` that say what the item covers,
        inferred from its neighbours where it has no interval of its own (see `soilscale.catalog.time_coverage`).
        Empty if nothing lies in the area.
    found
        What the catalog gave, with what was left out and why.

    Raises
    ------
    ConfigurationError
        If the URL leads to no catalog, the collection is unknown there, no item has a wanted asset, or nothing says how
        long a total is.
    ServiceError
        If the catalog cannot be reached, or denies access.
    DataError
        If nothing was found and some documents could not be read.
    """
    _check_conditions(query)
    url, tell, report = documents.rooted(query.catalog.url), progress or _silent, broken or _silent
    if query.catalog.files:
        from soilscale.catalog import files

        root: dict[str, Any] = {}
        gather: Gather = partial(files.gather, query, progress=tell, broken=report)
    else:
        root = _root(query, url)
        collect = api.gather if api.is_api(root) else walk.gather
        gather = partial(collect, query, url, root, progress=tell, broken=report)
    findings, items = _in_period(query, gather)
    if not items:
        _explain(query, url, root, findings)
    _check_assets(query, findings, items)
    frozen = {item["id"] for item in items}
    _check_times(query, [item for item in _members(query, findings) if item["id"] in frozen])
    _warn_of_no_place(query, items)
    return items, findings


def _silent(*_: object) -> None:
    pass


def _check_conditions(query: Query) -> None:
    try:
        conditions(query.source.query)
    except ConfigurationError as error:
        raise ConfigurationError(f"{query.where}: {error}") from None


def _root(query: Query, url: str) -> dict[str, Any]:
    try:
        root = query.shared.read(url, query.where)
    except DataError as error:
        raise ConfigurationError(f"{error}; correct catalogs.{query.catalog.name}.url") from None
    if not (api.is_api(root) or walk.is_static(root)):
        raise ConfigurationError(
            f"{query.where}: {storage.shown(url)} is JSON but not STAC (its keys are {_list(root)}); "
            f"catalogs.{query.catalog.name}.url must be the URL of an API, a catalog, a collection or a file of items"
        )
    return root


def _in_period(query: Query, gather: Gather) -> tuple[Found, list[Item]]:
    """What was found, and the items that hold for the period, or for all time where the source is static."""
    composite = query.source.composite
    if query.source.static:
        findings = gather(None)
        # A static source has no period, so only an extent of place can have hidden it.
        if not findings.items and findings.pruned:
            findings = gather(None, prune=False)
        return findings, _resolved(query, findings, None)
    # A composite that began before the period reaches into its first month.
    reach = _widened(query.span, timedelta(days=composite or 0))
    findings = gather(reach)
    # Neighbours outside the period decide how long an item at its ends is.
    margin = timedelta(0) if findings.complete else time_coverage.margin(_members(query, findings), composite)
    if margin and reach != (wider := _widened(query.span, margin)):
        findings = gather(wider)
    items = _resolved(query, findings, query.span)
    return (findings, items) if items else _again(query, gather, findings)


def _again(query: Query, gather: Gather, first: Found) -> tuple[Found, list[Item]]:
    """What is found where nothing was: with what was left out because of the period, then with what was of the area.

    Extents are kept carelessly, so they must not hide a whole source.
    """
    findings, items = first, _resolved(query, first, query.span)
    for prune in (True, False):
        if not items and findings.pruned:
            findings = gather(None, prune=prune)
            findings.pruned = first.pruned + [part for part in findings.pruned if part not in first.pruned]
            items = _resolved(query, findings, query.span)
    if items and findings is not first:
        part = first.pruned[0]
        logger.warning(
            "%s: %d items were found where extents or names exclude them, such as %s: %s; the catalog should be "
            "corrected",
            query.where,
            len(items),
            part.url,
            part.why,
        )
    # A target, or a source that changes by its own word, is not taken for constant when it has no item.
    if items or query.source.on_coarse or query.source.static is False:
        return findings, items
    findings = findings if findings.complete else gather(None)
    return findings, _resolved(query, findings, None)


def _widened(span: Span, margin: timedelta) -> Span:
    reach = np.timedelta64(int(margin.total_seconds()), "s")
    return span[0] - reach, span[1] + reach


def _members(query: Query, findings: Found) -> list[Item]:
    """Items of the collection; those of no collection, in a catalog that has none."""
    loose = findings.loose if query.source.collection not in findings.collections and not findings.collections else []
    return deduplicate([*findings.items, *loose])


def _resolved(query: Query, findings: Found, span: Span | None) -> list[Item]:
    """Items with their intervals, by start and id, without those outside a period."""
    # All of them, also those outside the period: they are the neighbours by which intervals are inferred.
    items = _members(query, findings)
    spans = time_coverage.resolve(items, query.source.composite)
    ordered = [
        (interval[0], item["id"], time_coverage.stamp(item, interval))
        for item, interval in zip(items, spans, strict=True)
        if span is None or (interval[0] < span[1] and interval[1] > span[0])
    ]
    return [item for *_, item in sorted(ordered, key=lambda entry: entry[:2])]


def _explain(query: Query, url: str, root: Mapping[str, Any], findings: Found) -> None:
    """Raise what is wrong, if finding nothing was not right."""
    if findings.broken:
        raise DataError(
            f"{query.where}: no item was found, and {len(findings.broken)} documents could not be used; "
            f"the first: {findings.broken[0]}"
        )
    collections = findings.collections or (api.collections(query, url, root) if api.is_api(root) else set())
    collection = query.source.collection
    if collections and collection not in collections:
        near = get_close_matches(collection, collections, n=5, cutoff=0.4)
        raise ConfigurationError(
            f"{query.where}: the catalog {storage.shown(url)} has no collection {collection!r}; "
            + (f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {_list(collections)}")
        )


def _check_assets(query: Query, findings: Found, items: Sequence[Item]) -> None:
    for name in query.source.assets if items else ():
        if not any(name in item["assets"] or within_data(name, item["assets"], query.source) for item in items):
            raise ConfigurationError(
                f"{query.where}: none of the {len(items)} items of {query.source.collection!r} has the asset "
                f"{name!r}{' with an href' if name in findings.assets else ''}; they have {_list(findings.assets)}"
            )


def _check_times(query: Query, items: Sequence[Item]) -> None:
    """Refuse totals of a length that nothing states, and say what was concluded from the items' times."""
    source = query.source
    if wrong := [item["id"] for item in items if time_coverage.backwards(item["properties"])]:
        logger.warning(
            "%s: %d of the items end before they start; their intervals are inferred from their starts; the first is "
            "%r",
            query.where,
            len(wrong),
            wrong[0],
        )
    away = time_coverage.before_months(time_coverage.starts(items)) if items else None
    if away is not None:
        logger.info(
            "%s: all items start %g hours before a month, like local midnights written in UTC, and count as that "
            "month; the first is %r",
            query.where,
            away / np.timedelta64(1, "h"),
            items[0]["id"],
        )
    dated = [item for item in items if not time_coverage.states(item["properties"])]
    # A mean of a wrong length is a poor mean; a total is wrong by that factor.
    if source.aggregate != "sum" or source.static or not dated:
        return
    apart = time_coverage.spacing(dated)
    if source.composite is None and not time_coverage.by_calendar(dated):
        raise ConfigurationError(
            f"{query.where}: item {dated[0]['id']!r} does not state the interval that its total covers"
            + (f"; items of one place are {apart:g} d apart" if np.isfinite(apart) else "")
            + f"; set sources.{source.name}.composite to the days that a total covers, such as "
            f"{apart if np.isfinite(apart) else 1:g}, or give the items start_datetime and end_datetime"
        )
    if source.composite is not None and source.composite > time_coverage.CUT * apart:
        raise ConfigurationError(
            f"{query.where}: sources.{source.name}.composite says that a total covers {source.composite:g} days, but "
            f"items of one place, such as {dated[0]['id']!r}, are {apart:g} d apart; correct composite, or give "
            "the items start_datetime and end_datetime"
        )


def _warn_of_no_place(query: Query, items: Sequence[Item]) -> None:
    nowhere = [item["id"] for item in items if "bbox" not in item]
    if nowhere:
        logger.warning(
            "%s: %d items have neither bbox nor geometry and are treated as covering the world; the first is %r",
            query.where,
            len(nowhere),
            nowhere[0],
        )


def _list(names: Mapping[str, Any] | set[str]) -> str:
    ordered = sorted(map(str, names))
    remainder = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + remainder
