"""Small arrays that a unit keeps in its marker, later gathered into chunks of a size that suits object stores."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numcodecs import Zstd
from numpy.typing import NDArray

from soilscale import storage
from soilscale.engine.output import Workspace

Arrays = Mapping[str, NDArray[np.float32]]
Place = tuple[int, int]
"""Lag, and the index in time at which a unit's values stand with it."""

CODEC = Zstd(level=1, checksum=True)
"""Compression of what is kept, ended by a checksum of it."""

READ_TOGETHER = 512
"""Markers that are asked for at once."""


@dataclass(frozen=True)
class Piece:
    """What a unit's marker holds, and where it goes."""

    stage: str
    marker: str
    source: str
    rows: slice
    columns: slice
    places: tuple[Place, ...] = ()
    """Where a month's values go; none if they are static, or a series that goes where it says itself."""


def pack(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Arrays, as float32, as plain JSON."""
    return {
        name: {"shape": values.shape, "data": base64.b64encode(_encoded(values)).decode("ascii")}
        for name, values in arrays.items()
    }


def _encoded(values: NDArray[Any]) -> bytes:
    # Little-endian by name, so that markers mean the same on every machine.
    return bytes(CODEC.encode(np.ascontiguousarray(values, "<f4")))


def unpack(packed: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Arrays of `pack`.

    Raises
    ------
    ValueError, RuntimeError, KeyError
        If they are not what was packed.
    """
    return {
        name: np.frombuffer(CODEC.decode(base64.b64decode(entry["data"], validate=True)), "<f4").reshape(entry["shape"])
        for name, entry in packed.items()
    }


def read(workspace: Workspace, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, dict[str, NDArray[np.float32]]]]:
    """Pieces with what their units keep, some hundred markers at a time.

    Raises
    ------
    DamagedError
        If a marker is not what was written, or is gone.
    """
    for first in range(0, len(pieces), READ_TOGETHER):
        batch = pieces[first : first + READ_TOGETHER]
        names = [f"state/{piece.stage}/{piece.marker}" for piece in batch]
        contents = storage.read_many(workspace.output, names)
        for piece, name in zip(batch, names, strict=True):
            yield piece, _unpacked(workspace, name, contents.get(name))


def _unpacked(workspace: Workspace, name: str, data: bytes | None) -> dict[str, NDArray[np.float32]]:
    try:
        return unpack(json.loads(data)["kept"]) if data is not None else _missing(name)
    except (LookupError, RuntimeError, ValueError) as error:
        url = storage.join(workspace.output, name)
        raise storage.damaged(url, error, workspace.output) from error


def _missing(name: str) -> dict[str, NDArray[np.float32]]:
    raise LookupError(f"{name} was written, but is missing")
