"""The figures: drawn, of one width, always alike, and showing the numbers that they are given."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from pyproj import Transformer

import small_report
from small_report import CRS, RATIO, SEASONS, World, shown_months
from soilscale.reports import contents, figures, sections, style
from soilscale.reports.cartography import extent, limits, shape, stretch, thinned, window
from soilscale.reports.figures import charts, factors, locator, stations
from soilscale.seasons import Seasons
from summing import season_rmse


@pytest.fixture(scope="module")
def world() -> World:
    return small_report.world()


@pytest.fixture(scope="module")
def images(world: World) -> dict[str, bytes]:
    return small_report.drawn(world)


def drawn(function: object, *args: object, **kwargs: object) -> Figure:
    """Figure of a function before it becomes an image."""
    figure = function.__wrapped__(*args, **kwargs)  # type: ignore[attr-defined]
    assert isinstance(figure, Figure)
    return figure


def panels(figure: Figure) -> list[Axes]:
    """Panels without colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>" and axes.get_visible()]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def chunks(png: bytes) -> Iterator[str]:
    """Names of the parts of a PNG."""
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8].decode()
        at += 12 + length


# all of them


def test_every_figure_fits_a_page_and_is_not_blank(images: dict[str, bytes]) -> None:
    for name, png in images.items():
        width, height = size(png)
        assert width == round(style.WIDTH * style.DPI), name
        assert height <= style.TALLEST * style.DPI, name
        assert imread(BytesIO(png))[..., :3].std() > 0.03, name


def test_figures_hold_no_date_and_do_not_change_from_run_to_run(world: World, images: dict[str, bytes]) -> None:
    for png in images.values():
        assert not {"tEXt", "iTXt", "tIME"} & set(chunks(png))
    assert figures.accuracy_bars(small_report.tables(world)["accuracy"]) == images["accuracy"]
    assert figures.comparison(small_report.comparison()) == images["comparison"]


def test_every_figure_has_a_place_on_the_page(images: dict[str, bytes]) -> None:
    placed = {e.name for section in sections.SECTIONS for e in section.entries if isinstance(e, contents.Figure)}
    placed.add(sections.OVERVIEW.name)
    assert set(images) <= placed


def test_nothing_is_cut_at_the_edges(images: dict[str, bytes]) -> None:
    for name, png in images.items():
        pixels = imread(BytesIO(png))[..., :3]
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert (edge == 1).all(), name


def test_names_are_written_as_a_reader_says_them() -> None:
    assert [style.words(name) for name in ("svm", "land_cover_3", "all", "ndvi_lag1")] == [
        "SVM", "land cover 3", "all seasons", "NDVI lag1",
    ]  # fmt: skip
    assert style.colours(["a", "b"]) == {"a": style.SERIES[0], "b": style.SERIES[1]}
    assert style.colours([str(i) for i in range(9)])["8"] == style.SERIES[0]


# maps


def test_month_shown_is_the_best_observed_of_its_season(world: World) -> None:
    shown = shown_months(world.coarse)
    assert [SEASONS.name(month) for month in shown] == list(SEASONS.names)
    assert np.datetime64("2001-01") not in shown
    assert np.datetime64("2001-12") in shown
    assert shown_months(world.coarse.where(False)) == []


def test_each_row_of_maps_has_one_scale_of_colours_and_names_its_month(world: World) -> None:
    dates = shown_months(world.coarse)
    figure = drawn(figures.maps_side_by_side, {"coarse": world.coarse, "svm": world.fine}, dates, SEASONS, CRS)
    rows = np.reshape(np.array(panels(figure), dtype=object), (4, 2))
    for row, date in zip(rows, dates, strict=True):
        ranges = {axes.images[0].get_clim() for axes in row}
        assert len(ranges) == 1
        assert row[0].get_ylabel() == f"{SEASONS.name(date)}, {date}"
    assert len({row[0].images[0].get_clim() for row in rows}) == 4
    assert [axes.get_title() for axes in rows[0]] == ["coarse", "SVM"]
    assert sum("km" in text.get_text() for axes in panels(figure) for text in axes.texts) == 1


