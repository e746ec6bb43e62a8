"""The nested grid: where its cells lie, which it takes, and how far they are apart on the ground."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from shapely.geometry import Polygon, box

from soilscale import grid
from soilscale.grid import Grid

# Slicing a GeoBox multiplies affines in a way that affine 3.1 discourages and odc-geo 0.5.3 still has.
pytestmark = pytest.mark.filterwarnings("default:Use `@` matmul:PendingDeprecationWarning")

MOSELLE = (5.19, 47.63, 7.29, 49.65)
ORIGIN = (3_973_369.0, 2_951_847.0)
EUROPE = "EPSG:3035"

EASE = "EPSG:6933"
EASE_SIDE = 25_025.26
"""EASE-Grid 2.0 M25: 1388 x 584 cells, upper left corner -17367530.44, 7307375.92 (Brodzik et al. 2014)."""


def moselle() -> Grid:
    return grid.cover(box(*MOSELLE), EUROPE, 24_000, 24, origin=ORIGIN, tile=4)


def small(shape: tuple[int, int] = (5, 7), tile: int = 3, ratio: int = 4) -> Grid:
    return Grid("EPSG:3035", 1000, ratio, 10_000, 20_000, shape, tile)


def extent(geobox: GeoBox) -> tuple[float, float, float, float]:
    bounds = geobox.boundingbox
    return bounds.left, bounds.bottom, bounds.right, bounds.top


def test_cells_are_aligned_to_the_origin() -> None:
    found = moselle()
    assert (found.left - ORIGIN[0]) % 24_000 == 0
    assert (found.top - ORIGIN[1]) % 24_000 == 0
    assert found.coarse.transform == Affine(24_000, 0, found.left, 0, -24_000, found.top)
    assert found.coarse.shape == found.shape
    assert str(found.coarse.crs) == EUROPE


@pytest.mark.parametrize("ratio", [2, 3, 24, 25])
@pytest.mark.parametrize(("crs", "side"), [("EPSG:3035", 24_000), ("EPSG:4326", 0.25), (EASE, EASE_SIDE)])
def test_a_coarse_cell_is_exactly_ratio_by_ratio_fine_cells(ratio: int, crs: str, side: float) -> None:
    found = grid.cover(box(*MOSELLE), crs, side, ratio)
    assert found.fine.shape == (found.shape[0] * ratio, found.shape[1] * ratio)
    assert extent(found.fine) == pytest.approx(extent(found.coarse), rel=1e-12)
    for fine, coarse in zip(grid.centres(found.fine), grid.centres(found.coarse), strict=True):
        np.testing.assert_allclose(fine.reshape(-1, ratio).mean(axis=1), coarse, rtol=1e-12)


def test_the_grid_takes_every_cell_that_the_area_touches_and_no_row_or_column_more() -> None:
    found = moselle()
    left = found.left + 24_000 * (np.arange(found.shape[1] + 2) - 1)
    top = found.top - 24_000 * (np.arange(found.shape[0] + 2)[:, None] - 1)
    shape = grid.project(box(*MOSELLE), "EPSG:4326", EUROPE)
    touched = shapely.area(shapely.intersection(shapely.box(left, top - 24_000, left + 24_000, top), shape)) > 0
    assert not touched[[0, -1]].any()
    assert not touched[:, [0, -1]].any()
    assert touched[1:-1].any(axis=1).all()
    assert touched[:, 1:-1].any(axis=0).all()


def test_edges_that_bend_between_the_corners_take_their_cells_too() -> None:
    """The southern edge of a box over China bows by kilometres; its lowest point is not a corner's."""
    area = box(73, 18, 135, 54)
    crs = "+proj=laea +lat_0=45 +lon_0=105 +datum=WGS84"
    south = grid.project(area, "EPSG:4326", crs, points=50_000).bounds[1]
    found = grid.cover(area, crs, 25_000, 25, origin=(0.0, south + 100))
    assert extent(found.coarse)[1] <= south


def test_an_area_on_cell_borders_takes_no_extra_cell_in_degrees() -> None:
    found = grid.cover(box(5.0, 47.5, 7.25, 49.75), "EPSG:4326", 0.25, 25)
    assert found.shape == (9, 9)
    assert extent(found.coarse) == (5.0, 47.5, 7.25, 49.75)


@pytest.mark.parametrize("side", [0.1, 0.05, 0.01])
def test_cell_borders_that_binary_fractions_miss_take_no_extra_cell_either(side: float) -> None:
    found = grid.cover(box(5.3, 47.1, 5.9, 47.7), "EPSG:4326", side, 10)
    assert found.shape == (round(0.6 / side), round(0.6 / side))


