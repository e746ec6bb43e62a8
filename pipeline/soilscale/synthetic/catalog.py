"""Rasters and their items: cloud-optimised GeoTIFFs in a static STAC catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import shapely
from numpy.typing import NDArray

from soilscale.synthetic.frames import LONLAT, Frame

Interval = tuple[np.datetime64, np.datetime64]
"""First day, and the day after the last."""


@dataclass(frozen=True)
class Raster:
    """One asset: its pixels and what its item says of them."""

    values: NDArray[np.generic]
    """Stored values, shape of the frame."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the asset."""
    nodata: float | None = None
    """Value tagged in the file as missing."""


def describe(
    folder: Path,
    name: str,
    frame: Frame,
    when: Interval | np.datetime64,
    rasters: Mapping[str, Raster],
    **properties: Any,
) -> pystac.Item:
    """Write the rasters of an item into its folder, and describe them.

    Parameters
    ----------
    folder
        Folder of the collection; the item's own is `name` in it.
    when
        Days that the item covers, or one date.
    rasters
        Asset name -> raster.
    properties
        Further properties of the item.
    """
    place = folder / name
    place.mkdir(parents=True)
    start, end = when if isinstance(when, tuple) else (None, None)
    item = pystac.Item(
        id=name,
        geometry=shapely.geometry.mapping(frame.footprint),
        bbox=list(frame.footprint.bounds),
        datetime=None if isinstance(when, tuple) else _instant(when),
        start_datetime=None if start is None else _instant(start),
        # `end` is the day after, but STAC intervals include their end.
        end_datetime=None if end is None else _instant(end) - timedelta(seconds=1),
        properties=_grid(frame) | properties,
    )
    for key, raster in rasters.items():
        path = place / f"{key}.tif"
        write_raster(path, frame, raster)
        asset = pystac.Asset(
            str(path), media_type=pystac.MediaType.COG, roles=["data"], extra_fields=dict(raster.metadata)
        )
        item.add_asset(key, asset)
    return item


def write_raster(path: Path, frame: Frame, raster: Raster) -> None:
    """Write a cloud-optimised GeoTIFF with overviews, deflated."""
    with rasterio.open(
        path,
        "w",
        driver="COG",
        height=frame.shape[0],
        width=frame.shape[1],
        count=1,
        dtype=raster.values.dtype.name,
        crs=frame.crs,
        transform=frame.transform,
        nodata=raster.nodata,
        compress="DEFLATE",
        predictor="STANDARD",
        blocksize=128,
        overview_resampling="nearest",
    ) as file:
        file.write(raster.values, 1)


def collect(name: str, description: str, items: Sequence[pystac.Item]) -> pystac.Collection:
    """Collection of items, its extent theirs."""
    collection = pystac.Collection(
        id=name, description=description, extent=pystac.Extent.from_items(items), license="CC0-1.0"
    )
    collection.add_items(items)
    return collection


def save(folder: Path, collections: Sequence[pystac.Collection]) -> Path:
    """Write a self-contained catalog, all links relative; returns its path."""
    catalog = pystac.Catalog("shaanxi", "A synthetic country like Shaanxi, its soil moisture known everywhere")
    catalog.add_children(collections)
    catalog.normalize_hrefs(str(folder))
    catalog.make_all_asset_hrefs_relative()
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


def _grid(frame: Frame) -> dict[str, Any]:
    crs = {"proj:code": frame.crs} if frame.crs == LONLAT else {"proj:code": None, "proj:wkt2": frame.crs}
    return crs | {"proj:shape": list(frame.shape), "proj:transform": list(frame.transform)[:6]}


def _instant(day: np.datetime64) -> datetime:
    return datetime.fromisoformat(str(day.astype("datetime64[s]"))).replace(tzinfo=UTC)
