"""Assets that are files of several variables: which of an item's assets holds what a source reads."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from soilscale.sources import Source

RASTER = re.compile(r"\.(tiff?|jp2|vrt|img)$", re.IGNORECASE)
"""Ends of names of files of one raster, which hold no variable beside the asset's own."""

CONTAINER = re.compile(r"\.(hdf4?|hdf5|h5|he5|nc4?|cdf|grib2?|grb2?|zarr/?)$", re.IGNORECASE)
"""Ends of names of files that may hold several."""


def with_contained(assets: Mapping[str, Any], source: Source) -> Mapping[str, Any]:
    """Assets of an item, with those that lie in one of them under the names by which the source reads them.

    CMR-STAC names the asset of a granule by the time of its production, so that no two items share a name: where the
    source's asset is not there and it reads a layer, the one file with the role ``data`` is its asset; of a file that
    is there by http and on S3, the first of the two. A quality band that is no asset is looked for in the file of the
    data.
    """
    if not all(isinstance(asset, Mapping) for asset in assets.values()):
        return assets
    whole = dict(assets)
    if source.asset not in whole and source.layer is not None and (only := _only_file(assets)) is not None:
        whole[source.asset] = only
    data = whole.get(source.asset)
    if data is not None and not RASTER.search(_path(data)):
        whole |= {rule.asset: data for rule in source.quality if rule.asset not in whole}
    return whole


def _only_file(assets: Mapping[str, Any]) -> Any:
    """The one file of several variables among the data; None if there is none, or several."""
    files: dict[str, Any] = {}
    for asset in sorted(assets.values(), key=lambda asset: str(asset.get("href", "")).startswith("s3:")):
        if "data" in (asset.get("roles") or ()) and CONTAINER.search(_path(asset)):
            files.setdefault(posixpath.basename(_path(asset)), asset)
    return next(iter(files.values())) if len(files) == 1 else None


def _path(asset: Mapping[str, Any]) -> str:
    return str(asset.get("href", "")).partition("?")[0]
