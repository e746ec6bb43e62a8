"""Signing: the short-lived URL of a protected asset, requested when the asset is opened."""

from __future__ import annotations

import os
import warnings
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import requests
from requests.adapters import HTTPAdapter

from soilscale import retry, storage
from soilscale.catalog import documents
from soilscale.catalog.signatures import Signature, Signatures, renewal
from soilscale.errors import DataError, RefusedError
from soilscale.sources import Sign

TOKEN = "EARTHDATA_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable that holds an Earthdata bearer token."""

LOGIN = "urs.earthdata.nasa.gov"
"""Host that Earthdata sends those to who have not logged in."""

DOMAIN = "nasa.gov"
"""Domain whose hosts an Earthdata token is sent to, beside this machine."""

ACCOUNT = (
    f"the file needs an Earthdata login, which is free at https://{LOGIN}: set {TOKEN} to a valid token, or write the "
    f"login for {LOGIN} into ~/.netrc; for files of GES DISC also approve the application NASA GESDISC DATA ARCHIVE "
    "in the login's profile"
)
"""What is missing where Earthdata denies access."""

LASTING = timedelta(minutes=10)
"""How long a URL that Earthdata leads to is used, if it does not say when it ends."""

BLOBS = ".blob.core.windows.net"
PUBLIC = f"ai4edatasetspublicassets{BLOBS}"
"""Blob storage of the Planetary Computer that takes no signature."""

HERE = ("127.0.0.1", "localhost", "::1")
"""This machine, where emulators of stores name the account in the path."""

_tokens = Signatures(shared=True)
_urls = Signatures()


def sign(href: str, sign: Sign) -> str:
    """Href under which an asset can be read for a while; called by the worker, when it opens the asset.

    Parameters
    ----------
    href
        Absolute href, as frozen.
    sign
        ``planetary-computer``: the token of its container is added to hrefs of its blob storage (package
        planetary-computer; the variables PC_SDK_SUBSCRIPTION_KEY and PC_SDK_SAS_URL are honoured), asked for once by
        the processes of a machine and renewed before it ends; others stay as they are. ``earthdata``: the href is asked
        for with the token of EARTHDATA_TOKEN, or else the login in ``~/.netrc``, and the signed URL that it leads to is
        returned; where the file's host sends it itself, the href stays and `storage` is granted the login for that
        host. ``none``: the href stays as it is.

    Raises
    ------
    ServiceError
        If the service cannot be reached, or denies access; the message holds no secret.
    DataError
        If Earthdata has no such file.
    """
    if sign == "planetary-computer" and (place := _container(href)):
        token = _tokens.get("/".join((_service(), *place)), lambda: _token(href, *place))
        return f"{href}{'&' if '?' in href else '?'}{token}"
    if sign == "earthdata" and href.startswith(("http://", "https://")):
        return _urls.get(href, lambda: _earthdata(href))
    return href


def _container(href: str) -> tuple[str, str] | None:
    """Account and container of a blob that needs a signature and has none; None of any other href."""
    parts = urlsplit(href)
    names = parts.path.strip("/").split("/")
    if parse_qs(parts.query).keys() >= {"se", "sig"} or parts.netloc == PUBLIC:
        return None
    if (parts.hostname or "").endswith(BLOBS) and len(names) > 1:
        return (parts.hostname or "").removesuffix(BLOBS), names[0]
    emulated = parts.hostname in HERE and urlsplit(_service()).hostname in HERE
    return (names[0], names[1]) if emulated and len(names) > 2 else None  # noqa: PLR2004 - account, container, blob


def _token(href: str, account: str, container: str) -> Signature:
    where = "signing for the Planetary Computer"
    sas = _sas()
    sas.TOKEN_CACHE.clear()  # it would return a token until a minute before its end, however short that lives
    try:
        token = sas.get_token(account, container, retry_total=len(retry.SERVICE))
    except (requests.RequestException, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise documents.denied(where, href, status) from None
        raise documents.unreachable(where, href, storage.shown(error)) from None
    return Signature(token.token, renewal(token.expiry.astimezone(UTC)))


@cache
def _sas() -> ModuleType:
    """Tokens of the package, which is slow to import and uses deprecated parts of pydantic."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module("planetary_computer")
        return import_module("planetary_computer.sas")


def _service() -> str:
    """URL of the service that gives tokens."""
    _sas()
    return str(import_module("planetary_computer.settings").Settings.get().sas_url)


@cache
def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry.http()))
    return session


def _earthdata(href: str) -> Signature:
    where = "signing for Earthdata"
    # Not sent to any host: whoever wrote the catalog would get the token.
    token = _bearer(href)
    try:
        # One byte is enough to learn where the href leads.
        with _session().get(
            href, headers={"Range": "bytes=0-0"} | token, stream=True, timeout=storage.TIMEOUT
        ) as answer:
            status, final = answer.status_code, answer.url
            # A login page comes with status 200; taken for the file, it would fail as a damaged raster.
            form = answer.headers.get("Content-Type", "").startswith("text/html")
    except requests.RequestException as error:
        raise documents.unreachable(where, href, storage.shown(type(error).__name__)) from None
    if status in (401, 403) or urlsplit(final).hostname == LOGIN or form:
        raise RefusedError(f"{where}: access to {storage.shown(href)} is denied; {ACCOUNT}", storage.shown(href))
    if status in (404, 410):
        raise DataError(f"{where}: {storage.shown(href)} does not exist")
    if status >= requests.codes.bad_request:
        raise documents.unreachable(where, href, f"HTTP status {status}")
    end = storage.expiry(final)
    # No redirect: the host sends the file itself, to those only who show the login each time.
    if urlsplit(final)[:3] == urlsplit(href)[:3] and end is None:
        bare_request = requests.Request("GET", href).prepare()
        cookies = requests.cookies.get_cookie_header(_session().cookies, bare_request)  # type: ignore[no-untyped-call]
        storage.grant(href, token | ({"Cookie": cookies} if cookies else {}))
        final = href
    return Signature(final, datetime.now(UTC) + LASTING if end is None else renewal(end))


def _bearer(href: str) -> dict[str, str]:
    """Header with the token, for a host that may have it; requests leaves it out where that leads to another host."""
    token, host = os.environ.get(TOKEN), urlsplit(href).hostname or ""
    trusted = host in HERE or host == DOMAIN or host.endswith(f".{DOMAIN}")
    return {"Authorization": f"Bearer {token}"} if token and trusted else {}
