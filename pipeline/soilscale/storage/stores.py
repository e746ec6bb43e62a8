"""Access to a store: its URL, options, credentials, and its failures in plain words."""

from __future__ import annotations

import errno
import os
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import fsspec
from fsspec import AbstractFileSystem

from soilscale import retry
from soilscale.errors import ConfigurationError, RefusedError, ServiceError, SoilscaleError
from soilscale.storage import access, hrefs

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session

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
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
"""Codes by which a store refuses the one who asks."""

NO_BUCKET = "NoSuchBucket"

S3 = ("s3", "s3a")

PAYER = "AWS_REQUEST_PAYER"
"""Environment variable that says, with the value ``requester``, that who reads from S3 pays; GDAL knows it too."""

TIMEOUT = (10.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""

_SECRETS = re.compile(r"(?<=\?)[^\s'\"<>]+|(?<=://)[^\s/@'\"]+@")


def failures() -> tuple[type[Exception], ...]:
    """What a store raises when it cannot do what is asked of it."""
    from aiohttp import ClientError as HTTPError
    from botocore.exceptions import BotoCoreError, ClientError

    return OSError, BotoCoreError, ClientError, HTTPError


def is_local(url: str) -> bool:
    """Whether a URL is a path of this machine."""
    return urlsplit(url).scheme in {"", "file"}


def is_s3(url: str) -> bool:
    """Whether a URL is in object storage that speaks S3."""
    return urlsplit(url).scheme in S3


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


def filesystem(url: str, **more: Any) -> tuple[AbstractFileSystem, str]:
    """Store that holds a URL, and the path there.

    Parameters
    ----------
    more
        Further options of the store.

    Raises
    ------
    ConfigurationError
        If the environment names a profile that is not there.
    """
    store, path = fsspec.url_to_fs(url, **options(url), **more)
    if is_s3(url):
        store.retries = retry.THROTTLED
    return store, path


def options(url: str) -> dict[str, Any]:
    """Options of the store that holds a URL.

    An S3 store takes credentials, profile, region and endpoint as botocore finds them: from the environment, then from
    the files of AWS_PROFILE. Listings are never remembered, since other processes write too; objects are read in one
    request each.

    Raises
    ------
    ConfigurationError
        If the environment names a profile that is not there.
    """
    connect, wait = TIMEOUT
    if is_s3(url):
        unsigned = credentials() is None
        mode = session().get_config_variable("retry_mode")
        tries = {
            # `legacy` is botocore's default where nobody has chosen a mode.
            "mode": "standard" if mode == "legacy" else mode,
            "total_max_attempts": session().get_config_variable("max_attempts") or retry.STORE,
        }
        return {
            "anon": unsigned,
            "requester_pays": os.environ.get(PAYER) == "requester",
            "use_listings_cache": False,
            "max_concurrency": 1,
            "config_kwargs": {"connect_timeout": connect, "read_timeout": wait, "retries": tries},
        }
    if urlsplit(url).scheme in {"http", "https"}:
        from aiohttp import ClientTimeout

        # No overall limit: by default aiohttp gives up on a large file after five minutes.
        timeout = ClientTimeout(total=None, sock_connect=connect, sock_read=wait)
        client = {"timeout": timeout, "trust_env": True}
        granted = access.headers(url)
        return {"client_kwargs": client | ({"headers": granted} if granted else {})}
    return {}


@cache
def session() -> Session:
    """What botocore knows of the environment and of the files of its profile."""
    from botocore.session import get_session

    return get_session()


@cache
def credentials() -> Credentials | None:
    """Credentials for S3 as botocore finds them; they renew themselves where they can. None: stores are asked unsigned.

    Raises
    ------
    ConfigurationError
        If the environment names a profile that is not there.
    """
    from botocore.exceptions import ProfileNotFound

    try:
        return session().get_credentials()
    except ProfileNotFound as error:
        raise ConfigurationError(f"{error}; correct AWS_PROFILE, or add the profile to ~/.aws/config") from error


def region() -> str | None:
    """Region of S3 that the environment or the profile names."""
    return session().get_config_variable("region")


def endpoint() -> str | None:
    """URL of the S3 store that the environment or the profile names; None: that of AWS."""
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.exceptions import ProfileNotFound

    known = session()
    try:
        if known.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        # Resolved by botocore's own rules, so that GDAL is sent to the same store as s3fs.
        url: str | None = ConfiguredEndpointProvider(
            full_config=known.full_config, scoped_config=known.get_scoped_config(), client_name="s3"
        ).provide()
    except ProfileNotFound:
        return None
    return url


def code(error: BaseException | None) -> str | None:
    """Code by which a store says what is the matter, from an error or what it comes from."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code"))
        status = getattr(error, "status", None)
        if isinstance(status, int):
            return str(status)
        error = error.__cause__
    return None


def has_bucket(error: BaseException) -> bool:
    """Whether what was not found was an object, and not the whole bucket."""
    return code(error) != NO_BUCKET


def explain(error: Exception, url: str, doing: str) -> SoilscaleError:
    """Failure of a store in a person's words: what cannot be done where, and whether a rerun may mend it."""
    from botocore import exceptions

    no_credentials = (
        exceptions.CredentialRetrievalError,
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.TokenRetrievalError,
    )
    text, reply = f"cannot {doing} {shown(url)}: {shown(error)}", code(error)
    # Checked first: it is the same 403 as other refusals, but a rerun cures it.
    if reply in DENIED and access.has_expired(url):
        return ServiceError(f"{text}; its signature has expired: run the same command again, which renews it")
    if isinstance(error, no_credentials) or reply in DENIED:
        return RefusedError(
            f"{text}{_named(reply)}; access is denied: renew {_asking(url)}, check that they may {doing} there, then "
            "run the same command again",
            url,
        )
    if reply == NO_BUCKET:
        at = endpoint() or "AWS"
        return RefusedError(
            f"{text}; there is no bucket {urlsplit(url).netloc!r} at {at}: create it or correct the URL, then run the "
            "same command again",
            url,
        )
    if isinstance(error, OSError) and error.errno in FULL:
        return RefusedError(f"{text}; free space there, then run the same command again", url)
    # s3fs gives errors from a store such numbers too; only those without a code come from this machine.
    if isinstance(error, OSError) and error.errno in UNWRITABLE and reply is None:
        return ConfigurationError(f"{text}; check that the path is right and that you may {doing} there")
    return ServiceError(f"{text}{_named(reply)}; check the store and your credentials, then run the same command again")


def _asking(url: str) -> str:
    """Where the credentials for a store come from."""
    if not is_s3(url):
        return "the credentials (a signed URL, or a login)"
    none = ", of which there are none" if credentials() is None else ""
    return f"the credentials (AWS_* in the environment, or the profile that AWS_PROFILE names{none})"


def _named(reply: str | None) -> str:
    return f" ({reply})" if reply else ""
