"""JSON documents of a catalog, wherever they are: retries, relative links, and messages without secrets."""

from __future__ import annotations

import json
import os
from typing import Any

from soilscale import retry, storage
from soilscale.errors import ConfigurationError, DataError, ServiceError, SoilscaleError

_DENIED, _GONE, _WAIT, _ERROR = (401, 403), (404, 410), (408, 425, 429), 500


def rooted(url: str) -> str:
    """Make a catalog's URL absolute: a local path or ``file:`` URL becomes an absolute path."""
    # Symbolic links stay: links in the documents are relative to the path by which they were reached.
    return storage.absolute(url, os.path.join(os.getcwd(), "catalog.json"))  # noqa: PTH109, PTH118 - symlinks stay


def resolve(base: str, href: str) -> str:
    """Make a link absolute.

    Parameters
    ----------
    base
        Absolute URL or path of the document that holds the link.
    href
        The link: absolute, or relative to the document.
    """
    return storage.absolute(href, base, _is_there)


def _is_there(url: str) -> bool:
    """Whether a store has an object; one that does not answer is met again when the object is read."""
    try:
        return storage.answers(url)
    except SoilscaleError:
        return False


def read(url: str, where: str) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    url
        Absolute path or URL; anything that fsspec opens.
    where
        The unit of work, for messages.

    Raises
    ------
    DataError
        If the document is not there, or is not a JSON object.
    ServiceError
        If it cannot be reached, or access is denied.
    ConfigurationError
        If no store of this kind is known.
    """
    body = _fetch(url, where)
    try:
        document = json.loads(body)
    except ValueError as error:
        head = body[:60].decode(errors="replace")
        raise DataError(f"{where}: {storage.shown(url)} is not JSON ({error}); it begins with {head!r}") from None
    if not isinstance(document, dict):
        raise DataError(f"{where}: {storage.shown(url)} holds a JSON {type(document).__name__}, not an object")
    return document


def _fetch(url: str, where: str) -> bytes:
    def request() -> bytes:
        store, path = storage.filesystem(url)
        return bytes(store.cat_file(path))

    failures = storage.failures()
    # A store on S3 has tried again by itself.
    patient = not storage.in_cloud(url)
    try:
        return retry.call(
            request,
            lambda error: patient and isinstance(error, failures) and _may_pass(error),
            retry.SERVICE,
        )
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            f"{where}: {storage.shown(url)} cannot be opened ({storage.shown(error)}); give an http, s3 or file URL"
        ) from None
    except failures as error:
        raise _failure(error, url, where) from None


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _may_pass(error: BaseException) -> bool:
    """Whether trying again may help."""
    # What is no URL at all stays none; aiohttp's InvalidURL is a ValueError and a ClientError.
    if isinstance(error, ValueError):
        return False
    status = _status(error)
    if status is not None:
        return status in _WAIT or status >= _ERROR
    lasting = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    return not isinstance(error, lasting)


def _failure(error: Exception, url: str, where: str) -> SoilscaleError:
    """Say of a failed request what a person can do about it."""
    status, at = _status(error), f"{where}: {storage.shown(url)}"
    # S3 says of a missing bucket, too, that there is no such file; storage tells the two apart.
    if storage.in_cloud(url) and not (isinstance(error, FileNotFoundError) and storage.has_bucket(error)):
        failure = storage.explain(error, url, "read")
        return type(failure)(f"{where}: {failure}", *failure.args[1:])
    if status in _DENIED or isinstance(error, PermissionError):
        return denied(where, url, status)
    if isinstance(error, FileNotFoundError) or status in _GONE:
        return DataError(f"{at} does not exist; check the URL and the links to it")
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return DataError(f"{at} is a folder, not a JSON document; name the file, for example catalog.json in it")
    if status is not None and not _may_pass(error):
        return DataError(f"{at} failed with HTTP status {status}; check the URL")
    reason = f"HTTP status {status}" if status else storage.shown(f"{type(error).__name__}: {error}".strip(": "))
    return unreachable(where, url, f"{reason}, {len(retry.SERVICE) + 1} tries")


def denied(where: str, url: str, status: int | None = None) -> ServiceError:
    """Error for a document that may not be read."""
    code = f" (HTTP status {status})" if status else ""
    return ServiceError(
        f"{where}: access to {storage.shown(url)} is denied{code}; check the credentials in the environment "
        "(AWS_* for s3, a signed URL or a login for http, the permissions of a file) and that they are still valid"
    )


def unreachable(where: str, url: str, reason: str) -> ServiceError:
    """Error for a service that does not answer."""
    return ServiceError(
        f"{where}: {storage.shown(url)} cannot be reached ({reason}); check the network and the service, then run again"
    )
