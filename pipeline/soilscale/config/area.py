"""The area of a configuration."""

from __future__ import annotations

from pydantic import model_validator

from soilscale.config.base import FaultError, Section
from soilscale.config.urls import Url
from soilscale.extents import FARTHEST, TURN, width

QUARTER = 90
"""Degrees from the equator to a pole."""


class Area(Section):
    """Where: a box in degrees, or a polygon to which the maps are masked."""

    bbox: tuple[float, float, float, float] | None = None
    """`[west, south, east, north]` in degrees; longitudes may count 0 to 360; west > east crosses 180 degrees, such
    as `[179, -18, -179, -16]`."""
    geometry: Url | None = None
    """GeoJSON file of polygons; maps are masked to the fine cells whose centre lies inside."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Area:
        if (self.bbox is None) == (self.geometry is None):
            raise FaultError(("", "give either bbox: [west, south, east, north] or geometry: FILE.geojson"))
        if self.bbox is not None and (fault := _box_fault(*self.bbox)):
            raise FaultError(("bbox", f"{list(self.bbox)} {fault}"))
        return self


def _box_fault(west: float, south: float, east: float, north: float) -> str | None:
    """What is wrong with a box in degrees."""
    if not (abs(west) <= TURN and abs(east) <= FARTHEST and -QUARTER <= south < north <= QUARTER):
        fault = "is not [west, south, east, north] in degrees, south < north"
        fits = max(abs(west), abs(east)) <= QUARTER and max(abs(south), abs(north)) <= TURN
        swapped = f"; if latitude and longitude are swapped, write {[south, west, north, east]}"
        return fault + (swapped if fits and max(abs(south), abs(north)) > QUARTER else "")
    if west == east or east - west > TURN:
        return "is not [west, south, east, north] in degrees: it is 0 or more than 360 degrees wide"
    if west > east and width((west, south, east, north)) > TURN / 2:
        across, turned, wrapped = (
            east - west + TURN,
            [east, south, west, north],
            [west, south, east + TURN, north],
        )
        return (
            "is not [west, south, east, north] in degrees: west > east, so it crosses the antimeridian and is "
            f"{across:g} degrees wide; write {turned} if west and east are swapped, {wrapped} if it is intended"
        )
    return None
