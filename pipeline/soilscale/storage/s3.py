"""S3, of AWS and of others, through s3fs and botocore."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem

from soilscale import retry
from soilscale.errors import ConfigurationError, ServiceError
from soilscale.storage.clouds import ABSENT, NO_CONDITION, TIMEOUT, Cloud, Entry, content_of, size_of

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session

PAYER = "AWS_REQUEST_PAYER"
"""Environment variable that says, with the value ``requester``, that who reads from S3 pays; GDAL knows it too."""

PART = 16 * 2**20
"""Bytes of a part of an object that is sent in several."""

WHOLE = 2 * PART
"""Bytes from which on an object is sent in parts."""

PARTS_AT_A_TIME = 4


@cache
def session() -> Session:
    """What botocore knows of the environment and of the files of its profile."""
    from botocore.session import get_session

    return get_session()


def _quick_session() -> Any:
    """Session of a file system that reads times quickly: those of its objects are four fifths of a listing's cost."""
    from aiobotocore.session import AioSession

    made = AioSession()
    made.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=instant)
    return made


def instant(text: Any) -> datetime:
    """Time of an answer, as botocore reads it, which tries several forms before that of S3."""
    if isinstance(text, str) and text.endswith("Z") and "T" in text:
        with suppress(ValueError):
            return datetime.fromisoformat(text)
    from botocore.utils import parse_timestamp

    return parse_timestamp(text)


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

    boto_session = session()
    try:
        if boto_session.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        # Resolved by botocore's own rules, so that GDAL is sent to the same store as s3fs.
        url: str | None = ConfiguredEndpointProvider(
            full_config=boto_session.full_config, scoped_config=boto_session.get_scoped_config(), client_name="s3"
        ).provide()
    except ProfileNotFound:
        return None
    return url


class S3(Cloud):
    """Objects known by their ETags."""

    name, schemes, package, extra, vsi = "S3", ("s3", "s3a"), "s3fs", "", "/vsis3/"
    asking = "AWS_* in the environment, or the profile that AWS_PROFILE names"
    removed_at_a_time = 1000

    def options(self) -> dict[str, Any]:
        connect, wait = TIMEOUT
        unsigned = self.is_anonymous()
        mode = session().get_config_variable("retry_mode")
        tries = {
            # `legacy` is botocore's default where nobody has chosen a mode.
            "mode": "standard" if mode == "legacy" else mode,
            "total_max_attempts": session().get_config_variable("max_attempts") or retry.STORE,
        }
        return {
            "anon": unsigned,
            "requester_pays": os.environ.get(PAYER) == "requester",
            "max_concurrency": 1,
            "config_kwargs": {"connect_timeout": connect, "read_timeout": wait, "retries": tries},
        }

    def prepare(self, fs: AbstractFileSystem) -> None:
        fs.retries = retry.THROTTLED
        if fs.session is None:
            fs.session = _quick_session()

    def failures(self) -> tuple[type[Exception], ...]:
        from botocore.exceptions import BotoCoreError, ClientError

        return BotoCoreError, ClientError

    def refusals(self) -> tuple[type[Exception], ...]:
        from botocore import exceptions

        return (
            exceptions.CredentialRetrievalError,
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.TokenRetrievalError,
        )

    def is_anonymous(self) -> bool:
        return credentials() is None

    def place(self) -> str:
        return endpoint() or "AWS"

    def gdal_options(self) -> dict[str, str]:
        parts = urlsplit(endpoint() or "")
        if not parts.netloc:
            return {}
        return {
            "AWS_S3_ENDPOINT": parts.netloc + parts.path.rstrip("/"),
            "AWS_HTTPS": "YES" if parts.scheme == "https" else "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }

    def gdal_credentials(self) -> dict[str, str]:
        session_credentials, where = credentials(), region()
        options = {"AWS_REGION": where} if where else {}
        if session_credentials is None:
            return options | {"AWS_NO_SIGN_REQUEST": "YES"}
        keys = session_credentials.get_frozen_credentials()
        options |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
        return options | {"AWS_SESSION_TOKEN": keys.token or ""}

    async def send(
        self, fs: AbstractFileSystem, path: str, content: bytes | Path, condition: str, kind: str | None = None
    ) -> str:
        if size_of(content) >= WHOLE:
            # A replacement in parts is unconditional; an overwrite by another run is detected later, see ADR 32.
            how = {"chunksize": PART, "max_concurrency": PARTS_AT_A_TIME}
            mode = "create" if condition == ABSENT else "overwrite"
            if isinstance(content, bytes):
                await fs._pipe_file(path, content, **how, mode=mode)  # noqa: SLF001 - the coroutine has no other name
            else:
                await fs._put_file(str(content), path, **how, mode=mode)  # noqa: SLF001 - likewise
            return ""
        bucket, key, _ = fs.split_path(path)
        body = content_of(content)
        headers = {"ContentType": kind} if kind else {}
        if condition != NO_CONDITION:
            headers |= {"IfMatch": condition} if condition else {"IfNoneMatch": "*"}
        answer = await fs._call_s3("put_object", Bucket=bucket, Key=key, Body=body, **headers)  # noqa: SLF001 - likewise
        return str(answer["ETag"])

    async def head(self, fs: AbstractFileSystem, path: str) -> Entry:
        bucket, key, _ = fs.split_path(path)
        answer = await fs._call_s3("head_object", Bucket=bucket, Key=key)  # noqa: SLF001 - as s3fs does
        return Entry(key, int(answer["ContentLength"]), str(answer["ETag"]))

    def pages(
        self, fs: AbstractFileSystem, bucket: str, prefix: str, most: int, folders: list[str] | None = None
    ) -> Iterator[list[Entry]]:
        parameters = {} if folders is None else {"Delimiter": "/"}
        while True:
            page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=most, **parameters)
            yield [Entry(entry["Key"], int(entry["Size"]), entry["ETag"]) for entry in page.get("Contents", ())]
            if folders is not None:
                folders += [folder["Prefix"] for folder in page.get("CommonPrefixes", ())]
            if not page.get("IsTruncated"):
                return
            parameters |= {"ContinuationToken": page["NextContinuationToken"]}

    def remove(self, fs: AbstractFileSystem, url: str, paths: Sequence[str]) -> None:
        bucket = paths[0].partition("/")[0]
        keys = [{"Key": path.partition("/")[2]} for path in paths]
        answer = fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        # s3fs itself takes no notice of those that the store did not remove.
        for error in answer.get("Errors", ()):
            raise ServiceError(
                f"cannot remove {url}: {error.get('Key')}: {error.get('Message') or error.get('Code')}; check that "
                "the credentials may delete there, then run the same command again"
            )
