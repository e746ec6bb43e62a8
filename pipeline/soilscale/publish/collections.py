"""The documents that link to the maps: a collection of each kind, with its publisher and citation, and the catalog."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soilscale import extents
from soilscale.publish.extensions import extensions
from soilscale.publish.items import STAC_VERSION, TITLES, link, log_link, rounded, run_field
from soilscale.schema import DIMS, QUALITY

ZARR = "application/vnd.zarr; version=3"

Item = Mapping[str, Any]


@dataclass(frozen=True)
class Input:
    """A product that the maps are made from."""

    name: str
    """Of the source in the configuration."""
    product: str
    license: str | None = None
    citation: str | None = None


@dataclass(frozen=True)
class About:
    """Who made the maps and how they may be used; empty where the configuration does not say it."""

    title: str | None = None
    description: str | None = None
    license: str = "other"
    """SPDX identifier, or ``other``."""
    license_url: str | None = None
    providers: Sequence[Mapping[str, Any]] = ()
    keywords: Sequence[str] = ()
    citation: str | None = None
    doi: str | None = None
    contact: str | None = None
    """Name, address of mail or URL."""
    root: str | None = None
    """Public URL of the output."""
    log: str | None = None
    """Address of a run's log, with ``{run}`` for its number."""
    inputs: Sequence[Input] = ()

    def home(self, *parts: str) -> str | None:
        """Public URL of something below the published maps."""
        return None if self.root is None else "/".join([self.root.rstrip("/"), "maps", *parts])


@dataclass(frozen=True)
class CatalogVersion:
    """Which release a document is of, and where it lies."""

    version: str
    """Number of the release."""
    time: str
    """When it was made, UTC."""
    below: tuple[str, ...] = ()
    """Folders from the published maps to the catalog; none for the newest release."""
    predecessor: str | None = None
    """Relative href of the catalog of the release before."""
    run: int | None = None
    """Number of the run that wrote the document."""


def collection(
    kind: str, name: str, items: Mapping[str, Item], about: About, release: CatalogVersion
) -> dict[str, Any]:
    """STAC collection of the maps of one kind, with all that its items have in common.

    Parameters
    ----------
    kind
        Group of the maps: ``month`` or ``season``.
    name
        Of the configuration.
    items
        Relative href -> item.
    """
    home = about.home(*release.below, kind, "collection.json")
    last = max(items.values(), key=lambda item: item["properties"]["start_datetime"])
    title = about.title or f"Surface soil moisture of {name}"
    document = {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": f"{name}-{kind}",
        "title": f"{title}, one map for each {kind}",
        "description": about.description or f"Soil moisture of {name}, one map for each {kind}",
        "license": about.license,
        **_credits(about),
        **run_field(about.log, release.run),
        "version": release.version,
        "updated": release.time,
        "extent": {
            "spatial": {"bbox": [rounded(extents.around_boxes([item["bbox"] for item in items.values()]))]},
            "temporal": {"interval": [list(_interval(items))]},
        },
        "summaries": _summaries(items.values()),
        "item_assets": {key: _common(asset) for key, asset in last.get("assets", {}).items()},
        **({"renders": last["properties"]["renders"]} if last["properties"].get("renders") else {}),
        **_datacube(items, last),
        "assets": _preview(items) | ({} if release.below else _stores(kind, about)),
        "links": [
            *([] if home is None else [link("self", home)]),
            link("root", "../catalog.json"),
            link("parent", "../catalog.json"),
            *_credit_links(about),
            *log_link(about.log, release.run),
            *(link("item", href, "application/geo+json") for href in items),
        ],
    }
    return document | {"stac_extensions": extensions(document)}


def catalog(name: str, kinds: Sequence[str], about: About, release: CatalogVersion) -> dict[str, Any]:
    """STAC catalog of the collections in the folders of their kinds; links are relative.

    Parameters
    ----------
    name
        Of the configuration.
    """
    home = about.home(*release.below, "catalog.json")
    earlier = release.predecessor
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": name,
        "title": about.title or f"Surface soil moisture of {name}",
        "description": about.description or f"Fine maps of soil moisture, {name}",
        "version": release.version,
        "updated": release.time,
        "links": [
            *([] if home is None else [link("self", home)]),
            link("root", "./catalog.json"),
            *(link("child", f"./{kind}/collection.json") for kind in kinds),
            *([] if earlier is None else [link("predecessor-version", earlier)]),
        ],
    }


def _credits(about: About) -> dict[str, Any]:
    """Fields that state who made the maps, how to cite them, and what they are made from."""
    sources = [{"citation": entry.citation} for entry in about.inputs if entry.citation]
    fields = {
        "keywords": list(about.keywords),
        "providers": [dict(provider) for provider in about.providers],
        "sci:doi": about.doi,
        "sci:citation": about.citation,
        "sci:publications": [entry for index, entry in enumerate(sources) if entry not in sources[:index]],
        "contacts": [_contact(about.contact)] if about.contact else [],
        "soilscale:inputs": [
            {key: value for key, value in vars(entry).items() if value is not None} for entry in about.inputs
        ],
    }
    return {key: value for key, value in fields.items() if value}


