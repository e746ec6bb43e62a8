"""Access to files on the web for a request: headers of a login, and when a signature expires."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from urllib.parse import parse_qs, urlsplit

_granted: dict[tuple[str, str], Mapping[str, str]] = {}


def grant(url: str, headers: Mapping[str, str]) -> None:
    """Let requests of this process for files of a URL's host carry headers, and those for other hosts not."""
    _granted[_origin(url)] = MappingProxyType(dict(headers))


def headers(url: str) -> dict[str, str]:
    """Headers that a request for a file carries."""
    return dict(_granted.get(_origin(url), {}))


def expiry(url: str) -> datetime | None:
    """Instant from which the signature of a URL no longer holds, as Azure, S3 and CloudFront write it; None if none."""
    query = {key.lower(): values[0] for key, values in parse_qs(urlsplit(url).query).items()}
    try:
        if "se" in query:
            return datetime.fromisoformat(query["se"]).astimezone(UTC)
        if "x-amz-date" in query:
            signed = datetime.strptime(query["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return signed + timedelta(seconds=float(query["x-amz-expires"]))
        if "expires" in query:
            return datetime.fromtimestamp(float(query["expires"]), UTC)
    except (KeyError, ValueError, OverflowError):
        return None
    return None


def has_expired(url: str) -> bool:
    """Whether the signature of a URL no longer holds; one that is signed anew may be read."""
    end = expiry(url)
    return end is not None and end <= datetime.now(UTC)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    # The scheme counts: a login for https must not be sent to the same host in clear text.
    return parts.scheme, parts.netloc
