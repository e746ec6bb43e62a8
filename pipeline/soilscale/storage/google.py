"""Google Cloud Storage through gcsfs: objects known by their generations, by which any write may be conditional."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fsspec import AbstractFileSystem, register_implementation
from fsspec.asyn import sync

from soilscale.storage.clouds import (
    ABSENT,
    NO_CONDITION,
    TIMEOUT,
    Cloud,
    Entry,
    content_of,
    is_set,
    missing_extra,
    size_of,
)

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from google.auth.credentials import Credentials

EMULATOR = "STORAGE_EMULATOR_HOST"
"""Environment variable that names another server, as Google's own clients know it."""

UNSIGNED = "GS_NO_SIGN_REQUEST"
"""Environment variable that says, with the value ``YES``, that buckets are public; GDAL knows it too."""

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

WHOLE = 64 * 2**20
"""Bytes from which on an object is sent in parts of so many; Google takes multiples of 256 KiB."""

BOUNDARY = "soilscale-f2b1c7d0a94e4e1f"
"""What separates the parts of an upload; nobody writes it by chance."""

FIELDS = "name,size,generation"

LEFT_TO_GCSFS = frozenset({401, 404, 408, 412, 429})
"""Statuses that gcsfs understands, and tries again where that may help."""


class _RefusedError(OSError):
    """Answer of the store that gcsfs would turn into an error without a code."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _NoBucketError(FileNotFoundError):
    """Answer of the store that there is no such bucket, which gcsfs cannot tell from a missing object."""

    response = {"Error": {"Code": "NoSuchBucket"}}  # noqa: RUF012 - read by `clouds.code`, never changed


async def _judge(answer: ClientResponse) -> None:
    """Raise for answers of which gcsfs would drop the code; aiohttp asks before gcsfs looks."""
    if answer.status < 400 or answer.status >= 500:  # noqa: PLR2004 - HTTP
        return
    text = (await answer.read())[:500].decode(errors="replace")
    # Below `/o` there are no objects of a bucket that is there only when one is named.
    if answer.status == 404 and (answer.url.path.endswith("/o") or "bucket does not exist" in text):  # noqa: PLR2004
        raise _NoBucketError(_message(text))
    if answer.status not in LEFT_TO_GCSFS:
        raise _RefusedError(answer.status, f"{answer.method} {answer.url.path}: {_message(text)}")


def _message(text: str) -> str:
    """What an answer says, be it JSON or plain."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


@cache
def credentials() -> Credentials | None:
    """Application default credentials: a file, the login of gcloud, or the workload's identity. None: unsigned."""
    if os.environ.get(EMULATOR) or is_set(UNSIGNED):
        return None
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError:
        return None
    return credentials


def _emulator() -> str | None:
    """URL of the server that stands for Google's, if one does."""
    server = os.environ.get(EMULATOR, "").rstrip("/")
    return f"http://{server}" if server and "://" not in server else server or None


