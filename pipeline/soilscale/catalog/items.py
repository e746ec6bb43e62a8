"""STAC items as they are frozen: plain, with absolute hrefs, and only with what is read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from soilscale.catalog.containers import with_contained
from soilscale.catalog.documents import resolve
from soilscale.catalog.query import Broken, Found, Item, Query, conditions, links, satisfies
from soilscale.catalog.time_coverage import instant, start, undated
from soilscale.catalog.versions import SUCCESSORS
from soilscale.errors import DataError
from soilscale.extents import WORLD, Box, box, geometry_box, intersects
from soilscale.storage import shown

logger = logging.getLogger(__name__)

VALUES = 10
"""Values of a property that are noted of items that do not meet a query, at most."""

_KEPT = ("type", "stac_version", "stac_extensions", "id", "geometry")
_OLDEST = datetime.min.replace(tzinfo=UTC)


def freeze(raw: Mapping[str, Any], url: str, assets: Iterable[str]) -> Item:
    """Copy of an item that needs no catalog any more.

    Parameters
    ----------
    raw
        The item as the catalog gives it.
    url
        Absolute URL of the document that holds it; links are relative to it.
    assets
        Names of the assets to keep.

    Returns
    -------
    dict
        The item with absolute asset hrefs, only the wanted assets, the link ``self`` and those to later versions, and
        a bbox of four numbers, which is absent where the item has neither a bbox nor a geometry.

    Raises
    ------
    DataError
        If it is no STAC item, or names no time.
    """
    if not isinstance(raw.get("id"), str) or not isinstance(raw.get("assets"), dict):
        raise DataError(f"{shown(url)} contains a feature that is not a STAC item: it has no id or no assets")
    properties = dict(raw.get("properties") or {})
    if start(properties) is None:
        raise DataError(f"item {raw['id']!r} in {shown(url)} has {undated(properties)}; correct it, or remove it")
    item: Item = {"type": "Feature"} | {key: raw[key] for key in _KEPT if key in raw}
    area = box(raw.get("bbox")) or geometry_box(raw.get("geometry"))
    if area:
        item["bbox"] = list(area)
    item["properties"] = properties
    newer = [{"rel": link["rel"], "href": resolve(url, link["href"])} for link in links(raw, *SUCCESSORS)]
    item["links"] = [{"rel": "self", "href": url, "type": "application/geo+json"}, *newer]
    item["assets"] = {
        name: asset | {"href": resolve(url, asset["href"])}
        for name in assets
        if isinstance(asset := raw["assets"].get(name), dict) and isinstance(asset.get("href"), str)
    }
    if isinstance(raw.get("collection"), str):
        item["collection"] = raw["collection"]
    return item


def add(findings: Found, raw: Any, url: str, query: Query, *, inside: bool) -> None:
    """Add an item to what was found, if it belongs to the collection, lies in the area and meets the query.

    Parameters
    ----------
    inside
        Whether the item was met within the wanted collection.

    Raises
    ------
    DataError
        If it is no STAC item, or names no time.
    """
    if not isinstance(raw, Mapping) or raw.get("type", "Feature") != "Feature":
        raise DataError(f"{shown(url)} contains something that is not a GeoJSON feature")
    collection = raw.get("collection")
    # Within a collection, what an item calls it does not matter: the link that led there does.
    if isinstance(collection, str) and not inside:
        findings.collections.add(collection)
        if collection != query.source.collection:
            return
    # Before the item is frozen, which keeps only the assets that the source names.
    if isinstance(raw.get("assets"), Mapping):
        raw = {**raw, "assets": with_contained(raw["assets"], query.source)}
    item = freeze(raw, url, query.source.assets)
    # Held to the area again: a static catalog leads to all of its items.
    if not intersects(area_of(item), query.bbox):
        return
    if not satisfies(item["properties"], query.source.query):
        refuse(findings, item["properties"], query)
        return
    findings.assets.update(raw["assets"])
    if inside:
        item["collection"] = query.source.collection
    (findings.items if inside or collection else findings.loose).append(item)


def refuse(findings: Found, properties: Mapping[str, Any], query: Query) -> None:
    """Count an item that does not meet the query, and note what it has instead."""
    findings.refused += 1
    for name, rule in conditions(query.source.query).items():
        values = findings.values.setdefault(name, [])
        value = properties.get(name)
        if not satisfies(properties, {name: rule}) and value not in values and len(values) < VALUES:
            values.append(value)


def skip(findings: Found, query: Query, url: str, reason: str, broken: Broken) -> None:
    """Go on without a document or item that cannot be used, and say so."""
    logger.warning("%s: continuing without %s: %s", query.where, shown(url), reason)
    findings.broken.append(reason)
    broken(shown(url), reason)


def deduplicate(items: Iterable[Item]) -> list[Item]:
    """One item per id, place and start: the one with the newest ``updated`` or else ``created``, the last among equals.

    Some catalogs name items by their date alone, tile by tile, or by their tile alone, date by date.
    """
    newest: dict[tuple[object, ...], Item] = {}
    for item in items:
        key = item["id"], area_of(item), start(item["properties"])
        latest = newest.get(key)
        if latest is None or _age(item) >= _age(latest):
            newest[key] = item
    return list(newest.values())


def area_of(item: Mapping[str, Any]) -> Box:
    """Box that an item covers: its bbox, or else that of its geometry, or else the world."""
    return box(item.get("bbox")) or geometry_box(item.get("geometry")) or WORLD


def _age(item: Item) -> datetime:
    properties = item["properties"]
    return instant(properties.get("updated")) or instant(properties.get("created")) or _OLDEST
