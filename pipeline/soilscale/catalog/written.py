"""A static STAC catalog of the files in a folder, for this pipeline and other STAC clients."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pystac

from soilscale.catalog import files, time_coverage
from soilscale.catalog.query import Broken, Item
from soilscale.errors import ConfigurationError, DataError
from soilscale.extents import WORLD
from soilscale.sources import profiles

MARK = "soilscale:files"
"""Member of a catalog that this module has written, and may write again."""

MEDIA: Mapping[str, str] = {
    "tif": "image/tiff; application=geotiff",
    "tiff": "image/tiff; application=geotiff",
    "jp2": "image/jp2",
    "hdf": "application/x-hdf",
    "h5": "application/x-hdf5",
    "hdf5": "application/x-hdf5",
    "he5": "application/x-hdf5",
    "nc": "application/netcdf",
    "nc4": "application/netcdf",
    "grib": "application/wmo-GRIB2",
    "grib2": "application/wmo-GRIB2",
}
"""End of a file's name -> media type."""


@dataclass(frozen=True)
class Writing:
    """What was written."""

    path: Path
    """The catalog."""
    collections: Mapping[str, int]
    """Profile -> its items."""
    odd: tuple[str, ...]
    """Files that fit no profile, or say no date, and are left out."""


def write(folder: Path, name: str | None = None) -> Writing:
    """Write ``catalog.json`` of the files below a folder into it, with a collection for each product.

    Parameters
    ----------
    folder
        Local folder.
    name
        Profile that the files are of; None: each file is of the profile whose names it fits.

    Raises
    ------
    ConfigurationError
        If there is no such folder, or another's catalog stands in it.
    DataError
        If no file fits.
    """
    stamps = files.listed(str(folder.absolute())) if folder.is_dir() else {}
    if not stamps:
        raise ConfigurationError(f"there is no folder {folder} with data files in it; name the folder that holds them")
    _check_free(folder / "catalog.json")
    left, collections, broken = dict(stamps), dict[str, list[Item]](), list[str]()
    for product in [name] if name else files.telling():
        profile = profiles()[product]
        fitting = files.fit(left, profile, profile["asset"], static=bool(profile.get("static")))
        # Each file goes to the first product that it fits, so that none is listed twice.
        left = {url: left[url] for url in fitting.odd}
        within = profile.get("layer"), profile["asset"]
        dated = list(files.settled(fitting.items, profile, within, _into(broken)))
        if dated:
            collections[product] = dated
    if not collections:
        raise DataError(
            f"of {len(stamps)} files in {folder} no name matches {name or 'a profile'}; the first is "
            f"{Path(next(iter(stamps))).name!r}; `soilscale profiles NAME` shows the names of a product's files"
        )
    _save(folder, collections)
    counts = {product: len(items) for product, items in collections.items()}
    return Writing(folder / "catalog.json", counts, (*broken, *left))


def _into(broken: list[str]) -> Broken:
    return lambda url, _: broken.append(url)


def _check_free(path: Path) -> None:
    """Refuse to overwrite what somebody else has written."""
    if path.exists() and MARK not in json.loads(path.read_text(encoding="utf-8")):
        raise ConfigurationError(f"{path} is a catalog that soilscale did not write; move it, or name another folder")


def _save(folder: Path, collections: Mapping[str, Sequence[Item]]) -> None:
    catalog = pystac.Catalog(folder.absolute().name, f"Files in {folder.absolute().name}", extra_fields={MARK: True})
    for product, items in collections.items():
        catalog.add_child(_collection(product, [_item(entry, product) for entry in items]))
    catalog.normalize_hrefs(str(folder.absolute()))
    # So that the folder can be moved with its catalog.
    catalog.make_all_asset_hrefs_relative()
    catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)


def _collection(product: str, items: Sequence[pystac.Item]) -> pystac.Collection:
    profile = profiles()[product]
    license_ = str(profile["license"]).partition(";")[0]
    collection = pystac.Collection(
        product,
        f"{profile['about']}. Citation: {profile['citation']}",
        pystac.Extent.from_items(items),
        title=product,
        # STAC takes identifiers of SPDX only; any other text has to be called other.
        license=license_ if re.fullmatch(r"[A-Z][A-Za-z0-9.-]*", license_) else "other",
    )
    collection.add_items(items)
    return collection


def _item(entry: Item, product: str) -> pystac.Item:
    west, south, east, north = bbox = entry.get("bbox") or list(WORLD)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties = entry["properties"]
    item = pystac.Item(
        entry["id"],
        {"type": "Polygon", "coordinates": [ring]},
        bbox,
        time_coverage.instant(properties["datetime"]),
        {},
        start_datetime=time_coverage.instant(properties.get("start_datetime")),
        end_datetime=time_coverage.instant(properties.get("end_datetime")),
        collection=product,
    )
    for name, asset in entry["assets"].items():
        end = asset["href"].rpartition(".")[2].lower()
        item.add_asset(name, pystac.Asset(asset["href"], media_type=MEDIA.get(end), roles=["data"]))
    return item
