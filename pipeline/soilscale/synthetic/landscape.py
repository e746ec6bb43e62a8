"""What does not change with time: terrain, soil and land cover of a country like Shaanxi."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from soilscale.synthetic.noise import Axis, Field, smooth

METRES_PER_DEGREE = 6371007.181 * np.pi / 180.0

FOREST, GRASSLAND, CROPLAND, URBAN, BARREN = 4, 10, 12, 13, 16
CLASSES = (FOREST, GRASSLAND, CROPLAND, URBAN, BARREN)
"""Codes of the IGBP legend that the world has."""

CITY = (108.95, 34.27)
"""Longitude and latitude of the one city."""


@dataclass(frozen=True)
class Landscape:
    """Static fields on a lattice, each of shape ``(rows, columns)``; rows ascend in latitude."""

    elevation: Field
    """m"""
    slope: Field
    """Degrees, of the plane through neighbours 0.01 degrees away."""
    northness: Field
    """Cosine of the aspect times the sine of the slope: 1 faces north and is vertical."""
    eastness: Field
    """Sine of the aspect times the sine of the slope."""
    hollow: Field
    """Topographic position, -1 on a crest to 1 in a hollow of about 4 km; no source shows it."""
    sand: Field
    """%"""
    silt: Field
    """%"""
    clay: Field
    """%"""
    cover: NDArray[np.float64]
    """Share of each of `CLASSES`, shape ``(5, rows, columns)``; sums to 1."""

    @property
    def land_cover(self) -> NDArray[np.uint8]:
        """Code of the class with the largest share."""
        codes: NDArray[np.uint8] = np.array(CLASSES, dtype=np.uint8)[self.cover.argmax(axis=0)]
        return codes


def shape(seed: int, lon: Axis, lat: Axis) -> Landscape:
    """Form the land on a lattice.

    Parameters
    ----------
    lon, lat
        Ascending coordinates of the lattice, degrees; the step must divide 0.01.
    """
    elevation = _elevation(seed, lon, lat)
    slope, northness, eastness = _slopes(elevation, lat)
    hollow = np.tanh((broad(elevation, lat, 0.04) - elevation) / 80.0)
    sand, silt, clay = _texture(seed, lon, lat, elevation)
    cover = _cover(seed, lon, lat, elevation, slope)
    return Landscape(elevation, slope, northness, eastness, hollow, sand, silt, clay, cover)


def sigmoid(value: Field) -> Field:
    """Logistic function."""
    result: Field = 1.0 / (1.0 + np.exp(-value))
    return result


def broad(field: Field, lat: Axis, width: float) -> Field:
    """Running mean over `width` degrees along both axes; edges repeat."""
    # Odd, or the mean would be shifted by half a node.
    size = 2 * (round(width / (lat[1] - lat[0])) // 2) + 1
    mean: Field = uniform_filter(field, size, mode="nearest")
    return mean


def _elevation(seed: int, lon: Axis, lat: Axis) -> Field:
    """Qinling in the south, the Wei basin, the dissected Loess Plateau in the north; m."""
    ridge = np.exp(-(((lat[:, None] - 33.7 - 0.12 * smooth(seed, "ridge", 0.9, lon, lat)) / 0.36) ** 2))
    plateau = sigmoid((lat[:, None] - 34.95 - 0.12 * smooth(seed, "plateau", 0.8, lon, lat)) / 0.12)
    rugged = 0.06 + ridge + 0.55 * plateau
    crests = 1.0 - np.sqrt(smooth(seed, "crests", 0.09, lon, lat) ** 2 + 0.01)
    relief = (
        170.0 * smooth(seed, "massifs", 0.2, lon, lat)
        + 260.0 * crests
        + 210.0 * smooth(seed, "gullies", 0.035, lon, lat)
    )
    height = 430.0 + 1150.0 * ridge + 650.0 * plateau + rugged * relief
    floor = 320.0
    raised: Field = floor + 60.0 * np.logaddexp(0.0, (height - floor) / 60.0)
    return raised


def _slopes(elevation: Field, lat: Axis) -> tuple[Field, Field, Field]:
    step = lat[1] - lat[0]
    reach = round(0.01 / step)
    padded = np.pad(elevation, reach, mode="edge")
    distance = 2 * reach * step * METRES_PER_DEGREE
    north = (padded[2 * reach :, reach:-reach] - padded[: -2 * reach, reach:-reach]) / distance
    east = (padded[reach:-reach, 2 * reach :] - padded[reach:-reach, : -2 * reach]) / (
        distance * np.cos(np.radians(lat))[:, None]
    )
    steepness = np.hypot(north, east)
    sine_over_tangent = 1.0 / np.sqrt(1.0 + steepness**2)
    return np.degrees(np.arctan(steepness)), -north * sine_over_tangent, -east * sine_over_tangent


def _texture(seed: int, lon: Axis, lat: Axis, elevation: Field) -> tuple[Field, Field, Field]:
    """Sandier to the north and on high ground, clay in the basin, loess between; shares that sum to 100 %."""
    north = (lat[:, None] - 34.5) / 1.2
    high = (elevation - 900.0) / 600.0
    sandy = (
        0.2 * north
        + 0.12 * high
        + 0.38 * smooth(seed, "sand", 0.2, lon, lat)
        + 0.25 * smooth(seed, "sand fine", 0.045, lon, lat)
    )
    clayey = (
        -0.15 * north
        - 0.1 * high
        + 0.34 * smooth(seed, "clay", 0.2, lon, lat)
        + 0.22 * smooth(seed, "clay fine", 0.045, lon, lat)
    )
    parts = np.exp(np.stack([np.log(33.0) + sandy, np.full_like(sandy, np.log(45.0)), np.log(22.0) + clayey]))
    sand, silt, clay = 100.0 * parts / parts.sum(axis=0)
    return sand, silt, clay


def _cover(seed: int, lon: Axis, lat: Axis, elevation: Field, slope: Field) -> NDArray[np.float64]:
    # At this latitude a degree of longitude is 0.82 times as long as one of latitude.
    distance = np.hypot((lon[None, :] - CITY[0]) * 0.82, lat[:, None] - CITY[1])
    scores = np.stack(
        [
            (elevation - 1000.0) / 350.0 + 0.8 * smooth(seed, "forest", 0.07, lon, lat),
            0.4 + (lat[:, None] - 34.8) / 0.8 + 0.8 * smooth(seed, "grass", 0.07, lon, lat),
            (750.0 - elevation) / 300.0 + (6.0 - slope) / 6.0 + 0.6 * smooth(seed, "crops", 0.05, lon, lat),
            4.6 - distance / 0.035 + 0.9 * smooth(seed, "city", 0.03, lon, lat),
            -2.6 + (lat[:, None] - 34.8) / 1.2 + 1.3 * smooth(seed, "barren", 0.05, lon, lat),
        ]
    )
    weight = np.exp((scores - scores.max(axis=0)) / 0.5)
    share: NDArray[np.float64] = weight / weight.sum(axis=0)
    return share
