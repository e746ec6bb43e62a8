"""A web server on the loopback interface that serves ranges of files, and fails as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """Files by name, and the status of every answer that is to fail."""

    contents: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    """Name -> status of its answers while it stands here."""
    url: str = ""
    ranges: list[tuple[str, str | None]] = field(default_factory=list)
    """Name and range of every request."""
    sent: dict[str, int] = field(default_factory=dict)
    """Name -> bytes of it that were sent."""
    connections: set[int] = field(default_factory=set)
    """Ports from which requests came, one of each connection."""

    def href(self, name: str, query: str = "") -> str:
        """Address of a file."""
        return f"{self.url}/{name}{query}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: Files

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name, wanted = self.path.lstrip("/").partition("?")[0], self.headers.get("Range")
        self.files.ranges.append((name, wanted))
        self.files.connections.add(self.client_address[1])
        fault = self.files.faults.get(name) or (404 if name not in self.files.contents else None)
        if fault:
            self._answer(fault, b"", {})
            return
        content = self.files.contents[name]
        if wanted is None:
            self._answer(200, content, {"Accept-Ranges": "bytes"})
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1 if last else len(content), len(content))
        if start >= len(content):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        self._answer(206, content[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            name = self.path.lstrip("/").partition("?")[0]
            self.files.sent[name] = self.files.sent.get(name, 0) + len(body)
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client may hang up when it has read enough."""


@contextmanager
def serve() -> Iterator[Files]:
    """Serve files until the context ends; faults of a name stand until they are taken away."""
    files = Files()
    handler = type("Handler", (_Handler,), {"files": files})
    with _Server(("127.0.0.1", 0), handler) as server:
        files.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()
