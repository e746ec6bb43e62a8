"""Assets that are files of several variables: which of an item's assets holds what a source reads."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from soilscale import storage
from soilscale.sources import Source

RASTER = re.compile(r"\.(tiff?|jp2|vrt|img)$", re.IGNORECASE)
"""Ends of names of files of one raster, which say themselves where they lie."""

CONTAINER = re.compile(r"\.(hdf4?|hdf5|h5|he5|nc4?|cdf|grib2?|grb2?|zarr/?)$", re.IGNORECASE)
"""Ends of names of files that may hold several."""


def with_contained(assets: Mapping[str, Any], source: Source) -> Mapping[str, Any]:
    """Assets of an item, with the file of several variables under the name by which the source reads it.

    CMR-STAC names the asset of a granule by the time of its production, so that no two items share a name: where the
    source's asset is not there and it reads a layer, the one file with the role ``data`` is its asset; of a file that
    is there by http and on S3, the first of the two.
    """
    if not all(isinstance(asset, Mapping) for asset in assets.values()):
        return assets
    if source.asset in assets or source.layer is None or (only := _only_file(assets)) is None:
        return assets
    return {**assets, source.asset: only}


def _only_file(assets: Mapping[str, Any]) -> Any:
    """The one file of several variables among the data; None if there is none, or several."""
    files: dict[str, Any] = {}
    for asset in sorted(assets.values(), key=lambda asset: storage.in_cloud(str(asset.get("href", "")))):
        if "data" in (asset.get("roles") or ()) and CONTAINER.search(_path(asset)):
            files.setdefault(posixpath.basename(_path(asset)), asset)
    return next(iter(files.values())) if len(files) == 1 else None


def _path(asset: Mapping[str, Any]) -> str:
    return str(asset.get("href", "")).partition("?")[0]