def test_maps_on_a_grid_in_degrees_and_without_any_observation(world: World) -> None:
    degrees = [world.coarse.isel(time=[0]), world.fine.isel(time=[0])]
    for array in degrees:
        rows, columns = array.sizes["y"], array.sizes["x"]
        array["y"] = 50 - (np.arange(rows) + 0.5) * 2 / rows
        array["x"] = 5 + (np.arange(columns) + 0.5) * 2 / columns
    month = [np.datetime64("2001-01")]
    coarse, fine = degrees
    assert extent(fine) == pytest.approx((5, 7, 48, 50))
    assert stretch(extent(fine), "EPSG:4326") == pytest.approx(1 / np.cos(np.radians(49)))
    assert shape(extent(fine), "EPSG:4326") == pytest.approx(1 / np.cos(np.radians(49)))
    empty = figures.maps_side_by_side({"coarse": coarse * np.nan, "fine": fine * np.nan}, month, SEASONS, "EPSG:4326")
    assert size(empty)[0] == 1440
    figure = drawn(figures.maps_side_by_side, {"fine": fine}, month, SEASONS, "EPSG:4326")
    (axes,) = panels(figure)
    assert {"49°N", "6°E"} <= {label.get_text() for label in (*axes.get_yticklabels(), *axes.get_xticklabels())}


def test_a_map_shows_no_more_than_what_has_values() -> None:
    values = np.full((4, 10), np.nan)
    values[1:3, 4:9] = 1.0
    bounds = (0.0, 100.0, 0.0, 40.0)
    left, right, bottom, top = window([(values, bounds), (np.full((2, 2), np.nan), bounds)])
    assert (left, right, bottom, top) == pytest.approx((40 - 1.5, 90 + 1.5, 10 - 1.5, 30 + 1.5))
    left, right, _, _ = window([(values * np.nan, bounds)])
    assert (left, right) == pytest.approx((-3, 103))


def test_colours_span_all_but_the_outermost_values() -> None:
    assert limits([np.arange(101.0), np.array([np.nan])]) == (2.0, 98.0)
    assert limits([np.array([np.nan])]) == (0.0, 1.0)
    low, high = limits([np.array([0.3, 0.3])])
    assert low < high


def test_large_maps_are_thinned() -> None:
    array = xr.DataArray(np.zeros((2500, 10)), dims=("y", "x"))
    assert thinned(array).shape == (834, 4)
    assert thinned(array[:1200]).shape == (1200, 10)


def test_rmse_maps_of_many_seasons_share_one_scale(world: World) -> None:
    twelve = Seasons({f"m{i}": (i,) for i in range(1, 13)})
    figure = drawn(figures.rmse_maps, season_rmse(world.fine, world.coarse, RATIO, twelve), CRS)
    shown = panels(figure)
    assert len(shown) == 12
    assert len({axes.images[0].get_clim() for axes in shown}) == 1
    assert shown[0].images[0].get_clim()[0] == 0
    assert shown[1].get_title().startswith("m2\n0.0")