def test_an_area_a_little_beyond_a_border_takes_the_cell() -> None:
    found = grid.cover(box(5.0, 47.5, 7.2501, 49.75), "EPSG:4326", 0.25, 25)
    assert found.shape == (9, 10)


def test_the_whole_globe_in_quarter_degrees() -> None:
    found = grid.cover(box(-180, -90, 180, 90), "EPSG:4326", 0.25, 25)
    assert found.shape == (720, 1440)
    assert (found.left, found.top) == (-180, 90)


def test_the_default_origin_on_epsg_6933_is_the_ease_grid() -> None:
    to_degrees = Transformer.from_crs(EASE, "EPSG:4326", always_xy=True)
    west, north = to_degrees.transform(-17_367_530.44, 7_307_375.92)
    found = grid.cover(box(west, -north, -west, north), EASE, EASE_SIDE, 25)
    assert found.shape == (584, 1388)
    assert (found.left, found.top) == pytest.approx((-17_367_530.44, 7_307_375.92), abs=0.005)


def test_a_part_of_the_ease_grid_lies_on_its_cells() -> None:
    found = grid.cover(box(100, 30, 115, 42), EASE, EASE_SIDE, 25)
    column, row = (found.left + 17_367_530.44) / EASE_SIDE, (7_307_375.92 - found.top) / EASE_SIDE
    assert column == pytest.approx(round(column), abs=1e-6)
    assert row == pytest.approx(round(row), abs=1e-6)


@given(
    west=st.floats(-170, 160),
    south=st.floats(-80, 70),
    width=st.floats(0.01, 5),
    height=st.floats(0.01, 5),
    side=st.sampled_from([0.1, 0.25, 0.36]),
    origin=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_the_grid_holds_the_area_and_less_than_a_cell_more(
    west: float, south: float, width: float, height: float, side: float, origin: tuple[float, float]
) -> None:
    found = grid.cover(box(west, south, west + width, south + height), "EPSG:4326", side, 2, origin=origin)
    left, bottom, right, top = extent(found.coarse)
    slack = 2 * grid.SNAP * side
    for inner, outer in ((west, left), (south, bottom), (right, west + width), (top, south + height)):
        assert -slack <= inner - outer < side + slack


def test_an_unknown_crs_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match=r"'EPSG:0' is unknown; use a code such as EPSG:3035"):
        grid.cover(box(*MOSELLE), "EPSG:0", 1000, 10)


@pytest.mark.parametrize("area", [Polygon(), box(5, 47, 5, 47), box(5, 47, 6, 47)])
def test_an_area_that_covers_nothing_is_refused(area: Polygon) -> None:
    with pytest.raises(ValueError, match="covers nothing"):
        grid.cover(area, "EPSG:4326", 0.25, 25)


def test_an_area_that_the_crs_cannot_express_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be expressed in EPSG:32632"):
        grid.cover(box(100, 0, 150, 10), "EPSG:32632", 25_000, 25)


@pytest.mark.parametrize(
    ("shape", "tile"), [((5, 7), 3), ((6, 9), 3), ((2, 2), 5), ((1, 1), 1), ((4, 11), 1), ((13, 3), 4)]
)
def test_tiles_partition_both_grids(shape: tuple[int, int], tile: int) -> None:
    found = small(shape, tile)
    coarse, fine = np.zeros(found.coarse.shape, int), np.zeros(found.fine.shape, int)
    for part in found.tiles():
        coarse[part.coarse] += 1
        fine[part.fine] += 1
        assert found.fine[part.fine].shape == tuple(4 * size for size in found.coarse[part.coarse].shape)
        assert extent(found.fine[part.fine]) == pytest.approx(extent(found.coarse[part.coarse]), rel=1e-12)
    assert (coarse == 1).all()
    assert (fine == 1).all()


def test_tiles_come_row_by_row_and_are_found_by_name() -> None:
    found = small()
    names = [tile.name for tile in found.tiles()]
    assert names == ["r000c000", "r000c001", "r000c002", "r001c000", "r001c001", "r001c002"]
    assert list(found.tiles())[-1].coarse == (slice(3, 5), slice(6, 7))


def test_a_tile_is_never_larger_than_the_grid() -> None:
    assert small((2, 9), tile=4).tile_shape == (2, 4)


@pytest.mark.parametrize(("ratio", "tile"), [(24, 32), (25, 30), (10, 76), (1000, 1)])
def test_by_default_a_tile_has_about_768_fine_cells(ratio: int, tile: int) -> None:
    assert grid.cover(box(*MOSELLE), EUROPE, 24_000, ratio).tile == tile


def test_centres_run_down_and_to_the_right() -> None:
    y, x = grid.centres(small().coarse)
    np.testing.assert_array_equal(y, [19_500, 18_500, 17_500, 16_500, 15_500])
    np.testing.assert_array_equal(x, np.arange(10_500, 17_000, 1000))


