"""Whether a process may still write: checked right before each write and removal, in one place for all of them.

What is proved is up to who fences: `engine.lease` proves that no later term of the output's lease has begun. A fence
also keeps what was written under it, so that a write of another process in its place can be seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Written:
    """An object as it was written."""

    size: int
    """Bytes."""
    checksum: str
    """MD5 of its content, hexadecimal."""
    stamp: str = ""
    """`objects.stamp` of it, as far as its writer knows it: an equal one means that the object was not replaced."""


@dataclass
class Fence:
    """Right to write, and what was written by it."""

    prove: Callable[[bool], None]
    """Raises if the right has ended; takes whether a proof of a moment ago is not enough."""
    written: dict[str, Written] = field(default_factory=dict)
    """Objects, by their URLs, as they were written last."""
    makers: dict[str, str] = field(default_factory=dict)
    """Of objects that others wrote, by their URLs, what to know those others by."""
    removed: set[str] = field(default_factory=set)
    """URLs of objects, and of folders with all that is below, that were removed, be it that they were written anew."""

    def below(self, url: str) -> dict[str, Written]:
        """What was written below a folder, by its names relative to it."""
        folder = f"{url}/"
        return {name.removeprefix(folder): stamp for name, stamp in self.written.items() if name.startswith(folder)}

    def enter(self, url: str, written: Mapping[str, Written], by: str) -> None:
        """Keep what others wrote below a folder for whom this one writes too, by its names relative to it."""
        entered = {f"{url}/{name}": stamp for name, stamp in written.items()}
        self.written |= entered
        self.makers |= dict.fromkeys(entered, by)

    def maker(self, url: str, name: str) -> str:
        """By whom an object below a folder was written; empty if by this process."""
        return self.makers.get(f"{url}/{name}", "")

    def has_removed(self, url: str, name: str) -> bool:
        """Whether an object below a folder, or a folder that it lies in, was removed."""
        parts = name.split("/")
        return any(f"{url}/{'/'.join(parts[:end])}" in self.removed for end in range(1, len(parts) + 1))


_FENCE: ContextVar[Fence | None] = ContextVar("fence", default=None)
"""Of a context, not of the process: the threads of a worker may write for several runs."""


def fence() -> Fence | None:
    """Fence under which this context writes."""
    return _FENCE.get()


@contextmanager
def fenced(prove: Callable[[bool], None]) -> Iterator[Fence]:
    """Fence all that is written and removed in this context.

    Zarr and fsspec write in threads of their own, to which they pass the context on.

    Parameters
    ----------
    prove
        Called before each write and removal; raises if this process may write no more. Takes whether a proof of a
        moment ago is not enough.
    """
    new_fence = Fence(prove)
    token = _FENCE.set(new_fence)
    try:
        yield new_fence
    finally:
        _FENCE.reset(token)


def permit(*, afresh: bool = False) -> None:
    """Raise what the fence of this context raises if nothing may be written any more."""
    standing = _FENCE.get()
    if standing is not None:
        standing.prove(afresh)


def note(url: str, content: Iterable[bytes], stamp: str) -> None:
    """Keep what was written, where there is a fence; `stamp` is the object's, empty if it is not known."""
    standing = _FENCE.get()
    if standing is not None:
        standing.written[url] = Written(*summed(content), stamp)
        # Ours from now on, whoever wrote it before.
        standing.makers.pop(url, None)


def forget(urls: Iterable[str]) -> None:
    """Keep no longer what was written and is removed, an object or all that lies below it."""
    standing = _FENCE.get()
    if standing is not None:
        removed = tuple(url.rstrip("/") for url in urls)
        below = tuple(f"{url}/" for url in removed)
        for url in [url for url in standing.written if url in removed or url.startswith(below)]:
            del standing.written[url]
        standing.removed |= set(removed)


def summed(content: Iterable[bytes]) -> tuple[int, str]:
    """Size and MD5 of content that comes in pieces."""
    size, checksum = 0, hashlib.md5(usedforsecurity=False)
    for piece in content:
        size += len(piece)
        checksum.update(piece)
    return size, checksum.hexdigest()


def pieces(path: Path, size: int = 2**20) -> Iterator[bytes]:
    """Content of a file, some of it at a time."""
    with path.open("rb") as stream:
        while piece := stream.read(size):
            yield piece
