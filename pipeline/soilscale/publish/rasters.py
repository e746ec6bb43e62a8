"""A map as a Cloud Optimized GeoTIFF, with its colours and the statistics of its cells."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.io import DatasetWriter
from rasterio.shutil import copy
from rasterio.windows import Window

from soilscale.grid import Slices
from soilscale.schema import (
    APPLICABILITY,
    APPLICABILITY_ATTRS,
    LOWER,
    MAP,
    QUALITY,
    QUALITY_ATTRS,
    RESIDUAL,
    UPPER,
    Quality,
)

SMALLEST_OVERVIEW = 256
"""Cells along the longer side of the smallest overview, at most; there is always one."""

CACHE = 64
"""MiB of blocks that GDAL keeps while it writes; by default it would take a twentieth of the machine's memory."""

Colour = tuple[int, int, int]
Colours = Mapping[int, Colour]

NO_VALUE: Colour = (255, 255, 255)
ORIGINS: Mapping[Quality, Colour] = {
    Quality.OUTSIDE: (208, 208, 208),
    Quality.PREDICTED: (253, 174, 97),
    Quality.OBSERVED: (66, 146, 198),
}
"""Colour of the bit that says where a cell's value comes from; the first one that is set counts."""

TINTS: Mapping[Quality, Colour] = {
    Quality.GAP_FILLED: (0, 160, 60),
    Quality.CLAMPED: (214, 0, 120),
    Quality.COMPREHENSIVE: (0, 0, 0),
    Quality.EXTRAPOLATED: (255, 255, 255),
    Quality.FROZEN: (160, 230, 255),
}
"""Colours that further bits mix in."""

TINT = 0.45
"""Share of a further bit's colour in the mixture."""


def quality_colour(value: int) -> Colour:
    """Red, green and blue of a combination of quality bits: its origin's colour, into which further bits mix theirs.

    Parameters
    ----------
    value
        Sum of bits of `Quality`; any other bits are ignored.
    """
    colour = np.array(next((colour for bit, colour in ORIGINS.items() if value & bit), NO_VALUE), dtype="float64")
    for bit, tint in TINTS.items():
        if value & bit:
            colour += TINT * (np.array(tint) - colour)
    red, green, blue = colour.round().astype(int).tolist()
    return red, green, blue


QUALITY_COLOURS: Colours = {value: quality_colour(value) for value in range(256)}
"""Colour table of the quality layer."""


@dataclass(frozen=True)
class Band:
    """What is said of a raster in its file and its item."""

    name: str
    long_name: str
    units: str
    nodata: float
    colours: Colours | None = None


MAP_BAND = Band(MAP, "surface soil moisture", "m3 m-3", float("nan"))
OPTIONAL_BANDS: Mapping[str, Band] = {
    **{
        name: Band(name, f"surface soil moisture, {name} end of the interval", "m3 m-3", float("nan"))
        for name in (LOWER, UPPER)
    },
    APPLICABILITY: Band(APPLICABILITY, str(APPLICABILITY_ATTRS["long_name"]), "1", float("nan")),
    RESIDUAL: Band(RESIDUAL, "what conservation adds to the model's estimate", "m3 m-3", float("nan")),
}
"""Bands of the layers that a map may have beside its values and their quality."""
QUALITY_BAND = Band(QUALITY, str(QUALITY_ATTRS["long_name"]), "1", 0, QUALITY_COLOURS)


