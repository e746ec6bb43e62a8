"""What soil remembers: antecedent rain, day-night range, dryness by TVDI and topographic wetness, each truth known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from numpy.typing import NDArray

from commands import edit, invoke, small_world
from soilscale import storage
from soilscale.config import load
from soilscale.cube import memory, wetness
from soilscale.errors import ConfigurationError

Array = NDArray[np.floating[Any]]

RATIO = 25


def steps(shape: tuple[int, int], side: float) -> Array:
    """Metres of the steps of a north-up grid."""
    return np.stack(
        [np.stack([np.full(shape, side), np.zeros(shape)]), np.stack([np.zeros(shape), np.full(shape, -side)])]
    )


def wet(elevation: Array, slope: float = 1.0) -> Array:
    """Index of a terrain without its margin, cells of 1 km."""
    inner = tuple(size - 2 * wetness.MARGIN for size in elevation.shape)
    return wetness.index(elevation, np.full(inner, slope), steps(elevation.shape, 1000.0))


def test_rain_counts_less_the_longer_ago_and_not_at_all_where_a_month_is_missing() -> None:
    months = [np.array([[10.0, 10.0]]), np.array([[4.0, np.nan]]), np.array([[8.0, 8.0]])]
    np.testing.assert_allclose(memory.antecedent(months, 0.5), [[10 + 2 + 2, np.nan]])


def test_edges_are_those_of_a_triangle_and_the_same_however_it_is_tiled() -> None:
    random = np.random.default_rng(0)
    greenness = random.uniform(0, 1, 40_000)
    surface = 290 + random.uniform(0, 1, greenness.size) * (320 - 28 * greenness - 290)
    whole = memory.scatter(surface, greenness)
    parts = memory.scatter(surface[:9_000], greenness[:9_000]) + memory.scatter(surface[9_000:], greenness[9_000:])
    np.testing.assert_array_equal(whole, parts)
    lines = memory.edges(whole)
    np.testing.assert_allclose(lines, [[-28, 320], [0, 290]], atol=1.0)
    np.testing.assert_allclose(memory.dryness(np.array([290.0, 306]), np.array([0.5, 0.5]), lines), [0, 1], atol=0.03)
    assert memory.dryness(np.array([300.0]), np.array([-0.2]), lines)[0] == pytest.approx(1 / 3, abs=0.03)


def test_a_month_with_few_pixels_has_level_edges_and_one_without_has_none() -> None:
    few = memory.edges(memory.scatter(np.linspace(290, 300, 100), np.full(100, 0.4)))
    np.testing.assert_allclose(few[:, 0], 0)
    assert few[0, 1] - few[1, 1] == pytest.approx(9.8, abs=0.6)
    nothing = memory.edges(memory.scatter(np.full(50, np.nan), np.full(50, 0.4)))
    assert np.isnan(memory.dryness(np.array([300.0]), np.array([0.4]), nothing)).all()


def test_a_plane_gathers_as_many_cells_as_water_may_flow_over() -> None:
    rows = np.repeat(np.arange(60.0, 0, -1)[:, None], 50, axis=1)
    # Upstream cells spread over three neighbours, but on a plane as much comes in as goes out.
    expected = np.log((1 + wetness.STEPS) * 1000 / np.tan(np.radians(1.0)))
    np.testing.assert_allclose(wet(rows), expected, rtol=1e-9)


def test_valleys_are_wetter_than_ridges_and_plains_wetter_than_slopes() -> None:
    across = np.abs(np.arange(70.0) - 35)
    valley = across[None, :] * 5 + np.arange(70.0, 0, -1)[:, None]
    found = wet(valley)
    centre = 35 - wetness.MARGIN
    assert (found[:, centre] > found[:, centre - 5] + 1).all()
    assert (wet(valley, 0.1) > found).all()
    assert np.isfinite(wet(np.zeros((40, 40)), 0.0)).all()


def test_wetness_is_that_of_the_whole_wherever_a_tile_is_cut_and_missing_where_terrain_is() -> None:
    elevation = np.random.default_rng(1).normal(0, 30, (80, 90)).cumsum(axis=0)
    elevation[40, 45] = np.nan
    whole = wet(elevation)
    np.testing.assert_array_equal(wet(elevation[20:70, 30:80]), whole[20 : 20 + 16, 30 : 30 + 16])
    row, column = 40 - wetness.MARGIN, 45 - wetness.MARGIN
    assert np.isnan(whole[row, column])
    assert np.isnan(whole).sum() == 1


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a world of 3 x 3 coarse cells, in tiles of 2 x 2, with what is derived."""
    path = small_world(tmp_path_factory.mktemp("world"), 3, (2004, 2004))
    sources = read(path)["sources"]
    sources["precipitation"] |= {"antecedent": {"months": 2, "decay": 0.5}}
    sources["lst"] |= {"tvdi": "ndvi", "night": "ndvi"}
    sources["elevation"] |= {"derive": ["slope", "twi"]}
    kept = ("soil_moisture", "precipitation", "lst", "ndvi", "elevation")
    return edit(path, period=["2004-03", "2004-05"], sources={name: sources[name] for name in kept}, grid__tile=2)


