"""Files of assets: kept open, asked for again if a store fails, and what their headers say."""

from __future__ import annotations

import math
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from soilscale import storage, units
from soilscale.catalog.placement import Placement
from soilscale.cube import formats, georeference
from soilscale.cube.georeference import ALIGNED
from soilscale.errors import DataError, RefusedError, ServiceError, SoilscaleError
from soilscale.extents import turn
from soilscale.grid import Bounds

WHOLE = 0.05
"""Pixels by which a turn may differ from whole ones: pixels are written with few digits, such as 0.00833333 degrees."""

FRESH = {"CPL_VSIL_CURL_NON_CACHED": "/vsi"}
"""GDAL setting that makes it ask a store again, although it remembers what that answered, failures too."""

TRANSIENT = re.compile(
    r"HTTP response code: (408|429|5\d\d)|CURL error|timed? ?out|SlowDown|InternalError", re.IGNORECASE
)
PAUSES = (0.0, 0.5)
"""Seconds before each further try of a remote file, whose ranges GDAL itself has asked for again and again."""

ABSENT = re.compile(r"does not exist|No such file|HTTP response code: 404", re.IGNORECASE)
CREDENTIALS = re.compile(
    r"HTTP response code: (401|403)|AccessDenied|InvalidAccessKey|ExpiredToken|SignatureDoesNotMatch", re.IGNORECASE
)

MISSING_TAGS = ("_FillValue", "missing_value")
"""Attributes of a NetCDF variable, kept by GDAL as tags of its band, that state what is missing."""

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")

MOST_OPEN = 32
"""Files that a thread keeps open at once, the last used ones."""

T = TypeVar("T")

# A file without a place is placed by its item, or refused with a message; masks beside files have none.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


class Shelf:
    """Files that are kept open, and the threads that may share them."""

    def __init__(self) -> None:
        self.files: dict[str, rasterio.DatasetReader] | None = None
        """By path, the last used ones last; none that a thread reads from. None where none are kept."""
        self._lock = threading.Lock()

    def take(self, path: str) -> rasterio.DatasetReader | None:
        """File for one thread to read from, if it is kept."""
        with self._lock:
            return None if self.files is None else self.files.pop(path, None)

    def put(self, path: str, file: rasterio.DatasetReader) -> rasterio.DatasetReader | None:
        """Keep a file, and return one to close: of too many the one unused for longest; this, if it is not kept."""
        with self._lock:
            if self.files is None or path in self.files:
                return file
            self.files[path] = file
            return self.files.pop(next(iter(self.files))) if len(self.files) > MOST_OPEN else None

    def clear(self) -> None:
        """Close all files; those that threads still read from are closed when they are put back."""
        with self._lock:
            files, self.files = self.files, None
        for file in (files or {}).values():
            file.close()


class _Own(threading.local):
    """What belongs to a thread."""

    def __init__(self) -> None:
        self.shelf = Shelf()


_own = _Own()


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
    mask: str | None = None
    """Href of the mask beside the file, signed if it must be, where GDAL does not see that itself."""
    overview: int | None = None
    """Number of the overview that is read in place of the file's own pixels; shape and transform are its."""

    @cached_property
    def wkt(self) -> str:
        """The CRS as text."""
        found: str = self.crs.to_wkt()
        return found

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
        return round(pixels) if width is not None and abs(pixels - round(pixels)) < WHOLE else None

    @property
    def pixel(self) -> tuple[float, float]:
        """Width and height of a pixel, in units of the CRS."""
        return self.transform.a, -self.transform.e

    def shares_grid(self, other: Header) -> bool:
        """Whether another file's pixels lie on the same lattice, so that both can be laid side by side unwarped."""
        if self.crs != other.crs:
            return False
        width, height = self.pixel
        steps = (
            (other.pixel[0] / width - 1) * max(*self.shape, *other.shape),
            (other.pixel[1] / height - 1) * max(*self.shape, *other.shape),
            (other.transform.c - self.transform.c) / width,
            (other.transform.f - self.transform.f) / height,
        )
        return (
            abs(steps[0]) < ALIGNED
            and abs(steps[1]) < ALIGNED
            and all(abs(step - round(step)) < ALIGNED for step in steps[2:])
        )