def _contact(contact: str) -> dict[str, Any]:
    """A contact in the words of the contacts extension."""
    if "://" in contact:
        return {"name": contact, "links": [{"rel": "about", "type": "text/html", "href": contact}]}
    return {"name": contact} | ({"emails": [{"value": contact}]} if "@" in contact and " " not in contact else {})


def _credit_links(about: About) -> list[dict[str, str]]:
    """Links to the licence, and to the DOI."""
    links = [link("license", about.license_url, "text/html")] if about.license_url else []
    return links + ([link("cite-as", f"https://doi.org/{about.doi}", "text/html")] if about.doi else [])


def _interval(items: Mapping[str, Item]) -> tuple[str, str]:
    """First and last instant of some items."""
    properties = [item["properties"] for item in items.values()]
    return min(entry["start_datetime"] for entry in properties), max(entry["end_datetime"] for entry in properties)


SUMMARISED = ("proj:code", "proj:epsg", "soilscale:season", "soilscale:algorithm", "processing:level")
"""Properties of items whose values a collection lists."""


def _summaries(items: Sequence[Item] | Any) -> dict[str, list[Any]]:
    """Values that the items have of each summarised property."""
    values = {key: [item["properties"].get(key) for item in items] for key in SUMMARISED}
    return {
        key: sorted({value for value in column if value is not None}, key=str)
        for key, column in values.items()
        if any(value is not None for value in column)
    }


def _common(asset: Mapping[str, Any]) -> dict[str, Any]:
    """What an asset says of every map of the collection."""
    shared = {
        key: value for key, value in asset.items() if key not in {"href", "statistics"} and not key.startswith("file:")
    }
    if "raster:bands" in shared:
        bands = shared["raster:bands"]
        shared["raster:bands"] = [{key: value for key, value in band.items() if key != "statistics"} for band in bands]
    return shared


def _datacube(items: Mapping[str, Item], last: Item) -> dict[str, Any]:
    """Fields of the datacube extension: the axes of the maps, and their layers."""
    properties = last["properties"]
    if "proj:bbox" not in properties:
        return {}
    left, bottom, right, top = properties["proj:bbox"]
    a, _, _, _, e, _ = properties["proj:transform"]
    # Cell centres, as maps.zarr has them.
    ends = {"x": (left + abs(a) / 2, right - abs(a) / 2), "y": (bottom + abs(e) / 2, top - abs(e) / 2)}
    crs = properties.get("proj:epsg") or properties.get("proj:projjson") or properties.get("proj:code")
    axes = {
        name: {
            "type": "spatial",
            "axis": name,
            "extent": list(extent),
            "step": abs(a) if name == "x" else -abs(e),
            "reference_system": crs,
        }
        for name, extent in ends.items()
    }
    times = {"type": "temporal", "extent": list(_interval(items))}
    times["values"] = sorted(item["properties"]["datetime"] for item in items.values())
    layers = {
        name: {
            "type": "data",
            "dimensions": list(DIMS),
            "unit": asset["unit"],
            "description": TITLES.get(name, asset["title"]),
        }
        for name, asset in last["assets"].items()
        if name in TITLES or name == QUALITY
    }
    return {"cube:dimensions": {"time": times, **axes}, "cube:variables": layers}


def _preview(items: Mapping[str, Item]) -> dict[str, Any]:
    """Thumbnail of the newest map, as that of the collection."""
    href, item = max(items.items(), key=lambda entry: entry[1]["properties"]["start_datetime"])
    asset = item.get("assets", {}).get("thumbnail")
    if asset is None:
        return {}
    place = asset["href"] if "://" in asset["href"] else posixpath.join(posixpath.dirname(href), asset["href"][2:])
    return {"thumbnail": {**asset, "href": place}}


def _stores(kind: str, about: About) -> dict[str, Any]:
    """Assets of the Zarr stores that hold the maps and what they are made from."""
    root = "../.." if about.root is None else about.root.rstrip("/")
    return {
        key: {
            "href": f"{root}/{store}",
            "type": ZARR,
            "title": title,
            "roles": ["data", "zarr"],
            "xarray:open_kwargs": {"engine": "zarr", "group": group, "chunks": {}},
            "xarray:storage_options": {},
        }
        for key, store, group, title in (
            ("maps", "maps.zarr", kind, f"All maps of this collection as a Zarr store, group {kind}"),
            ("cube", "cube.zarr", "fine", "Predictors that the maps are made from, as a Zarr store, group fine"),
        )
    }
