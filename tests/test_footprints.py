"""Outlines and boxes of grids on the Earth beyond those that are cut at the antimeridian."""

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from soilscale import extents, publish


def _grid(crs: str, west: float, north: float, pixel: float, shape: tuple[int, int]) -> GeoBox:
    return GeoBox(shape, Affine(pixel, 0, west, 0, -pixel, north), crs)


@pytest.mark.parametrize(
    ("geobox", "south", "north"),
    [
        (_grid("EPSG:4326", 0, 90, 0.5, (360, 720)), -90, 90),  # counted from 0 to 360
        (_grid("EPSG:4326", -30, 60, 1.0, (100, 400)), -40, 60),  # some longitudes twice
        (_grid("EPSG:6933", -17_375_000, 2_500_000, 25_000, (200, 1390)), -19.98, 19.98),
    ],
)
def test_a_grid_all_around_the_earth_is_one_band(geobox: GeoBox, south: float, north: float) -> None:
    outline, bbox = publish.footprint(geobox)
    assert bbox == pytest.approx([-180, south, 180, north], abs=0.01)
    assert outline.geom_type == "Polygon"
    assert outline.is_valid
    assert outline.area == pytest.approx(360 * (bbox[3] - bbox[1]))


def test_a_grid_with_its_corner_at_a_pole_holds_one_quarter() -> None:
    outline, bbox = publish.footprint(_grid("EPSG:6931", 0, 0, 100_000, (20, 20)))
    assert bbox == pytest.approx([0, 64.45, 90, 90], abs=0.01)
    assert outline.is_valid
    assert outline.covers(shapely.Point(45, 85))
    assert not outline.covers(shapely.Point(-45, 85))


def test_an_outline_has_few_vertices() -> None:
    outline, _ = publish.footprint(_grid("EPSG:3035", 4e6, 3e6, 1000, (480, 480)))
    assert len(shapely.get_coordinates(outline)) < 40


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(5, 40, 10, 50), (8, 35, 20, 45)], (5, 35, 20, 50)),
        ([(170, 0, -170, 10), (-175, -5, -160, 5)], (170, -5, -160, 10)),
        ([(170, 0, 178, 10), (-178, -5, -160, 5)], (170, -5, -160, 10)),  # the shorter way around
        ([(-180, -90, 180, 90), (5, 40, 10, 50)], (-180, -90, 180, 90)),
    ],
)
def test_the_box_around_boxes(boxes: list[extents.Box], expected: extents.Box) -> None:
    assert np.allclose(extents.around_boxes(boxes), expected)
    assert np.allclose(extents.around_boxes(boxes[::-1]), expected)
