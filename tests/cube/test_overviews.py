"""Overviews read in place of pixels: only averages, only as coarse as the grid allows, with the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy

from servers.files import serve
from soilscale import catalog
from soilscale.catalog import Scene
from soilscale.cube import Reading, choose_overview, read_static
from soilscale.cube.overviews import Choice
from soilscale.sources import QualityRule, Source
from worlds import scene, waves

SIDE = 1 / 3600
GRID = GeoBox((40, 40), Affine(0.01, 0, 107.3, 0, -0.01, 35.7), "EPSG:4326")
DEM = Source("elevation", "c", "c", "elevation", static=True, nodata=(-32768,), unit="m")


def relief(pixels: int, seed: int = 0) -> NDArray[np.float64]:
    """Ridges of a hundred metres and more, down to those of a few pixels."""
    east, north = np.meshgrid(np.arange(pixels), np.arange(pixels))
    noise = np.random.default_rng(seed).normal(size=(pixels, pixels)) * 4
    return np.asarray(waves(107, 36, 0.004)(107 + east * SIDE, 36 - north * SIDE) * 40 + 1500 + noise)


def cog(path: Path, values: NDArray[Any], method: str, nodata: float | None = -32768) -> Path:
    """COG with overviews that were made by a method."""
    plain = path.with_suffix(".plain.tif")
    size = {"width": values.shape[1], "height": values.shape[0], "count": 1, "dtype": values.dtype.name}
    place = Affine(SIDE, 0, 107, 0, -SIDE, 36)
    with rasterio.open(plain, "w", driver="GTiff", crs="EPSG:4326", transform=place, nodata=nodata, **size) as file:
        file.write(values, 1)
    copy(plain, path, driver="COG", overview_resampling=method, blocksize=256, compress="DEFLATE")
    return path


def at(path: Path | str, reduction: int = 1) -> Scene:
    return scene(path, hrefs={"elevation": str(path)}, bbox=(107, 35, 108, 36), reduction=reduction)


def choice(path: Path, source: Source = DEM, grid: GeoBox = GRID) -> int | None:
    found = choose_overview(Reading(source, lambda href: href), [at(path)], grid)
    return None if found is None else found.reduction


@pytest.fixture(scope="module")
def elevation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dem")
    return cog(folder / "average.tif", np.round(relief(3601)).astype("int16"), "AVERAGE")


def test_the_coarsest_average_with_four_pixels_along_a_cell_is_chosen(elevation: Path) -> None:
    assert choice(elevation) == 8
    finer = GeoBox((80, 80), Affine(0.005, 0, 107.3, 0, -0.005, 35.7), "EPSG:4326")
    assert choice(elevation, grid=finer) == 4
    as_fine = GeoBox((80, 80), Affine(SIDE * 3, 0, 107.3, 0, -SIDE * 3, 35.7), "EPSG:4326")
    assert choice(elevation, grid=as_fine) == 1


@pytest.mark.parametrize(("method", "reduction"), [("AVERAGE", 8), ("NEAREST", 1), ("MODE", 1)])
def test_overviews_that_are_no_averages_are_not_read(tmp_path: Path, method: str, reduction: int) -> None:
    assert choice(cog(tmp_path / "dem.tif", np.round(relief(2048)).astype("int16"), method)) == reduction


def test_what_the_overviews_were_not_told_is_missing_keeps_them_unread(tmp_path: Path) -> None:
    values = np.round(relief(2048)).astype("int16")
    values[40:80, 40:80] = -32768
    assert choice(cog(tmp_path / "dem.tif", values, "AVERAGE", nodata=None)) == 1
    assert choice(cog(tmp_path / "told.tif", values, "AVERAGE")) == 8


def test_a_file_that_shows_nothing_is_read_as_it_is(tmp_path: Path) -> None:
    flat = cog(tmp_path / "flat.tif", np.full((2048, 2048), 7, "int16"), "AVERAGE")
    assert choice(flat) == 1
    assert choice(tmp_path / "gone.tif") is None


@pytest.mark.parametrize(
    "keys",
    [
        {"overviews": False},
        {"derive": ("slope",)},
        {"kind": "categorical"},
        {"resampling": "nearest"},
        {"quality": (QualityRule("q", (0, 0), (0,)),)},
        {"role": "target"},
    ],
)
def test_what_averages_would_change_is_read_from_pixels(keys: dict[str, Any]) -> None:
    assert DEM.reducible
    assert not Source(**({"name": "x", "catalog": "c", "collection": "c", "asset": "elevation"} | keys)).reducible


def test_slopes_may_be_read_from_overviews_by_who_says_so() -> None:
    assert Source("x", "c", "c", "elevation", derive=("slope",), overviews=True).reducible


def test_values_from_overviews_are_those_of_the_pixels(elevation: Path) -> None:
    whole, reduced = (
        read_static(Reading(DEM, lambda href: href), [at(elevation, factor)], GRID)["elevation"] for factor in (1, 8)
    )
    assert np.isfinite(reduced).all()
    assert np.abs(reduced / whole - 1).max() < 0.005
    assert np.abs(reduced / whole - 1).mean() < 0.0005


def test_voids_stay_missing_and_do_not_bleed(tmp_path: Path) -> None:
    values = np.round(relief(2048)).astype("int16")
    values[1200:1400, 1200:1400] = -32768
    path = cog(tmp_path / "dem.tif", values, "AVERAGE")
    whole, reduced = (
        read_static(Reading(DEM, lambda href: href), [at(path, factor)], GRID)["elevation"] for factor in (1, 8)
    )
    both = np.isfinite(whole) & np.isfinite(reduced)
    assert (np.isfinite(whole) != np.isfinite(reduced)).mean() < 0.01
    assert np.isnan(reduced).sum() > 9
    assert np.abs(reduced[both] / whole[both] - 1).max() < 0.02


@pytest.mark.server
def test_twenty_times_fewer_bytes_are_read(elevation: Path) -> None:
    read = {}
    for factor in (1, 8):
        with serve() as files:
            files.contents["dem.tif"] = elevation.read_bytes()
            read_static(Reading(DEM, lambda href: href), [at(files.href("dem.tif"), factor)], GRID)
            spans = [span.removeprefix("bytes=").split("-") for _, span in files.ranges if span]
            size = len(files.contents["dem.tif"])
        read[factor] = sum(min(int(last), size - 1) - int(first) + 1 for first, last in spans if last)
    assert read[8] * 20 < read[1], read


def test_the_overview_is_part_of_what_a_scene_is() -> None:
    item = {
        "type": "Feature",
        "id": "a",
        "bbox": [107, 35, 108, 36],
        "properties": {"datetime": "2000-01-01T00:00:00Z"},
    }
    asset = {"href": "/x/a.tif"}
    plain, reduced = (
        catalog.scenes([item | {"assets": {"elevation": asset | more}}], DEM)[0]
        for more in ({}, {catalog.REDUCTION: 8})
    )
    assert (plain.reduction, reduced.reduction) == (1, 8)
    assert plain.digest != reduced.digest


def test_the_choice_says_which_scene_showed_it(elevation: Path) -> None:
    found = choose_overview(Reading(DEM, lambda href: href), [at("gone.tif"), at(elevation)], GRID)
    assert found == Choice(8, at(elevation).digest)