def read(path: Path) -> dict[str, Any]:
    """Configuration as it is written."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


@pytest.mark.slow
def test_the_cube_holds_what_is_derived_at_both_scales(config: Path, cluster: str) -> None:
    refused = invoke("run", config)
    assert refused.status == 78
    assert "source lst_range: got lst in K and ndvi in 1; expected day and night in the same unit" in refused.err
    edit(config, sources__lst__night=None)
    ended = invoke("cube", config, "--scheduler", cluster)
    assert ended.status == 0, ended.err
    url = str(config.parent / "run/cube.zarr")
    fine, coarse = (storage.open_group(url, group).load() for group in ("fine", "coarse"))
    earlier = storage.open_group(url, "earlier", gaps=True)["precipitation"][22:24]
    rain = np.concatenate([earlier, fine["precipitation"]])
    api = rain[2:] + rain[1:-1] / 2 + rain[:-2] / 4
    np.testing.assert_allclose(fine["precipitation_api"], api, rtol=1e-5)
    lines = [
        memory.edges(memory.scatter(lst, ndvi))
        for lst, ndvi in zip(fine["lst"].to_numpy(), fine["ndvi"].to_numpy(), strict=True)
    ]
    for month, line in enumerate(lines):
        dry = memory.dryness(fine["lst"][month].to_numpy(), fine["ndvi"][month].to_numpy(), line)
        np.testing.assert_allclose(fine["lst_tvdi"][month], dry, atol=1e-5)
    for name in ("precipitation_api", "lst_tvdi", "twi"):
        np.testing.assert_allclose(coarse[name], means(fine[name]), rtol=1e-4)
    assert fine["precipitation_api"].attrs["units"] == "mm month-1"
    assert fine["lst_tvdi"].attrs["units"] == fine["twi"].attrs["units"] == "1"
    told = invoke("status", config)
    assert "derive" in told.out
    assert "edges" in told.out


def means(values: xr.DataArray) -> Array:
    """Block means of what is whole."""
    found: Array = values.coarsen(y=RATIO, x=RATIO).mean().to_numpy()
    return found


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"sources__lst__tvdi": "nvdi"}, "sources.lst.tvdi: there is no other predictor 'nvdi'; did you mean 'ndvi'"),
        ({"sources__lst__tvdi": "lst"}, "sources.lst.tvdi: there is no other predictor 'lst'"),
        ({"sources__lst__night": "elevation"}, "must be continuous and change from month to month"),
        ({"sources__soil_moisture__antecedent": {"months": 2}}, "only allowed for a continuous predictor"),
        ({"sources__precipitation__antecedent": {"months": 25}}, "sources.precipitation.antecedent.months"),
        ({"sources__precipitation__antecedent": 3}, "sources.precipitation.antecedent"),
    ],
)
def test_what_cannot_be_derived_is_refused(tmp_path: Path, keys: dict[str, Any], fault: str) -> None:
    path = edit(small_world(tmp_path, 3, (2004, 2004)), **keys)
    with pytest.raises(ConfigurationError, match="(?s).*" + fault.replace("(", r"\(").replace(".", r"\.")):
        load(str(path))
