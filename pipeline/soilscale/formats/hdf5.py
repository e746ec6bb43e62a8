"""HDF5, NetCDF4 and HDF-EOS5 through h5py: from a remote file, little more than the chunks that are needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import product
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from soilscale.errors import DataError
from soilscale.formats.attributes import with_default_fill
from soilscale.formats.contents import Variable, plain
from soilscale.formats.ranges import Ranges

STRUCTURE = "HDFEOS INFORMATION/StructMetadata.0"

PROPERTIES = "_NCProperties"
"""Attribute of the root that NetCDF's library writes."""

NO_COORDINATE = "This is a netCDF dimension but not a netCDF variable"
"""How NetCDF4 marks a dimension without coordinates."""

REFERENCES = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates")
"""Attributes that are HDF5's own book-keeping."""


class Hdf5:
    """An open HDF5 file: of this machine, by its path, or a remote one, by its ranges."""

    format = "HDF5"

    def __init__(self, source: str | Ranges) -> None:
        self._ranges = source if isinstance(source, Ranges) else None
        self._file = h5py.File(source, "r")
        self._names: list[str] | None = None

    @property
    def structure(self) -> str:
        """Text of ``StructMetadata.0`` of HDF-EOS5; empty where there is none."""
        data = self._file.get(STRUCTURE)
        return str(plain(data[()])) if isinstance(data, h5py.Dataset) else ""

    def names(self) -> Sequence[str]:
        """Names of all data sets; that looks at all objects of the file."""
        if self._names is None:
            dataset_names: list[str] = []

            def visit(name: str, node: Any) -> None:
                if isinstance(node, h5py.Dataset) and not _is_length(node):
                    dataset_names.append(name)

            self._file.visititems(visit)
            self._names = dataset_names
        return self._names

    def variable(self, name: str) -> Variable | None:
        """Data set of exactly this name, if there is one.

        Raises
        ------
        DataError
            If it is compressed by a filter that this installation of HDF5 lacks.
        """
        data = self._file.get(name)
        if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "iufSOb" or _is_length(data):
            return None
        _refuse_filters(data)
        shape, chunks = data.shape or (), data.chunks
        # Of what is stored as a whole, any rows can be read alone.
        blocks = tuple(chunks) if chunks else (*(1 for _ in shape[:-1]), *shape[-1:])
        attributes = dict(_attributes(data))
        if PROPERTIES in self._file.attrs:
            attributes = with_default_fill(attributes, data.dtype)

        def read(part: tuple[slice, ...]) -> NDArray[Any]:
            # HDF5 asks for one chunk after another; fetched before, side by side, they take one trip instead of many.
            with nullcontext() if self._ranges is None else self._ranges.holding(_stored(data, part)):
                stored = np.asarray(data[part])
            # Compiled loops and the comparing of fills know only the machine's own order of bytes.
            return stored.astype(stored.dtype.newbyteorder("="), copy=False)

        name = data.name.lstrip("/")
        dtype = data.dtype.newbyteorder("=") if data.dtype.kind in "iuf" else data.dtype
        return Variable(name, _dimensions(data, attributes), shape, dtype, attributes, blocks, read)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _is_length(data: h5py.Dataset) -> bool:
    """Whether a data set only says how long a dimension of NetCDF4 is."""
    return str(plain(data.attrs.get("NAME", ""))).startswith(NO_COORDINATE)


def _refuse_filters(data: h5py.Dataset) -> None:
    """Refuse what cannot be decompressed; the library's own error looks like that of a damaged file."""
    properties = data.id.get_create_plist()
    for filter_index in range(properties.get_nfilters()):
        code, _, _, title = properties.get_filter(filter_index)
        if not h5py.h5z.filter_avail(code):
            name = re.split(r"[ ;]", title.decode("utf-8", "replace").removeprefix("HDF5 "))[0]
            raise DataError(
                f"has {data.name.lstrip('/')!r} compressed by HDF5 filter {code}{f' ({name})' if name else ''}, which "
                "is not installed: install hdf5plugin wherever soilscale runs, and set the environment variable "
                "HDF5_PLUGIN_PATH to its folder `plugins`; or write the file anew with gzip, such as by h5repack"
            )


def _attributes(data: h5py.Dataset) -> Iterator[tuple[str, Any]]:
    for name in data.attrs:
        if name in REFERENCES:
            continue
        try:
            value = data.attrs[name]
        except (OSError, TypeError, ValueError, RuntimeError):
            continue  # Of a type that h5py does not know; no attribute that matters is.
        yield name, plain(value)


def _dimensions(data: h5py.Dataset, attributes: dict[str, Any]) -> tuple[str, ...]:
    """Names of dimensions: of the scales that are attached, else those that NASA's attribute lists, else none."""
    scales = [side[0].name.lstrip("/") if len(side) else side.label for side in data.dims]
    if data.is_scale and len(scales) == 1:
        return (data.name.lstrip("/"),)
    listed = str(attributes.get("DimensionNames", "")).split(",")
    if not any(scales) and len(listed) == len(scales):
        return tuple(name.strip() for name in listed)
    return tuple(scales)


def _stored(data: h5py.Dataset, part: tuple[slice, ...]) -> list[tuple[int, int]]:
    """First byte and length of all that the file stores of a part of a data set."""
    if any(side.start >= side.stop for side in part):
        return []
    if data.chunks is None:
        return _contiguous(data, part)
    starts = (
        range(side.start // chunk * chunk, side.stop, chunk) for side, chunk in zip(part, data.chunks, strict=True)
    )
    chunks = (data.id.get_chunk_info_by_coord(place) for place in product(*starts))
    return [(chunk.byte_offset, chunk.size) for chunk in chunks if chunk.byte_offset is not None]


def _contiguous(data: h5py.Dataset, part: tuple[slice, ...]) -> list[tuple[int, int]]:
    """Likewise of a data set that is stored as a whole: a range for each row of the last dimension."""
    offset = data.id.get_offset()
    if offset is None or not part:
        return []
    strides = np.cumprod((data.dtype.itemsize, *reversed(data.shape[1:])))[::-1].tolist()
    first = offset + part[-1].start * strides[-1]
    size = (part[-1].stop - part[-1].start) * strides[-1]
    outer = product(*(range(side.start, side.stop) for side in part[:-1]))
    return [(first + sum(np.multiply(place, strides[:-1]).tolist()), size) for place in outer]
