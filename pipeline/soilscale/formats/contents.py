"""The interface of every format: variables of an open file by name, with dimensions, attributes and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray


@dataclass(frozen=True)
class Variable:
    """An array in a file."""

    name: str
    """With its groups, such as ``Grid/precipitation``."""
    dimensions: tuple[str, ...]
    """Name of each, as its coordinates are named; empty where the file names none."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]
    """Texts, numbers, and tuples of numbers."""
    blocks: tuple[int, ...]
    """Shape of what the file stores as a whole."""
    read: Callable[[tuple[slice, ...]], NDArray[Any]]
    crs: str | None = None
    """Where the format itself says where pixels lie: CRS,"""
    transform: Affine | None = None
    """and transform of the last two dimensions as they are stored."""

    def values(self) -> NDArray[Any]:
        """All of it, for coordinates."""
        return self.read(tuple(slice(0, size) for size in self.shape))


class Contents(Protocol):
    """An open file. It serves one thread at a time, see `soilscale.formats.opening`."""

    format: str
    """Name of the format, for a person."""

    @property
    def structure(self) -> str:
        """Text of ``StructMetadata.0`` of HDF-EOS; empty where there is none."""
        ...

    def names(self) -> Sequence[str]:
        """Names of all variables, with their groups."""
        ...

    def variable(self, name: str) -> Variable | None:
        """Variable of exactly this name, if there is one."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def plain(value: Any) -> Any:
    """Attribute as a text, a number or a tuple of numbers, whichever way its format keeps it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\x00")
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return plain(value.ravel().tolist())
    if isinstance(value, (list, tuple)):
        parts = tuple(plain(part) for part in value)
        return parts[0] if len(parts) == 1 else parts
    return value
