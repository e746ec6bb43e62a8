"""What each sensor or survey sees of the world: its pixels, coding, gaps and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pystac

from soilscale.seasons import following, month_range
from soilscale.synthetic.catalog import Interval, Raster, describe
from soilscale.synthetic.frames import degrees, modis
from soilscale.synthetic.landscape import BARREN, URBAN
from soilscale.synthetic.noise import generator
from soilscale.synthetic.world import HAZE, MARGIN, SIDE, SOLID, Composite, World

Items = Iterator[pystac.Item]

EDGE = 0.05
"""Margin of the fine products around the area, degrees."""

GOOD, FAIR, CLOUD, NOT_PRODUCED = 0, 0b01000001, 0b10, 0b11
"""QC_Day: bits 0 and 1 are the mandatory flag; a fair pixel also has an error of up to 2 K in bits 6 and 7."""

NDVI, RELIABILITY = "1_km_monthly_NDVI", "1_km_monthly_pixel_reliability"

BUILT_UP, BARE = 32762, 32765
"""Fill codes of MOD16A2 for ground on which no evapotranspiration is modelled; 32767 is beyond the data."""

OBSERVED_NOISE = 0.01
"""Standard deviation of the coarse product's error, m3 m-3."""

OBSERVED_GAPS = 0.02
"""Share of the coarse product's cells that are missing, beside those of the month half missing."""


def temperature(world: World, folder: Path) -> Items:
    """MOD11A2: 8 days, 1 km; under cloud the pixels are missing or far too cold, and only the quality band tells."""
    for frame in modis(world.bounds, EDGE, 1200):
        for composite in world.composites:
            kelvin = world.sample(world.composed("lst", composite), frame.lon, frame.lat)
            cloud = world.sample(world.cloudiness(composite), frame.lon, frame.lat)
            hidden, is_missing = cloud > 0, cloud > SOLID
            kelvin = np.where(hidden, kelvin - 6.0 - 10.0 * np.minimum(cloud, 1.0), kelvin)
            stored = np.where(is_missing, 0, np.rint(kelvin / 0.02))
            flag = np.select([is_missing, hidden, cloud > -HAZE], [NOT_PRODUCED, CLOUD, FAIR], GOOD)
            rasters = {
                "LST_Day_1km": Raster(frame.paint(stored, 0, "uint16"), _bands(scale=0.02, unit="Kelvin")),
                "QC_Day": Raster(frame.paint(flag, NOT_PRODUCED, "uint8")),
            }
            name = f"MOD11A2.A{_ordinal(composite.start)}.{frame.name}.061"
            yield describe(folder, name, frame, _interval(composite), rasters, platform="terra")


def vegetation(world: World, folder: Path) -> Items:
    """MOD13A3: monthly, 1 km; hazy pixels are too low or missing, and the reliability band tells."""
    for frame in modis(world.bounds, EDGE, 1200):
        for month in world.period:
            index = world.truth("ndvi", month, frame.lon, frame.lat)
            haze = world.sample(world.haze(month), frame.lon, frame.lat)
            spoilt, is_missing = haze > 0, haze > SOLID
            stored = np.where(is_missing, -3000, np.rint((index - np.where(spoilt, 0.2, 0.0)) / 0.0001))
            rank = np.select([is_missing, spoilt, haze > -HAZE], [255, 3, 1], 0)
            rasters = {
                NDVI: Raster(frame.paint(stored, -3000, "int16"), _bands(data_type="int16", scale=0.0001)),
                RELIABILITY: Raster(frame.paint(rank, 255, "uint8")),
            }
            name = f"MOD13A3.A{_ordinal(month)}.{frame.name}.061"
            yield describe(folder, name, frame, _month(month), rasters, platform="terra")


def evapotranspiration(world: World, folder: Path) -> Items:
    """MOD16A2: totals of 8 days, fewer at the end of a year, 500 m; the item says nothing of its coding."""
    for frame in modis(world.bounds, EDGE, 2400):
        cover = world.sample(world.land.land_cover, frame.lon, frame.lat, order=0)
        for composite in world.composites:
            total = world.sample(world.composed("et", composite), frame.lon, frame.lat) * composite.days
            stored = np.select([cover == URBAN, cover == BARREN], [BUILT_UP, BARE], np.rint(total / 0.1))
            rasters = {"ET_500m": Raster(frame.paint(stored, 32767, "int16"))}
            name = f"MOD16A2.A{_ordinal(composite.start)}.{frame.name}.061"
            yield describe(folder, name, frame, _interval(composite), rasters, platform="terra")


def land_cover(world: World, folder: Path) -> Items:
    """MCD12Q1: yearly, 500 m, codes of the IGBP legend."""
    for frame in modis(world.bounds, EDGE, 2400):
        codes = world.sample(world.land.land_cover, frame.lon, frame.lat, order=0)
        for first in world.period[::12]:
            rasters = {"LC_Type1": Raster(frame.paint(codes, 255, "uint8"))}
            name = f"MCD12Q1.A{_ordinal(first)}.{frame.name}.061"
            yield describe(folder, name, frame, _days(first, first + np.timedelta64(12, "M")), rasters)


