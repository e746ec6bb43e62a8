"""The location of the pixels of a file: as stated by the file, its sidecar files or its item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from soilscale.catalog.placement import Placement
from soilscale.errors import DataError
from soilscale.extents import is_on_earth, transformer
from soilscale.sources import PixelGrid

Floats = NDArray[np.floating]

ALIGNED = 1e-3
"""Share of a pixel by which two files may differ and still lie on one grid."""

APART = 0.5
"""Pixels from which on a file does not lie where its item states."""


@dataclass(frozen=True)
class Georeference:
    """CRS and north-up transform of a file, whichever way it is stored."""

    crs: CRS
    transform: Affine
    flipped: bool = False
    """Whether its rows are stored from south to north."""
    height_unit: str | None = None
    """Unit of the vertical axis of a compound CRS."""


def locate(
    file: rasterio.DatasetReader, shown: str, placement: Placement | None, grids: Sequence[PixelGrid] = ()
) -> Georeference:
    """Georeference of an open file.

    Parameters
    ----------
    shown
        Name of the file in messages, without what signs it.
    placement
        What its item states; used where neither the file nor what lies beside it says so.
    grids
        What the source states, which comes before the item.

    Raises
    ------
    DataError
        If nobody states CRS and transform, or the pixels are turned against the axes of the CRS.
    """
    # GDAL gives the identity for a file that states no transform; taken at its word, it would lie at 0, 0.
    transform = None if file.transform.is_identity else file.transform
    points = "ground control points" if file.gcps[0] else "rational polynomial coefficients" if file.rpcs else ""
    otherwise = f"it has {points} only" if points else ""
    return settle(file.crs or _beside(file.name), transform, file.shape, shown, placement, grids, otherwise)


def settle(
    crs: CRS | None,
    transform: Affine | None,
    shape: tuple[int, int],
    shown: str,
    placement: Placement | None,
    grids: Sequence[PixelGrid],
    otherwise: str = "",
) -> Georeference:
    """Georeference of a raster, of whose CRS and transform its file may state both, one or none; see `locate`.

    Parameters
    ----------
    otherwise
        How the file places its pixels, if neither by CRS nor by transform: ``it has ... only``.
    """
    placed = placement or Placement()
    # Programs write a local CRS, such as "unknown", for pixels of no place on the Earth: it states nothing.
    local = crs is not None and not _is_on_earth(crs.to_wkt())
    if local:
        crs = None
    grid = next((grid for grid in grids if grid.shape in (None, shape)), None)
    if crs is None:
        crs = _crs(grid.crs if grid is not None and (transform is None or not placed.crs) else placed.crs, shown)
    if transform is None:
        transform = Affine(*grid.transform) if grid is not None else placed.affine(shape)
    if crs is None or transform is None or transform.is_identity:
        sizes = ", ".join(f"{grid.shape[0]} x {grid.shape[1]}" for grid in grids if grid.shape)
        sizes_text = f"; `place` is for {sizes} pixels, the file has {shape[0]} x {shape[1]}" if sizes else ""
        lacks = otherwise or ("its CRS is local" if local else "it has no CRS or no transform")
        remedy = (
            "warp it to a regular grid first"
            if otherwise
            else "add both to the file, to the item, as proj:code and proj:transform, or to the source, as `place`"
        )
        raise DataError(f"{shown} is not georeferenced: {lacks}, and its item states none{sizes_text}; {remedy}")
    transform, flipped = _north_up(transform, shape, shown)
    horizontal, height_unit = _parts(crs.to_wkt())
    # Only x and y are warped; of the vertical axis, its unit alone matters.
    return Georeference(crs if height_unit is None else CRS.from_wkt(horizontal), transform, flipped, height_unit)


def apart(place: Georeference, shape: tuple[int, int], placement: Placement | None) -> str | None:
    """What an item states of a file's place, if the file lies elsewhere.

    Parameters
    ----------
    place, shape
        Of the file.
    placement
        What the item states.
    """
    if placement is None:
        return None
    transform = placement.asset_affine(shape)
    if transform is not None:
        transform = _turned(transform, shape)[0]
    if placement.crs is None and transform is None:
        return None
    corners = _corners(transform or place.transform, shape)
    try:
        expected = corners if placement.crs is None else _transformed(corners, placement.crs, place.crs.to_wkt())
    except (pyproj.exceptions.ProjError, CRSError):
        return f"proj: {placement}"
    away = np.abs(expected - _corners(place.transform, shape)) / np.array([[place.transform.a], [-place.transform.e]])
    return None if bool((away <= APART).all()) else str(placement)


def _corners(transform: Affine, shape: tuple[int, int]) -> Floats:
    rows, columns = shape
    x, y = np.array([0.0, columns, 0, columns]), np.array([0.0, 0, rows, rows])
    return np.array([transform.a * x + transform.c, transform.e * y + transform.f])


def _transformed(points: Floats, source: str, target: str) -> Floats:
    if _same_crs(source, target):
        return points
    return np.array(transformer(source, target).transform(*points))


@lru_cache(maxsize=256)
def _same_crs(source: str, target: str) -> bool:
    return bool(pyproj.CRS.from_user_input(source).equals(pyproj.CRS.from_wkt(target), ignore_axis_order=True))


def _crs(text: str | None, shown: str) -> CRS | None:
    if text is None:
        return None
    try:
        crs = CRS.from_wkt(pyproj.CRS.from_user_input(text).to_wkt())
    except (pyproj.exceptions.CRSError, CRSError) as error:
        raise DataError(f"{shown} has no CRS, and its item states {text[:80]!r}, which is invalid: {error}") from error
    if not _is_on_earth(crs.to_wkt()):
        raise DataError(f"{shown} has no CRS, and its item states {text[:80]!r}, which places nothing on the Earth")
    return crs


@lru_cache(maxsize=256)
def _is_on_earth(wkt: str) -> bool:
    """Whether a CRS has axes on the Earth's surface: a local, vertical or geocentric one has not."""
    try:
        crs = pyproj.CRS.from_wkt(wkt)
    except pyproj.exceptions.CRSError:
        return False
    return is_on_earth(crs)


