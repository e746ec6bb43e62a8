"""Azure Blob Storage through adlfs: objects known by their ETags, by which any write may be conditional."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem
from fsspec.asyn import sync

from soilscale.errors import ConfigurationError
from soilscale.storage.clouds import NO_CONDITION, TIMEOUT, Cloud, Entry, is_set, missing_extra, setting

if TYPE_CHECKING:
    from azure.identity import DefaultAzureCredential

CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
ACCOUNT = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
KEY = ("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY")
SIGNATURE = ("AZURE_STORAGE_SAS_TOKEN",)
"""Environment variables by the names that GDAL, adlfs and the Azure CLI give them."""

UNSIGNED = "AZURE_NO_SIGN_REQUEST"
"""Environment variable that says, with the value ``YES``, that containers are public; GDAL knows it too."""

SCOPE = "https://storage.azure.com/.default"


def _environment(*names: str) -> str | None:
    return setting(*names, environment=os.environ)


@cache
def credential() -> DefaultAzureCredential:
    """The identity of the workload, of the machine, or of a login; it renews its tokens itself."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


class Azure(Cloud):
    """Objects known by their ETags."""

    name, schemes, package, extra, vsi = "Azure Blob Storage", ("az", "abfs", "abfss"), "adlfs", "az", "/vsiaz/"
    asking = f"workload identity, {CONNECTION}, or {ACCOUNT[0]} with {KEY[0]} or {SIGNATURE[0]}"

    def options(self) -> dict[str, Any]:
        try:
            import adlfs  # noqa: F401 - whether it is there
        except ImportError as error:
            raise missing_extra(self, error) from error
        if not _environment(CONNECTION, *ACCOUNT):
            raise ConfigurationError(
                f"az:// needs the name of the storage account: set {ACCOUNT[0]}, or {CONNECTION}, in the environment "
                "of the command and of its workers"
            )
        connect, wait = TIMEOUT
        return {
            "connection_string": _environment(CONNECTION),
            "account_name": _environment(*ACCOUNT),
            "account_key": _environment(*KEY),
            "sas_token": _environment(*SIGNATURE),
            "anon": is_set(UNSIGNED),
            "connection_timeout": int(connect),
            "read_timeout": int(wait),
        }

    def failures(self) -> tuple[type[Exception], ...]:
        from azure.core.exceptions import AzureError

        return (AzureError,)

    def refusals(self) -> tuple[type[Exception], ...]:
        from azure.core.exceptions import ClientAuthenticationError

        return (ClientAuthenticationError,)

    def is_anonymous(self) -> bool:
        return is_set(UNSIGNED)

    def place(self) -> str:
        return _environment(*ACCOUNT) or f"the account of {CONNECTION}"

    def gdal_options(self) -> dict[str, str]:
        if connection := _environment(CONNECTION):
            return {CONNECTION: connection}
        account = _environment(*ACCOUNT)
        return {ACCOUNT[0]: account} if account else {}

    def gdal_credentials(self) -> dict[str, str]:
        if _environment(CONNECTION):
            return {}
        if is_set(UNSIGNED):
            return {UNSIGNED: "YES"}
        if key := _environment(*KEY):
            return {KEY[0]: key}
        if signature := _environment(*SIGNATURE):
            return {SIGNATURE[0]: signature.removeprefix("?")}
        return {"AZURE_STORAGE_ACCESS_TOKEN": credential().get_token(SCOPE).token}

    async def send(
        self, fs: AbstractFileSystem, path: str, content: bytes | Path, condition: str, kind: str | None = None
    ) -> str:
        from azure.core import MatchConditions
        from azure.storage.blob import ContentSettings

        how: dict[str, Any] = {"overwrite": bool(condition)}
        if condition not in {NO_CONDITION, ""}:
            how |= {"etag": condition, "match_condition": MatchConditions.IfNotModified}
        if kind:
            how["content_settings"] = ContentSettings(content_type=kind)
        async with _blob(fs, path) as blob:
            if isinstance(content, bytes):
                answer = await blob.upload_blob(content, **how)
            else:
                with content.open("rb") as stream:
                    answer = await blob.upload_blob(stream, **how)
        return _tag(answer["etag"])

    async def head(self, fs: AbstractFileSystem, path: str) -> Entry:
        from azure.core.exceptions import ResourceNotFoundError

        async with _blob(fs, path) as blob:
            try:
                answer = await blob.get_blob_properties()
            except ResourceNotFoundError as error:
                raise FileNotFoundError(path) from error
        return Entry(str(answer.name), int(answer.size), _tag(answer.etag))

    def pages(
        self, fs: AbstractFileSystem, bucket: str, prefix: str, most: int, folders: list[str] | None = None
    ) -> Iterator[list[Entry]]:
        token = None
        while True:
            token, page = sync(fs.loop, _page, fs, bucket, prefix, most, token, folders)
            yield page
            if not token:
                return


def _blob(fs: AbstractFileSystem, path: str) -> Any:
    container, key, _ = fs.split_path(path)
    return fs.service_client.get_blob_client(container=container, blob=key)


def _tag(text: str) -> str:
    """ETag in quotes, which a listing leaves out."""
    return '"{}"'.format(text.strip('"'))


def _is_folder(blob: Any) -> bool:
    """Whether an entry of an account with a hierarchical namespace is a folder."""
    return (blob.metadata or {}).get("hdi_isfolder") == "true"


async def _page(
    fs: AbstractFileSystem, container: str, prefix: str, most: int, token: str | None, folders: list[str] | None
) -> tuple[str | None, list[Entry]]:
    """One request's blobs, and the mark from which the next goes on; folders go to `folders`, if that is given."""
    from azure.storage.blob import BlobProperties

    async with fs.service_client.get_container_client(container) as client:
        # Metadata say which entries of an account with a hierarchical namespace are folders.
        ask = client.list_blobs if folders is None else client.walk_blobs
        listing = ask(name_starts_with=prefix, include=["metadata"], results_per_page=most)
        pages = listing.by_page(continuation_token=token)
        async for page in pages:
            every = [blob async for blob in page]
            if folders is not None:
                folders += [blob.name for blob in every if not isinstance(blob, BlobProperties)]
            blobs = [blob for blob in every if isinstance(blob, BlobProperties) and not _is_folder(blob)]
            return pages.continuation_token, [Entry(blob.name, int(blob.size), _tag(blob.etag)) for blob in blobs]
    return None, []
