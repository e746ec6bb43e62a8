"""Headers of rasters for the search: location and pixel size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from soilscale import storage
from soilscale.catalog.signing import sign
from soilscale.errors import DataError
from soilscale.extents import Box
from soilscale.sources import Sign


@contextmanager
def opened(href: str, how: Sign = "none") -> Iterator[rasterio.DatasetReader]:
    """Open raster.

    Parameters
    ----------
    href
        Where it lies, not signed.
    how
        How it is signed.

    Raises
    ------
    DataError
        If it cannot be opened.
    """
    signed = sign(href, how)
    path = storage.gdal_path(signed)
    options = storage.gdal_options(signed) | storage.gdal_beside(path)
    try:
        with rasterio.Env(storage.gdal_session(signed), **options), rasterio.open(path) as file:
            yield file
    except RasterioError as error:
        raise DataError(f"{storage.shown(href)} cannot be opened: {storage.shown(error)}; replace the file") from error


def bounds(href: str) -> Box:
    """Box in degrees around a raster, as its header says.

    Raises
    ------
    DataError
        If it cannot be opened, or says nothing of its place.
    """
    with opened(href) as file:
        if file.crs is None:
            raise DataError(f"{storage.shown(href)} is not georeferenced; give it a CRS and a transform")
        west, south, east, north = transform_bounds(file.crs, CRS.from_epsg(4326), *file.bounds)
    return west, south, east, north
