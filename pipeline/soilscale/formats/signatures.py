"""Files that GDAL cannot open, identified by their first bytes, and the remedy for each."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from soilscale import storage
from soilscale.errors import SoilscaleError

HEAD = 512
"""Bytes that tell what a file is."""

RASTER = re.compile(
    r"\.(tiff?|gtiff?|cog|vrt|jp2|j2k|img|png|jpe?g|asc|msk|bil|bip|bsq|envi|ers|flt|hgt|dem|dt[012]|grd|map|sdat|ovr)$",
    re.IGNORECASE,
)
"""Ends of names of files that hold one raster, and are not asked what they are."""

UNKNOWN = re.compile(r"not recognized as being in a supported file format|no driver", re.IGNORECASE)
"""How GDAL says that it knows no way to read a file."""

REPLACE = "replace the file"

CONVERT = "convert it to GeoTIFF, or choose a catalog that offers the product as COG"

SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x0e\x03\x13\x01", "it is HDF4", CONVERT),
    (b"\x89HDF\r\n\x1a\n", "it is a kind of HDF5 or netCDF-4 that GDAL cannot open", CONVERT),
    (b"CDF", "it is a kind of netCDF that GDAL cannot open", CONVERT),
    (b"GRIB", "it is a kind of GRIB that GDAL cannot open", CONVERT),
    (b"BUFR", "it is BUFR, which is not a raster", CONVERT),
    (b"PK\x03\x04", "it is a ZIP archive", "unpack it, and let the item name the raster in it"),
    (b"\x1f\x8b", "it is compressed with gzip", "unpack it, and let the item name the unpacked file"),
    (b"BZh", "it is compressed with bzip2", "unpack it, and let the item name the unpacked file"),
    (b"7z\xbc\xaf", "it is a 7z archive", "unpack it, and let the item name the raster in it"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd", "unpack it, and let the item name the unpacked file"),
    (b"PAR1", "it is Parquet, a table", "choose another asset"),
    (b"%PDF", "it is a PDF", "choose another asset"),
    (
        b"version https://git-lfs",
        "it is a pointer of Git LFS, not the file itself",
        "fetch the files with `git lfs pull`",
    ),
)
"""How a file begins -> what it is, and what to do."""

TEXTS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb"<(!doctype )?html", re.IGNORECASE),
        "it is a web page, such as a login form or an error",
        "replace the file; if it comes from a server, check its credentials and the catalog's `sign`",
    ),
    (
        re.compile(rb"<\?xml|<Error>"),
        "it is XML, perhaps an error of the server",
        "replace the file, or choose another asset",
    ),
    (re.compile(rb"^\s*[{\[]"), "it is JSON", "choose the asset that holds the raster"),
)
"""What text files hold -> what they are, and what to do."""


def may_hold_layers(href: str) -> bool:
    """Whether a file may hold several variables, by its name alone."""
    return RASTER.search(href.partition("?")[0]) is None


def diagnosis(href: str, reason: str) -> tuple[str, str]:
    """What is wrong with a file that cannot be read, beyond what GDAL says, and what to do.

    Parameters
    ----------
    href
        Where the file lies, signed if it must be.
    reason
        What GDAL says.

    Returns
    -------
    str
        What the file is; empty if that is not known, or not what is wrong.
    str
        What to do.
    """
    # Where GDAL knows the format, its own message says more than the first bytes do.
    if not UNKNOWN.search(reason):
        return "", REPLACE
    if Path(storage.gdal_path(href)).is_dir():
        return "it is a folder", "name a file in it"
    with suppress(SoilscaleError, OSError, ValueError):
        return identify(storage.read_head(href, HEAD))
    return "", REPLACE


def identify(head: bytes) -> tuple[str, str]:
    """What a file is that begins so, and what to do; an empty text if that is not known."""
    if not head:
        return "it is empty", REPLACE
    for start, kind, remedy in SIGNATURES:
        if head.startswith(start):
            return kind, remedy
    for pattern, kind, remedy in TEXTS:
        if pattern.search(head):
            return kind, remedy
    return "", REPLACE
