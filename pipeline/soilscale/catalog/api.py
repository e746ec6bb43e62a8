"""A STAC API with item search: its pages and the counts it states."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from soilscale import retry, storage
from soilscale.catalog import documents, paging
from soilscale.catalog.items import add, refuse, skip
from soilscale.catalog.query import Broken, Found, Progress, Query, Span, links, portable
from soilscale.errors import ConfigurationError, DataError, ServiceError, SoilscaleError
from soilscale.extents import Box, pieces

if TYPE_CHECKING:
    from pystac_client.exceptions import APIError

LISTING_PAGES = 50
"""Pages of the list of collections that are read at most."""

_REFUSED = range(400, 500)

_UNKNOWN = (400, 422, 501)
"""HTTP statuses by which an API refuses what it does not know."""

NOT_ALLOWED = 405
"""HTTP status by which a server that searches by GET alone answers a POST."""

logger = logging.getLogger(__name__)


def is_api(document: Mapping[str, Any]) -> bool:
    """Whether a document is the landing page of an API with item search."""
    classes = document.get("conformsTo") or ()
    return any("item-search" in str(name) for name in classes) or any(links(document, "search"))


def gather(
    query: Query,
    url: str,
    landing: Mapping[str, Any],
    span: Span | None,
    *,
    progress: Progress,
    broken: Broken,
    prune: bool = True,  # noqa: ARG001 - nothing is pruned here
) -> Found:
    """Search an API for the items of a query.

    Parameters
    ----------
    query
        What is wanted.
    url, landing
        The landing page, and where it was read.
    span
        Period to search; None: all time.
    progress
        Told the items read, and of how many where the API says so.
    broken
        Told each item that cannot be used; the search goes on without it.
    prune
        As of `walk.gather`; an API leaves nothing out by extents.

    Raises
    ------
    ServiceError
        If the API cannot be reached, or denies access.
    ConfigurationError
        If the API refuses the search.
    DataError
        If its pages go in circles.
    """
    findings = Found(complete=span is None)
    # APIs read a box whose west is larger than its east in different ways, so one across 180 degrees is asked for in
    # parts.
    for area in pieces(query.bbox):
        _search(findings, query, area, url, landing, span, progress, broken)
    # One more page is worth its time only where nothing was found: it tells a wrong query from an empty area.
    if not findings.items and query.source.query and not findings.broken:
        _count_without_query(findings, query, url, landing, span)
    return findings


def _search(
    findings: Found,
    query: Query,
    area: Box,
    url: str,
    landing: Mapping[str, Any],
    span: Span | None,
    progress: Progress,
    broken: Broken,
) -> None:
    """Add the items in a box to what was found, and hold their number against the one that the server says it has."""
    ids, total = set(), None
    for page in _pages(query, area, url, landing, span):
        for raw in page.get("features") or ():
            own_links = links(raw, "self") if isinstance(raw, dict) else iter(())
            href = documents.resolve(url, next((link["href"] for link in own_links), url))
            try:
                add(findings, raw, href, query, inside=False)
            except DataError as error:
                skip(findings, query, href, str(error), broken)
            # Counted by id: a repeated item must not hide a missing one.
            ids.add((raw.get("collection"), raw.get("id")) if isinstance(raw, dict) else (None, repr(raw)))
        # The largest: a later page may name a smaller number, or none.
        total = max(filter(None, (total, paging.matched(page))), default=None)
        progress(f"{query.source.name}: searching the catalog", findings.received + len(ids), total)
    findings.received += len(ids)
    if total is not None:
        findings.matched = (findings.matched or 0) + total
        if len(ids) < total:
            logger.warning(
                "%s: %s says that it has %d items of %r here, but sent %d; missing items are not mapped: search "
                "again, and ask its operator if this persists",
                query.where,
                storage.shown(url),
                total,
                query.source.collection,
                len(ids),
            )


def _count_without_query(
    findings: Found, query: Query, url: str, landing: Mapping[str, Any], span: Span | None
) -> None:
    """Note how many items there are that do not meet the query, as far as a first page shows them."""
    free, count = replace(query, source=replace(query.source, query={})), 0
    for area in pieces(query.bbox):
        page = next(_pages(free, area, url, landing, span), {})
        features = [raw for raw in page.get("features") or () if isinstance(raw, dict)]
        for raw in features:
            refuse(findings, raw.get("properties") or {}, query)
        count += max(len(features), paging.matched(page) or 0)
    findings.refused = max(findings.refused, count)


def collections(query: Query, url: str, landing: Mapping[str, Any]) -> set[str]:
    """Ids of the collections of an API; none where it does not list them."""
    base = url.split("?", maxsplit=1)[0].rstrip("/")
    listing = next((link["href"] for link in links(landing, "data")), f"{base}/collections")
    names: set[str] = set()
    for _ in range(LISTING_PAGES):
        try:
            page = documents.read(documents.resolve(url, listing), query.where)
        except DataError:
            break
        names.update(str(entry["id"]) for entry in page.get("collections") or () if "id" in entry)
        following = next(links(page, "next"), None)
        if following is None or following["href"] == listing:
            break
        listing = following["href"]
    return names


def _pages(
    query: Query, area: Box, url: str, landing: Mapping[str, Any], span: Span | None
) -> Iterator[dict[str, Any]]:
    """Pages of the items in a box; without the query where the API does not know the extension of that name."""
    from pystac_client import ItemSearch
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO

    href, method = _endpoint(url, landing)
    io = StacApiIO(timeout=storage.TIMEOUT, max_retries=retry.http())

    def request(conditions: dict[str, Any] | None, method: str = method) -> paging.Request:
        search = ItemSearch(
            href,
            method=method,
            stac_io=io,
            limit=paging.SIZES[0],
            collections=[query.source.collection],
            bbox=area,
            datetime=_interval(span) if span else None,
            query=conditions,
        )
        return paging.Request(href, method, search.get_parameters())

    conditions = portable(query.source.query) or None
    try:
        try:
            yield from paging.pages(io, request(conditions), query.where)
        except APIError as error:
            if getattr(error, "status_code", None) == NOT_ALLOWED and method == "POST":
                yield from paging.pages(io, request(conditions, "GET"), query.where)
                return
            # An API without the query extension may refuse the whole search over it, though it has the items.
            if conditions is None or getattr(error, "status_code", None) not in _UNKNOWN:
                raise
            logger.warning(
                "%s: %s refuses a query; all items are read and filtered locally", query.where, storage.shown(href)
            )
            yield from paging.pages(io, request(None), query.where)
    except APIError as error:
        raise _failure(error, query, href) from None
    except ValueError as error:
        raise ServiceError(
            f"{query.where}: {storage.shown(href)} returned something that is not a page of items ({error}); check "
            "that the URL is the API's landing page, then run again"
        ) from None


def _endpoint(url: str, landing: Mapping[str, Any]) -> tuple[str, str]:
    """Where to search, and the HTTP method: POST where the API offers it."""
    offers = {link.get("method", "GET").upper(): link["href"] for link in links(landing, "search")}
    method = "POST" if "POST" in offers or not offers else "GET"
    return documents.resolve(url, offers.get(method, f"{url.split('?', maxsplit=1)[0].rstrip('/')}/search")), method


def _interval(span: Span) -> str:
    """Period as RFC 3339, where both ends are inclusive."""
    # Without the second less, items of the first instant after the period would come too.
    return f"{span[0]}Z/{span[1] - np.timedelta64(1, 's')}Z"


def _failure(error: APIError, query: Query, href: str) -> SoilscaleError:
    """Say of a failed search what a person can do about it."""
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        return documents.denied(query.where, href, status)
    # These two are refusals only by their number: later the same search may pass.
    if status in _REFUSED and status not in (408, 429):
        return ConfigurationError(
            f"{query.where}: {storage.shown(href)} refused the search with HTTP status {status}: "
            f"{storage.shown(error)[:300]}; check the collection {query.source.collection!r}, the area and the "
            f"query {dict(query.source.query)}"
        )
    reason = f"HTTP status {status}" if status else storage.shown(error)[:300]
    return documents.unreachable(query.where, href, reason)
