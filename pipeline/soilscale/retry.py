"""One policy for requests that fail and may succeed later: how often they are tried, and after which pauses.

Tenacity tries; this module says how. What may pass is for the caller to say, since only the caller knows its errors.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from urllib3.util.retry import Retry

SERVICE = (0.5, 1.0, 2.0)
"""Pauses, in seconds, before each further request to a catalog, or to a service that signs."""

FILE = (0.0, 0.5, 2.0)
"""Pauses before a part of a remote file is requested again: a connection that broke needs none, a busy store does."""

REOPENED = (0.0, 0.5)
"""Pauses before GDAL opens a remote file again; it has by then repeated each request `GDAL` times."""

ROUND = (1.0, 3.0)
"""Pauses between rounds over the units that a service failed, and between attempts to remove a cluster."""

STORE = 5
"""Tries of a request to S3 by botocore, which waits twice as long each time; AWS_MAX_ATTEMPTS overrides it."""

THROTTLED = 3
"""How often s3fs has botocore start anew when a request was throttled, or its answer was cut off."""

GDAL = 5
"""How often GDAL repeats a request for a range of a file."""

JITTER = 0.25
"""Share by which pauses are lengthened at random: workers that failed together must not all return together."""

LONGEST = 10.0
"""Seconds of a ``Retry-After`` that are waited at most: a signal does not interrupt the threads that wait here."""

PASSING = (429, 500, 502, 503, 504)
"""HTTP statuses after which requests and urllib3 try again."""

T = TypeVar("T")


def call(
    request: Callable[[], T],
    may_pass: Callable[[Exception], bool],
    pauses: Sequence[float],
    before: Callable[[Exception], None] | None = None,
) -> T:
    """Make a request, again after each of the pauses while it fails in a way that may pass.

    What interrupts it, such as KeyboardInterrupt, ends it at once, the waiting too.

    Parameters
    ----------
    request
        Makes it, and returns the answer.
    may_pass
        Whether another try may succeed after this error.
    pauses
        Seconds before each further try, at least; a ``Retry-After`` of the answer wins where it is longer.
    before
        Called with the error before each pause.

    Returns
    -------
    The answer. The last error is raised as it is.

    Examples
    --------
    >>> answers = iter([TimeoutError("busy"), 42])
    >>> def request():
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> call(request, lambda error: isinstance(error, TimeoutError), pauses=(0.0,))
    42
    """
    # Imported here, for help and a run that has nothing to do need no request.
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    def wait(state: RetryCallState) -> float:
        # Tenacity asks after the last try too, before it stops.
        pause = next(iter(pauses[state.attempt_number - 1 :]), 0.0)
        return max(_lengthened(pause), requested_pause(_error(state)))

    return Retrying(
        # Tenacity passes every BaseException to the predicate; an interrupt must never be tried again.
        retry=retry_if_exception(lambda error: isinstance(error, Exception) and may_pass(error)),
        stop=stop_after_attempt(len(pauses) + 1),
        wait=wait,
        before_sleep=(lambda state: before(_error(state))) if before else None,
        reraise=True,
    )(request)


def _error(state: RetryCallState) -> Exception:
    error = state.outcome.exception() if state.outcome else None
    # Only an Exception is tried again, and there is no pause but before a further try.
    assert isinstance(error, Exception)  # noqa: S101
    return error


def pause(pauses: Sequence[float], tries: int) -> None:
    """Wait before the next round of a loop that counts its own tries: not at all before the first."""
    time.sleep(_lengthened(pauses[tries - 1]) if tries else 0.0)


def _lengthened(seconds: float) -> float:
    return seconds * (1 + random.uniform(0, JITTER))  # noqa: S311 - no secret


def requested_pause(error: BaseException | None) -> float:
    """Seconds that an HTTP answer asks to wait by ``Retry-After``, `LONGEST` at most; 0 where it asks for none.

    Parameters
    ----------
    error
        The answer as aiohttp raises it, or an error that it caused.
    """
    header = None
    while error is not None and header is None:
        headers = getattr(error, "headers", None)
        header = headers.get("Retry-After") if isinstance(headers, Mapping) else None
        error = error.__cause__
    if not isinstance(header, str):
        return 0.0
    try:
        seconds = float(header) if header.strip().isdigit() else _until(header)
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST)


def _until(date: str) -> float:
    """Seconds from now to an HTTP date."""
    moment = parsedate_to_datetime(date)
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def http() -> Retry:
    """The policy of `SERVICE` for a session of requests, whose adapter tries by itself; it honours ``Retry-After``."""
    from urllib3.util.retry import Retry

    return Retry(
        total=len(SERVICE),
        backoff_factor=SERVICE[0] if SERVICE else 0.0,
        backoff_jitter=JITTER,
        status_forcelist=PASSING,
        allowed_methods=None,  # a search by POST changes nothing, and may be repeated
        raise_on_status=False,
    )
