"""Requests that fail and may succeed later: how often they are tried, how long they wait, and what ends them."""

import itertools
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from soilscale import retry
from soilscale.catalog import documents
from soilscale.errors import RefusedError, ServiceError
from soilscale.formats.ranges import patiently


class Request:
    """A request that fails with each of some errors before it succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def test_every_pause_is_waited_for_and_lengthened_at_most_by_the_jitter(waits: list[float]) -> None:
    request = Request(*(TimeoutError() for _ in range(3)))
    assert retry.call(request, _is_timeout, (0.5, 1.0, 2.0)) == "answer"
    assert request.calls == 4
    assert len(waits) == 3
    assert all(pause <= wait <= pause * (1 + retry.JITTER) for pause, wait in zip((0.5, 1.0, 2.0), waits, strict=True))


def test_the_last_error_is_raised_as_it_is_when_the_pauses_are_used_up(waits: list[float]) -> None:
    last = TimeoutError("third")
    seen: list[Exception] = []
    request = Request(TimeoutError("first"), TimeoutError("second"), last, TimeoutError("never"))
    with pytest.raises(TimeoutError) as raised:
        retry.call(request, _is_timeout, (0.0, 0.0), before=seen.append)
    assert raised.value is last
    assert [str(error) for error in seen] == ["first", "second"]
    assert waits == [0.0, 0.0]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt(), SystemExit(3)])
def test_what_will_not_pass_is_tried_once(error: BaseException, waits: list[float]) -> None:
    request = Request(error)
    with pytest.raises(type(error)):
        retry.call(request, lambda failure: not isinstance(failure, ValueError), (5.0, 5.0))
    assert (request.calls, waits) == (1, [])


def test_an_interrupt_ends_the_waiting_at_once() -> None:
    request, main = Request(*(TimeoutError() for _ in range(9))), threading.main_thread()
    assert threading.current_thread() is main
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        # The suite's own limit ends a wait that the signal does not.
        with pytest.raises(KeyboardInterrupt):
            retry.call(request, _is_timeout, (3600.0,))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert request.calls == 1


def test_a_store_that_refuses_is_not_asked_again(waits: list[float]) -> None:
    refused, away = Request(RefusedError("no", "s3://bucket")), Request(ServiceError("away"))
    with pytest.raises(RefusedError):
        patiently(refused)
    assert patiently(away) == "answer"
    assert (refused.calls, away.calls, len(waits)) == (1, 2, 1)


def _answer(header: str | None) -> Exception:
    cause = OSError("429")
    cause.headers = {} if header is None else {"Retry-After": header}  # type: ignore[attr-defined]
    error = ServiceError("throttled")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("3", 3.0, 3.0),
        ("86400", retry.LONGEST, retry.LONGEST),
        (format_datetime(datetime.now(UTC) + timedelta(days=9), usegmt=True), retry.LONGEST, retry.LONGEST),
        (format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True), 0.0, 0.0),
        ("soon", 0.0, 0.0),
        ("-5", 0.0, 0.0),
        (None, 0.0, 0.0),
    ],
    # Ids of their own: one made of the time differs between processes, which must collect the same tests.
    ids=["seconds", "too many seconds", "a date to come", "a date gone by", "words", "negative", "none"],
)
def test_the_pause_that_an_answer_asks_for(header: str | None, least: float, most: float) -> None:
    assert least <= retry.requested_pause(_answer(header)) <= most


@pytest.fixture
def throttling() -> Callable[[str], str]:
    """Start a server that answers 429 once, with a header, then a document."""
    servers: list[HTTPServer] = []

    def start(header: str) -> str:
        statuses = itertools.chain([429], itertools.repeat(200))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(next(statuses))
                self.send_header("Retry-After", header)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/catalog.json"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_catalog_that_throttles_is_asked_again_when_it_says(
    throttling: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    # Only the pause of the policy; the server's threads sleep as they like.
    monkeypatch.setattr(retry, "LONGEST", 0.5)
    lengthened = retry.requested_pause
    monkeypatch.setattr(retry, "requested_pause", lambda error: waits.append(lengthened(error)) or waits[-1])
    monkeypatch.setattr(retry, "SERVICE", (0.0,))
    assert documents.read(throttling("120"), "catalog test") == {}
    assert waits == [0.5]


def test_sessions_of_requests_follow_the_same_policy() -> None:
    policy = retry.http()
    assert (policy.total, policy.backoff_factor) == (len(retry.SERVICE), retry.SERVICE[0])
    assert policy.respect_retry_after_header
    assert policy.is_retry("POST", 503)
    assert not policy.is_retry("POST", 404)