def header(href: str, band: int = 1, placement: Placement | None = None) -> Header:
    """Header of an asset.

    Parameters
    ----------
    href
        Where the asset lies, signed if it must be.
    band
        Band of the file, counted from 1.
    placement
        What its item states of its place, for what the file itself does not.

    Raises
    ------
    DataError
        If the file is missing, broken, without georeference, rotated, or has no such band.
    ServiceError
        If its store cannot be reached.
    """

    def read(file: rasterio.DatasetReader) -> Header:
        shown = href.partition("?")[0]
        _check_band(file, shown, band)
        place = georeference.locate(file, shown, placement)
        tags = file.tags(band)
        masked = _has_mask(file, band) or _alpha(file, band) is not None
        return Header(
            crs=place.crs,
            transform=place.transform,
            shape=file.shape,
            nodata=file.nodatavals[band - 1],
            scale=float(file.scales[band - 1]),
            offset=float(file.offsets[band - 1]),
            unit=units.stated(file.units[band - 1]) or units.stated(tags.get("units")),
            dtype="float64" if masked else file.dtypes[band - 1],
            band=band,
            fills=tuple(float(code) for key in MISSING_TAGS for code in NUMBER.findall(tags.get(key, ""))),
            flipped=place.flipped,
            height_unit=place.height_unit,
            masked=masked,
        )

    return opened(href, read)


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

    found = None if full.mask is not None else opened(href, number)
    if found is None:
        return full
    rows, columns = opened(href, lambda file: file.shape, found)
    wider = full.transform * Affine.scale(full.shape[1] / columns, full.shape[0] / rows)
    return replace(full, transform=wider, shape=(rows, columns), overview=found)


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep the files that this thread opens open until the context ends, so that each is opened once within it."""
    shelf = _own.shelf
    if shelf.files is not None:
        yield
        return
    shelf.files = {}
    try:
        yield
    finally:
        shelf.clear()


def shelf() -> Shelf:
    """Where this thread keeps files open."""
    return _own.shelf


def share(shelf: Shelf) -> None:
    """Let this thread share the files that another keeps open; a file serves one thread at a time."""
    _own.shelf = shelf


@contextmanager
def _file(path: str, overview: int | None) -> Iterator[rasterio.DatasetReader]:
    """Open file, or one of its overviews; one that could not be read is not kept."""
    shelf, name = _own.shelf, path if overview is None else f"{path} {overview}"
    how = {} if overview is None else {"overview_level": overview}
    file = shelf.take(name) or rasterio.open(path, **how)
    try:
        yield file
    except BaseException:
        file.close()
        raise
    spare = shelf.put(name, file)
    if spare is not None:
        spare.close()


def opened(href: str, read: Callable[[rasterio.DatasetReader], T], overview: int | None = None) -> T:
    """Return what is read from an open file; a remote one that fails is asked for again, past what GDAL remembers.

    Parameters
    ----------
    overview
        Number of the overview that is opened in place of the file's own pixels.
    """
    path = storage.gdal_path(href)

    def attempt(options: dict[str, str]) -> T:
        session = storage.gdal_session(href)
        options = storage.gdal_options() | storage.gdal_beside(path) | options
        with rasterio.Env(session, **options), _file(path, overview) as file:
            return read(file)

    try:
        return attempt({})
    except (RasterioError, CRSError) as error:
        if not path.startswith("/vsi"):
            raise explain(error, href) from error
        failure = error
    for pause in PAUSES:
        time.sleep(pause)
        try:
            return attempt(FRESH)
        except (RasterioError, CRSError) as error:
            failure = error
    told = explain(failure, href)
    if isinstance(told, DataError) and storage.answers(href) and ABSENT.search(str(told)):
        told = ServiceError(f"{told.args[0]}, but its store says that it is there; run the same command again")
    raise told from failure


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
        masks.append(file.read(alpha, window=window))
    if header.mask is not None:
        masks.append(opened(header.mask, lambda beside: beside.read(min(header.band, beside.count), window=window)))
    found: NDArray[np.bool_] = np.logical_or.reduce([mask == 0 for mask in masks])
    return found


def _check_band(file: rasterio.DatasetReader, shown: str, band: int) -> None:
    if file.count == 0 and file.subdatasets:
        names = [name.rsplit(":", 1)[-1].lstrip("/") for name in file.subdatasets]
        raise DataError(
            f"{shown} holds {len(names)} variables, {', '.join(names)}, and a source reads files of one; write the one "
            f"that you need to a file of its own, as by `gdal_translate {file.subdatasets[0]} {names[0]}.tif`, and let "
            "the item's asset name that"
        )
    if not 1 <= band <= file.count:
        raise DataError(f"{shown} has {file.count} bands, but band {band} was asked for; check the key `band`")


def explain(error: BaseException, href: str) -> SoilscaleError:
    """Failure to read an asset: `ServiceError` where a rerun may mend it, else `DataError`."""
    shown = href.partition("?")[0]
    text = _reason(error).replace(storage.gdal_path(href), shown).replace(href, shown)
    reason = text.replace(shown, "")
    if CREDENTIALS.search(reason):
        return RefusedError(
            f"access to {shown} was refused: {text}; renew the credentials and run the same command again", shown
        )
    if TRANSIENT.search(reason):
        return ServiceError(f"{shown} cannot be reached: {text}; run the same command again")
    what, remedy = formats.diagnosis(href, reason)
    text = f"{text.rstrip('.')}; {what}" if what else text
    return DataError(f"{shown} cannot be read: {text}; {remedy}, then run the same command again")


def _reason(error: BaseException) -> str:
    """Messages of an error and of what it comes from, the pointers of GDAL's wrapper left out."""
    messages: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        messages.append(str(cause).removesuffix("Read failed. See previous exception for details."))
        cause = cause.__cause__
    return ": ".join(dict.fromkeys(filter(None, messages))) or repr(error)


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


def overlap(one: Bounds, other: Bounds) -> Bounds | None:
    """Common part of two bounds, None if they do not meet."""
    common = max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])
    return common if common[0] < common[2] and common[1] < common[3] else None
