"""What changes from month to month: rain, warmth, vegetation and the water in the soil."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from soilscale.seasons import Months, calendar_month
from soilscale.synthetic.landscape import CLASSES, Landscape, broad, sigmoid
from soilscale.synthetic.noise import Axis, Field, generator, smooth

RAIN = (9.0, 14.0, 28.0, 46.0, 62.0, 66.0, 128.0, 120.0, 108.0, 60.0, 24.0, 8.0)
"""Mean rain of each month of the year, mm: a monsoon from July to September."""

PHENOLOGY = {
    4: (0.10, 0.10, 0.18, 0.40, 0.75, 0.95, 1.00, 0.98, 0.85, 0.55, 0.22, 0.12),
    10: (0.05, 0.05, 0.10, 0.25, 0.50, 0.72, 0.95, 1.00, 0.80, 0.45, 0.15, 0.06),
    12: (0.25, 0.28, 0.50, 0.90, 0.70, 0.38, 0.70, 1.00, 0.75, 0.35, 0.28, 0.26),
    13: (0.20, 0.20, 0.25, 0.40, 0.55, 0.65, 0.70, 0.70, 0.60, 0.40, 0.25, 0.20),
    16: (0.05, 0.05, 0.08, 0.12, 0.20, 0.28, 0.40, 0.42, 0.30, 0.15, 0.08, 0.05),
}
"""Greenness of each class in each month of the year, as a share of its peak; wheat and maize crop twice."""

PEAK = {4: 0.72, 10: 0.48, 12: 0.58, 13: 0.20, 16: 0.14}
"""NDVI of a class's peak above bare soil."""

MEMORY = 0.35
"""Share of a month's wetness that is left from the month before."""

UNEXPLAINED = 0.008
"""Standard deviation of the soil moisture that no predictor knows, m3 m-3."""

DRIEST, WETTEST = 0.05, 0.50
"""Range of the soil moisture, m3 m-3."""


@dataclass(frozen=True)
class Weather:
    """One month on the lattice, each field of shape ``(rows, columns)``."""

    precipitation: Field
    """mm per month"""
    lst: Field
    """Land surface temperature by day at mid-month, K."""
    ndvi: Field
    """1"""
    et: Field
    """Evapotranspiration, mm per day."""
    soil_moisture: Field
    """m3 m-3"""


def run(seed: int, land: Landscape, lon: Axis, lat: Axis, months: Months) -> Iterator[Weather]:
    """Months one after another, the soil remembering the month before; the first starts from a moderate wetness."""
    smoothed = broad(land.elevation, lat, 0.2)
    wetness = np.full_like(land.elevation, 0.45)
    # Half of the variance is permanent, the other half is drawn anew each month.
    static = UNEXPLAINED * np.sqrt(0.5) * smooth(seed, "unexplained", 0.02, lon, lat)
    for month in months:
        rain = _rain(seed, land, lon, lat, month, smoothed)
        warmth = _warmth(seed, land, lon, lat, month)
        cover = _greenness(land, month)
        demand = 12.0 + 165.0 * sigmoid((warmth - 295.0) / 4.5)
        before, wetness = wetness, MEMORY * wetness + (1 - MEMORY) * _supply(rain, demand, land, cover)
        moisture = _moisture(land, wetness, cover, month)
        noise = static + UNEXPLAINED * np.sqrt(0.5) * smooth(seed, f"unexplained {month}", 0.02, lon, lat)
        stress = np.minimum(wetness / 0.5, 1.0)
        transpired = demand / 30.0 * (0.2 + 0.75 * cover) * stress
        yield Weather(
            precipitation=rain,
            lst=warmth + 7.0 * _growing(month) * (1 - cover) - 3.2 * np.minimum(transpired, 3.0),
            ndvi=_ndvi(seed, cover, before, wetness, month, lon, lat),
            et=transpired,
            soil_moisture=np.clip(moisture + noise, DRIEST, WETTEST),
        )


def _growing(month: np.datetime64) -> float:
    """Height of the season: 0 in January, 1 in July."""
    return float(0.5 - 0.5 * np.cos(2 * np.pi * (calendar_month(month) - 1) / 12))