@pytest.mark.parametrize(("crs", "side"), [(EUROPE, 24_000.0), ("EPSG:4326", 0.25), (EASE, EASE_SIDE)])
def test_lonlat_bounds_hold_every_corner_of_every_cell(crs: str, side: float) -> None:
    found = grid.cover(box(-10, 40, 30, 60), crs, side, 2).coarse
    west, south, east, north = grid.lonlat_bounds(found.boundingbox.bbox, crs)
    transform: Affine = found.transform
    x = transform.c + transform.a * np.arange(found.shape[1] + 1)
    y = transform.f + transform.e * np.arange(found.shape[0] + 1)
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    assert (west, east) == pytest.approx((longitude.min(), longitude.max()), abs=1e-3)
    assert (south, north) == pytest.approx((latitude.min(), latitude.max()), abs=1e-3)


def test_cells_inside_have_their_centre_in_the_area() -> None:
    found = grid.cover(box(0, 0, 4, 3), "EPSG:4326", 1, 2).coarse
    area = box(0.4, 0.6, 2.6, 2.4)
    np.testing.assert_array_equal(
        grid.inside(found, area), np.array([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    )


def test_a_hole_in_the_area_is_not_inside() -> None:
    found = grid.cover(box(0, 0, 5, 5), "EPSG:4326", 1, 2).coarse
    area = box(0, 0, 5, 5).difference(box(1.9, 1.9, 3.1, 3.1))
    within = grid.inside(found, area)
    assert not within[2, 2]
    assert within.sum() == 24


def test_masks_of_a_tile_are_those_of_the_whole() -> None:
    found = moselle()
    area = Polygon([(5.5, 47.9), (7.0, 48.2), (6.4, 49.4)])
    whole = grid.inside(found.fine, area)
    for tile in found.tiles():
        np.testing.assert_array_equal(grid.inside(found.fine[tile.fine], area), whole[tile.fine])


def geodesics(geobox: GeoBox, row: int, column: int) -> Any:
    """Metres east and north to the next column and the next row, asked of pyproj for one cell."""
    transform: Affine = geobox.transform
    x, y = transform.c + transform.a * (column + 0.5), transform.f + transform.e * (row + 0.5)
    to_degrees = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
    here = to_degrees.transform(x, y)
    found = np.empty((2, 2))
    for step, (dx, dy) in enumerate(((transform.a, 0), (0, transform.e))):
        azimuth, _, distance = Geod(ellps="WGS84").inv(*here, *to_degrees.transform(x + dx, y + dy))
        found[:, step] = distance * math.sin(math.radians(azimuth)), distance * math.cos(math.radians(azimuth))
    return found


@pytest.mark.parametrize(
    ("crs", "side"), [(EUROPE, 24_000.0), ("EPSG:4326", 0.25), (EASE, EASE_SIDE), ("EPSG:32632", 25_000.0)]
)
def test_metres_per_cell_are_geodesics_also_between_the_knots(crs: str, side: float) -> None:
    fine = grid.cover(box(5.19, 47.63, 12.0, 66.0), crs, side, 24).fine
    metres = grid.metres_per_cell(fine)
    assert metres.shape == (2, 2, *fine.shape)
    random = np.random.default_rng(0)
    for row, column in zip(*(random.integers(0, size, 25) for size in fine.shape), strict=True):
        np.testing.assert_allclose(metres[:, :, row, column], geodesics(fine, row, column), rtol=1e-3, atol=0.2)


def test_a_step_in_degrees_shrinks_with_the_cosine_of_the_latitude() -> None:
    fine = grid.cover(box(10, 59.9, 10.5, 60.1), "EPSG:4326", 0.1, 10).fine
    (east_column, east_row), (north_column, north_row) = grid.metres_per_cell(fine)
    np.testing.assert_allclose(east_column, 111_320 * 0.01 * math.cos(math.radians(60)), rtol=0.01)
    np.testing.assert_allclose(north_row, -111_412 * 0.01, rtol=1e-3)
    np.testing.assert_allclose(east_row, 0, atol=1e-6)
    np.testing.assert_allclose(north_column, 0, atol=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (16, 17), (17, 16), (33, 2)])
def test_metres_per_cell_of_any_shape(shape: tuple[int, int]) -> None:
    geobox = GeoBox(shape, Affine(1000, 0, 4_000_000, 0, -1000, 2_900_000), EUROPE)
    metres = grid.metres_per_cell(geobox)
    assert metres.shape == (2, 2, *shape)
    for corner in ((0, 0), (shape[0] - 1, shape[1] - 1)):
        np.testing.assert_allclose(metres[(slice(None), slice(None), *corner)], geodesics(geobox, *corner), rtol=1e-9)
