"""Objects of a bucket written under a fence: only if nobody has written them since the right to write was proved.

A writer that is suspended between the proof and the request, or whose request is sent again after a broken connection,
would else replace what another has written meanwhile. An object that is not there is created on condition that there is
none, which costs no further request. One that is there is replaced on condition that it has the version that it had
*before* the proof: a later run's object has another, so the store refuses. Stores that ignore conditions write in any
case.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from fsspec import AbstractFileSystem

from soilscale.errors import ServiceError
from soilscale.storage import fencing
from soilscale.storage.clouds import ABSENT, NO_CONDITION, Cloud, code, size_of
from soilscale.storage.s3 import WHOLE

TAKEN = (
    "412",
    "PreconditionFailed",
    "ConditionNotMet",
    "409",
    "ConditionalRequestConflict",
    "BlobAlreadyExists",
)
"""Codes of a store that does not write an object, for its version is another, or it is being written by another."""

UNKNOWN = ("501", "NotImplemented")
"""Codes of a store that does not know a condition."""

ROUNDS = 8
"""How often an object is looked at again that others write at the same time."""


async def put(cloud: Cloud, fs: AbstractFileSystem, path: str, content: bytes | Path, kind: str | None = None) -> str:
    """Write an object, and return its `Entry.stamp`; empty if the store does not say.

    Parameters
    ----------
    path
        Bucket and key.
    content
        In memory, or a file of this machine.
    kind
        Media type.

    Raises
    ------
    ServiceError
        If others write the same object again and again.
    """
    version = await _put(cloud, fs, path, content, kind)
    return f"{size_of(content)} {version}" if version else ""


async def _put(cloud: Cloud, fs: AbstractFileSystem, path: str, content: bytes | Path, kind: str | None) -> str:
    if fencing.fence() is None:
        return await cloud.send(fs, path, content, NO_CONDITION, kind)
    # Looked at first where it is much to send: a store may refuse only when all has come.
    large = size_of(content) >= WHOLE
    condition = await cloud.version(fs, path) if large else ABSENT
    await _permit(afresh=large)
    for _ in range(ROUNDS):
        try:
            return await cloud.send(fs, path, content, condition, kind)
        except Exception as error:
            if code(error) in UNKNOWN and condition != NO_CONDITION:
                # Without conditions, the proof of the lease is the only protection.
                condition = NO_CONDITION
                continue
            if not is_taken(error):
                raise
        # The order matters: whatever a later holder writes after the proof has another version, so it is not replaced.
        condition = await cloud.version(fs, path)
        await _permit(afresh=True)
    raise ServiceError(
        f"cannot write {cloud.schemes[0]}://{path}: another process is writing it at the same time; run the same "
        "command again"
    )


def is_taken(error: Exception) -> bool:
    """Whether a store has refused to write an object since its version is not the one that was expected."""
    return isinstance(error, FileExistsError) or code(error) in TAKEN


async def _permit(*, afresh: bool = False) -> None:
    """Ask the fence in a thread, for its proof may be a request that waits for the loop of this coroutine."""
    await asyncio.to_thread(fencing.permit, afresh=afresh)
