"""Headers of assets and the rasters in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from soilscale import formats, numerals, units
from soilscale.catalog.placement import Placement
from soilscale.cube import georeference, opening
from soilscale.cube.georeference import ALIGNED
from soilscale.errors import DataError
from soilscale.extents import turn
from soilscale.grid import Bounds
from soilscale.sources import PixelGrid

WHOLE = 0.05
"""Pixels by which a turn may differ from whole ones: pixels are written with few digits, such as 0.00833333 degrees."""

MISSING_TAGS = ("_FillValue", "missing_value")
"""Attributes of a NetCDF variable, kept by GDAL as tags of its band, that state what is missing."""

SCIENTIFIC = ("netCDF", "HDF5", "HDF5Image", "Zarr", "GRIB")
"""Drivers of GDAL whose tags of a band are attributes by CF's rules."""

T = TypeVar("T")


@dataclass(frozen=True)
class Header:
    """What a file says of one of its bands."""

    crs: CRS
    transform: Affine
    shape: tuple[int, int]
    nodata: float | None
    scale: float
    offset: float
    unit: str | None
    dtype: str = "float64"
    """Type that holds every stored value and what a mask takes away, which is NaN."""
    band: int = 1
    fills: tuple[float, ...] = ()
    """Further stored values that are missing, as attributes of the band state."""
    flipped: bool = False
    """Whether the file stores its rows from south to north; `transform` is north-up all the same."""
    height_unit: str | None = None
    """Unit of the vertical axis of its CRS, if that has one."""
    masked: bool = False
    """Whether a mask inside or beside the file, or its alpha band, takes away pixels of the band."""
    valid_range: tuple[float, float] | None = None
    """Least and greatest stored value, as attributes of the band state."""
    unclear: tuple[tuple[str, str], ...] = ()
    """``scale``, ``offset`` or ``nodata``, and the text that states it in a way that is not understood."""
    format: str = ""
    """As GDAL or `formats` names it."""
    layer: str | None = None
    """Variable of a file that holds several, with its groups; None of a file that GDAL opens."""
    step: int = 0
    """Of a layer, the step of its time axis."""
    mask: str | None = None
    """Href of the mask beside the file, signed if it must be, where GDAL does not see that itself."""
    overview: int | None = None
    """Number of the overview that is read in place of the file's own pixels; shape and transform are its."""

    @cached_property
    def wkt(self) -> str:
        """The CRS as text."""
        text: str = self.crs.to_wkt()
        return text

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top in the file's CRS."""
        rows, columns = self.shape
        left, top = self.transform.c, self.transform.f
        return left, top + rows * self.transform.e, left + columns * self.transform.a, top

    @property
    def middle(self) -> float:
        """The x half-way between left and right, in units of the CRS."""
        return self.transform.c + self.shape[1] * self.transform.a / 2

    @cached_property
    def turn(self) -> int | None:
        """Pixels of a whole turn around the Earth, where the file's map repeats itself after whole ones."""
        width = turn(self.wkt)
        pixels = 0.0 if width is None else width / self.transform.a
        # Not any map of the world can be wrapped: one whose turn is no whole number of pixels would be laid half a
        # pixel off.
        return round(pixels) if width is not None and abs(pixels - round(pixels)) < WHOLE else None

    @property
    def pixel(self) -> tuple[float, float]:
        """Width and height of a pixel, in units of the CRS."""
        return self.transform.a, -self.transform.e

    def shares_grid(self, second: Header) -> bool:
        """Whether another file's pixels lie on the same lattice, so that both can be laid side by side unwarped."""
        if self.crs != second.crs:
            return False
        width, height = self.pixel
        steps = (
            # A difference in pixel size adds up along a row, so it counts by what it shifts at the far end.
            (second.pixel[0] / width - 1) * max(*self.shape, *second.shape),
            (second.pixel[1] / height - 1) * max(*self.shape, *second.shape),
            (second.transform.c - self.transform.c) / width,
            (second.transform.f - self.transform.f) / height,
        )
        return (
            abs(steps[0]) < ALIGNED
            and abs(steps[1]) < ALIGNED
            and all(abs(step - round(step)) < ALIGNED for step in steps[2:])
        )


@dataclass(frozen=True)
class Within:
    """Which part of a file is read, and what is known of it beside the file."""

    layer: str | None = None
    """Of a file of several variables, the one that is read; None: `usual`, or the only one."""
    usual: str = ""
    """Layer that counts if it is there."""
    step: int | None = None
    """Step of its time axis; None: the only one."""
    grids: tuple[PixelGrid, ...] = ()
    """Where its pixels lie, if the file does not say so."""


