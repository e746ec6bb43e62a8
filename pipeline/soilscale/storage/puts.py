"""Objects of S3 written under a fence: only if nobody has written them since the right to write was proved.

A writer that is suspended between the proof and the request, or whose request is sent again after a broken connection,
would else replace what another has written meanwhile. An object that is not there is created by ``If-None-Match: *``,
which costs no further request. One that is there is replaced by ``If-Match`` with the ETag that it had *before* the
proof: a later run's object has another, so the store refuses. Stores that ignore conditions write in any case.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soilscale.errors import ServiceError
from soilscale.storage import fencing
from soilscale.storage.stores import code, has_bucket

if TYPE_CHECKING:
    from s3fs import S3FileSystem

PART = 16 * 2**20
"""Bytes of a part of an object that is sent in several."""

WHOLE = 2 * PART
"""Bytes from which on an object is sent in parts."""

PARTS_AT_A_TIME = 4

TAKEN = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")
"""Codes of a store that does not write an object as new, for it is there, or is being written by another."""

UNKNOWN = ("501", "NotImplemented")
"""Codes of a store that does not know a condition."""

ROUNDS = 8
"""How often an object is looked at again that others write at the same time."""

ABSENT = {"IfNoneMatch": "*"}
"""Condition that there is no such object."""


async def put(fs: S3FileSystem, path: str, data: bytes, **headers: str) -> str:
    """Write an object that is sent in one request, and return its ETag.

    Parameters
    ----------
    path
        Bucket and key.
    headers
        Further parameters of ``PutObject``.

    Raises
    ------
    ServiceError
        If others write the same object again and again.
    """
    if fencing.fence() is None:
        return await _send(fs, path, data, headers)
    await _permit()
    condition = ABSENT
    for _ in range(ROUNDS):
        try:
            return await _send(fs, path, data, headers | condition)
        except OSError as error:
            if code(error) in UNKNOWN and condition:
                # Without conditions, the proof of the lease is the only protection.
                condition = {}
                continue
            if code(error) not in TAKEN and not isinstance(error, FileExistsError):
                raise
        # The order matters: whatever a later holder writes after the proof has another ETag, so it is not replaced.
        condition = await _standing(fs, path)
        await _permit(afresh=True)
    raise ServiceError(
        f"cannot write s3://{path}: another process is writing it at the same time; run the same command again"
    )


async def _permit(*, afresh: bool = False) -> None:
    """Ask the fence in a thread, for its proof may be a request that waits for the loop of this coroutine."""
    await asyncio.to_thread(fencing.permit, afresh=afresh)


async def _send(fs: S3FileSystem, path: str, data: bytes, headers: dict[str, str]) -> str:
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("put_object", Bucket=bucket, Key=key, Body=data, **headers)  # noqa: SLF001 - as s3fs does
    return str(answer["ETag"])


async def _standing(fs: S3FileSystem, path: str) -> dict[str, str]:
    """Condition that an object is what it is at present."""
    bucket, key, _ = fs.split_path(path)
    try:
        answer = await fs._call_s3("head_object", Bucket=bucket, Key=key)  # noqa: SLF001 - likewise
    except FileNotFoundError as error:
        if not has_bucket(error):
            raise
        return ABSENT
    return {"IfMatch": str(answer["ETag"])}


def put_parts(fs: S3FileSystem, path: str, content: Path | bytes) -> None:
    """Write an object that is sent in parts: created on condition, replaced after a proof afresh.

    A content in memory is taken as it is, a file read part by part.
    """
    if fencing.fence() is not None and not fs.exists(path):
        fencing.permit(afresh=True)
        try:
            _send_parts(fs, path, content, "create")
        except OSError as error:
            if code(error) not in TAKEN and not isinstance(error, FileExistsError):
                raise
        else:
            return
    fencing.permit(afresh=True)
    # A replacement in parts is unconditional; an overwrite by another run is detected later, see ADR 32.
    _send_parts(fs, path, content, "overwrite")


def _send_parts(fs: S3FileSystem, path: str, content: Path | bytes, mode: str) -> None:
    how: dict[str, Any] = {"chunksize": PART, "max_concurrency": PARTS_AT_A_TIME, "mode": mode}
    if isinstance(content, bytes):
        fs.pipe_file(path, content, **how)
    else:
        fs.put_file(str(content), path, **how)
