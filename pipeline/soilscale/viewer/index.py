"""Index of the maps of a release: all that the viewer knows of a product, in one request instead of one per item."""

from __future__ import annotations

import math
import posixpath
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from soilscale import __version__
from soilscale.grid import Grid, on_map
from soilscale.publish.previews import COLORMAP, COLORMAPS
from soilscale.publish.rasters import MAP_BAND, OPTIONAL_BANDS, ORIGINS, QUALITY_BAND, QUALITY_COLOURS
from soilscale.schema import APPLICABILITY, LOWER, MAP, QUALITY_MEANINGS, RESIDUAL, UPPER, Quality
from soilscale.seasons import Seasons

FORMAT = 1
"""Version of the index; the page refuses any other."""

STEPS = 64
"""Colours that a scale is sent as."""

SPREAD = 2.5
"""Standard deviations about the mean that the colours cover; a few outliers would otherwise take most of them."""

Items = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Kind of map, month or season -> path of an item below the published maps -> the item."""


@dataclass(frozen=True)
class Viewed:
    """What the viewer shows beside what the items say."""

    grid: Grid
    target: str
    """Variable of the coarse observation in the cube."""
    product: str
    """Collection that the observation is from."""
    seasons: Seasons
    valid_range: tuple[float, float]
    """Observations outside it do not count, m3 m-3."""
    interval: float | None
    """Nominal level of the interval."""
    area: BaseGeometry | None
    """Polygon of the maps, longitude and latitude; None where they cover the whole grid."""
    stations: bool
    """Whether the report sets stations beside the maps."""


def describe(name: str, number: int, time: str, viewed: Viewed, items: Items) -> dict[str, Any]:
    """All that the viewer knows of a release.

    Parameters
    ----------
    name
        Of the configuration.
    number, time
        Of the release.
    viewed
        What the items do not say.
    items
        The maps of the release.

    Returns
    -------
    dict
        JSON; hrefs are relative to the folder of the published maps.
    """
    every = [item for group in items.values() for item in group.values()]
    maps = {
        kind: [_map(path, item) for path, item in sorted(group.items(), key=_start)] for kind, group in items.items()
    }
    return {
        "format": FORMAT,
        "soilscale": __version__,
        "name": name,
        "release": number,
        "time": time,
        "product": viewed.product,
        "target": viewed.target,
        "valid_range": list(viewed.valid_range),
        "interval": viewed.interval,
        "stations": viewed.stations,
        "seasons": {season: list(months) for season, months in viewed.seasons.months.items()},
        "grid": _grid(viewed.grid),
        "area": _rings(viewed),
        "layers": _layers(every),
        "quality": _quality(viewed, every),
        "maps": maps,
    }


def _start(entry: tuple[str, Mapping[str, Any]]) -> str:
    return str(entry[1]["properties"]["start_datetime"])


def _map(path: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Months and files of one map."""
    properties = item["properties"]
    # By their names alone: a public root, where the item states one, is not where this copy of the maps lies.
    files = {name: posixpath.basename(urlsplit(asset["href"]).path) for name, asset in item["assets"].items()}
    return {
        "first": properties["start_datetime"][:7],
        "last": properties["end_datetime"][:7],
        "season": properties.get("soilscale:season"),
        "folder": posixpath.dirname(path),
        "files": {name: file for name, file in files.items() if file.endswith(".tif")},
    }


def _grid(grid: Grid) -> dict[str, Any]:
    """Geometry of the fine grid, its CRS as proj4js reads it, and its place on the Earth."""
    crs = CRS.from_user_input(grid.crs)
    with warnings.catch_warnings():
        # PROJ strings lose the datum's name, which moves a readout in degrees by less than a cell.
        warnings.simplefilter("ignore", UserWarning)
        proj4 = crs.to_proj4()
    return {
        "origin": [grid.left, grid.top],
        "step": grid.side / grid.ratio,
        "shape": [extent * grid.ratio for extent in grid.shape],
        "ratio": grid.ratio,
        "crs": crs.to_string() if crs.to_authority() else crs.name,
        "proj4": proj4 or None,
        "geographic": crs.is_geographic,
        "metres": None if crs.is_geographic else crs.axis_info[0].unit_conversion_factor,
    }


def _rings(viewed: Viewed) -> list[list[list[float]]] | None:
    """Outline of the area in the grid's CRS, as fine as a cell of the maps."""
    if viewed.area is None:
        return None
    step = viewed.grid.side / viewed.grid.ratio
    shape = shapely.simplify(on_map(viewed.area, viewed.grid.crs), step)
    digits = max(0, 2 - math.floor(math.log10(step)))
    polygons = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    return [[[round(x, digits), round(y, digits)] for x, y in ring.coords] for ring in rings]