def test_study_area_shows_what_is_known(world: World) -> None:
    area = small_report.area(world)
    figure = drawn(figures.study_area, area)
    titles = [axes.get_title(loc="left") for axes in panels(figure)]
    assert titles == ["(a) coarse product, 2001-02", "(b) elevation and coarse cells", "(c) dominant land cover"]
    legend = panels(figure)[2].get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == {"forest", "cropland"}
    labels = [axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert labels == ["soil moisture, m³ m⁻³", "elevation, m"]
    bare = figures.Area(observation=area.observation, month=area.month, crs=CRS)
    assert len(panels(drawn(figures.study_area, bare))) == 1


def test_study_area_has_a_globe_where_it_hides_least(world: World) -> None:
    area = small_report.area(world)
    values = area.observation.to_numpy().copy()
    values[:2, :2] = np.nan
    for taken, corner in ((area.observation, (1, 0)), (area.observation.copy(data=values), (0, 1))):
        (first, *_) = panels(drawn(figures.study_area, dataclasses.replace(area, observation=taken)))
        (globe,) = first.child_axes
        middle = globe.get_position().intervalx.mean(), globe.get_position().intervaly.mean()
        side, high = first.get_position().intervalx.mean(), first.get_position().intervaly.mean()
        assert (middle[0] > side, middle[1] > high) == tuple(map(bool, corner))


def test_a_small_area_is_a_dot_on_the_globe_and_a_large_one_its_outline() -> None:
    for box, marked in (((5.0, 47.0, 7.0, 49.0), True), ((73.0, 18.0, 135.0, 54.0), False)):
        axes = style.canvas(2).subplots()
        globe = locator.locate(axes, box, np.ones((4, 4)), 1.0)
        ours = [line for line in globe.lines if line.get_color() == style.VERMILION]
        assert len(ours) == 1
        assert (ours[0].get_marker() == "s") == marked


def test_the_globe_is_seen_from_above_the_area() -> None:
    x, y = locator.orthographic(np.array([10.0, 10.0, 100.0, 190.0]), np.array([0.0, 90.0, 0.0, 0.0]), 10.0, 0.0)
    np.testing.assert_allclose(x, [0, 0, 1, np.nan], atol=1e-12)
    np.testing.assert_allclose(y, [0, 1, 0, np.nan], atol=1e-12)
    sphere = "+R=6371000"
    to_globe = Transformer.from_crs(f"+proj=longlat {sphere}", f"+proj=ortho +lat_0=35 +lon_0=108 {sphere}")
    longitude, latitude = np.array([90.0, 120.0, 140.0]), np.array([10.0, 50.0, -20.0])
    expected = to_globe.transform(longitude, latitude)
    found = locator.orthographic(longitude, latitude, 108.0, 35.0)
    np.testing.assert_allclose(found, np.array(expected) / 6_371_000, atol=1e-9)


def test_the_coastline_is_land_and_small() -> None:
    land = shapely.union_all([shapely.Polygon(ring) for ring in locator.coastline()])
    inland, sea = [(108, 34), (-100, 40), (25, -29), (134, -25)], [(-30, 0), (-150, 20), (80, -30)]
    assert shapely.contains_xy(land, *np.transpose(inland)).all()
    assert not shapely.contains_xy(land, *np.transpose(sea)).any()
    assert sum(map(len, locator.coastline())) < 3000


def test_rare_classes_of_land_cover_become_one(world: World) -> None:
    like = world.elevation
    codes = np.arange(like.size).reshape(like.shape) % 12
    shares = {f"class {i}": (like * 0 + (codes == i)).astype("float32") for i in range(12)}
    area = figures.Area(world.coarse.isel(time=1), np.datetime64("2001-02"), CRS, land_cover=shares)
    legend = panels(drawn(figures.study_area, area))[1].get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == len(style.SERIES)
    assert names[-1] == "other"


# charts


def series(values: list[float], **others: list[float]) -> pd.DataFrame:
    times = pd.date_range("2001-01", periods=len(values), freq="MS")
    return pd.DataFrame({"time": times, "coarse": values, "fine": values, "fine_all": values, **others})


def test_a_month_without_a_value_is_a_gap() -> None:
    figure = drawn(figures.time_series, series([0.2, np.nan, 0.3, 0.25], precipitation=[10.0, 20.0, 30.0, 40.0]))
    rain, moisture = panels(figure)
    assert [bar.get_height() for bar in rain.patches] == [10, 20, 30, 40]
    line = moisture.lines[0].get_ydata()
    assert np.isnan(np.asarray(line, dtype=float)).tolist() == [False, True, False, False]
    legend = moisture.get_legend()
    assert legend is not None
    names = ["coarse product", "fine maps", "fine maps, all cells", "no coarse observation"]
    assert [text.get_text() for text in legend.get_texts()] == names


def test_a_month_between_two_gaps_is_marked_even_in_a_long_series() -> None:
    values = [0.2] * 100
    values[49], values[51] = np.nan, np.nan
    figure = drawn(figures.time_series, series(values))
    (axes,) = panels(figure)
    marks = [line for line in axes.lines if line.get_marker() == "o" and line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in marks] == [1, 1, 1]


def test_months_left_out_of_the_table_are_gaps_too() -> None:
    table = series([0.2, 0.3, 0.25]).drop(index=1)
    (axes,) = panels(drawn(figures.time_series, table))
    assert len(axes.lines[0].get_ydata()) == 3


def test_scatter_takes_each_seasons_own_algorithm(world: World) -> None:
    figure = drawn(figures.scatter, world.predictions, {"spring": "svm", "summer": "knn"}, SEASONS.names)
    titles = [axes.get_title() for axes in panels(figure)]
    assert titles[:2] == ["spring (SVM)", "summer (KNN)"]
    rows = world.predictions.query("split == 'blocked' and model == 'seasonal' and season == 'summer'")
    knn = rows[rows["algorithm"] == "knn"]
    rmse = float(np.sqrt(((knn["predicted"] - knn["observed"]) ** 2).mean()))
    assert f"RMSE {rmse:.4f}" in panels(figure)[1].texts[0].get_text()


def test_bars_of_stations_without_rmse_show_correlation() -> None:
    table = pd.DataFrame({"season": "all", "method": ["nearest", "svm"], "metric": "r", "value": [0.4, 0.6]})
    (axes,) = panels(drawn(figures.skill_bars, table))
    assert axes.get_ylabel() == "R"
    assert [bar.get_height() for bar in axes.patches] == [0.4, 0.6]


def test_accuracy_without_any_finite_score_is_drawn() -> None:
    columns = ["season", "algorithm", "model", "split", "metric", "value", "n"]
    rows = [("spring", "svm", "seasonal", "blocked", metric, np.nan, 0) for metric in ("rmse", "r2")]
    assert size(figures.accuracy_bars(pd.DataFrame(rows, columns=columns)))[0] == 1440


def test_range_of_a_scatter_without_values() -> None:
    low, high = charts.shared_range(pd.DataFrame({"a": [np.nan], "b": [np.nan]}))
    assert low < 0
    assert high > 1


# what the models rest on


def test_importance_orders_by_mean_rank_with_groups_apart() -> None:
    axes = panels(drawn(figures.importance, small_report.importance()))
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["texture (group)", "NDVI", "clay", "sand"]
    assert [one.get_title() for one in axes] == [*SEASONS.names, "all seasons"]
    assert [bar.get_width() for bar in axes[0].patches] == [30, 40, 20, 10]
    assert [text.get_text() for text in axes[0].texts] == ["2", "1", "3", "4"]


def test_the_name_of_a_class_is_wrapped_and_not_cut() -> None:
    long = "closed deciduous needleleaf forest (land cover)"
    table = small_report.importance().replace({"sand": long})
    axes = panels(drawn(figures.importance, table))
    label = axes[0].get_yticklabels()[3].get_text()
    assert label.replace("\n", " ") == long
    assert "\n" in label


def test_importance_of_many_features_shows_the_foremost() -> None:
    rows = [("all", f"f{i}", f"f{i}", 50.0 - i, 0.1, i + 1, "feature") for i in range(40)]
    table = pd.DataFrame(rows, columns=["season", "feature", "group", "inc_mse", "inc_node_purity", "rank", "kind"])
    (axes,) = panels(drawn(figures.importance, table))
    assert len(axes.get_yticklabels()) == factors.MOST_FEATURES
    assert axes.get_yticklabels()[0].get_text() == "f0"


def test_ablation_shows_the_change_against_all_factors() -> None:
    axes = panels(drawn(figures.ablation, small_report.ablation()))
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["without texture", "without NDVI"]
    assert [bar.get_width() for bar in axes[0].patches] == pytest.approx([20, -1])


def test_comparison_draws_each_difference_with_its_interval() -> None:
    table = small_report.comparison()
    left, right = panels(drawn(figures.comparison, table))
    assert "lower: the seasonal model is better" in left.get_xlabel()
    assert "higher: the seasonal model is better" in right.get_xlabel()
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names[:4] == ["spring", "summer", "autumn", "winter"]
    assert names[4:6] == ["SVM", "KNN"]
    points = [line for line in left.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [8, 8]


# sensors


def test_sensors_are_compared_in_their_common_months() -> None:
    figure = drawn(figures.sensors, small_report.sensor_series(), "old", small_report.sensors())
    through, regression, year = panels(figure)
    assert regression.get_title(loc="left") == "(b) common months"
    assert regression.texts[0].get_text() == "all cells:\ny = 1.10 x + 0.010, R² 0.90, n 432"
    assert regression.get_ylabel().startswith("old")
    legend = through.get_legend()
    assert legend is not None
    told = [text.get_text() for text in legend.get_texts()]
    assert told == ["old (reference)", "new, as read", "new, adjusted"]
    lines = {tuple(np.round(np.asarray(line.get_ydata(), dtype=float), 3)) for line in year.lines}
    january = sorted(line[0] for line in lines)
    assert january == pytest.approx([0.26, 0.3])


def test_sensors_that_never_meet_are_compared_by_calendar_month() -> None:
    table = small_report.sensor_series()
    apart = table[~((table["part"] == "new") & (table["time"] < "2003-01"))]
    apart = apart[~((apart["part"] == "old") & (apart["time"] >= "2003-01"))]
    _, regression, _ = panels(drawn(figures.sensors, apart, "old", small_report.sensors().iloc[2:]))
    assert "no common ones" in regression.get_title(loc="left")
    assert regression.texts[0].get_text() == "all cells:\nn 432"


# stations


def test_station_scatter_scores_both_products_on_the_same_pairs() -> None:
    pairs = small_report.station_pairs()
    left, right = panels(drawn(figures.station_scatter, pairs, SEASONS.names))
    assert [left.get_title(), right.get_title()] == ["coarse product", "fine maps"]
    assert all(axes.texts[0].get_text().endswith("n 35") for axes in (left, right))
    known = pairs.dropna()
    rmse = float(np.sqrt(((known["fine"] - known["observed"]) ** 2).mean()))
    assert f"RMSE {rmse:.3f}" in right.texts[0].get_text()


def test_stations_of_another_quantity_are_brought_to_one_range() -> None:
    pairs = small_report.station_pairs("%")
    pairs["observed"] *= 100
    left, _ = panels(drawn(figures.station_scatter, pairs))
    assert left.get_xlabel() == "stations, %: 0 least, 1 greatest"
    assert "RMSE" not in left.texts[0].get_text()
    shown = panels(drawn(figures.station_series, pairs))
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for axes in shown for line in axes.lines])
    assert np.nanmin(values) == pytest.approx(0)
    assert np.nanmax(values) == pytest.approx(1)


