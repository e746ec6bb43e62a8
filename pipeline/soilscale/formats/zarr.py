"""Zarr groups, of version 2 and 3, as assets: arrays with the dimensions that xarray writes."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr import Array
from zarr.errors import BaseZarrError

from soilscale import storage
from soilscale.formats.contents import Variable, plain


class ZarrGroup:
    """An open Zarr group, local or remote."""

    format = "Zarr"
    structure = ""

    def __init__(self, url: str) -> None:
        self._group = storage.open_foreign_group(url)

    def names(self) -> Sequence[str]:
        """Names of all arrays, below groups too."""
        return [name for name, node in self._group.members(max_depth=None) if isinstance(node, Array)]

    def variable(self, name: str) -> Variable | None:
        """Array of exactly this name, if there is one."""
        try:
            data = self._group[name]
        except (KeyError, BaseZarrError):
            return None
        if not isinstance(data, Array):
            return None
        attributes = {key: plain(value) for key, value in data.attrs.items()}
        if data.dtype.kind == "f" and isinstance(attributes.get("_FillValue"), str):
            attributes["_FillValue"] = _decoded(attributes["_FillValue"])
        dimensions_stated = getattr(data.metadata, "dimension_names", None) or data.attrs.get("_ARRAY_DIMENSIONS")
        above = name.rpartition("/")[0]
        listed = dimensions_stated if isinstance(dimensions_stated, (list, tuple)) else [""] * data.ndim
        dimensions = tuple(f"{above}/{side}".lstrip("/") if side else "" for side in listed)
        # Zarr 2 has no other way to say what is missing; in Zarr 3 it is only what unwritten chunks hold.
        if data.fill_value is not None and "_FillValue" not in attributes and data.metadata.zarr_format == 2:  # noqa: PLR2004
            attributes["_FillValue"] = plain(np.asarray(data.fill_value))

        def read(part: tuple[slice, ...]) -> NDArray[Any]:
            return np.asarray(data[part])

        return Variable(name, dimensions, data.shape, data.dtype, attributes, data.shards or data.chunks, read)

    def close(self) -> None:
        """Let go of the store."""
        self._group.store.close()


def _decoded(text: str) -> float | str:
    """Fill value as xarray writes it into Zarr 3: eight bytes in base 64, since JSON has no NaN."""
    try:
        (number,) = struct.unpack("<d", base64.b64decode(text, validate=True))
    except (binascii.Error, struct.error):
        return text
    return float(number)
