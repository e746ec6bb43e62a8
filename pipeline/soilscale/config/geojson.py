"""Polygons of an area from GeoJSON as GIS programs write it: with a CRS, empty features, self-intersections."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry import shape as as_shape
from shapely.geometry.base import BaseGeometry

from soilscale import storage
from soilscale.errors import ConfigurationError
from soilscale.extents import FARTHEST, TURN, joined, turned
from soilscale.grid import LONLAT, project

logger = logging.getLogger(__name__)

QUARTER = 90.0
"""Degrees from the equator to a pole."""

LEAP = 1e-6
"""Degrees by which an edge all around the Earth may miss a whole turn."""

POLYGONS = ("Polygon", "MultiPolygon")
COLLECTION = "GeometryCollection"
OTHERS = ("Point", "MultiPoint", "LineString", "MultiLineString")

CONVERT = "convert it, for example with ogr2ogr -f GeoJSON -t_srs EPSG:4326 area.geojson FILE"


def polygon(url: str) -> BaseGeometry:
    """Union of the polygons of a file, in longitude and latitude.

    Features without geometry, points and lines are passed over; polygons that cross themselves are repaired; a ``crs``
    member, which GIS programs still write, is followed.

    Parameters
    ----------
    url
        GeoJSON: a FeatureCollection, a feature, a geometry, or one of them a line.

    Returns
    -------
    shapely geometry
        Polygon or MultiPolygon, degrees, as of `extents.joined`.

    Raises
    ------
    ConfigurationError
        If the file is not there, is no GeoJSON, or holds no polygon in a known CRS; the message names the feature.
    """
    where = f"area.geometry: {storage.shown(url)}"
    parts = [part for _, shapes in _shapes(_read(url, where), where) for part in shapes]
    return joined(shapely.union_all([joined(part) for part in parts]))


def polygons(source: str | Mapping[str, Any]) -> list[tuple[str, BaseGeometry]]:
    """Polygons of a GeoJSON, a geometry for each feature, with what it calls itself.

    Parameters
    ----------
    source
        As `polygon` takes it, or the content of such a file.

    Returns
    -------
    list
        Property ``name``, or ``id``, or ``feature 3`` of what has neither; polygon, degrees, as of `extents.joined`.

    Raises
    ------
    ConfigurationError
        As of `polygon`.
    """
    where = f"polygons: {storage.shown(source)}" if isinstance(source, str) else "polygons"
    documents = _read(source, where) if isinstance(source, str) else [source]
    return [
        (name, joined(shapely.union_all([joined(part) for part in shapes])))
        for name, shapes in _shapes(documents, where)
    ]


def _shapes(documents: Iterable[Any], where: str) -> list[tuple[str, list[BaseGeometry]]]:
    """Features that are polygons: the name of each, and its parts."""
    shapes, passed = [], []
    for document in documents:
        for name, called, geometry, crs in _geometries(document, where):
            kind = geometry.get("type")
            if kind in OTHERS:
                passed.append(f"{name} is a {kind}")
                continue
            if parts := _polygons(geometry, crs, f"{where}, {name}"):
                shapes.append((called, parts))
    if not shapes:
        raise ConfigurationError(
            f"{where} holds no polygon{': ' + '; '.join(passed[:3]) if passed else ''}; expected a Polygon or "
            "MultiPolygon that encloses the area"
        )
    if passed:
        logger.warning("%s: ignored features that are not polygons: %s", where, "; ".join(passed[:3]))
    return shapes


def _read(url: str, where: str) -> list[Any]:
    """Read the document, or that of each line."""
    try:
        data = storage.read_bytes(url)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigurationError(f"{where} is not a GeoJSON file: it does not exist, or is a folder") from error
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError:
        # Only names can hold such bytes; coordinates are the same in every encoding, so the file is of use.
        text = data.decode("latin-1")
    try:
        return [json.loads(text)]
    except ValueError as error:
        # One feature a line, as ogr2ogr writes GeoJSONSeq, some with the separator of RFC 8142 before each.
        lines = [line.strip("\x1e \r") for line in text.split("\n")]
        try:
            documents = [json.loads(line) for line in lines if line]
        except ValueError:
            documents = []
        if not documents:
            raise ConfigurationError(
                f"{where} is not a GeoJSON file: {error}; it begins with {text[:40]!r}; {CONVERT}"
            ) from error
        return documents


def _geometries(document: Any, where: str) -> Iterator[tuple[str, str, Mapping[str, Any], CRS]]:
    """Label of each feature, what it calls itself, its geometry, and the CRS that it is in."""
    kind = document.get("type") if isinstance(document, dict) else type(document).__name__
    if kind not in ("FeatureCollection", "Feature", COLLECTION, *POLYGONS, *OTHERS):
        raise ConfigurationError(
            f"{where} is not a GeoJSON file: its type is {kind!r}, expected FeatureCollection, Feature or Polygon; "
            f"{CONVERT}"
        )
    if kind == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or not features:
            raise ConfigurationError(f"{where} contains no feature; expected a polygon that encloses the area")
    else:
        features = [document]
    for number, feature in enumerate(features):
        label, called = f"feature {number + 1}", _called(feature)
        name = label if called is None else f"{label} ({called!r})"
        if not isinstance(feature, dict):
            raise ConfigurationError(f"{where}, {name} is not a feature but {type(feature).__name__}")
        geometry = feature.get("geometry") if feature.get("type") == "Feature" else feature
        if geometry is None:
            continue
        if not isinstance(geometry, dict):
            raise ConfigurationError(f"{where}, {name} has a geometry that is {geometry!r}; expected a Polygon")
        crs_member = geometry.get("crs") or feature.get("crs") or document.get("crs")
        yield name, label if called is None else str(called), geometry, _crs(crs_member, f"{where}, {name}")


def _called(feature: Any) -> Any:
    """What a feature calls itself, if anything."""
    if not isinstance(feature, dict):
        return None
    properties = feature.get("properties") or {}
    calls = {str(key).lower(): value for key, value in properties.items()} if isinstance(properties, dict) else {}
    labels = [value for value in (calls.get("name"), feature.get("id"), calls.get("id"), calls.get("fid")) if value]
    return labels[0] if labels else None


def _crs(crs_member: Any, where: str) -> CRS:
    """CRS that a member ``crs`` names, in any of its spellings; longitude and latitude where there is none."""
    if not crs_member:
        return LONLAT
    code = crs_member
    if isinstance(crs_member, dict):
        properties = crs_member.get("properties") or {}
        code = properties.get("name") or properties.get("code")
    if isinstance(code, int) or (isinstance(code, str) and code.isdigit()):
        code = f"EPSG:{code}"
    if str(code).upper().endswith("CRS84"):
        return LONLAT
    try:
        return CRS.from_user_input(code)
    except CRSError as error:
        raise ConfigurationError(f"{where}: its crs {crs_member!r} is unknown; {CONVERT}") from error


def _polygons(geometry: Mapping[str, Any], crs: CRS, where: str) -> list[BaseGeometry]:
    """Valid polygons of a geometry, in longitude and latitude."""
    try:
        shape = shapely.force_2d(as_shape(geometry))
    except Exception as error:  # shapely raises whatever its own reading of the coordinates meets
        raise ConfigurationError(f"{where} has a geometry that cannot be read: {error}; draw it again") from error
    if shape.is_empty:
        return []
    _check_unit(shape, crs, where)
    if not shape.is_valid:
        reason = shapely.is_valid_reason(shape)
        shape = shapely.make_valid(shape)
        logger.warning("%s: the polygon is not valid (%s) and was repaired; check the result", where, reason)
    parts = [part for part in _parts(shape) if part.geom_type == "Polygon" and part.area > 0]
    if not parts:
        raise ConfigurationError(f"{where} encloses nothing; draw it again")
    polygons = [_lonlat(part, crs, where) for part in parts]
    for part in polygons:
        _check_jump(part, where)
    return polygons


def _check_jump(part: BaseGeometry, where: str) -> None:
    """Refuse a polygon whose edge leaps at 180 degrees: taken at its word it would go around the rest of the Earth."""
    for ring in (part.exterior, *part.interiors):
        longest = float(np.abs(np.diff(shapely.get_coordinates(ring)[:, 0])).max())
        if TURN / 2 < longest < TURN - LEAP:
            raise ConfigurationError(
                f"{where} has an edge that is {longest:g} degrees long; if the polygon crosses 180 degrees, split it "
                "there, or continue its longitudes beyond 180; if the edge is intended, add points along it"
            )


def _parts(shape: BaseGeometry) -> Iterator[BaseGeometry]:
    for part in shapely.get_parts(shape):
        if hasattr(part, "geoms"):
            yield from _parts(part)
        else:
            yield part


def _check_unit(shape: BaseGeometry, crs: CRS, where: str) -> None:
    """Refuse coordinates that cannot be in the CRS: metres for degrees, degrees for metres, latitude first."""
    points = shapely.get_coordinates(shape)
    if not np.isfinite(points).all():
        raise ConfigurationError(f"{where} has coordinates that are not numbers; draw it again")
    x, y = np.abs(points).max(axis=0)
    first = ", ".join(f"{value:g}" for value in points[0])
    if crs.is_projected and x <= TURN / 2 and y <= QUARTER:
        raise ConfigurationError(
            f"{where}: the coordinates, such as {first}, look like degrees, but its crs is {crs.name}; correct the crs"
        )
    if not crs.is_geographic or (x <= FARTHEST and y <= QUARTER):
        return
    if max(x, y) > FARTHEST:
        crs_text = "the file names no crs" if crs == LONLAT else f"its crs is {crs.name}"
        raise ConfigurationError(
            f"{where}: the coordinates, such as {first}, look like metres, but {crs_text}; expected longitude and "
            f"latitude in degrees, or a member crs that names the CRS; {CONVERT}, and add -s_srs if the CRS must be "
            "named"
        )
    swapped = "; latitude and longitude are swapped" if x <= QUARTER else ""
    raise ConfigurationError(
        f"{where}: the coordinates, such as {first}, are not longitude and latitude in degrees{swapped}; write "
        "longitude first"
    )


def _lonlat(part: BaseGeometry, crs: CRS, where: str) -> BaseGeometry:
    """Polygon in longitude and latitude, in one piece."""
    if crs.is_geographic and crs.geodetic_crs == LONLAT.geodetic_crs:
        return part
    projected = project(part, crs, LONLAT) if crs.is_projected else project(part, crs, LONLAT, points=1)
    if not np.isfinite(projected.bounds).all():
        raise ConfigurationError(f"{where} lies outside the map of its crs {crs.name}; {CONVERT}")
    # Longitudes are turned to within half a turn of a point inside; else a part across 180 degrees would span the
    # Earth.
    middle = project(part.representative_point(), crs, LONLAT).x
    return shapely.transform(projected, lambda x, y: (turned(x, middle, TURN), y), interleaved=False)