@dataclass
class Moments:
    """Count, mean and spread of the valid cells of a raster, piece by piece (Chan, Golub & LeVeque 1983, eq. 2.1)."""

    size: int = 0
    valid: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared deviations from the mean."""
    least: float = math.inf
    greatest: float = -math.inf

    def add(self, values: NDArray[Any], nodata: float) -> None:
        """Add a piece; `nodata` is the value of a missing cell, NaN in a float raster."""
        self.size += values.size
        valid = values[np.isfinite(values) & (values != nodata)].astype("float64")
        if not valid.size:
            return
        count, mean = self.valid + valid.size, float(valid.mean())
        between = (mean - self.mean) ** 2 * self.valid * valid.size / count
        self.squares += float(((valid - mean) ** 2).sum()) + between
        self.mean += (mean - self.mean) * valid.size / count
        self.valid = count
        self.least, self.greatest = min(self.least, float(valid.min())), max(self.greatest, float(valid.max()))

    @property
    def statistics(self) -> dict[str, float]:
        """Minimum, maximum, mean and standard deviation of the valid cells, and their share in per cent."""
        share = {"valid_percent": 100 * self.valid / max(self.size, 1)}
        if not self.valid:
            return share
        deviation = math.sqrt(self.squares / self.valid)
        return {"minimum": self.least, "maximum": self.greatest, "mean": self.mean, "stddev": deviation} | share


def statistics(values: NDArray[Any], nodata: float) -> dict[str, float]:
    """Minimum, maximum, mean and standard deviation of the valid cells, and their share in per cent.

    Parameters
    ----------
    values
        Shape ``(Y, X)``.
    nodata
        Value of a missing cell; NaN in a float raster.
    """
    moments = Moments()
    moments.add(values, nodata)
    return moments.statistics


def cog(values: NDArray[Any], geobox: GeoBox, band: Band, tags: Mapping[str, str] | None = None) -> bytes:
    """Cloud Optimized GeoTIFF of a raster that is at hand; the same input gives the same bytes.

    Parameters
    ----------
    values
        Float32 or uint8, shape ``(Y, X)``.
    geobox, band, tags
        As `write_cog` takes them.
    """
    window = slice(0, values.shape[0]), slice(0, values.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.tif"
        write_cog(path, [(window, values)], geobox, band, tags)
        return path.read_bytes()


def write_cog(
    path: Path,
    pieces: Iterable[tuple[Slices, NDArray[Any]]],
    geobox: GeoBox,
    band: Band,
    tags: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Write a Cloud Optimized GeoTIFF with overviews, unit, description and statistics, in the memory of one piece.

    Parameters
    ----------
    path
        Local file; beside it stands the raster without overviews while they are made.
    pieces
        Rows and columns, and their float32 or uint8 values; together all of the grid.
    geobox
        Grid of the values.
    band
        What the values are.
    tags
        Further metadata of the file; a name holds neither ``:`` nor ``=``, where GDAL would cut it.

    Returns
    -------
    dict
        As `statistics` gives it.
    """
    continuous = band.colours is None
    options = {
        "driver": "COG",
        "compress": "DEFLATE",
        "predictor": "YES",
        "blocksize": block(geobox.shape),
        # Averaging bit flags would give combinations that no cell has.
        "overview_resampling": "AVERAGE" if continuous else "MODE",
        "num_threads": 1,
        "overview_count": max(1, math.ceil(math.log2(max(geobox.shape) / SMALLEST_OVERVIEW))),
    }
    plain, moments = path.with_suffix(".plain.tif"), Moments()
    with rasterio.Env(GDAL_CACHEMAX=CACHE):
        with rasterio.open(plain, "w", **_profile(geobox, band)) as file:
            for (rows, columns), values in pieces:
                file.write(values, 1, window=Window.from_slices(rows, columns))
                moments.add(values, band.nodata)
            # Before the copy: editing a COG afterwards breaks its layout.
            _describe(file, band, tags or {}, moments.statistics)
        # GDAL's COG driver can only copy a complete raster, hence the plain file.
        copy(plain, path, **options)
    plain.unlink()
    return moments.statistics


def block(shape: Sequence[int]) -> int:
    """Rows and columns of a block of a raster: 512, or the next power of two of a smaller raster, from 128 on.

    Of a map of 75 x 75 pixels, blocks of 512 are 98 % padding, and take four fifths of the time to write.
    """
    return min(512, max(128, 1 << (max(shape) - 1).bit_length()))


def _profile(geobox: GeoBox, band: Band) -> dict[str, Any]:
    """How the raster without overviews is written: the grid, and blocks as those of the result."""
    code, crs = reference(geobox)
    rows, columns = geobox.shape
    return {
        "driver": "GTiff",
        "height": rows,
        "width": columns,
        "count": 1,
        "dtype": "float32" if band.colours is None else "uint8",
        "crs": code or crs.to_wkt(),
        "transform": geobox.transform,
        "nodata": band.nodata,
        "tiled": True,
        "blockxsize": block(geobox.shape),
        "blockysize": block(geobox.shape),
        "bigtiff": "IF_SAFER",
    }


def _describe(file: DatasetWriter, band: Band, tags: Mapping[str, str], figures: Mapping[str, float]) -> None:
    """Say in a raster what it is."""
    file.set_band_description(1, band.long_name)
    file.set_band_unit(1, band.units)
    if band.colours is None:
        file.colorinterp = [ColorInterp.gray]
    else:
        file.write_colormap(1, dict(band.colours))
    file.update_tags(AREA_OR_POINT="Area", **tags)
    file.update_tags(1, **{f"STATISTICS_{key.upper()}": f"{value:.9g}" for key, value in figures.items()})


def reference(geobox: GeoBox) -> tuple[str | None, CRS]:
    """Code that names a grid's very CRS, where there is one, and the CRS, which claims no other code."""
    crs = CRS.from_user_input(str(geobox.crs))
    code = crs.to_authority(min_confidence=100)
    # A WKT may carry the code of a different CRS, so the code alone is not trusted.
    if code and CRS.from_authority(*code) == crs:
        return ":".join(code), crs
    return None, CRS.from_json_dict({key: value for key, value in crs.to_json_dict().items() if key != "id"})