def test_stations_of_several_units_are_drawn_apart() -> None:
    pairs = small_report.station_pairs()
    other = pairs["station"] == "S01"
    pairs.loc[other, "unit"] = "%"
    pairs.loc[other, "observed"] *= 100
    upper, _, lower, _ = panels(drawn(figures.station_scatter, pairs))
    assert upper.get_xlabel() == "stations, m³ m⁻³"
    assert lower.get_xlabel() == "stations, %: 0 least, 1 greatest"
    assert upper.texts[0].get_text().endswith("n 23")
    assert lower.texts[0].get_text().endswith("n 12")
    titles = {axes.get_title(loc="left"): axes for axes in panels(drawn(figures.station_series, pairs))}
    assert list(titles) == ["S00", "S01, in %: 0 least, 1 greatest", "S02"]
    for name, axes in titles.items():
        station = next(line for line in axes.lines if line.get_label() == "station")
        values = np.asarray(station.get_ydata(), dtype=float)
        own = pairs.loc[pairs["station"] == name[:3], "observed"]
        assert np.nanmax(values) == pytest.approx(1.0 if "%" in name else own.max())


def test_stations_with_most_months_are_drawn() -> None:
    pairs = small_report.station_pairs()
    more = [pairs.assign(station=pairs["station"] + letter) for letter in "abc"]
    every = pd.concat([pairs[pairs["time"] < "2001-05"], *more], ignore_index=True)
    shown = [axes.get_title(loc="left") for axes in panels(drawn(figures.station_series, every))]
    assert len(shown) == stations.MOST_STATIONS
    assert shown == sorted(shown)
    assert not {"S00", "S01", "S02"} & set(shown)


