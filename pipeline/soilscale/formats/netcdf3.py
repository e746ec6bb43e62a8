"""Classic NetCDF through SciPy, which maps the file into memory: nothing is read but what is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import netcdf_file

from soilscale.formats.attributes import with_default_fill
from soilscale.formats.contents import Variable, plain


class NetCdf3:
    """An open NetCDF file of this machine, of format 3 or with 64-bit offsets."""

    format = "NetCDF 3"
    structure = ""

    def __init__(self, path: str) -> None:
        self._file = netcdf_file(path, "r", mmap=True, maskandscale=False)

    def names(self) -> Sequence[str]:
        """Names of all variables."""
        return list(self._file.variables)

    def variable(self, name: str) -> Variable | None:
        """Variable of exactly this name, if there is one."""
        data = self._file.variables.get(name)
        if data is None:
            return None
        shape, dtype = tuple(data.shape), np.dtype(data.typecode()).newbyteorder("=")
        attributes = {key: plain(value) for key, value in data._attributes.items()}  # noqa: SLF001 - no other way
        attributes = with_default_fill(attributes, dtype)
        blocks = (*(1 for _ in shape[:-1]), *shape[-1:])

        def read(part: tuple[slice, ...]) -> NDArray[Any]:
            # Copied, since a view would keep the mapping alive after the file is closed.
            return np.array(self._file.variables[name].data[part], dtype=dtype)

        return Variable(name, tuple(data.dimensions), shape, dtype, attributes, blocks, read)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
