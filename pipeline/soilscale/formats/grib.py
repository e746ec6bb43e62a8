"""GRIB through GDAL: messages of one element and level are the steps of one variable."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.env import GDALDataFinder
from rasterio.errors import RasterioError
from rasterio.windows import Window

from soilscale.errors import DataError
from soilscale.formats.contents import Variable

EPOCH = "seconds since 1970-01-01"

HUGE = 1 << 23
"""Bit of a message's length in edition 1 beside which it may count blocks of 120 bytes."""

END = b"7777"
"""End of a message."""

# GDAL reads these of the whole process or of one thread. Its tables of elements and units are files, whose folder
# rasterio sets for the thread alone that imports it: in another one elements have no name and no unit. And it converts
# kelvins to degrees Celsius, or only says so: 2T of edition 1 stays in kelvins.
os.environ["GRIB_NORMALIZE_UNITS"] = "NO"
if "GDAL_DATA" not in os.environ and (folder := GDALDataFinder().search()) is not None:
    os.environ["GDAL_DATA"] = folder


class Grib:
    """An open GRIB file of this machine."""

    format = "GRIB"
    structure = ""

    def __init__(self, path: str) -> None:
        # GDAL reads every message as if it were on the grid of the first.
        if (count := len(set(_grids(path)))) > 1:
            raise DataError(
                f"{path} holds messages on {count} grids, of which GDAL reads only the first right; write a file for "
                "each grid, such as by grib_copy"
            )
        try:
            self._file = rasterio.open(path, driver="GRIB")
        except RasterioError as error:
            raise DataError(
                f"{path} cannot be read as GRIB: it is damaged or cut off, or on a grid that GDAL does not read, such "
                f"as a reduced Gaussian one ({error}); replace the file, or convert it to a regular grid"
            ) from error
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


def _grids(path: str) -> Iterator[bytes]:
    """Definition of the grid of each message."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:

        def number(start: int, length: int) -> int:
            return int.from_bytes(content[start : start + length], "big")

        start = content.find(b"GRIB")
        while start >= 0:
            end = start + 4
            if content[start + 7 : start + 8] == b"\x02":
                end, section = start + number(start + 8, 8), start + 16
                while section < end and content[section : section + 4] != END:
                    if number(section + 4, 1) == 3:  # noqa: PLR2004 - the section of the grid
                        yield content[section : section + number(section, 4)]
                    section += max(number(section, 4), 5)
            elif content[start + 7 : start + 8] == b"\x01":
                end = start + (length := number(start + 4, 3))
                if length > HUGE and content[end - 4 : end] != END:
                    end = start + (length - HUGE - 1) * 120  # up to 120 bytes less than the length
                grid = start + 8 + number(start + 8, 3)
                if number(start + 15, 1) & 0x80:
                    yield content[grid : grid + number(grid, 3)]
            start = content.find(b"GRIB", max(end, start + 4))
