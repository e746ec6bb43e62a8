"""A web server on the loopback interface for documents of a catalog: counts requests and answers with faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class StaticCatalog:
    """Documents by path, what is to go wrong with them, and what was asked."""

    documents: dict[str, Any] = field(default_factory=dict)
    """Path -> JSON document, or the bytes to send."""
    faults: dict[str, list[int]] = field(default_factory=dict)
    """Path -> statuses of the next answers; the last one stays if it is negative."""
    token: str | None = None
    """Bearer token without which everything but /signed is denied; with it, one is sent on to /signed."""
    direct: bool = False
    """Whether what is asked for with the token is sent at once."""
    types: dict[str, str] = field(default_factory=dict)
    """Path -> content type, where it is said."""
    authorizations: list[str | None] = field(default_factory=list)
    """Header of that name of every request."""
    url: str = ""
    requests: list[str] = field(default_factory=list)
    """Paths that were asked for, queries left out."""
    queries: list[Mapping[str, list[str]]] = field(default_factory=list)

    def count(self, part: str = "") -> int:
        """Requests whose path holds a text."""
        return sum(part in path for path in self.requests)

    def answer(self, target: str, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a request."""
        parts = urlsplit(target)
        self.requests.append(parts.path)
        self.queries.append(parse_qs(parts.query))
        self.authorizations.append(headers.get("Authorization"))
        if fault := self._fault(parts.path):
            return fault, b"", {}
        if self.token and not parts.path.startswith("/signed"):
            if headers.get("Authorization") != f"Bearer {self.token}":
                return 401, b"", {}
            if not self.direct:
                return 303, b"", {"Location": f"{self.url}/signed{parts.path}?signature=abc"}
        if parts.path not in self.documents:
            return 404, b"", {}
        body = self.documents[parts.path]
        return (
            200,
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            ({"Content-Type": self.types[parts.path]} if parts.path in self.types else {}),
        )

    def _fault(self, path: str) -> int | None:
        statuses = self.faults.get(path)
        if not statuses:
            return None
        return -statuses[0] if statuses[0] < 0 else statuses.pop(0)


class _Server(ThreadingHTTPServer):
    request_queue_size = 64


@contextmanager
def static_catalog(documents: Mapping[str, Any] | None = None) -> Iterator[StaticCatalog]:
    """Serve documents until the context ends."""
    catalog = StaticCatalog(dict(documents or {}))

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            status, body, headers = catalog.answer(self.path, dict(self.headers))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        catalog.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield catalog
        finally:
            server.shutdown()
            thread.join()
