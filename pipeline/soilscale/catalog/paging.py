"""Pages of a search as real servers return them: small, empty or repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from soilscale import retry, storage
from soilscale.catalog.query import links
from soilscale.errors import DataError

if TYPE_CHECKING:
    from pystac_client.stac_api_io import StacApiIO

SIZES = (250, 100, 50, 10)
"""Items asked for at a time: fewer where a server refuses more, or fails over them."""

TOO_LARGE = frozenset({400, 413, 422, 500, 502, 504})
"""HTTP statuses by which servers answer when a page is too large for them."""

BOM = "\ufeff"
SHOWN = 200
"""Letters of an answer that a message shows."""

STALE = 3
"""Pages in a row without a new item after which a search goes in circles, or has ended."""


@dataclass(frozen=True)
class Request:
    """How a page is asked for."""

    url: str
    method: str
    parameters: Mapping[str, Any]
    """Body of a POST, query of a GET."""
    headers: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        """The same for the same request."""
        return json.dumps([self.method, self.url, self.parameters], sort_keys=True, default=str)

    def of_size(self, size: int) -> Request:
        """Ask for so many items, where the request names a number."""
        parts = urlsplit(self.url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        if any(name == "limit" for name, _ in pairs):
            query = urlencode([(name, str(size) if name == "limit" else value) for name, value in pairs])
            return replace(self, url=urlunsplit(parts._replace(query=query)))
        return replace(self, parameters={**self.parameters, "limit": size}) if "limit" in self.parameters else self


def pages(io: StacApiIO, first: Request, where: str) -> Iterator[dict[str, Any]]:
    """Every page of a search.

    A page that is empty is passed over if another follows it.

    Raises
    ------
    ValueError
        If an answer is no page of items, or names a next page without its address.
    APIError
        If the server refuses a page of whatever size, or cannot be reached.
    DataError
        If the pages go in circles.
    """
    request: Request | None = first
    sizes, stale = list(SIZES), 0
    requested: set[str] = set()
    ids: set[tuple[str, str]] = set()
    while request is not None:
        requested.add(request.key)
        page = _page(io, request, sizes)
        features = page.get("features") or ()
        # By id and not by link: a server that goes in circles may write a new token into each link.
        fresh = {_name(feature) for feature in features} - ids
        ids |= fresh
        stale = 0 if fresh else stale + 1
        yield page
        request = _next(page, request, first)
        if request is None:
            return
        circle, count = request.key in requested or stale >= STALE, matched(page)
        # Enough items came, by the server's own count, so that its circle loses nothing.
        if circle and features and (count is None or len(ids) < count):
            raise DataError(
                f"{where}: the pages of {storage.shown(first.url)} go in circles: the next one after {len(ids)} items "
                "is a repeated one; ask its operator to fix this, and meanwhile use a shorter period, or a file of "
                "items"
            )
        if circle:  # some servers name a next page for ever
            return


def _page(io: StacApiIO, request: Request, sizes: list[int]) -> dict[str, Any]:
    """One page, of the largest size that the server takes; sizes that it does not take are taken from the list."""
    from pystac_client.exceptions import APIError

    refused: APIError | None = None
    while True:
        sized = request.of_size(sizes[0])
        try:
            text = _text(io, sized)
        except APIError as error:
            # The first refusal says what is wrong; that of a smaller page may only say that it is one.
            refused = refused or error
            if (
                getattr(error, "status_code", None) not in TOO_LARGE
                or len(sizes) == 1
                or request.of_size(sizes[1]) == sized
            ):
                raise refused from None
            del sizes[0]
            continue
        page = json.loads(text.lstrip(BOM))
        # An error that comes with status 200, taken for an empty page, would end the search without a word.
        if not isinstance(page, dict) or not isinstance(page.get("features"), list):
            raise ValueError(f"no list of features in {storage.shown(text)[:SHOWN]!r}")  # noqa: TRY004 - as what is no JSON
        return page


def _text(io: StacApiIO, request: Request) -> str:
    """Answer to a request; one that breaks off, which urllib3 does not try again, is asked for once more."""
    from requests.exceptions import ChunkedEncodingError, ContentDecodingError

    def ask() -> str:
        return io.request(request.url, request.method, dict(request.headers or {}), dict(request.parameters))

    broken = ChunkedEncodingError, ContentDecodingError
    return retry.call(ask, lambda error: isinstance(error.__context__, broken), retry.SERVICE)


def _next(page: Mapping[str, Any], request: Request, first: Request) -> Request | None:
    """Request for the next page.

    A body is the whole request, unless the link says that it is to be merged with the first one; a POST without a body
    repeats the first one's under the link's URL.
    """
    link = next(links(page, "next"), None)
    if link is None:
        # Without its href, the pages that follow would be lost.
        if any(isinstance(link, dict) and link.get("rel") == "next" for link in page.get("links") or ()):
            raise ValueError("its next link has no href")
        return None
    url, body = urljoin(request.url, link["href"]), link.get("body")
    method = str(link.get("method") or ("POST" if body else "GET")).upper()
    headers = link.get("headers") if isinstance(link.get("headers"), dict) else None
    if method != "POST":
        return Request(url, method, {}, headers)
    if not isinstance(body, dict) or not body:
        return Request(url, method, first.parameters, headers)
    return Request(url, method, {**first.parameters, **body} if link.get("merge") else body, headers)


def matched(page: Mapping[str, Any]) -> int | None:
    """How many items the server says that the search has; None if it does not."""
    holders = ((page, "numberMatched"), (page.get("context"), "matched"), (page.get("search:metadata"), "matched"))
    for holder, key in holders:
        count = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(count, int):
            return count
    return None


def _name(feature: Any) -> tuple[str, str]:
    if not isinstance(feature, dict):
        return "", repr(feature)
    return str(feature.get("collection")), str(feature.get("id"))
