"""The only module that touches stores: objects, Zarr groups and what GDAL needs to read assets from them."""

from soilscale.storage.arrays import DamagedError, create, grow, open_foreign, open_group, read_region, write_region
from soilscale.storage.gdal import gdal_options, gdal_path, gdal_session
from soilscale.storage.objects import (
    answers,
    check_writable,
    exists,
    names_below,
    read_bytes,
    read_json,
    remove,
    write_bytes,
    write_file,
    write_json,
    write_new,
)
from soilscale.storage.stores import TIMEOUT, explain, filesystem, has_bucket, is_local, join, resolve, shown

__all__ = [
    "TIMEOUT",
    "DamagedError",
    "answers",
    "check_writable",
    "create",
    "exists",
    "explain",
    "filesystem",
    "gdal_options",
    "gdal_path",
    "gdal_session",
    "grow",
    "has_bucket",
    "is_local",
    "join",
    "names_below",
    "open_foreign",
    "open_group",
    "read_bytes",
    "read_json",
    "read_region",
    "remove",
    "resolve",
    "shown",
    "write_bytes",
    "write_file",
    "write_json",
    "write_new",
    "write_region",
]
