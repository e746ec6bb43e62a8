"""An href as a path or URL, and back: blanks, any script, percent signs, and the forms of a local file.

A path is a plain name: percent-encoding is undone where an href is a ``file:`` URL, and where a relative href, copied
from the web, names no file as it stands. A URL of the web is percent-encoded; what is encoded already, such as a
signature, stays as it is. A key of S3 is a plain name too.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urljoin

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
FILE = re.compile(r"file:(?://(?:localhost(?=/|$))?)?", re.IGNORECASE)
WEB = re.compile(r"https?://", re.IGNORECASE)

READABLE = "%/:?#[]@!$&'()*+,;=~"
"""Characters of a URL that are not encoded: those with a meaning, and the percent sign of what is encoded already."""

VSI = (("/vsicurl/", ""), ("/vsis3/", "s3://"), ("/vsigs/", "gs://"), ("/vsiaz/", "az://"))
"""Prefixes of GDAL's names for files elsewhere, and what they stand for."""

Exists = Callable[[str], bool]


def is_file_url(href: str) -> bool:
    """Whether an href is a ``file:`` URL.

    Examples
    --------
    >>> is_file_url("file:///data/a.tif"), is_file_url("/data/a.tif")
    (True, False)
    """
    return FILE.match(href) is not None


def local_path(href: str) -> str:
    """Path that a ``file:`` URL stands for; one that was written without encoding is understood too.

    Examples
    --------
    >>> local_path("file:///data/my%20maps/a.tif")
    '/data/my maps/a.tif'
    """
    written = FILE.sub("", href, count=1)
    return _existing([unquote(written), written], os.path.exists)


def absolute(href: str, base: str, exists: Exists = os.path.exists) -> str:
    """Path or URL that an href leads to.

    Parameters
    ----------
    href
        Absolute, or relative to the document that holds it.
    base
        Absolute path or URL of that document.
    exists
        Says whether there is an object under a URL; asked only of names with ``%``, ``?`` or ``#``.

    Examples
    --------
    >>> absolute("../tiles/a b.tif", "https://example.org/stac/item.json")
    'https://example.org/tiles/a%20b.tif'
    >>> absolute("b.tif", "s3://bucket/stac/item.json")
    's3://bucket/stac/b.tif'
    """
    for prefix, scheme in VSI:
        # `/vsicurl/` in front of anything but a web URL is left to GDAL.
        if href.startswith(prefix) and (scheme or WEB.match(href, len(prefix))):
            href = scheme + href.removeprefix(prefix)
    root = SCHEME.match(base)
    if is_file_url(href):
        return _beside(local_path(href), base if root is None else "/")
    if SCHEME.match(href):
        return encoded(href)
    if href.startswith("/vsi"):
        return href
    if root is None:
        return _existing([_beside(name, base) for name in _readings(href)], os.path.exists)
    if WEB.match(base):
        return encoded(urljoin(base, _quoted(href)))
    bucket, _, key = base[root.end() :].partition("/")
    # Joined to a root first, so that `..` cannot leave the bucket.
    names = [posixpath.normpath(posixpath.join("/", posixpath.dirname(key), name)) for name in _readings(href)]
    return _existing([f"{root.group(0)}{bucket}{name}" for name in names], exists)


def encoded(url: str) -> str:
    """URL as it is asked for; only those of the web are percent-encoded.

    Examples
    --------
    >>> encoded("https://example.org/å b.tif?sig=a%2Fb")
    'https://example.org/%C3%A5%20b.tif?sig=a%2Fb'
    """
    web = WEB.match(url)
    if web is None:
        return url
    host, slash, path = url[web.end() :].partition("/")
    return f"{web.group(0)}{host}{slash}{_quoted(path)}"


def as_href(url: str) -> str:
    """Path or URL as a document may link it: a path that is no URI reference as it stands becomes a ``file:`` URL.

    Examples
    --------
    >>> as_href("/data/my maps/a.tif")
    'file:///data/my%20maps/a.tif'
    """
    if SCHEME.match(url) or quote(url, safe="/:~!$&'()*+,;=@") == url:
        return encoded(url)
    return PurePosixPath(url).as_uri() if url.startswith("/") else quote(url)


def _quoted(text: str) -> str:
    """Text with blanks and letters beyond ASCII encoded, and a percent sign that encodes nothing."""
    # Existing encoding is kept: a signature that is encoded twice is invalid.
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text), safe=READABLE)


def _readings(href: str) -> list[str]:
    """What a relative href may name, the most literal first."""
    path = re.split(r"[?#]", href, maxsplit=1)[0]
    names = [href, unquote(href), path, unquote(path)]
    # Of catalogs that were written on Windows.
    return list(dict.fromkeys([*names, *(name.replace("\\", "/") for name in names)]))


def _beside(name: str, base: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(base), name))  # noqa: PTH118, PTH120 - strings


def _existing(names: list[str], exists: Exists) -> str:
    """First of some names that exists, else the first."""
    # Nothing to choose from, and each check may be a request.
    if len(set(names)) == 1:
        return names[0]
    return next((name for name in names if exists(name)), names[0])
