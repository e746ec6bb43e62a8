"""A STAC API with item search, asked through pystac-client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from soilscale import storage
from soilscale.catalog import documents
from soilscale.catalog.items import add, skip
from soilscale.catalog.query import Broken, Found, Progress, Query, Span, links, portable
from soilscale.errors import ConfigurationError, DataError, ServiceError, SoilscaleError
from soilscale.extents import pieces

if TYPE_CHECKING:
    from pystac_client.exceptions import APIError

PAGE = 250
"""Items asked for at a time."""

LISTING_PAGES = 50
"""Pages of the list of collections that are read at most."""

_REFUSED = range(400, 500)


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

    Raises
    ------
    ServiceError
        If the API cannot be reached, or denies access.
    ConfigurationError
        If the API refuses the search.
    """
    found = Found(complete=span is None)
    done = 0
    for page in _pages(query, url, landing, span):
        for raw in page.get("features") or ():
            href = documents.resolve(url, next((link["href"] for link in links(raw, "self")), url))
            try:
                add(found, raw, href, query, inside=False)
            except DataError as error:
                skip(found, query, href, str(error), broken)
            done += 1
        progress(f"{query.source.name}: searching the catalog", done, _matched(page))
    return found


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


def _pages(query: Query, url: str, landing: Mapping[str, Any], span: Span | None) -> Iterator[dict[str, Any]]:
    from pystac_client import ItemSearch
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from urllib3.util.retry import Retry

    href, method = _endpoint(url, landing)
    retry = Retry(
        total=len(documents.DELAYS),
        backoff_factor=documents.DELAYS[0],
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    try:
        for area in pieces(query.bbox):
            search = ItemSearch(
                href,
                method=method,
                stac_io=StacApiIO(timeout=storage.TIMEOUT, max_retries=retry),
                limit=PAGE,
                collections=[query.source.collection],
                bbox=area,
                datetime=_interval(span) if span else None,
                query=portable(query.source.query) or None,
            )
            yield from search.pages_as_dicts()
    except APIError as error:
        raise _failure(error, query, href) from None
    except ValueError as error:
        raise ServiceError(
            f"{query.where}: {storage.shown(href)} answered something that is not JSON ({error}); "
            "check that the URL is the API's landing page, then run again"
        ) from None


def _endpoint(url: str, landing: Mapping[str, Any]) -> tuple[str, str]:
    """Where to search, and the HTTP method: POST where the API offers it."""
    offers = {link.get("method", "GET").upper(): link["href"] for link in links(landing, "search")}
    method = "POST" if "POST" in offers or not offers else "GET"
    return documents.resolve(url, offers.get(method, f"{url.split('?', maxsplit=1)[0].rstrip('/')}/search")), method


def _interval(span: Span) -> str:
    """Period as RFC 3339, where both ends are inclusive."""
    return f"{span[0]}Z/{span[1] - np.timedelta64(1, 's')}Z"


def _matched(page: Mapping[str, Any]) -> int | None:
    context = page.get("context")
    count = page.get("numberMatched", context.get("matched") if isinstance(context, dict) else None)
    return count if isinstance(count, int) else None


def _failure(error: APIError, query: Query, href: str) -> SoilscaleError:
    """Say of a failed search what a person can do about it."""
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        return documents.denied(query.where, href, status)
    if status in _REFUSED and status not in (408, 429):
        return ConfigurationError(
            f"{query.where}: {storage.shown(href)} refused the search with HTTP status {status}: "
            f"{storage.shown(error)[:300]}; check the collection {query.source.collection!r}, the area and the "
            f"query {dict(query.source.query)}"
        )
    reason = f"HTTP status {status}" if status else storage.shown(error)[:300]
    return documents.unreachable(query.where, href, reason)