def _beside(path: str) -> CRS | None:
    """CRS of the ``.prj`` file beside a local one, which GDAL reads with some formats only."""
    beside = Path(path).with_suffix(".prj")
    if path.startswith("/vsi") or not beside.is_file():
        return None
    try:
        return CRS.from_wkt(beside.read_text(encoding="utf-8", errors="replace"))
    except CRSError:
        return None


def _north_up(transform: Affine, shape: tuple[int, int], shown: str) -> tuple[Affine, bool]:
    """Transform of the rows from north to south, and whether they are stored the other way; rounding removed."""
    rows, columns = shape
    sheared = abs(transform.b) * rows > ALIGNED * abs(transform.a) or (
        abs(transform.d) * columns > ALIGNED * abs(transform.e)
    )
    if sheared or transform.a <= 0 or not transform.e:
        raise DataError(
            f"{shown} is rotated, sheared or mirrored: its transform is {tuple(transform)[:6]}; expected rows and "
            "columns along the axes of its CRS, columns from west to east; warp it first"
        )
    return _turned(transform, shape)


def _turned(transform: Affine, shape: tuple[int, int]) -> tuple[Affine, bool]:
    a, _, c, _, e, f = tuple(transform)[:6]
    return (Affine(a, 0, c, 0, -e, f + shape[0] * e), True) if e > 0 else (Affine(a, 0, c, 0, e, f), False)


@lru_cache(maxsize=256)
def _parts(wkt: str) -> tuple[str, str | None]:
    """Horizontal part of a CRS, and the unit of its vertical axis, None if it has none."""
    if "VERT" not in wkt.upper():
        return wkt, None
    crs = pyproj.CRS.from_wkt(wkt)
    if not crs.is_compound:
        return wkt, None
    return crs.sub_crs_list[0].to_wkt(), str(crs.sub_crs_list[-1].axis_info[0].unit_name)
