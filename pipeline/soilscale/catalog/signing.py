"""Signing: the short-lived URL under which a protected asset can be read, asked for when it is opened."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from soilscale import storage
from soilscale.catalog import documents
from soilscale.errors import DataError, ServiceError
from soilscale.sources import Sign

TOKEN = "EARTHDATA_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable that holds an Earthdata bearer token."""

LOGIN = "urs.earthdata.nasa.gov"
"""Host that Earthdata sends those to who have not logged in."""


def sign(href: str, sign: Sign) -> str:
    """Href under which an asset can be read for a while; called by the worker, when it opens the asset.

    Parameters
    ----------
    href
        Absolute href, as frozen.
    sign
        ``planetary-computer``: a token is added to hrefs of its blob storage (package planetary-computer; the
        variable PC_SDK_SUBSCRIPTION_KEY is honoured); others stay as they are. ``earthdata``: the href is asked for
        with the token of EARTHDATA_TOKEN, or else the login in ``~/.netrc``, and the signed URL that it leads to is
        returned. ``none``: the href stays as it is.

    Raises
    ------
    ServiceError
        If the service cannot be reached, or denies access; the message holds no secret.
    DataError
        If Earthdata has no such file.
    """
    if sign == "planetary-computer":
        return _planetary_computer(href)
    if sign == "earthdata" and href.startswith(("http://", "https://")):
        return _earthdata(href)
    return href


def _planetary_computer(href: str) -> str:
    where = "signing for the Planetary Computer"
    try:
        return str(_sas()(href))
    except (requests.RequestException, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise documents.denied(where, href, status) from None
        raise documents.unreachable(where, href, storage.shown(error)) from None


@cache
def _sas() -> Callable[[str], str]:
    """Signing function of the package, which is slow to import and uses deprecated parts of pydantic."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signer: Callable[[str], str] = import_module("planetary_computer").sign_url
    return signer


@cache
def _session() -> requests.Session:
    session = requests.Session()
    retry = Retry(
        total=len(documents.DELAYS),
        backoff_factor=documents.DELAYS[0],
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _earthdata(href: str) -> str:
    where = "signing for Earthdata"
    token = os.environ.get(TOKEN)
    headers = {"Range": "bytes=0-0"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with _session().get(href, headers=headers, stream=True, timeout=storage.TIMEOUT) as answer:
            status, final = answer.status_code, answer.url
    except requests.RequestException as error:
        raise documents.unreachable(where, href, storage.shown(type(error).__name__)) from None
    if status in (401, 403) or urlsplit(final).hostname == LOGIN:
        raise ServiceError(
            f"{where}: access to {storage.shown(href)} is denied; set {TOKEN} to a token that is still valid, "
            f"or write a login for {LOGIN} into ~/.netrc"
        )
    if status in (404, 410):
        raise DataError(f"{where}: {storage.shown(href)} is not there")
    if status >= requests.codes.bad_request:
        raise documents.unreachable(where, href, f"HTTP status {status}")
    return final