def rain(world: World, folder: Path) -> Items:
    """Monthly totals of a coarse product, the month before the period too; coded as STAC 1.1 and raster 2 say."""
    frame = degrees(world.bounds, MARGIN * SIDE, round(1 / SIDE))
    metadata = {
        "data_type": "uint16",
        "bands": [{"name": "precipitation", "nodata": 65535, "unit": "mm month-1", "raster:scale": 0.1}],
    }
    for month in month_range(world.period[0] - np.timedelta64(1, "M"), world.period[-1]):
        stored = np.rint(world.on_coarse(world.field("precipitation", month)) / 0.1).astype("uint16")
        rasters = {"precipitation": Raster(stored, metadata)}
        yield describe(folder, f"rain-{month}", frame, _month(month), rasters)


def soil_moisture(world: World, folder: Path) -> Items:
    """Block means of the truth with noise; a few cells missing each month, half of the second month's."""
    frame = degrees(world.bounds, SIDE, round(1 / SIDE))
    metadata = {"data_type": "int16", "nodata": -32768, "unit": "m3 m-3", "raster:scale": 0.0001, "raster:offset": 0}
    # The world extends `MARGIN` coarse cells beyond the area, this product only one.
    inner = slice(MARGIN - 1, 1 - MARGIN)
    for month in world.period:
        exact = world.on_coarse(world.field("soil_moisture", month))[inner, inner]
        random = generator(world.seed, f"radiometer {month}")
        observed = exact + OBSERVED_NOISE * random.standard_normal(exact.shape)
        missing = random.random(exact.shape) < OBSERVED_GAPS
        if month == world.period[1]:
            missing[: exact.shape[0] // 2] = True
        stored = np.where(missing, -32768, np.rint(observed / 0.0001)).astype("int16")
        rasters = {"soil_moisture": Raster(stored, metadata, nodata=-32768)}
        yield describe(folder, f"soil-moisture-{month}", frame, _month(month), rasters)


def elevation(world: World, folder: Path) -> Items:
    """Heights every 15 seconds of arc, of one date; only the file says what is missing."""
    frame = degrees(world.bounds, EDGE, 240)
    height = np.rint(world.sample(world.land.elevation, frame.lon, frame.lat))
    rasters = {"elevation": Raster(frame.paint(height, -32768, "int16"), {"unit": "m"}, nodata=-32768)}
    yield describe(folder, "dem", frame, np.datetime64("2000-02-11"), rasters)


def soil(world: World, folder: Path) -> Items:
    """Sand, silt and clay in whole percent, every 30 seconds of arc, of one date."""
    frame = degrees(world.bounds, EDGE, 120)
    rasters = {
        name: Raster(
            frame.paint(np.rint(world.sample(getattr(world.land, name), frame.lon, frame.lat)), 255, "uint8"),
            _bands(data_type="uint8", nodata=255, unit="%"),
            nodata=255,
        )
        for name in ("sand", "silt", "clay")
    }
    yield describe(folder, "soil-texture", frame, np.datetime64("2000-01-01"), rasters)


PRODUCTS: Mapping[str, tuple[Callable[[World, Path], Items], str]] = {
    "modis-11A2": (temperature, "Land surface temperature, 8 days, 1 km"),
    "modis-13A3": (vegetation, "NDVI, monthly, 1 km"),
    "modis-16A2": (evapotranspiration, "Evapotranspiration, totals of 8 days, 500 m"),
    "modis-12Q1": (land_cover, "Land cover, yearly, 500 m"),
    "rain": (rain, "Rain, monthly totals, 0.25 degrees"),
    "soil-moisture": (soil_moisture, "Surface soil moisture, monthly, 0.25 degrees"),
    "dem": (elevation, "Elevation, 15 seconds of arc"),
    "soil": (soil, "Soil texture, 30 seconds of arc"),
}
"""Collection -> what makes its items, and what it is."""


def _bands(**fields: Any) -> dict[str, Any]:
    """Coding as version 1 of the raster extension has it."""
    return {"raster:bands": [fields]}


def _interval(composite: Composite) -> Interval:
    return composite.start, composite.end


def _month(month: np.datetime64) -> Interval:
    return _days(month, following(month))


def _days(first: np.datetime64, after: np.datetime64) -> Interval:
    return first.astype("datetime64[D]"), after.astype("datetime64[D]")


def _ordinal(day: np.datetime64) -> str:
    """Year and day of the year, as in the names of MODIS granules."""
    year = day.astype("datetime64[Y]")
    number = (day.astype("datetime64[D]") - year.astype("datetime64[D]")).astype(int) + 1
    return f"{year}{number:03d}"