def _layers(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Title, unit, range of colours and colours of each layer that the maps have; one scale for all their dates."""
    present = {name for item in items for name in item["assets"]}
    moisture = _rendered_range(items, MAP) or scale(_statistics(items, (MAP,)))
    ranges = dict.fromkeys((MAP, LOWER, UPPER), moisture)
    if {LOWER, UPPER} <= present:
        ranges["width"] = 0.0, _width(items)
    if APPLICABILITY in present:
        # 1 is the threshold, so it stands in the middle.
        ranges[APPLICABILITY] = _rendered_range(items, APPLICABILITY) or (0.0, 2.0)
    if RESIDUAL in present:
        most = max(map(abs, scale(_statistics(items, (RESIDUAL,)))))
        ranges[RESIDUAL] = _rendered_range(items, RESIDUAL) or (-most, most)
    bands = {MAP: MAP_BAND, **OPTIONAL_BANDS}
    titles = {name: (band.long_name, band.units) for name, band in bands.items()}
    titles["width"] = "width of the interval", MAP_BAND.units
    return {
        name: {"title": titles[name][0], "unit": titles[name][1], "range": list(limits), "colours": _colours(name)}
        for name, limits in ranges.items()
        if name in present or name == "width"
    }


def _rendered_range(items: Sequence[Mapping[str, Any]], name: str) -> tuple[float, float] | None:
    """Range that all items state for a layer in their field `renders`, so that all viewers show the same."""
    renders = [item["properties"].get("renders", {}) for item in items]
    ranges = {tuple(render[name]["rescale"][0]) for render in renders if name in render}
    return ranges.pop() if len(ranges) == 1 else None


def _statistics(items: Iterable[Mapping[str, Any]], names: Iterable[str]) -> list[Mapping[str, float]]:
    """Statistics of some layers of the maps that have a value."""
    assets = [item["assets"][name] for item in items for name in names if name in item["assets"]]
    return [figures for figures in map(_figures, assets) if "mean" in figures]


def _figures(asset: Mapping[str, Any]) -> Mapping[str, float]:
    """Statistics of an asset of one band, which STAC lets the asset or its band tell."""
    bands = asset.get("bands") or [{}]
    figures: Mapping[str, float] = asset.get("statistics") or bands[0].get("statistics") or {}
    return figures


def scale(statistics: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Range of one colour scale for several rasters, from the statistics of each; two digits after the point."""
    if not statistics:
        return 0.0, 1.0
    low = max(
        min(entry["minimum"] for entry in statistics),
        min(entry["mean"] - SPREAD * entry["stddev"] for entry in statistics),
    )
    high = min(
        max(entry["maximum"] for entry in statistics),
        max(entry["mean"] + SPREAD * entry["stddev"] for entry in statistics),
    )
    low, high = math.floor(low * 100) / 100, math.ceil(high * 100) / 100
    return low, round(max(high, low + 0.01), 2)


def _width(items: Sequence[Mapping[str, Any]]) -> float:
    """Upper end of the colours for the width of the interval: twice the widest mean, which is then in the middle."""
    assets = [item["assets"] for item in items if {LOWER, UPPER} <= set(item["assets"])]
    ends = [(_figures(entry[UPPER]).get("mean", 0.0), _figures(entry[LOWER]).get("mean", 0.0)) for entry in assets]
    widest = max((upper - lower for upper, lower in ends), default=0.0)
    return max(0.01, math.ceil(widest * 200) / 100)


def _colours(name: str) -> list[str]:
    """Colours of a layer from least to greatest, as Matplotlib's map of the name has them."""
    # Matplotlib takes a third of a second, which nobody else here needs to wait for.
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    palette = mpl.colormaps["magma_r" if name == "width" else COLORMAPS.get(name, COLORMAP)]
    return [to_hex(palette(step / (STEPS - 1))) for step in range(STEPS)]


def _quality(viewed: Viewed, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Bits that some cell of the maps carries, what they mean, and the colour of every combination."""
    shares = [item["properties"].get("soilscale:quality", {}) for item in items]
    carried = {name for share in shares for name, value in share.items() if value}
    # Items do not count the cells outside, which are there where a polygon was asked for.
    carried |= {"outside"} if viewed.area is not None else set()
    names = {bit: str(bit.name).lower() for bit in Quality}
    return {
        "title": QUALITY_BAND.long_name,
        "bits": [
            {"value": int(bit), "name": name, "meaning": QUALITY_MEANINGS[bit], "origin": bit in ORIGINS}
            for bit, name in names.items()
            if name in carried
        ],
        "colours": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in QUALITY_COLOURS.values()],
    }
