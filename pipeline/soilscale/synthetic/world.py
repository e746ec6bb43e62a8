"""The world itself: every field at every place and month, and the values of a correct cube."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.stats import norm

from soilscale.grid import Grid
from soilscale.seasons import Months, calendar_month, following, month_range
from soilscale.synthetic import climate, landscape
from soilscale.synthetic.landscape import BARREN, URBAN, Landscape
from soilscale.synthetic.noise import Axis, Field, smooth

SIDE, RATIO = 0.25, 25
"""Side of a coarse cell in degrees, and fine cells along it."""

CENTRE = (108.75, 34.5)
"""Longitude and latitude of the middle of the area, to the nearest coarse cell: the seam of two MODIS tiles is near."""

NODES = 200
"""Lattice nodes per degree: every centre and every corner of a fine cell is a node."""

LEAST_CELLS, MOST_CELLS = 2, 12
"""Coarse cells along the side of the area."""

MARGIN = 2
"""Coarse cells around the area in which the world exists too."""

SPIN_UP = 11
"""Months that the soil is given to forget how it started."""

STATIC = ("elevation", "slope", "northness", "eastness", "sand", "silt", "clay")
MONTHLY = tuple(field.name for field in fields(climate.Weather))

SOLID, HAZE = 0.7, 0.3
"""Cloudiness above the limit from which nothing is seen; below it down to which the view is only fair."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Composite:
    """Days over which a MODIS product is composed: 8, or those that are left of the year."""

    start: np.datetime64
    days: int

    @property
    def end(self) -> np.datetime64:
        """First day after the composite."""
        return self.start + np.timedelta64(self.days, "D")

    def shared(self, month: np.datetime64) -> int:
        """Days that the composite shares with a month."""
        first, after = days_in(month)
        return max(0, int((min(self.end, after) - max(self.start, first)).astype(int)))


