"""The viewer of the published maps, one static page: the page itself, and by what it is known.

``page.html`` is built from ``viewer/`` of the source tree by `make viewer`, and is the same for every product; all that
it knows of one stands in an index (`viewer.index`). This module imports no library: the inventory of an output, which a
run that finds nothing to do looks at, asks it whether a page is ours.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

PAGE, INDEX = "index.html", "viewer.json"
"""Names of the page and of the index below the published maps."""

MARK = "<!-- soilscale viewer {} -->"
"""First line of the page as it is published, with the digest of the rest: by it the page is known as ours."""

HEAD = 64
"""Bytes of a page within which the mark ends."""


@cache
def page() -> bytes:
    """HTML page of the viewer, which needs no other file of code."""
    return f"{mark()}\n".encode() + _content()


@cache
def mark() -> str:
    """First line of the page of this version."""
    return MARK.format(hashlib.sha256(_content()).hexdigest()[:16])


@cache
def _content() -> bytes:
    return resources.files(__name__).joinpath("page.html").read_bytes()


def is_page(head: bytes) -> bool:
    """Whether the first `HEAD` bytes of a file are those of a page of the viewer, of whatever version."""
    return head.startswith(MARK.partition("{")[0].encode())
