"""Paths and URLs of a configuration: no passwords, and products go to a folder or a bucket."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainSerializer

from soilscale import storage


def _has_password(url: str) -> bool:
    return urlsplit(url).password is not None


def _without_password(url: str) -> str:
    """Refuse a URL that holds a password; the message does not repeat it."""
    if _has_password(url):
        raise ValueError(
            "the URL contains a password, which would be written into the products; remove it, and put the "
            "credentials in the environment (AWS_* for s3, AZURE_* for az) or in ~/.netrc (http)"
        )
    return url


Url = Annotated[str, AfterValidator(_without_password), PlainSerializer(storage.shown)]
"""Path or URL; written out without its query, which may hold a signature."""


def is_home(url: object) -> bool:
    """Whether products can be written to what is given as output: a folder, or a bucket without a password."""
    if not isinstance(url, str) or not url.strip():
        return False
    place = urlsplit(url).netloc
    return storage.is_local(url) or (storage.in_cloud(url) and bool(place) and "@" not in place)


def _as_home(url: str) -> str:
    """Refuse a URL that products cannot be written to."""
    if is_home(url):
        return url
    raise ValueError(f"got {storage.shown(url)!r}; expected {storage.HOMES}")


Home = Annotated[Url, AfterValidator(_as_home)]
"""Where products are written to."""
