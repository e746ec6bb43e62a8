"""Names of the classes of a file, as GDAL keeps them for a band or as CF's attributes state them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile

from soilscale import formats
from soilscale.cube import opening
from soilscale.cube.assets import Header


def class_names(href: str, header: Header) -> dict[int, str]:
    """Name of each class that a file names.

    Parameters
    ----------
    href
        Where the file lies, signed if it must be.
    header
        Its header, for the band or layer.

    Raises
    ------
    DataError, ServiceError
        As `assets.header`.
    """
    if header.layer is None:
        return opening.opened(href, lambda file: _of_band(file, header.band))
    with formats.layer(href, header.format, header.layer, header.layer) as layer:
        return layer.class_names


def _of_band(file: rasterio.DatasetReader, band: int) -> dict[int, str]:
    """Names that CF's attributes state, else GDAL's category names, whose places are the codes."""
    flag_names = formats.flag_names(file.tags(band))
    if flag_names:
        return flag_names
    # rasterio does not give the category names; a VRT of the file repeats them, and no pixel is read for it.
    with MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(file, memory.name, driver="VRT")
        document = ET.fromstring(memory.read())  # noqa: S314 - written by GDAL a line above
    names = document.findall(f"VRTRasterBand[@band='{band}']/CategoryNames/Category")
    return {code: name.text.strip() for code, name in enumerate(names) if name.text and name.text.strip()}
