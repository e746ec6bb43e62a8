"""Access to a store: its URL, options, credentials, and its failures in plain words."""

from __future__ import annotations

import errno
import posixpath
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec import AbstractFileSystem

from soilscale.errors import ConfigurationError, RefusedError, ServiceError, SoilscaleError
from soilscale.storage import access, hrefs
from soilscale.storage.azure import Azure
from soilscale.storage.clouds import NO_BUCKET, TIMEOUT, Cloud, code
from soilscale.storage.google import Google
from soilscale.storage.s3 import S3

CLOUDS: tuple[Cloud, ...] = (S3(), Google(), Azure())
"""Object stores in which an output may lie."""

HOMES = "a folder or bucket (s3://bucket/prefix, gs://bucket/prefix, az://container/prefix)"
"""What products are written to, for messages."""

UNWRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)
"""Operating system errors that a rerun of the same configuration meets again."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Operating system errors of a disk without room."""

DENIED = frozenset(
    {
        "401",
        "403",
        "AccessDenied",
        "AuthenticationFailed",
        "AuthorizationFailure",
        "AuthorizationPermissionMismatch",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidAuthenticationInfo",
        "InvalidSecurity",
        "InvalidToken",
        "NoAuthenticationInformation",
        "PublicAccessNotPermitted",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
"""Codes by which a store refuses the one who asks."""

_SECRETS = re.compile(r"(?<=\?)[^\s'\"<>]+|(?<=://)[^\s/@'\"]+@")


def failures() -> tuple[type[Exception], ...]:
    """What a store raises when it cannot do what is asked of it."""
    from aiohttp import ClientError

    # Only those in use: the libraries of the others may not be there, and take long to import.
    failure_kinds = [cloud.failures() for cloud in CLOUDS if not cloud.extra or sys.modules.get(cloud.package)]
    return OSError, ClientError, *(kind for kinds in failure_kinds for kind in kinds)


def is_local(url: str) -> bool:
    """Whether a URL is a path of this machine."""
    return urlsplit(url).scheme in {"", "file"}


def cloud(url: str) -> Cloud | None:
    """Object store that a URL is in; None for folders and the web."""
    scheme = urlsplit(url).scheme
    return next((cloud for cloud in CLOUDS if scheme in cloud.schemes), None)


def home(url: str) -> Cloud:
    """Object store that products are written to.

    Raises
    ------
    ConfigurationError
        If the URL is in none.
    """
    store = cloud(url)
    if store is None:
        raise ConfigurationError(f"cannot write {shown(url)}; expected {HOMES}")
    return store


def in_cloud(url: str) -> bool:
    """Whether a URL is in an object store, which tries again by itself."""
    return cloud(url) is not None


def join(url: str, *parts: str) -> str:
    """URL of something below another URL."""
    return posixpath.join(url, *parts)


def resolve(url: str, base: str) -> str:
    """URL as seen from a folder: absolute ones as they are, relative paths below `base`."""
    if hrefs.is_file_url(url):
        url = hrefs.local_path(url)
    elif urlsplit(url).scheme:
        return hrefs.encoded(url)
    return str(Path(base, Path(url).expanduser()).resolve()) if is_local(base) else join(base, url)


def shown(text: object) -> str:
    """Text as messages and logs may show it: without the query strings and user names of the URLs in it."""
    return _SECRETS.sub("…", str(text))


def filesystem(url: str, **extra: Any) -> tuple[AbstractFileSystem, str]:
    """Store that holds a URL, and the path there.

    Parameters
    ----------
    extra
        Further options of the store.

    Raises
    ------
    ConfigurationError
        As `options`.
    """
    fs, path = fsspec.url_to_fs(url, **options(url), **extra)
    if (store := cloud(url)) is not None:
        store.prepare(fs)
    return fs, path


def options(url: str) -> dict[str, Any]:
    """Options of the store that holds a URL.

    An object store takes credentials and endpoint as its own tools find them. Listings are never remembered, since
    other processes write too; objects are read in one request each.

    Raises
    ------
    ConfigurationError
        If the environment names a profile that is not there, or no storage account, or if an extra is not installed.
    """
    if (store := cloud(url)) is not None:
        if "@" in urlsplit(url).netloc:
            raise ConfigurationError(
                f"{shown(url)} names an account or a password; write {store.schemes[0]}://bucket/prefix, and set the "
                f"account in the environment ({store.asking})"
            )
        return {"use_listings_cache": False, **store.options()}
    connect, wait = TIMEOUT
    if urlsplit(url).scheme in {"http", "https"}:
        from aiohttp import ClientTimeout

        # No overall limit: by default aiohttp gives up on a large file after five minutes.
        timeout = ClientTimeout(total=None, sock_connect=connect, sock_read=wait)
        client = {"timeout": timeout, "trust_env": True}
        granted = access.headers(url)
        return {"client_kwargs": client | ({"headers": granted} if granted else {})}
    return {}


def has_bucket(error: BaseException) -> bool:
    """Whether what was not found was an object, and not the whole bucket."""
    return code(error) not in NO_BUCKET


def explain(error: Exception, url: str, doing: str) -> SoilscaleError:
    """Failure of a store in a person's words: what cannot be done where, and whether a rerun may mend it."""
    store = cloud(url)
    text, reply = f"cannot {doing} {shown(url)}: {_first_line(error)}", code(error)
    # Checked first: it is the same 403 as other refusals, but a rerun cures it.
    if reply in DENIED and access.has_expired(url):
        return ServiceError(f"{text}; its signature has expired: run the same command again, which renews it")
    if (store is not None and isinstance(error, store.refusals())) or reply in DENIED:
        return RefusedError(
            f"{text}{_reply_text(reply)}; access is denied: renew {_asking(url)}, check that they may {doing} there, "
            "then run the same command again",
            url,
        )
    if store is not None and reply in NO_BUCKET:
        return RefusedError(
            f"{text}; there is no bucket {urlsplit(url).netloc!r} at {store.place()}: create it or correct the URL, "
            "then run the same command again",
            url,
        )
    if isinstance(error, OSError) and error.errno in FULL:
        return RefusedError(f"{text}; free space there, then run the same command again", url)
    # s3fs gives errors from a store such numbers too; only those without a code come from this machine.
    if isinstance(error, OSError) and error.errno in UNWRITABLE and reply is None:
        return ConfigurationError(f"{text}; check that the path is right and that you may {doing} there")
    return ServiceError(
        f"{text}{_reply_text(reply)}; check the store and your credentials, then run the same command again"
    )


def _asking(url: str) -> str:
    """Where the credentials for a store come from."""
    store = cloud(url)
    if store is None:
        return "the credentials (a signed URL, or a login)"
    none = ", of which there are none" if store.is_anonymous() else ""
    return f"the credentials ({store.asking}{none})"


def _first_line(error: Exception) -> str:
    """What an error says in its first line; Azure's append the whole answer."""
    return shown(error).strip().partition("\n")[0]


def _reply_text(reply: str | None) -> str:
    return f" ({reply})" if reply else ""