WITHIN = Within()
"""All of a file."""


def header(href: str, band: int = 1, placement: Placement | None = None, within: Within = WITHIN) -> Header:
    """Header of an asset.

    Parameters
    ----------
    href
        Where the asset lies, signed if it must be.
    band
        Band of a raster, counted from 1.
    placement
        What its item states of its place, for what the file itself does not.
    within
        Which variable of a file that holds several.

    Raises
    ------
    DataError
        If the file is missing, broken, without georeference, rotated, or has no such band or layer.
    ServiceError
        If its store cannot be reached.
    """
    kind = formats.kind(href)
    if kind is not None:
        return _layer_header(href, kind, band, placement, within)

    def read(file: rasterio.DatasetReader) -> Header:
        shown = href.partition("?")[0]
        _check_band(file, shown, band)
        place = georeference.locate(file, shown, placement, within.grids)
        tags = file.tags(band)
        masked = _has_mask(file, band) or _alpha(file, band) is not None
        return Header(
            crs=place.crs,
            transform=place.transform,
            shape=file.shape,
            nodata=file.nodatavals[band - 1],
            scale=float(file.scales[band - 1]),
            offset=float(file.offsets[band - 1]),
            unit=units.unit_text(file.units[band - 1]) or units.unit_text(tags.get("units")),
            dtype="float64" if masked else file.dtypes[band - 1],
            band=band,
            # GDAL keeps only one nodata value for a band, and keeps these attributes as text.
            fills=tuple(code for key in MISSING_TAGS for code in numerals.numbers(tags.get(key))),
            flipped=place.flipped,
            height_unit=place.height_unit,
            masked=masked,
            valid_range=formats.valid_range(tags) if file.driver in SCIENTIFIC else None,
            format=file.driver,
        )

    return opening.opened(href, read)


def reduced(full: Header, href: str, factor: int) -> Header:
    """Header of a file's overview, as `header` has that of the file; that of the file where there is no such overview.

    Parameters
    ----------
    full
        Header of the file.
    factor
        Pixels of the file along one of the overview.
    """

    def number(file: rasterio.DatasetReader) -> int | None:
        factors = file.overviews(full.band)
        return factors.index(factor) if factor in factors else None

    overview = None if full.mask is not None else opening.opened(href, number)
    if overview is None:
        return full
    rows, columns = opening.opened(href, lambda file: file.shape, overview)
    # The ratio of the shapes, not the factor: an overview of a width that it does not divide has a rounded one.
    wider = full.transform * Affine.scale(full.shape[1] / columns, full.shape[0] / rows)
    return replace(full, transform=wider, shape=(rows, columns), overview=overview)


def _layer_header(href: str, kind: str, band: int, placement: Placement | None, within: Within) -> Header:
    """Header of a layer, of a file that holds variables."""
    shown = href.partition("?")[0]
    if band != 1:
        raise DataError(
            f"{shown} contains variables, not bands; remove the key `band` and name a variable with the key `layer`"
        )
    with formats.layer(href, kind, within.layer, within.usual) as layer:
        step = within.step or 0
        if layer.count <= step or (within.step is None and layer.count > 1):
            dates = "all of them" if within.step is None else f"number {step + 1}"
            if not layer.steps():
                raise DataError(f"{shown} has {layer.count} time steps, but does not state their dates")
            raise DataError(
                f"{shown} has {layer.count} dates, but its item covers {dates}; run `soilscale search` again, which "
                "makes an item of each date if all files of a source hold several"
            )
        crs = None if layer.place.crs is None else CRS.from_user_input(layer.place.crs)
        otherwise = "it has longitudes and latitudes of each pixel only, as swaths do" if layer.place.curved else ""
        place = georeference.settle(crs, layer.place.transform, layer.shape, shown, placement, within.grids, otherwise)
        return Header(
            crs=place.crs,
            transform=place.transform,
            shape=layer.shape,
            nodata=None,
            scale=layer.stated.scale,
            offset=layer.stated.offset,
            unit=layer.stated.unit,
            dtype=layer.dtype.name,
            fills=layer.stated.fills,
            flipped=place.flipped,
            height_unit=place.height_unit,
            valid_range=layer.stated.valid_range,
            unclear=layer.stated.unclear,
            format=layer.format,
            layer=layer.name,
            step=step,
        )


