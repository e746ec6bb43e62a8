"""Whether the coarse grid fits the pixels of the observation."""

from __future__ import annotations

from typing import Any

import pytest
from affine import Affine
from rasterio.crs import CRS
from shapely.geometry import box

from soilscale import grid
from soilscale.cube.assets import Header
from soilscale.cube.fit import advice

AREA = box(108.01, 34.51, 108.49, 34.99)
EASE = 25_025.26


def header(left: float, top: float, width: float, crs: str = "EPSG:4326", height: float | None = None) -> Header:
    transform = Affine(width, 0, left, 0, -(height or width), top)
    return Header(CRS.from_user_input(crs), transform, (720, 1440), None, 1.0, 0.0, None)


WORLD = header(-180.0, 90.0, 0.25)


@pytest.mark.parametrize(
    ("seen", "crs", "side", "origin"),
    [
        (WORLD, "EPSG:4326", 0.25, (0, 0)),
        (WORLD, "EPSG:4326", 0.5, (0.25, 0.25)),
        (WORLD, "EPSG:4326", 0.25, (100.75, -0.5)),
        (header(0.0, 90.0, 0.25), "EPSG:4326", 0.25, (0, 0)),
        (header(-179.875, 90.125, 0.25), "EPSG:4326", 0.25, (0.125, 0.125)),
        (header(-180.0, 90.0, 0.25, "+proj=longlat +R=6371228"), "EPSG:4326", 0.25, (0, 0)),
        (header(-180.0000001, 90.0, 0.2500000001), "EPSG:4326", 0.25, (0, 0)),
        (header(-17_367_530.44, 7_307_375.92, EASE, "EPSG:6933"), "EPSG:6933", EASE, (0, 0)),
    ],
)
def test_a_grid_of_whole_pixels_needs_no_advice(seen: Header, crs: str, side: float, origin: Any) -> None:
    assert advice(seen, grid.cover(AREA, crs, side, 5, origin=origin)) is None


@pytest.mark.parametrize(
    ("seen", "side", "origin", "words"),
    [
        (WORLD, 0.25, (0.125, 0.125), ["0.5 and 0.5 pixels", "origin: [0.0, 0.0] would fit"]),
        (WORLD, 0.25, (0.1, 0.0), ["0.4 and 0 pixels", "origin: [0.0, 0.0] would fit"]),
        (header(-179.875, 90.125, 0.25), 0.25, (0, 0), ["origin: [0.125, 0.125] would fit"]),
        (WORLD, 0.3, (0, 0), ["0.3 is not a multiple", "pixel of 0.25 (1.2 pixels)", "coarse: 0.25", "[0.0, 0.0]"]),
        (WORLD, 0.1, (0, 0), ["0.1 is not a multiple", "coarse: 0.25 with origin: [0.0, 0.0]"]),
        (WORLD, 25, (0, 0), ["takes 100 x 100 pixels", "the unit of EPSG:4326, the degree? coarse: 0.25 would"]),
        (header(-180, 90, 0.25, height=0.2), 0.25, (0, 0), ["pixel of 0.25 x 0.2"]),
    ],
)
def test_a_grid_that_does_not_fit_is_told_what_would(seen: Header, side: float, origin: Any, words: list[str]) -> None:
    found = advice(seen, grid.cover(AREA, "EPSG:4326", side, 5, origin=origin))
    assert found is not None
    assert found.misfit
    for word in words:
        assert word in found.text


def test_an_observation_in_another_crs_is_told_as_it_is() -> None:
    found = advice(WORLD, grid.cover(AREA, "EPSG:32649", 25_000, 25))
    assert found is not None
    assert not found.misfit
    assert "is in EPSG:4326 with pixels of 0.25, the grid in EPSG:32649" in found.text
    assert "grid.crs: EPSG:4326, coarse: 0.25, origin: [0.0, 0.0]" in found.text
