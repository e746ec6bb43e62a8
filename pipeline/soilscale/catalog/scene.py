"""Scenes: the part of a frozen item that a worker needs to read it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from soilscale import formats, numerals
from soilscale.catalog.items import area_of
from soilscale.catalog.placement import Placement, placement
from soilscale.catalog.query import Item, Period, Span, to_span
from soilscale.catalog.relations import Relations, relate
from soilscale.extents import Box
from soilscale.sources import Source
from soilscale.units import unit_text

REDUCTION = "soilscale:reduction"
"""Member of a frozen asset: which overview of its file is read, see `Scene.reduction`."""

STEP = "soilscale:step"
"""Property of an item that stands for one date of a file that holds several: which, counted from 0."""

_STATED = ("updated", "created")
_NODATA = ("nodata", "raster:nodata", "file:nodata")
_CHECKSUMS = ("file:checksum", "checksum:multihash", "file:size", "soilscale:stamp")


@dataclass(frozen=True)
class Scene:
    """One item, as a worker reads it."""

    item: str
    """Id of the item."""
    hrefs: Mapping[str, str]
    """Asset name -> absolute href, not signed."""
    start: np.datetime64
    """First instant that the item covers, UTC, ``datetime64[s]``."""
    end: np.datetime64
    """First instant that it does not cover any more."""
    bbox: Box
    """West, south, east, north in degrees; west > east across the antimeridian."""
    decoding: Mapping[str, Any]
    """``scale``, ``offset``, ``unit`` (str), ``valid_range`` (two stored values) of the data asset, as the item's
    metadata state; None where they are silent. ``nodata``: every stored value that they call missing."""
    missing: tuple[str, ...]
    """Wanted assets that the item lacks."""
    digest: str
    """SHA-256 of all that follows too, and of the item's times of change and checksums."""
    placements: Mapping[str, Placement] = field(default_factory=dict)
    """Asset name -> where the item states that its pixels lie; only of assets of which it does."""
    masks: Mapping[str, str] = field(default_factory=dict)
    """Asset name -> href of the mask beside its file, of those that the item lists."""
    series: str = ""
    """Scenes of one interval and series lie side by side; of several series the mean counts. Begins with the platform,
    where the item is known to be of one."""

    reduction: int = 1
    """Pixels of the data's file along one of the overview that is read in their place; 1: they themselves are."""
    step: int | None = None
    """Step of the time axis of its files, where they hold several dates."""

    @property
    def platform(self) -> str:
        """Platform, if it is known, else nothing."""
        return self.series.partition("#")[0]


def scenes(items: Sequence[Item], source: Source) -> list[Scene]:
    """Read those frozen items of one source that count as scenes, by start, series and place.

    Parameters
    ----------
    items
        All items of the source, as `search` gives them (any STAC items with absolute hrefs will do): where an item
        does not say what time it covers, its neighbours do, by the rules of `soilscale.catalog.intervals`.
    source
        The source that they belong to.

    Raises
    ------
    DataError
        If an item names no time.
    """
    return scenes_of(items, relate(items, source), source)


def scenes_of(items: Sequence[Item], relations: Relations, source: Source) -> list[Scene]:
    """Scenes of items of which it is known what they are to each other; see `scenes`."""
    judged = zip(items, relations.spans, relations.verdicts, strict=True)
    counted = [_scene(item, interval, verdict.series, source) for item, interval, verdict in judged if verdict.counts]
    return sorted(counted, key=_order)


def _order(scene: Scene) -> tuple[Any, ...]:
    """By time, then from north to south and west to east: which of two tiles counts is no matter of their ids."""
    west, _, _, north = scene.bbox
    return scene.start, scene.end, scene.series, -north, west, scene.item


def is_static(scenes: Sequence[Scene], source: Source, period: Period) -> bool:
    """Whether a source holds for every month.

    It does if it says so, if all its items share one date or interval, or if none of them lies in the period. A
    target, and a source whose months need a share of their days, as totals do, are static only if they say so: a
    single total of some days holds for no other month. Without items there is nothing to hold: not static.
    """
    if source.static is not None:
        return source.static
    if source.on_coarse or source.least_coverage > 0 or not scenes:
        return False
    first, after = to_span(period)
    dates = {scene.start.astype("datetime64[D]") for scene in scenes}
    return len(dates) == 1 or not any(scene.start < after and scene.end > first for scene in scenes)


def _scene(item: Item, interval: Span, series: str, source: Source) -> Scene:
    assets = {name: item["assets"][name] for name in source.assets if name in item["assets"]}
    hrefs = {name: str(asset["href"]) for name, asset in assets.items()}
    stated_decoding = decoding(assets.get(source.asset, {}), item["properties"], source.band)
    places = {name: placement(asset, item["properties"]) for name, asset in assets.items()}
    placements = {name: place for name, place in places.items() if place is not None}
    masks = _masks(hrefs, item["assets"])
    reduction = int(assets.get(source.asset, {}).get(REDUCTION, 1))
    return Scene(
        item=item["id"],
        hrefs=hrefs,
        start=interval[0],
        end=interval[1],
        bbox=area_of(item),
        decoding=stated_decoding,
        missing=tuple(name for name in source.assets if name not in assets and not within_data(name, assets, source)),
        digest=_digest(item, assets, (stated_decoding, placements, masks), interval, series, reduction),
        placements=placements,
        masks=masks,
        series=series,
        step=item["properties"].get(STEP),
        reduction=reduction,
    )


def within_data(name: str, assets: Mapping[str, Any], source: Source) -> bool:
    """Whether a quality band that is no asset of an item may lie in the file of the data, by that file's name."""
    data = assets.get(source.asset)
    return name != source.asset and data is not None and formats.may_hold_layers(str(data["href"]))


