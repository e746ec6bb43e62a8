"""A STAC API as servers in the field are: small pages, empty ones, next links of every kind, and their faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Json = dict[str, Any]


@dataclass
class SearchAPI:
    """Items of one collection, and how the server answers."""

    items: Sequence[Json]
    method: str = "POST"
    most: int = 50
    """Items of a page at most."""
    largest: int = 10_000
    """Largest page that it does not refuse."""
    refusal: int = 400
    """Status with which it refuses."""
    says: int | None = None
    """What it says it has, if that is not what it has; negative: it says nothing."""
    knows_query: bool = True
    link: Callable[[Json, int, str], Json | None] | None = None
    """Next link from the request, the number of the next item and the URL; None: as the specification has it."""
    empty: tuple[int, ...] = ()
    """Numbers of the first items of pages that come empty."""
    cut: tuple[int, ...] = ()
    """Answers that break off, counted from 1."""
    offers: str = ""
    """Method that it names, if that is not the one that it takes."""
    url: str = ""
    asked: list[Json] = field(default_factory=list)

    def answer(self, request: Json) -> tuple[int, Json]:
        """Status and page for a request."""
        self.asked.append(request)
        limit, first = int(request.get("limit", 10)), int(request.get("token", 0))
        if limit > self.largest:
            return self.refusal, {"description": f"limit must be less than or equal to {self.largest}"}
        if "query" in request and not self.knows_query:
            return 400, {"description": "extra fields not permitted: query"}
        query = request.get("query") or {}
        query = json.loads(query) if isinstance(query, str) else query
        kept = [
            item
            for item in self.items
            if all(item["properties"].get(name) == rule.get("eq") for name, rule in query.items())
        ]
        after = first + min(limit, self.most)
        page: Json = {"type": "FeatureCollection", "features": [] if first in self.empty else kept[first:after]}
        if self.says is None or self.says >= 0:
            page["numberMatched"] = len(kept) if self.says is None else self.says
        following = self._following(request, after, len(kept))
        return 200, page | {"links": [following] if following else []}

    def _following(self, request: Json, after: int, count: int) -> Json | None:
        if self.link is not None:
            return self.link(request, after, self.url)
        if after >= count:
            return None
        if self.method == "GET":
            return {"rel": "next", "href": f"{self.url}/search?{urlencode(request | {'token': after})}"}
        return {"rel": "next", "href": f"{self.url}/search", "method": "POST", "body": request | {"token": after}}

    @property
    def landing(self) -> Json:
        """The landing page."""
        links = [{"rel": "search", "href": f"{self.url}/search", "method": self.offers or self.method}]
        return {"type": "Catalog", "id": "lab", "stac_version": "1.0.0", "description": "lab", "links": links}


@contextmanager
def search_api(items: Sequence[Json], **how: Any) -> Iterator[SearchAPI]:
    """Serve items until the context ends."""
    api = SearchAPI(items, **how)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._send(*(api.answer(dict(parse_qsl(parts.query))) if "/search" in parts.path else (200, api.landing)))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            if api.method != "POST":
                self._send(405, {"description": "Method Not Allowed"})
                return
            self._send(*api.answer(body | dict(parse_qsl(urlsplit(self.path).query))))

        def _send(self, status: int, document: Mapping[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            cut = status == HTTPStatus.OK and len(api.asked) in api.cut and "features" in document
            self.send_header("Content-Length", str(len(body) + 1000 * cut))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
