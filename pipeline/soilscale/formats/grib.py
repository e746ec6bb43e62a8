"""GRIB through GDAL: messages of one element and level are the steps of one variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from soilscale.formats.contents import Variable

EPOCH = "seconds since 1970-01-01"


class Grib:
    """An open GRIB file of this machine."""

    format = "GRIB"
    structure = ""

    def __init__(self, path: str) -> None:
        self._file = rasterio.open(path, driver="GRIB")
        messages = [(band, self._file.tags(band)) for band in self._file.indexes]
        levels: dict[str, set[str]] = {}
        for _, tags in messages:
            levels.setdefault(tags.get("GRIB_ELEMENT", ""), set()).add(tags.get("GRIB_SHORT_NAME", ""))
        self._bands: dict[str, list[tuple[float, int]]] = {}
        for band, tags in messages:
            element, level = tags.get("GRIB_ELEMENT", ""), tags.get("GRIB_SHORT_NAME", "")
            # One element at two levels would be one variable with each time twice.
            name = element if len(levels[element]) == 1 else f"{element} {level}"
            time = float(tags.get("GRIB_VALID_TIME", "0").split()[0])
            self._bands.setdefault(name, []).append((time, band))
        for bands in self._bands.values():
            # Messages stand in a file in any order.
            bands.sort()

    def names(self) -> Sequence[str]:
        """Elements, with their levels where there are several, and the times of all."""
        return [*self._bands, *(f"time of {name}" for name in self._bands)]

    def variable(self, name: str) -> Variable | None:
        """Element of exactly this name, if there is one; or its times."""
        if name.startswith("time of ") and (bands := self._bands.get(name.removeprefix("time of "))):
            times = np.array([time for time, _ in bands])
            shape = times.shape
            return Variable(name, (name,), shape, times.dtype, {"units": EPOCH}, shape, lambda part: times[part])
        bands = self._bands.get(name, [])
        if not bands:
            return None
        first = bands[0][1]
        rows, columns = self._file.shape
        tags, nodata = self._file.tags(first), self._file.nodatavals[first - 1]
        attributes = {"units": tags.get("GRIB_UNIT", "").strip("[]"), "long_name": tags.get("GRIB_COMMENT", "")}
        attributes |= {} if nodata is None else {"_FillValue": nodata}

        def read(part: tuple[slice, ...]) -> NDArray[Any]:
            window = Window.from_slices(*part[1:])
            return self._file.read([band for _, band in bands[part[0]]], window=window)

        crs = self._file.crs
        return Variable(
            name,
            (f"time of {name}", "y", "x"),
            (len(bands), rows, columns),
            np.dtype(self._file.dtypes[first - 1]),
            attributes,
            (1, rows, columns),
            read,
            None if crs is None else crs.to_wkt(),
            self._file.transform,
        )

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