def _masks(hrefs: Mapping[str, str], assets: Mapping[str, Any]) -> dict[str, str]:
    """Masks beside files, ``x.tif.msk`` of ``x.tif``, that are assets too."""
    # Signatures differ from link to link, so hrefs are compared without them.
    listed = {_bare(str(asset["href"])): str(asset["href"]) for asset in assets.values()}
    beside = {name: listed.get(f"{_bare(href)}.msk") for name, href in hrefs.items()}
    return {name: href for name, href in beside.items() if href is not None}


def _bare(href: str) -> str:
    """Href without what signs it."""
    return href.partition("?")[0]


def decoding(asset: Mapping[str, Any], properties: Mapping[str, Any], band: int) -> dict[str, Any]:
    """How stored values become physical ones, as an item's metadata say it.

    Looked for, in this order, in ``raster:bands`` (raster extension 1), ``bands`` (STAC 1.1 and raster extension 2),
    the asset itself, the item's properties, and ``je:rasters`` (JAXA Earth: value = DN x slope + offset; DN outside
    ``min``..``max``, and the codes ``nodata`` and ``error``, are missing).

    Parameters
    ----------
    asset, properties
        The data asset and the item's properties.
    band
        Number of the band, from 1.

    Returns
    -------
    dict
        ``scale``, ``offset``: float or None; ``unit``: str or None; ``valid_range``: two stored values or None;
        ``nodata``: every stored value that any of these places calls missing, ascending; ``unclear``, where there is
        any: ``scale``, ``offset`` or ``nodata`` and a text that states it and is no number.
    """
    # The band before the asset and the item, whose values may be those of another band.
    bands = [_band(asset, key, band) for key in ("raster:bands", "bands")]
    wider, jaxa = [asset, properties], _jaxa(asset, band)
    factors = {
        key: _first(bands, f"raster:{key}", key, default=_first(wider, f"raster:{key}", default=jaxa.get(key)))
        for key in ("scale", "offset")
    }
    units = (unit_text(place.get("unit")) for place in (*bands, *wider, jaxa))
    codes = _codes([*bands, *wider, jaxa])
    statements = {
        "scale": _number(factors["scale"]),
        "offset": _number(factors["offset"]),
        "nodata": tuple(sorted({code for code in map(_number, codes) if code is not None and math.isfinite(code)})),
        "unit": next(filter(None, units), None),
        "valid_range": jaxa.get("valid_range"),
    }
    texts = [("nodata", code) for code in codes] + list(factors.items())
    unclear = tuple((key, f"{key} {text!r}") for key, text in texts if numerals.is_unclear(text, single=True))
    # Only where there is one, so that the digests of all other scenes stay as they were.
    return statements | ({"unclear": unclear} if unclear else {})


def _codes(places: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Stored values that mean missing, as they are written, of every place."""
    written: list[Any] = []
    for place in places:
        values = [place.get(key) for key in _NODATA]
        classes = place.get("classification:classes")
        entries = [entry for entry in classes if isinstance(entry, dict)] if isinstance(classes, list) else []
        values += [entry.get("value") for entry in entries if entry.get("nodata") is True]
        written += [code for value in values for code in _listed(value)]
    return written


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _band(asset: Mapping[str, Any], key: str, band: int) -> Mapping[str, Any]:
    bands = asset.get(key)
    entry = bands[band - 1] if isinstance(bands, list) and len(bands) >= band else None
    return entry if isinstance(entry, dict) else {}


def _jaxa(asset: Mapping[str, Any], band: int) -> dict[str, Any]:
    rasters = _band(asset, "je:rasters", band) or asset.get("je:rasters")
    if not isinstance(rasters, dict):
        return {}
    stored, factors, value = (
        part if isinstance(part := rasters.get(key), dict) else {} for key in ("dn", "dn2value", "value")
    )
    low, high = _number(stored.get("min")), _number(stored.get("max"))
    return {
        "scale": factors.get("slope"),
        "offset": factors.get("offset"),
        "nodata": [*_listed(stored.get("nodata")), *_listed(stored.get("error"))],
        "unit": value.get("unit"),
        "valid_range": None if low is None or high is None else (low, high),
    }


def _first(places: Sequence[Mapping[str, Any]], *keys: str, default: Any = None) -> Any:
    """First value that is there and not null, place by place."""
    values = (place.get(key) for place in places for key in keys)
    return next((value for value in values if value is not None), default)


def _number(value: Any) -> float | None:
    """Number of a single value; a list is none, and True would be a scale of 1."""
    return None if isinstance(value, (list, tuple)) else numerals.number(value)


def _digest(
    item: Item,
    assets: Mapping[str, Any],
    statements: tuple[Mapping[str, Any], ...],
    interval: Span,
    series: str,
    reduction: int,
) -> str:
    stated_decoding, placements, masks = statements
    # Only what changes values, or says that they may have changed: anything more would make units anew for nothing.
    frozen = {
        "id": item["id"],
        "bbox": item.get("bbox"),
        "stated": {key: item["properties"].get(key) for key in _STATED},
        "hrefs": {name: asset["href"] for name, asset in assets.items()},
        "checksums": {name: [asset.get(key) for key in _CHECKSUMS] for name, asset in assets.items()},
        "decoding": stated_decoding,
        "placements": {name: asdict(place) for name, place in placements.items()},
        "masks": masks,
        "interval": [str(instant) for instant in interval],
        "series": series,
    }
    # Only where it is set, so that the digests of all other scenes stay as they were.
    if reduction > 1:
        frozen["reduction"] = reduction
    # Likewise.
    if STEP in item["properties"]:
        frozen[STEP] = item["properties"][STEP]
    return hashlib.sha256(json.dumps(frozen, sort_keys=True).encode()).hexdigest()
