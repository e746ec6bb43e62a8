"""An item's georeference: the CRS of a file and the location of its pixels (projection extension)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from affine import Affine

SHOWN = 40
"""Letters of a CRS that a message shows."""


@dataclass(frozen=True)
class Placement:
    """Fields ``proj:*`` of an asset or its item; None where they are not there."""

    crs: str | None = None
    """``EPSG:...``, WKT or PROJJSON."""
    transform: tuple[float, ...] | None = None
    """Six coefficients, row by row, from columns and rows to coordinates."""
    bbox: tuple[float, ...] | None = None
    """Left, bottom, right, top in that CRS."""
    on_asset: bool = False
    """Whether transform or bbox are of the asset itself, not of an item whose assets may differ in resolution."""

    def affine(self, shape: tuple[int, int]) -> Affine | None:
        """Transform of a file of that shape."""
        if self.transform is not None:
            return Affine(*self.transform)
        if self.bbox is None or not all(shape):
            return None
        (rows, columns), (left, bottom, right, top) = shape, self.bbox
        return Affine((right - left) / columns, 0, left, 0, (bottom - top) / rows, top)

    def asset_affine(self, shape: tuple[int, int]) -> Affine | None:
        """The same, if it is stated of the asset itself."""
        return self.affine(shape) if self.on_asset else None

    def __str__(self) -> str:
        """Place as a message names it."""
        crs = None if self.crs is None else f"CRS {self.crs.splitlines()[0][:SHOWN]}"
        where = None if self.transform is None else f"transform {list(self.transform)}"
        if where is None and self.bbox is not None:
            where = f"bounds {list(self.bbox)}"
        return ", ".join(filter(None, (crs, where)))


def placement(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> Placement | None:
    """Read what is stated of an asset's place, first of itself and then of its item; None if nothing is."""
    places = (asset, properties)
    crs = next(filter(None, map(_crs, places)), None)
    transform = _numbers(places, "proj:transform", (6, 9))
    bbox = _numbers(places, "proj:bbox", (4, 6))
    if crs is None and transform is None and bbox is None:
        return None
    if bbox is not None:
        half = len(bbox) // 2
        # A box of six numbers has heights between the corners.
        bbox = (*bbox[:2], *bbox[half : half + 2])
    on_asset = any(asset.get(key) is not None for key in ("proj:transform", "proj:bbox"))
    return Placement(crs, None if transform is None else transform[:6], bbox, on_asset)


def _crs(place: Mapping[str, Any]) -> str | None:
    code, epsg = place.get("proj:code"), place.get("proj:epsg")
    if isinstance(epsg, str) and epsg.strip().isdecimal():
        epsg = int(epsg)
    if isinstance(code, str) and code:
        return code
    # True is an integer in Python, and would be EPSG:1.
    if isinstance(epsg, (int, float)) and not isinstance(epsg, bool):
        return f"EPSG:{int(epsg)}"
    wkt, projjson = place.get("proj:wkt2"), place.get("proj:projjson")
    if isinstance(wkt, str) and wkt:
        return wkt
    if isinstance(projjson, str) and projjson:
        return projjson
    return json.dumps(projjson) if isinstance(projjson, dict) and projjson else None


def _numbers(places: tuple[Mapping[str, Any], ...], key: str, lengths: tuple[int, ...]) -> tuple[float, ...] | None:
    for place in places:
        values = place.get(key)
        if isinstance(values, (list, tuple)) and len(values) in lengths:
            try:
                return tuple(float(value) for value in values)
            except (TypeError, ValueError):
                continue
    return None
