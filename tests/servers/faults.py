"""A proxy between the code and an object store that counts requests, and spoils as many of them as it is told."""

from __future__ import annotations

import http.client
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HOP_BY_HOP = frozenset({"connection", "expect", "keep-alive", "transfer-encoding"})
"""Headers that are for one connection only."""

LISTS = re.compile(r"list-type=|comp=list|/storage/v1/b/[^/]+/o\?")
"""What requests for a listing have, on S3, Azure and Google."""

STATUSES = {
    "SlowDown": 503,
    "InternalError": 500,
    "ExpiredToken": 400,
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "NoSuchBucket": 404,
}

PASSING = ("SlowDown", "InternalError", "drop", "cut", "delay")
"""Faults that a further try gets over; `cut` ends an answer in the middle of its body."""

DELAY = 0.3
"""Seconds by which an answer is delayed."""


@dataclass
class Faults:
    """What the proxy does to requests, and what came by."""

    upstream: str
    url: str = ""
    share: float = 0.0
    """Share of the requests that are spoilt by one of `kinds`."""
    kinds: tuple[str, ...] = PASSING
    matches: Callable[[str], bool] = lambda _: True
    """Whether a request, such as ``GET /bucket/key?query``, is one that may be spoilt."""
    requests: Counter[str] = field(default_factory=Counter)
    """How many there were of each kind: LIST, GET, HEAD, PUT, DELETE, POST; those that were spoilt among them."""
    listed: set[str] = field(default_factory=set)
    """Buckets and prefixes that were listed."""
    spoilt: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - no secret
    lock: threading.Lock = field(default_factory=threading.Lock)

    def heal(self) -> None:
        """Spoil nothing any more, and forget what came by."""
        self.share, self.kinds, self.matches = 0.0, PASSING, lambda _: True
        for seen in (self.requests, self.spoilt, self.listed):
            seen.clear()

    def take(self, request: str) -> str | None:
        """Count a request; the fault that is to spoil it, if one is."""
        method, _, target = request.partition(" ")
        asked = parse_qs(urlsplit(target).query)
        with self.lock:
            lists = method == "GET" and bool(LISTS.search(target))
            self.requests["LIST" if lists else method] += 1
            if lists:
                self.listed.add(f"{urlsplit(target).path}/{asked.get('prefix', [''])[0]}")
            if not self.share or self.chance.random() >= self.share or not self.matches(request):
                return None
            fault = self.chance.choice(self.kinds)
            self.spoilt[fault] += 1
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faults: Faults

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.faults.take(f"{self.command} {self.path}")
        if fault in STATUSES:
            self._refuse(fault)
        elif fault == "drop":
            self._hang_up()
        else:
            if fault == "delay":
                time.sleep(DELAY)
            self._relay(body, cut=fault == "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815 - the names that its base looks for

    def _refuse(self, code: str) -> None:
        said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected {code}</Message></Error>".encode()
        self.send_response(STATUSES[code])
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    def _relay(self, body: bytes, *, cut: bool) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.faults.upstream).netloc, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP | {"content-length", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(content)))
        self.end_headers()
        if cut and content:
            self.wfile.write(content[: len(content) // 2])
            self._hang_up()
        else:
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client may hang up when it has read enough."""


@contextmanager
def faulty(upstream: str) -> Iterator[Faults]:
    """Run a proxy before a server until the context ends; what it spoils can be changed at any time."""
    faults = Faults(upstream)
    handler = type("Handler", (_Handler,), {"faults": faults})
    with _Server(("127.0.0.1", 0), handler) as server:
        faults.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield faults
        finally:
            server.shutdown()
            thread.join()
