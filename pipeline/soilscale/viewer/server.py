"""Serves an output to a browser on this machine, from wherever it lies: files, or a bucket read with one's own keys."""

from __future__ import annotations

import logging
import mimetypes
import posixpath
import re
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from soilscale import storage, viewer
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError, DataError, RefusedError, SoilscaleError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
START = f"/maps/{viewer.PAGE}"

READ = re.compile(r"(maps|report)/.+|maps\.zarr/.+|cube\.zarr/(zarr\.json|coarse/.+)")
"""Names below an output that the viewer reads, or leads to; nothing else is served."""

RANGE = re.compile(r"bytes=(\d*)-(\d*)")
PIECE = 8 * 2**20
"""Bytes of an object that are sent at a time."""

TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".json": "application/json",
    ".png": "image/png",
}


class Server(ThreadingHTTPServer):
    """HTTP server of one output on the loopback interface."""

    daemon_threads = True

    def __init__(self, output: str, port: int = 0) -> None:
        """Listen on a port, 0 for any that is free; `serve_forever` answers.

        Parameters
        ----------
        output
            Folder, or s3://bucket/prefix.

        Raises
        ------
        ConfigurationError
            If the port is taken.
        """
        self.output = output
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise ConfigurationError(
                f"--port {port}: {error.strerror}; choose a port that is free, or leave it out"
            ) from error

    @property
    def url(self) -> str:
        """Address of the viewer."""
        return f"http://{HOST}:{self.server_port}{START}"


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD, also of a range of bytes."""

    protocol_version = "HTTP/1.1"
    server: Server
    server_version = "soilscale"
    sys_version = ""

    def do_GET(self) -> None:
        """Send an object, or the range of it that is asked for."""
        try:
            self._answer()
        except ConnectionError:
            # The browser has moved on, as it does whenever the map is moved.
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Log a request, which is seen when debugging."""
        logger.debug("%s", format % args)

    def _answer(self) -> None:
        # Another site whose name leads to this machine must not read a private output through the browser.
        if self.headers.get("Host") not in {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}:
            return self._fail(HTTPStatus.FORBIDDEN, "only this machine is served")
        name = unquote(urlsplit(self.path).path).lstrip("/")
        if name in {"", "maps", "maps/"}:
            return self._head(HTTPStatus.FOUND, 0, {"Location": START})
        if posixpath.normpath(name) != name or not READ.fullmatch(name):
            return self._fail(HTTPStatus.NOT_FOUND, "the viewer reads nothing of that name")
        if f"/{name}" == START:
            # The page of this version, also for maps that an earlier one has published.
            page = viewer.page()
            return self._send("text/html; charset=utf-8", len(page), lambda start, stop: page[start:stop])
        return self._object(name)

    def _object(self, name: str) -> None:
        """Send an object of the output."""
        url = storage.join(self.server.output, name)
        media = TYPES.get(posixpath.splitext(name)[1]) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        try:
            size = storage.size_of(url)
            self._send(media, size, lambda start, stop: storage.read_ranges(url, [(start, stop)])[0])
        except (FileNotFoundError, IsADirectoryError):
            self._fail(HTTPStatus.NOT_FOUND, "it is not there")
        except SoilscaleError as error:
            logger.error("%s", error)  # noqa: TRY400 - a message for a person
            # A folder, or a file that may not be read, is an error of configuration.
            statuses = {RefusedError: HTTPStatus.FORBIDDEN, ConfigurationError: HTTPStatus.NOT_FOUND}
            self._fail(statuses.get(type(error), HTTPStatus.BAD_GATEWAY), "it cannot be read")

    def _send(self, media: str, size: int, read: Callable[[int, int], bytes]) -> None:
        """Send all of an object or the range that is asked for, piece by piece."""
        headers = {"Content-Type": media, "Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
        span = _span(self.headers.get("Range"), size)
        if span is None:
            return self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, {"Content-Range": f"bytes */{size}"})
        start, stop = span
        status = HTTPStatus.OK
        if self.headers.get("Range"):
            status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, f"bytes {start}-{stop - 1}/{size}"
        pieces = _pieces(start, stop, read) if self.command == "GET" else iter(())
        # The first piece before the head: an object that cannot be read is then said to be so.
        first = next(pieces, b"")
        self._head(status, stop - start, headers)
        self.wfile.write(first)
        for piece in pieces:
            self.wfile.write(piece)
        return None

    def _head(self, status: HTTPStatus, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()

    def _fail(self, status: HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode()
        self._head(status, len(body), {"Content-Type": "text/plain; charset=utf-8"})
        if self.command == "GET":
            self.wfile.write(body)


def _pieces(start: int, stop: int, read: Callable[[int, int], bytes]) -> Iterator[bytes]:
    for first in range(start, stop, PIECE):
        yield read(first, min(first + PIECE, stop))


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte, and that after the last, that a Range header asks for; all without it, None if there are no such."""
    match = RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    stop = min(int(last) + 1, size) if last else size
    return (int(first), stop) if int(first) < stop else None


def check(output: str) -> None:
    """See that an output has maps that the viewer can show.

    Raises
    ------
    DataError
        If there are no maps, or they were published by a version without a viewer.
    ServiceError
        If the store cannot be reached, or refuses access.
    """
    where = storage.shown(output)
    if storage.answers(storage.join(output, "maps", viewer.INDEX)):
        return
    if storage.answers(storage.join(output, "maps", "catalog.json")):
        raise DataError(
            f"{where}: its maps were published by a version of soilscale without a viewer (maps/{viewer.INDEX} is "
            "missing); run `soilscale map` on its configuration again, which adds what the viewer reads"
        )
    raise Workspace(output).lacks("maps", "map")


def serve(output: str, port: int, *, browser: bool, ready: Callable[[str], None]) -> None:
    """Serve an output until interrupted.

    Parameters
    ----------
    output
        Folder, or s3://bucket/prefix.
    port
        Of the loopback interface; 0 for any that is free.
    browser
        Whether to open the viewer in a browser.
    ready
        Is called with the address of the viewer.

    Raises
    ------
    ConfigurationError
        If the port is taken.
    DataError, ServiceError
        As `check`.
    """
    check(output)
    with Server(output, port) as server:
        ready(server.url)
        if browser and not webbrowser.open(server.url):
            logger.warning("no browser could be started here; open the address yourself")
        # To be stopped is how serving ends well.
        with suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
