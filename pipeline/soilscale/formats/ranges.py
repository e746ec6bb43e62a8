"""A remote file for h5py: metadata in cached blocks, data in the ranges that are needed."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from soilscale import retry, storage
from soilscale.errors import RefusedError, ServiceError

BLOCK = 2**13
"""Bytes of metadata that are asked for at once at least; they lie scattered, so that more would be mostly waste."""

AHEAD = 64
"""Blocks that are asked for at once at most, where one after another is needed."""

KEPT = 1024
"""Blocks that are remembered."""

NEAR = 2**13
"""Bytes between two ranges up to which they are asked for as one."""

T = TypeVar("T")


class Ranges(io.RawIOBase):
    """A remote file, read by ranges; whoever reads it holds the lock of its `soilscale.formats.opening`.

    Parameters
    ----------
    url
        Signed if it must be.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ServiceError
        If the store cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.failure: Exception | None = None
        """Why the last request failed: h5py tells no more than that it did."""
        self.size = patiently(lambda: storage.size_of(url))
        self._place = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._next, self._ahead = -1, 1
        self._held: list[tuple[int, bytes]] = []

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read from anywhere."""
        return True

    def tell(self) -> int:
        """Next byte to be read."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Choose the next byte to be read."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Read as many bytes as a buffer takes."""
        start, stop = self._place, min(self._place + len(buffer), self.size)
        if start >= stop:
            return 0
        try:
            data = self._from_held(start, stop) or self._from_blocks(start, stop)
        except Exception as error:
            self.failure = error
            raise
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    @contextmanager
    def holding(self, ranges: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Fetch ranges, first byte and length of each, side by side, and hold them until the context ends."""
        merged = _merged([span for span in ranges if not self._has(*span)])
        try:
            if merged:
                parts = patiently(lambda: storage.read_ranges(self.url, merged))
                self._held = [(start, data) for (start, _), data in zip(merged, parts, strict=True)]
            yield
        finally:
            self._held = []

    def _has(self, start: int, size: int) -> bool:
        return all(block in self._blocks for block in range(start // BLOCK, (start + max(size, 1) - 1) // BLOCK + 1))

    def _from_held(self, start: int, stop: int) -> bytes | None:
        for first, data in self._held:
            if first <= start and stop <= first + len(data):
                return data[start - first : stop - first]
        return None

    def _from_blocks(self, start: int, stop: int) -> bytes:
        blocks = range(start // BLOCK, (stop - 1) // BLOCK + 1)
        lacking = [block for block in blocks if block not in self._blocks]
        if lacking:
            self._fetch(lacking[0], lacking[-1] + 1)
        data = b"".join(self._blocks[block] for block in blocks)
        for block in blocks:
            self._blocks.move_to_end(block)
        # At least those that were just fetched, or a read larger than the cache would lose its own blocks.
        while len(self._blocks) > max(KEPT, len(blocks)):
            self._blocks.popitem(last=False)
        first = blocks.start * BLOCK
        return data[start - first : stop - first]

    def _fetch(self, first: int, after: int) -> None:
        """Fetch blocks, and some more where they follow those that were fetched last."""
        # Doubled while it goes on in a row: a long index needs few requests, and a jump wastes little.
        self._ahead = min(2 * self._ahead, AHEAD) if first == self._next else 1
        after = max(after, min(first + self._ahead, -(-self.size // BLOCK)))
        span = first * BLOCK, min(after * BLOCK, self.size)
        (data,) = patiently(lambda: storage.read_ranges(self.url, [span]))
        for block in range(first, after):
            self._blocks[block] = data[(block - first) * BLOCK : (block - first + 1) * BLOCK]
        self._next = after


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last byte of ranges, those that lie next to each other as one."""
    merged: list[tuple[int, int]] = []
    for start, size in sorted(ranges):
        # A request costs more time than some bytes between that nobody needs.
        if merged and start - merged[-1][1] <= NEAR:
            merged[-1] = merged[-1][0], max(merged[-1][1], start + size)
        else:
            merged.append((start, start + size))
    return merged


def patiently(ask: Callable[[], T]) -> T:
    """What a store answers, asked again if it fails in a way that may pass."""
    # No is an answer: to ask again only delays the message.
    return retry.call(
        ask, lambda error: isinstance(error, ServiceError) and not isinstance(error, RefusedError), retry.FILE
    )