class Google(Cloud):
    """Objects known by their generations."""

    name, schemes, package, extra, vsi = "Google Cloud Storage", ("gs", "gcs"), "gcsfs", "gs", "/vsigs/"
    asking = "workload identity, GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`"

    def options(self) -> dict[str, Any]:
        # Saves seconds of import.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        try:
            from aiohttp import ClientTimeout
            from gcsfs.core import GCSFileSystem
        except ImportError as error:
            raise missing_extra(self, error) from error
        # Whoever has imported gcsfs before: its other class asks by gRPC what kind every bucket is.
        for scheme in self.schemes:
            register_implementation(scheme, GCSFileSystem, clobber=True)
        connect, wait = TIMEOUT
        return {
            "endpoint_url": _emulator(),
            "token": "anon" if self.is_anonymous() else credentials(),
            "requests_timeout": ClientTimeout(total=None, sock_connect=connect, sock_read=wait),
            "session_kwargs": {"raise_for_status": _judge, "trust_env": True},
        }

    def failures(self) -> tuple[type[Exception], ...]:
        from gcsfs.retry import ChecksumError, HttpError
        from google.auth.exceptions import GoogleAuthError

        return HttpError, ChecksumError, GoogleAuthError

    def refusals(self) -> tuple[type[Exception], ...]:
        from google.auth.exceptions import DefaultCredentialsError, RefreshError

        return DefaultCredentialsError, RefreshError

    def is_anonymous(self) -> bool:
        return credentials() is None

    def place(self) -> str:
        return _emulator() or "Google"

    def gdal_options(self) -> dict[str, str]:
        server = _emulator()
        return {"CPL_GS_ENDPOINT": f"{server}/"} if server else {}

    def gdal_credentials(self) -> dict[str, str]:
        google_credentials = credentials()
        if google_credentials is None:
            return {"GS_NO_SIGN_REQUEST": "YES"}
        if not google_credentials.valid:
            from google.auth.transport.requests import Request

            google_credentials.refresh(Request())
        return {"GDAL_HTTP_HEADERS": f"Authorization: Bearer {google_credentials.token}"}

    async def send(
        self, fs: AbstractFileSystem, path: str, content: bytes | Path, condition: str, kind: str | None = None
    ) -> str:
        bucket, key, _ = fs.split_path(path)
        kind = kind or "application/octet-stream"
        when = {} if condition == NO_CONDITION else {"ifGenerationMatch": condition or "0"}
        where = f"{fs._location}/upload/storage/v1/b/{quote(bucket, safe='')}/o"  # noqa: SLF001 - as gcsfs does
        if size_of(content) >= WHOLE:
            return await _send_parts(fs, f"{where}?name={quote(key, safe='')}", content, kind, when)
        body = content_of(content)
        # In two parts, for emulators honour conditions of such an upload alone.
        answer = await fs._call(  # noqa: SLF001 - gcsfs' own calls know no condition but that there is none
            "POST",
            where,
            uploadType="multipart",
            headers={"Content-Type": f'multipart/related; boundary="{BOUNDARY}"'},
            data=_stream(_two_parts(key, body, kind)),
            json_out=True,
            **when,
        )
        return str(answer["generation"])

    async def head(self, fs: AbstractFileSystem, path: str) -> Entry:
        bucket, key, _ = fs.split_path(path)
        return _entry(await fs._call("GET", "b/{}/o/{}", bucket, key, fields=FIELDS, json_out=True))  # noqa: SLF001

    def pages(
        self, fs: AbstractFileSystem, bucket: str, prefix: str, most: int, folders: list[str] | None = None
    ) -> Iterator[list[Entry]]:
        parameters: dict[str, Any] = {"prefix": prefix, "maxResults": most}
        parameters["fields"] = f"items({FIELDS}),prefixes,nextPageToken"
        if folders is not None:
            parameters["delimiter"] = "/"
        while True:
            page = sync(fs.loop, fs._call, "GET", "b/{}/o", bucket, json_out=True, **parameters)  # noqa: SLF001 - likewise
            yield [_entry(item) for item in page.get("items", ())]
            if folders is not None:
                folders += page.get("prefixes", ())
            if not page.get("nextPageToken"):
                return
            parameters["pageToken"] = page["nextPageToken"]


def _stream(data: bytes) -> io.BytesIO:
    """Body that aiohttp sends piece by piece, and that stays open for a further try."""
    from gcsfs.core import UnclosableBytesIO

    return UnclosableBytesIO(data)


def _two_parts(key: str, body: bytes, kind: str) -> bytes:
    """Name and content of an object as one request's body."""
    head = json.dumps({"name": key})
    start = f"--{BOUNDARY}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{head}\r\n"
    return f"{start}--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n".encode() + body + f"\r\n--{BOUNDARY}--".encode()


def _entry(item: dict[str, Any]) -> Entry:
    return Entry(item["name"], int(item["size"]), str(item["generation"]))


async def _send_parts(
    fs: AbstractFileSystem, where: str, content: bytes | Path, kind: str, when: dict[str, str]
) -> str:
    """Write an object part by part; the condition holds for the whole, whose last part makes it appear."""
    size = size_of(content)
    headers, _ = await fs._call(  # noqa: SLF001 - likewise
        "POST", where, uploadType="resumable", headers={"X-Upload-Content-Type": kind}, json={}, **when
    )
    answer: dict[str, Any] | None = None
    for first in range(0, size, WHOLE):
        part = _part(content, first)
        span = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{size}"}
        _, text = await fs._call("PUT", headers["Location"], headers=span, data=_stream(part))  # noqa: SLF001 - likewise
        answer = json.loads(text) if text else None
    return str(answer["generation"]) if answer else ABSENT


def _part(content: bytes | Path, first: int) -> bytes:
    if isinstance(content, bytes):
        return content[first : first + WHOLE]
    with content.open("rb") as stream:
        stream.seek(first)
        return stream.read(WHOLE)
