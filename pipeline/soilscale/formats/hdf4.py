"""HDF4 through pyhdf: scientific data sets, with or without the structure of HDF-EOS."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyhdf.error import HDF4Error
from pyhdf.SD import SD, SDC, SDS

from soilscale.formats.contents import Variable, plain

DTYPES = {
    SDC.CHAR: "S1",
    SDC.UCHAR: "uint8",
    SDC.INT8: "int8",
    SDC.UINT8: "uint8",
    SDC.INT16: "int16",
    SDC.UINT16: "uint16",
    SDC.INT32: "int32",
    SDC.UINT32: "uint32",
    SDC.FLOAT32: "float32",
    SDC.FLOAT64: "float64",
}
"""Number that HDF4 gives a type -> the type."""

ROWS = 64
"""Rows that are read at once at most, though an HDF4 file may be compressed as a whole: reading on is cheap."""


_lock = threading.RLock()
"""Held by whoever calls the library, which knows no threads."""


@contextmanager
def _library() -> Iterator[None]:
    """Call the library alone, and let its failures be those of a file.

    pyhdf ends access to whatever is collected, in whichever thread that happens, so that nothing of its may outlive the
    context: two threads within the library crash the process.
    """
    with _lock:
        try:
            yield
        except HDF4Error as error:
            # The frames hold objects of pyhdf, which would be closed later, outside the lock.
            traceback.clear_frames(error.__traceback__)
            raise OSError(str(error)) from error


class Hdf4:
    """An open HDF4 file of this machine."""

    format = "HDF4"

    def __init__(self, path: str) -> None:
        with _library():
            self._file = SD(path, SDC.READ)
            try:
                self._sets: dict[str, tuple[tuple[str, ...], Any, int, int]] = self._file.datasets()
            except HDF4Error:
                self._file.end()
                raise

    @cached_property
    def structure(self) -> str:
        """Text of ``StructMetadata.0`` and what follows it; empty where there is none."""
        with _library():
            attributes = self._file.attributes()
        parts = (attributes[name] for number in range(10) if (name := f"StructMetadata.{number}") in attributes)
        return "".join(str(part).rstrip("\x00") for part in parts)

    def names(self) -> Sequence[str]:
        """Names of all data sets."""
        return list(self._sets)

    def variable(self, name: str) -> Variable | None:
        """Data set of exactly this name, if there is one."""
        if name not in self._sets:
            return None
        dimensions, sizes, number, _ = self._sets[name]
        dtype, shape = np.dtype(DTYPES[number]), tuple(np.atleast_1d(sizes).tolist())
        with self._selected(name) as data:
            attributes = {key: plain(value) for key, value in data.attributes().items()}

        def read(part: tuple[slice, ...]) -> NDArray[Any]:
            start, count = [side.start for side in part], [side.stop - side.start for side in part]
            with self._selected(name) as data:
                stored = data.get(start, count)
            return np.asarray(stored).reshape(count).astype(dtype, copy=False)

        blocks = (*(1 for _ in shape[:-2]), *(min(ROWS, size) for size in shape[-2:-1]), *shape[-1:])
        return Variable(name, tuple(map(str, dimensions)), shape, dtype, attributes, blocks, read)

    @contextmanager
    def _selected(self, name: str) -> Iterator[SDS]:
        """Data set, for as long as the library is held."""
        with _library():
            data = self._file.select(name)
            try:
                yield data
            finally:
                data.endaccess()

    def close(self) -> None:
        """Let go of the file."""
        with _library():
            self._file.end()