def _rain(seed: int, land: Landscape, lon: Axis, lat: Axis, month: np.datetime64, smoothed: Field) -> Field:
    """Rain of a month, mm: wet and dry months, showers, wetter southwards and on windward high ground."""
    area_rain = 0.28 * generator(seed, f"rain {month}").standard_normal()
    showers = 0.30 * smooth(seed, f"rain {month}", 0.7, lon, lat) + 0.2 * smooth(
        seed, f"showers {month}", 0.3, lon, lat
    )
    southerly = 0.22 * (34.5 - lat[:, None])
    broad_hills = 0.25 * (smoothed - 900.0) / 600.0
    hills = 0.45 * np.tanh((land.elevation - smoothed) / 350.0)
    rain: Field = RAIN[calendar_month(month) - 1] * np.exp(area_rain + showers + southerly + broad_hills + hills)
    return rain


def _warmth(seed: int, land: Landscape, lon: Axis, lat: Axis, month: np.datetime64) -> Field:
    """Temperature that a bare dry surface would take by day at mid-month, K."""
    season = _growing(month)
    year = generator(seed, f"warmth {month}").standard_normal()
    air = 280.5 + 24.0 * season + 0.9 * year + 1.1 * smooth(seed, f"warmth {month}", 0.9, lon, lat)
    sun = -(13.0 - 5.0 * season) * land.northness - 2.0 * land.eastness
    warm: Field = air - (4.6 + 1.2 * season) * (land.elevation - 600.0) / 1000.0 + sun
    return warm


def _greenness(land: Landscape, month: np.datetime64) -> Field:
    """Vegetation that the season allows each class, 0 to about 0.8, before any want of water."""
    index = calendar_month(month) - 1
    weights = np.array([PEAK[code] * PHENOLOGY[code][index] for code in CLASSES])
    green: Field = np.tensordot(weights, land.cover, axes=1)
    return green


def _supply(rain: Field, demand: Field, land: Landscape, cover: Field) -> Field:
    """Wetness towards which a month drives the soil, 0 to 1: rain that infiltrates against the air's demand."""
    infiltrated = rain * (1.0 - 0.35 * sigmoid((land.slope - 11.0) / 2.5)) * (1.0 - 0.15 * cover)
    drained = infiltrated * (1.0 - 0.004 * np.maximum(land.sand - 30.0, 0.0))
    share: Field = drained**1.3 / (drained**1.3 + (0.75 * demand) ** 1.3)
    return share


def _moisture(land: Landscape, wetness: Field, cover: Field, month: np.datetime64) -> Field:
    """Soil moisture, m3 m-3.

    Between the wilting point and the porosity (pedotransfer after Saxton and Rawls 2006, Soil Sci. Soc. Am. J. 70,
    1569-1578, simplified to be linear in the texture) the state is a sigmoid of the wetness. In winter the soil
    rests at what its texture holds.
    """
    wilting = 0.025 + 0.0032 * land.clay
    porosity = 0.47 - 0.0012 * land.sand + 0.0009 * land.clay
    dormancy = 1.0 - _growing(month)
    retention = 0.47 + 0.13 * np.tanh((land.clay - 22.0) / 8.0) - 0.22 * sigmoid((land.sand - 44.0) / 4.0)
    state = (1.0 - 0.75 * dormancy) * wetness + 0.75 * dormancy * retention
    foot = 1.3 * np.exp(-land.slope / 3.0) - 0.55 + 0.5 * land.hollow
    shade = (5.0 - 2.0 * dormancy) * land.northness
    litter = 1.1 * (cover - 0.35) * (1.0 - dormancy)
    share = sigmoid(6.5 * (state - 0.47) + foot + shade + litter)
    moisture: Field = wilting + (porosity - wilting) * share
    return moisture


def _ndvi(seed: int, cover: Field, before: Field, wetness: Field, month: np.datetime64, lon: Axis, lat: Axis) -> Field:
    """NDVI: bare soil and as much of the season's greenness as this month's and last month's water lets grow."""
    water = 0.62 + 0.38 * sigmoid((0.5 * (before + wetness) - 0.38) / 0.09)
    noise = 0.015 * smooth(seed, f"greenness {month}", 0.05, lon, lat)
    green: Field = np.clip(0.11 + cover * water + noise, 0.02, 0.95)
    return green