@dataclass(frozen=True)
class World:
    """A country whose weather, soil and soil moisture are known everywhere; make one with `create`.

    All fields live on a lattice of `NODES` nodes per degree and are bilinear between its nodes, so that each source
    samples the same truth at its own pixel centres.
    """

    seed: int
    months: Months
    """Months whose fields exist: the period, one before and one after."""
    grid: Grid
    lon: Axis
    lat: Axis
    land: Landscape
    weather: Mapping[str, NDArray[np.float32]]
    """One array per name in `MONTHLY`, shape ``(months, rows, columns)``."""

    @property
    def period(self) -> Months:
        """Months of the whole years that the world is made for."""
        return self.months[1:-1]

    @cached_property
    def composites(self) -> tuple[Composite, ...]:
        """Composites of the period, in the order of time."""
        years = range(int(str(self.period[0])[:4]), int(str(self.period[-1])[:4]) + 1)
        return tuple(
            Composite(
                np.datetime64(f"{year}-01-01") + np.timedelta64(start, "D"), min(8, 365 + calendar.isleap(year) - start)
            )
            for year in years
            for start in range(0, 365 + calendar.isleap(year), 8)
        )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the area, degrees."""
        (rows, columns), left, top = self.grid.shape, self.grid.left, self.grid.top
        return left, top - rows * SIDE, left + columns * SIDE, top

    def sample(self, field: NDArray[Any], lon: Values, lat: Values, *, order: int = 1) -> Values:
        """Field at places: bilinear between the lattice's nodes (`order` 1), or at the nearest node (0).

        Returns
        -------
        array
            Shape of `lon` and `lat`; NaN outside the world.
        """
        at = np.stack([(lat - self.lat[0]) * NODES, (lon - self.lon[0]) * NODES])
        values: Values = map_coordinates(field, at, output=np.float64, order=order, cval=np.nan)
        return values

    def field(self, name: str, month: np.datetime64) -> NDArray[Any]:
        """Monthly or static field on the lattice."""
        if name in STATIC:
            static: Field = getattr(self.land, name)
            return static
        return self.weather[name][self._index(month)]

    def truth(self, name: str, month: np.datetime64, lon: Values, lat: Values) -> Values:
        """What is, whether or not a sensor sees it; for composed products (lst, et) see `exact`."""
        return self.sample(self.field(name, month), lon, lat)

    def on_fine(self, field: NDArray[Any]) -> NDArray[Any]:
        """Lattice field at the fine cells' centres, the margin's too; rows descend in latitude."""
        # Corners and centres of fine cells alternate on the lattice; the first node is a corner.
        return field[1::2, 1::2][::-1]

    def on_coarse(self, field: NDArray[Any]) -> Values:
        """Means of the fine cells of each coarse cell, the margin's too; rows descend in latitude."""
        fine = self.on_fine(field).astype(np.float64)
        rows, columns = (size // RATIO for size in fine.shape)
        means: Values = fine.reshape(rows, RATIO, columns, RATIO).mean(axis=(1, 3))
        return means

    def composed(self, name: str, composite: Composite) -> NDArray[np.float64]:
        """Value of ``lst`` (K) or ``et`` (mm per day) on the lattice, the same on every day of a composite.

        It is linear in time between the middles of the months, and a warm or cold spell is added to ``lst``.
        """
        middle = (composite.start - np.datetime64("1970-01-01")).astype(int) + composite.days / 2
        starts = self.months.astype("datetime64[D]").astype(int)
        ends = (self.months + np.timedelta64(1, "M")).astype("datetime64[D]").astype(int)
        position = float(np.interp(middle, (starts + ends) / 2, np.arange(len(self.months))))
        # The last month has no successor to interpolate to.
        first = min(int(position), len(self.months) - 2)
        part = position - first
        values = self.weather[name]
        value: Field = values[first].astype(np.float64) * (1 - part) + values[first + 1] * part
        # Seeded by the date, so that a composite is the same in worlds of other years.
        spell = np.random.default_rng([self.seed, int(composite.start.astype("datetime64[D]").astype(int))])
        return value + 1.2 * spell.standard_normal() if name == "lst" else value

    def cloudiness(self, composite: Composite) -> Field:
        """Cloud over a composite on the lattice: above 0 hides the ground, above `SOLID` hides it wholly."""
        share = 0.20 - 0.09 * np.cos(2 * np.pi * (calendar_month(composite.start) - 1) / 12)
        return smooth(self.seed, f"cloud {composite.start}", 0.2, self.lon, self.lat) - float(norm.isf(share))

    def haze(self, month: np.datetime64) -> Field:
        """Cloud over a month's vegetation index on the lattice: above 0 spoils it, above `SOLID` hides it."""
        return smooth(self.seed, f"haze {month}", 0.1, self.lon, self.lat) - float(norm.isf(0.04))

    def exact(self, name: str, month: np.datetime64, lon: Values, lat: Values) -> Values:
        """What a right cube holds at a place, but for the pixel's size and its quantisation.

        A fold of the nearest pixels onto fine cells differs by about 0.25 K, 0.01 of NDVI and 0.6 mm per month of ET
        (root mean square, July), a fold that ignores the quality band by 2.7 K.

        Parameters
        ----------
        name
            - ``elevation`` (m), ``slope`` (degrees), ``northness``, ``eastness``, ``sand``, ``silt``, ``clay`` (%);
            - ``land_cover``: the class of the nearest node;
            - ``precipitation`` (mm per month): the coarse product, interpolated between the centres of its cells;
            - ``lst`` (K): mean of the clear composites, weighted by the days they share with the month; NaN where
              all are cloudy. A cube whose gaps are filled comes near to the mean of all composites instead, which
              is up to 1 K away;
            - ``et`` (mm per month): mean daily rate of the composites, weighted likewise, times the month's days;
              NaN in the city and on barren ground;
            - ``ndvi`` (1): NaN under cloud;
            - ``soil_moisture`` (m3 m-3): the truth.
        month
            Month of the period; static fields ignore it.
        lon, lat
            Degrees, of one shape.
        """
        if name == "land_cover":
            return self.sample(self.land.land_cover, lon, lat, order=0)
        if name == "precipitation":
            return self._interpolate(self.on_coarse(self.field(name, month)), lon, lat)
        if name in ("lst", "et"):
            return self._composed_month(name, month, lon, lat)
        values = self.truth(name, month, lon, lat)
        return np.where(self.sample(self.haze(month), lon, lat) > 0, np.nan, values) if name == "ndvi" else values

    def _composed_month(self, name: str, month: np.datetime64, lon: Values, lat: Values) -> Values:
        total, weight = np.zeros(lon.shape), np.zeros(lon.shape)
        for composite in self.composites:
            days = composite.shared(month)
            if not days:
                continue
            days_covered = np.full(lon.shape, float(days))
            if name == "lst":
                days_covered[self.sample(self.cloudiness(composite), lon, lat) > 0] = 0
            total += days_covered * self.sample(self.composed(name, composite), lon, lat)
            weight += days_covered
        mean: Values = np.divide(total, weight, out=np.full(lon.shape, np.nan), where=weight > 0)
        if name == "lst":
            return mean
        cover = self.exact("land_cover", month, lon, lat)
        first, after = days_in(month)
        return np.where(np.isin(cover, (URBAN, BARREN)), np.nan, mean * int((after - first).astype(int)))

    def _interpolate(self, coarse: Values, lon: Values, lat: Values) -> Values:
        left, top = self.grid.left - MARGIN * SIDE, self.grid.top + MARGIN * SIDE
        at = np.stack([(top - lat) / SIDE - 0.5, (lon - left) / SIDE - 0.5])
        values: Values = map_coordinates(coarse, at, order=1, mode="nearest")
        return values

    def _index(self, month: np.datetime64) -> int:
        index = int((month.astype("datetime64[M]") - self.months[0]).astype(int))
        if not 0 <= index < len(self.months):
            raise ValueError(f"the world has months {self.months[0]} to {self.months[-1]}, not {month}")
        return index


def days_in(month: np.datetime64) -> tuple[np.datetime64, np.datetime64]:
    """First day of a month, and of the next."""
    first = month.astype("datetime64[M]")
    return first.astype("datetime64[D]"), following(first).astype("datetime64[D]")


def create(seed: int, years: tuple[int, int], cells: int) -> World:
    """Make the world of a seed.

    Parameters
    ----------
    years
        First and last year.
    cells
        Coarse cells along the side of the area; a smaller area is a window of a larger one.

    Raises
    ------
    ValueError
        If there are not between 2 and 12 cells, or the last year is before the first.
    """
    if not LEAST_CELLS <= cells <= MOST_CELLS or years[1] < years[0]:
        raise ValueError(
            f"got {cells} cells along the side and the years {years}; a world has {LEAST_CELLS} to {MOST_CELLS} "
            "cells and its years in order"
        )
    left, top = CENTRE[0] - cells // 2 * SIDE, CENTRE[1] + (cells - cells // 2) * SIDE
    grid = Grid("EPSG:4326", SIDE, RATIO, left, top, (cells, cells), tile=cells)
    span = np.arange(round((cells + 2 * MARGIN) * SIDE * NODES) + 1)
    # Computed from whole node numbers, so that a place has the same coordinates in worlds of every size.
    lon = (round((left - MARGIN * SIDE) * NODES) + span) / NODES
    lat = (round((top - (cells + MARGIN) * SIDE) * NODES) + span) / NODES
    land = landscape.shape(seed, lon, lat)
    months = month_range(f"{years[0] - 1}-12", f"{years[1] + 1}-01")
    weather = {name: np.empty((len(months), len(lat), len(lon)), np.float32) for name in MONTHLY}
    history = month_range(months[0] - np.timedelta64(SPIN_UP, "M"), months[-1])
    for index, month in enumerate(climate.run(seed, land, lon, lat, history), start=-SPIN_UP):
        # Spin-up months have negative indices and are not kept.
        for name in MONTHLY if index >= 0 else ():
            weather[name][index] = getattr(month, name)
    return World(seed, months, grid, lon, lat, land, weather)