def curves() -> pd.DataFrame:
    """Curves of three features in two seasons: rain acts most, and sand not at all."""
    parts = []
    for season, factor in (("summer", 1.0), ("winter", 0.5)):
        for feature, reach in (("sand", 0.0), ("ndvi", 0.02), ("precipitation", 0.1)):
            effect = factor * reach * np.linspace(-1, 1, 11)
            rows = {"season": season, "feature": feature, "at": np.linspace(10, 60, 11), "effect": effect, "sd": 0.01}
            parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)


def test_curves_of_features_stand_in_the_order_of_what_they_do_with_bands_around_them() -> None:
    axes = panels(drawn(figures.effects, curves(), {"precipitation": "mm month-1", "sand": "%", "ndvi": "1"}))
    assert [one.get_xlabel() for one in axes] == ["precipitation, mm month-1", "NDVI", "sand, %"]
    summer, winter, _ = axes[0].get_lines()
    assert list(summer.get_ydata()) == pytest.approx(list(0.1 * np.linspace(-1, 1, 11)))
    assert max(winter.get_ydata()) == pytest.approx(0.05)
    band = axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((-0.1 - 0.01645, 0.1 + 0.01645))


def test_curves_of_many_features_show_those_that_act_most() -> None:
    rows = [("all", f"f{i}", at, i * at, 0.1) for i in range(30) for at in (0.0, 1.0)]
    axes = panels(drawn(figures.effects, pd.DataFrame(rows, columns=["season", "feature", "at", "effect", "sd"]), {}))
    assert [one.get_xlabel() for one in axes] == [f"f{i}" for i in range(29, 13, -1)]
