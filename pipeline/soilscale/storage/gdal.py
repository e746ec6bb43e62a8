"""GDAL settings to read assets in place, with the store and credentials that everything else uses."""

from __future__ import annotations

import os

from rasterio.session import Session

from soilscale import retry
from soilscale.storage import access, hrefs, stores
from soilscale.storage.clouds import Cloud

BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file of trusted authorities for stores and catalogs; GDAL itself reads none of them."""


def gdal_path(href: str) -> str:
    """Name by which GDAL opens an asset where it lies, without copying it."""
    if (store := stores.cloud(href)) is not None:
        return f"{store.vsi}{href.partition('://')[2]}"
    if hrefs.WEB.match(href):
        return f"/vsicurl/{hrefs.encoded(href)}"
    return hrefs.local_path(href) if hrefs.is_file_url(href) else href


def gdal_beside(path: str) -> dict[str, str]:
    """GDAL settings with which it sees what lies beside a local file: masks, georeference, metadata.

    It asks for each by its name and lists no folder, which may hold very many. Of a remote file every name would be a
    request.
    """
    return {} if path.startswith("/vsi") else {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}


def gdal_options(href: str = "") -> dict[str, str]:
    """GDAL settings for reading ranges of a remote file, with retries; endpoint and authorities where they are set."""
    options = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_MAX_RETRY": str(retry.GDAL),
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        "GDAL_HTTP_CONNECTTIMEOUT": "10",
        "GDAL_HTTP_MULTIRANGE": "YES",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        # What is asked for at once at least, headers among it; GDAL's own 16 KiB are more than many a window. The first
        # file that a process reads decides for all.
        "CPL_VSIL_CURL_CHUNK_SIZE": "4096",
        # A block cache of 32 KiB pieces on top of that would only read more than asked.
        "VSI_CACHE": "FALSE",
        "GDAL_NUM_THREADS": "1",
    }
    if granted := access.headers(href):
        options["GDAL_HTTP_HEADERS"] = "\r\n".join(f"{name}: {value}" for name, value in granted.items())
    if bundle := next(filter(None, map(os.environ.get, BUNDLES)), None):
        options["GDAL_CURL_CA_BUNDLE"] = bundle
    if (store := stores.cloud(href)) is not None:
        options |= store.gdal_options()
    return options


class _CloudSession(Session):  # type: ignore[misc]  # rasterio has no types
    """Credentials for rasterio, which without the clouds' libraries knows of none but what GDAL itself finds."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def get_credential_options(self) -> dict[str, str]:
        """Credentials as GDAL's settings, those of this moment; unsigned requests where there are none."""
        return self.cloud.gdal_credentials()


def gdal_session(href: str) -> Session | None:
    """Credentials with which GDAL reads an asset; None where its store takes none from the environment."""
    store = stores.cloud(href)
    return None if store is None else _CloudSession(store)