class Raster(Protocol):
    """One raster of an open file, for the windows that are read of it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of what is stored together."""
        ...

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Stored values of a window within it, NaN where a mask takes them away."""
        ...


@dataclass(frozen=True)
class _Band:
    """A band of a file that GDAL has open."""

    file: rasterio.DatasetReader
    header: Header

    @property
    def shape(self) -> tuple[int, int]:
        return self.header.shape

    @property
    def block(self) -> tuple[int, int]:
        sides: tuple[int, int] = self.file.block_shapes[self.header.band - 1]
        return sides

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        window = Window.from_slices(rows, columns)
        stored: NDArray[Any] = self.file.read(self.header.band, window=window)
        if not self.header.masked:
            return stored
        return np.where(hidden(self.file, self.header, window), np.nan, stored.astype(self.header.dtype))


@dataclass(frozen=True)
class _Step:
    """A step of a layer of a file that holds variables."""

    layer: formats.Layer
    step: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.layer.shape

    @property
    def block(self) -> tuple[int, int]:
        return self.layer.block

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        return self.layer.read(self.step, rows, columns)


def raster(href: str, header: Header, read: Callable[[Raster], T]) -> T:
    """Return what is read from the raster that a header is of; errors as `header`."""
    if header.layer is None:
        return opening.opened(href, lambda file: read(_Band(file, header)), header.overview)
    with formats.layer(href, header.format, header.layer, header.layer) as layer:
        return read(_Step(layer, header.step))


def _has_mask(file: rasterio.DatasetReader, band: int) -> bool:
    """Whether GDAL masks by more than the band's nodata, which `Decoding` knows."""
    flags = set(file.mask_flag_enums[band - 1])
    return not flags or bool(flags - {MaskFlags.all_valid, MaskFlags.nodata})


def _alpha(file: rasterio.DatasetReader, band: int) -> int | None:
    """Alpha band of a file, which GDAL passes over where nodata is set too; None if it has none."""
    if file.count == 1 or ColorInterp.alpha not in file.colorinterp:
        return None
    alpha = file.colorinterp.index(ColorInterp.alpha) + 1
    return None if alpha == band else alpha


def hidden(file: rasterio.DatasetReader, header: Header, window: Window) -> NDArray[np.bool_]:
    """Pixels of a window, as a masked file stores it, that its masks take away."""
    masks = [file.read_masks(header.band, window=window)] if _has_mask(file, header.band) else []
    alpha = _alpha(file, header.band)
    if alpha is not None:
        # GDAL's own mask says nothing of the alpha band where nodata is set too.
        masks.append(file.read(alpha, window=window))
    if header.mask is not None:
        masks.append(
            opening.opened(header.mask, lambda beside: beside.read(min(header.band, beside.count), window=window))
        )
    masked: NDArray[np.bool_] = np.logical_or.reduce([mask == 0 for mask in masks])
    return masked


def _check_band(file: rasterio.DatasetReader, shown: str, band: int) -> None:
    if file.count == 0 and file.subdatasets:
        names = [name.rsplit(":", 1)[-1].lstrip("/") for name in file.subdatasets]
        raise DataError(
            f"{shown} holds {len(names)} variables, {', '.join(names)}, in a format that a source can read only with "
            "one variable per file; write the one that you need to a separate file, such as with `gdal_translate "
            f"{file.subdatasets[0]} {names[0]}.tif`, and let the item's asset refer to it"
        )
    if not 1 <= band <= file.count:
        raise DataError(f"{shown} has {file.count} bands, but band {band} was requested; check the key `band`")
    if file.dtypes[band - 1].startswith("complex"):
        raise DataError(f"{shown} holds complex numbers; expected real ones, such as their magnitude or intensity")


def snap(header: Header, bounds: Bounds, margin: int = 3) -> Bounds:
    """Bounds grown to whole pixels of a file's lattice, and by a margin of pixels."""
    width, height = header.pixel
    left, top = header.transform.c, header.transform.f
    return (
        left + (math.floor((bounds[0] - left) / width) - margin) * width,
        top + (math.floor((bounds[1] - top) / height) - margin) * height,
        left + (math.ceil((bounds[2] - left) / width) + margin) * width,
        top + (math.ceil((bounds[3] - top) / height) + margin) * height,
    )


def overlap(bounds: Bounds, second: Bounds) -> Bounds | None:
    """Common part of two bounds, None if they do not meet."""
    common = max(bounds[0], second[0]), max(bounds[1], second[1]), min(bounds[2], second[2]), min(bounds[3], second[3])
    return common if common[0] < common[2] and common[1] < common[3] else None
