"""The page and its figures: complete, self-contained, honest about losing, and drawn by a real browser."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.image import imread

from soilscale import kernels, reports
from soilscale.reports.cartography import extent, stretch
from soilscale.reports.layout import MINUS, number, table
from soilscale.reports.page import headline, splits, verdicts
from soilscale.seasons import METEOROLOGICAL, Seasons

SEASONS = Seasons(METEOROLOGICAL)
RATIO, CRS = 4, "EPSG:3035"
TIMES = pd.date_range("2001-01", periods=12, freq="MS")
BROWSER = Path("/usr/bin/chromium")


@dataclass(frozen=True)
class World:
    """Small products of a run."""

    coarse: xr.DataArray
    fine: xr.DataArray
    known: xr.DataArray
    predictions: pd.DataFrame


@pytest.fixture(scope="module")
def world() -> World:
    generator = np.random.default_rng(0)
    rows, columns = 6, 6
    terrain = np.add.outer(np.sin(np.arange(rows * RATIO) / 3), np.cos(np.arange(columns * RATIO) / 4))
    level = 0.27 + 0.05 * np.cos(2 * np.pi * np.arange(12) / 12)
    known = level[:, None, None] + 0.02 * terrain + 0.002 * generator.normal(size=(12, rows * RATIO, columns * RATIO))
    coarse, _ = kernels.block_mean(known, RATIO)
    coarse[0, 0, 0] = np.nan
    fine = [kernels.conserve(0.3 + 0.018 * terrain, month, RATIO, 0, 0.6)[0] for month in coarse]
    observed = grid(coarse, 24_000)
    return World(observed, grid(fine, 6_000), grid(known, 6_000), predictions(observed))


def grid(values: object, step: float) -> xr.DataArray:
    array = np.asarray(values, dtype="float32")
    y = 2_900_000 - step * (np.arange(array.shape[1]) + 0.5)
    x = 4_000_000 + step * (np.arange(array.shape[2]) + 0.5)
    return xr.DataArray(array, dims=("time", "y", "x"), coords={"time": TIMES, "y": y, "x": x})


def predictions(coarse: xr.DataArray) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    base = coarse.to_series().rename("observed").dropna().reset_index()
    base["season"] = SEASONS.names_of(base["time"].to_numpy())
    errors = {("svm", "random"): 0.004, ("svm", "blocked"): 0.006, ("knn", "random"): 0.01, ("knn", "blocked"): 0.02}
    parts = [
        base.assign(
            algorithm=algorithm,
            split=split,
            model=model,
            predicted=base["observed"] + generator.normal(scale=error, size=len(base)),
        )
        for (algorithm, split), error in errors.items()
        for model in ("seasonal", "comprehensive")
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def context(world: World) -> reports.Context:
    accuracy = reports.accuracy(world.predictions, SEASONS.names)
    months = xr.Dataset({"soil_moisture": world.fine})
    truth = reports.truth({"svm": world.fine}, world.known, world.coarse, RATIO, SEASONS)
    upscaled = reports.upscaled(world.coarse, world.predictions, SEASONS)
    means = reports.area_means(world.fine, world.coarse, CRS, world.fine * 100)
    stations = pd.DataFrame(
        [("all", p, m, 0.5, 9) for p in ("coarse", "fine") for m in ("rmse", "r")],
        columns=["season", "product", "metric", "value", "n"],
    )
    importance = pd.DataFrame(
        {"season": "spring", "feature": ["sand"], "group": ["soil"], "inc_mse": 12.3, "inc_node_purity": 0.1, "rank": 1}
    )
    ablation = pd.DataFrame({"season": "all", "without": ["soil"], "metric": "rmse", "value": 0.01})
    maps = {"coarse": world.coarse, "fine": world.fine}
    figures = {
        "maps": reports.maps_side_by_side(maps, reports.representative(world.coarse, SEASONS), SEASONS, CRS),
        "time_series": reports.time_series(means),
        "accuracy": reports.accuracy_bars(accuracy),
        "scatter": reports.scatter(world.predictions, "svm", SEASONS.names),
        "truth": reports.truth_bars(truth, "the truth"),
        "upscaled": reports.truth_bars(upscaled, "the observation, one scale up"),
    }
    return reports.Context(
        name="moselle <valley>",
        area="5.2 to 7.3° E, 47.6 to 49.7° N",
        period=("2001-01", "2001-12"),
        months=12,
        coarse_cells=36,
        fine_cells=36 * RATIO**2,
        cell_sides=("24 km", "6 km"),
        algorithm="svm",
        accuracy=accuracy,
        consistency=reports.consistency(months, world.coarse, RATIO, SEASONS, "svm"),
        baselines=reports.baselines({"truth": truth, "upscaled": upscaled}),
        truth=truth,
        stations=stations,
        importance=importance,
        ablation=ablation,
        config_hash="3f9a1c77",
        figures=figures,
        failed=[("precipitation r000c001 2001-03", "rain.tif is not a TIFF; fetch it again & rerun")],
        without_input={"soil_moisture": ["2001-07", "2001-08"]},
        flags={"predicted where nothing was observed": 1234},
        items={"soil_moisture": 12, "elevation": 1},
        versions={"soilscale": "0.1.0"},
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    )


@dataclass
class Found(HTMLParser):
    """What stands on a page."""

    opened: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    VOID = ("meta", "link", "img", "br")

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not self.opened or self.opened[-1] not in ("script", "style"):
            self.words.append(data)

    def values(self, tag: str, name: str) -> list[str]:
        return [value for found, key, value in self.attributes if (found, key) == (tag, name)]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def parse(html: str) -> Found:
    found = Found()
    found.feed(html)
    assert not found.opened, f"never closed: {found.opened}"
    return found


def figure_size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


# the page


def test_page_holds_every_table_and_figure(context: reports.Context) -> None:
    found = parse(reports.page(context))
    ids = set(found.values("table", "id"))
    expected = {"accuracy", "consistency", "baselines", "truth", "stations", "importance", "ablation"}
    assert expected | {"splits", "failed", "without-input", "flags", "items"} == ids
    images = found.values("img", "src")
    assert len(images) == len(context.figures)
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in images)
    assert all(found.values("img", "alt"))


def test_page_asks_for_nothing_outside_itself(context: reports.Context) -> None:
    html = reports.page(context)
    assert not re.search(r"https?:|//cdn|@import|url\(", html)
    found = parse(html)
    assert found.values("script", "src") == []
    assert found.values("link", "href") == ["data:,"]
    tables = {f"{name}.csv" for name in found.values("table", "id")}
    inside = {f"#{name}" for name in found.values("section", "id")}
    assert set(found.values("a", "href")) <= tables | inside


def test_every_row_of_a_table_is_on_the_page(context: reports.Context) -> None:
    html = reports.page(context)
    body = html.split('<table id="accuracy"')[1].split("</table>")[0]
    wanted = context.accuracy.groupby(["season", "algorithm", "model", "split"]).ngroups
    assert body.count("<tr>") == wanted + 1
    value = context.accuracy.query("season == 'all' and metric == 'rmse'")["value"].iloc[0]
    assert f'data-value="{float(value)!r}">{value:.4f}</td>' in body


def test_page_says_what_was_missing_and_made_of_what(context: reports.Context) -> None:
    text = parse(reports.page(context)).text
    assert "1 unit of work could not be made. 1 source has months without input." in text
    assert "rain.tif is not a TIFF; fetch it again & rerun" in text
    assert "2001-07, 2001-08" in text
    assert "1,234" in text
    assert "3f9a1c77" in text
    assert "soilscale 0.1.0" in text
    assert "Made 2026-01-02 03:04 UTC" in text


def test_what_a_person_wrote_is_escaped(context: reports.Context) -> None:
    html = reports.page(replace(context, failed=[("unit", "<script>alert(1)</script>")]))
    assert "<script>alert" not in html
    assert "moselle &lt;valley&gt;" in html
    assert "moselle <valley>" in parse(html).text


def test_page_of_the_least_there_can_be(context: reports.Context) -> None:
    least = reports.Context(
        name="small",
        area="a box",
        period=("2001-01", "2001-01"),
        months=1,
        coarse_cells=1,
        fine_cells=16,
        cell_sides=("24 km", "6 km"),
        algorithm={"winter": "svm", "summer": "knn"},
        accuracy=context.accuracy.iloc[:0],
        consistency=context.consistency.iloc[:0],
        baselines=reports.baselines({}),
        config_hash="0",
    )
    found = parse(reports.page(least))
    assert found.values("table", "id") == []
    assert "Nothing was at hand by which to judge the maps" in found.text
    assert "Nothing: every unit of work was made" in found.text
    assert "each season's best algorithm" in found.text
    inside = {f"#{name}" for name in found.values("section", "id")}
    assert set(found.values("a", "href")) <= inside


# verdicts and headlines


def skill(reference: str, metric: str = "rmse", season: str = "all", **values: float) -> pd.DataFrame:
    frame = pd.DataFrame({"method": list(values), "value": list(values.values())})
    return frame.assign(season=season, reference=reference, metric=metric)


def test_a_map_that_wins_is_said_to_win() -> None:
    (verdict,) = verdicts(skill("truth", nearest=0.02, bilinear=0.01, svm=0.005), "svm")
    assert verdict.good
    assert verdict.sentence == "RMSE 0.0050: better than nearest (0.0200) and bilinear (0.0100)."


@pytest.mark.parametrize("own", [0.01, 0.015])
def test_a_map_that_loses_to_bilinear_is_said_to_lose(context: reports.Context, own: float) -> None:
    table = skill("truth", nearest=0.02, bilinear=0.01, svm=own)
    (verdict,) = verdicts(table, "svm")
    assert verdict.worse_than == ("bilinear",)
    text = parse(reports.page(replace(context, baselines=table))).text
    assert "No, judged by the known truth." in text
    assert "the maps lose to bilinear, which needs no model at all" in text


def test_a_season_that_loses_is_named() -> None:
    table = pd.concat(
        [
            skill("upscaled", nearest=0.02, bilinear=0.01, svm=0.005),
            skill("upscaled", season="winter", nearest=0.02, bilinear=0.01, svm=0.011),
            skill("upscaled", season="spring", nearest=0.02, bilinear=np.nan, svm=0.011),
        ]
    )
    (verdict,) = verdicts(table, "svm")
    assert verdict.good
    assert verdict.worse_in == ("winter",)
    assert verdict.sentence.endswith("They do not beat both in winter.")


def test_stations_of_another_quantity_judge_by_correlation() -> None:
    (verdict,) = verdicts(skill("stations", metric="r", nearest=0.4, bilinear=0.5, svm=0.6), "svm")
    assert verdict.good
    assert verdict.sentence == "R 0.600: better than nearest (0.400) and bilinear (0.500)."
    (lost,) = verdicts(skill("stations", metric="r", nearest=0.7, bilinear=0.5, svm=0.6), "svm")
    assert lost.worse_than == ("nearest",)


def test_a_reference_without_the_maps_gives_no_verdict() -> None:
    assert verdicts(skill("truth", nearest=0.02, bilinear=0.01), "svm") == []
    assert verdicts(skill("truth", nearest=np.nan, svm=np.nan), "svm") == []


def test_random_and_blocked_stand_side_by_side(context: reports.Context) -> None:
    found = splits(context.accuracy, "svm")
    assert [split.season for split in found] == ["spring", "summer", "autumn", "winter", "all"]
    pooled = found[-1]
    assert float(pooled.texts["rmse random"]) == pytest.approx(0.004, rel=0.1)
    assert float(pooled.texts["rmse blocked"]) == pytest.approx(0.006, rel=0.1)
    ratio = float(pooled.texts["rmse blocked"]) / float(pooled.texts["rmse random"])
    assert float(pooled.ratio) == pytest.approx(ratio, rel=0.02)
    assert headline(found, "rmse random") == pooled.texts["rmse random"]


def test_seasons_with_their_own_algorithm_have_a_range_for_a_headline(context: reports.Context) -> None:
    found = splits(context.accuracy, {"spring": "svm", "summer": "knn"})
    assert [(split.season, split.algorithm) for split in found] == [("spring", "svm"), ("summer", "knn")]
    low, high = headline(found, "rmse blocked").split(" to ")
    assert float(low) < float(high)
    assert headline([], "rmse blocked") == ""


# tables on the page


def test_numbers_are_written_as_their_column_asks() -> None:
    assert number("rmse", 0.01234) == "0.0123"
    assert number("bias", -0.01234) == f"{MINUS}0.0123"
    assert number("bias", -0.00001) == "0.0000"
    assert number("n", 12345) == "12,345"
    assert number("max_abs_block_difference", 1.5e-8) == f"1.5e{MINUS}08"
    assert number("r2", float("nan")) == "–"  # noqa: RUF001


def test_metrics_become_columns_in_their_order() -> None:
    frame = pd.DataFrame(
        {
            "season": ["b", "b", "a"],
            "metric": ["rmse", "r", "rmse"],
            "value": [0.1, 0.9, 0.2],
            "n": [5, 5, 7],
        }
    )
    laid_out = table("any", frame, ["season"])
    assert [heading for heading, _, _ in laid_out.headings] == ["season", "RMSE", "R", "n"]
    assert [[cell.text for cell in row] for row in laid_out.rows] == [
        ["b", "0.1000", "0.900", "5"],
        ["a", "0.2000", "–", "7"],  # noqa: RUF001
    ]
    assert laid_out.headings[1][1].startswith("Root mean square error")


# figures


def test_figures_are_pngs_of_one_width_and_not_blank(context: reports.Context) -> None:
    for name, png in context.figures.items():
        assert figure_size(png)[0] == 1440, name
        pixels = imread(BytesIO(png))[..., :3]
        assert pixels.std() > 0.03, name


def test_figures_do_not_change_from_run_to_run(context: reports.Context) -> None:
    assert reports.accuracy_bars(context.accuracy) == context.figures["accuracy"]


def test_month_shown_is_the_best_observed_of_its_season(world: World) -> None:
    shown = reports.representative(world.coarse, SEASONS)
    assert [SEASONS.name(month) for month in shown] == list(SEASONS.names)
    assert np.datetime64("2001-01") not in shown
    assert np.datetime64("2001-12") in shown
    assert reports.representative(world.coarse.where(False), SEASONS) == []


def test_maps_on_a_grid_in_degrees_and_without_any_observation(world: World) -> None:
    degrees = [world.coarse.isel(time=[0]), world.fine.isel(time=[0])]
    for array in degrees:
        rows, columns = array.sizes["y"], array.sizes["x"]
        array["y"] = 50 - (np.arange(rows) + 0.5) * 2 / rows
        array["x"] = 5 + (np.arange(columns) + 0.5) * 2 / columns
    month = [np.datetime64("2001-01")]
    coarse, fine = degrees
    png = reports.maps_side_by_side({"coarse": coarse, "fine": fine}, month, SEASONS, "EPSG:4326")
    width, height = figure_size(png)
    assert 0.4 < height / width < 1
    assert extent(fine) == pytest.approx((5, 7, 48, 50))
    assert stretch(extent(fine), "EPSG:4326") == pytest.approx(1 / np.cos(np.radians(49)))
    empty = reports.maps_side_by_side({"coarse": coarse * np.nan}, month, SEASONS, "EPSG:4326")
    assert figure_size(empty)[0] == 1440


def test_bars_of_stations_without_rmse_show_correlation() -> None:
    png = reports.truth_bars(skill("stations", metric="r", nearest=0.4, bilinear=0.5, svm=0.6), "stations")
    assert figure_size(png)[0] == 1440


# a real browser


def browse(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open ``index.html`` in a folder; what the browser prints."""
    if not BROWSER.exists():
        pytest.skip(f"{BROWSER} is not installed: the page cannot be opened in a browser")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        *options,
    ]
    profile = f"--user-data-dir={folder / 'profile'}"
    page = (folder / "index.html").as_uri()
    return subprocess.run([*command, profile, page], capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.server
def test_a_browser_draws_the_page_without_complaint(context: reports.Context, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(reports.page(context), encoding="utf-8")
    shot = tmp_path / "page.png"
    done = browse(tmp_path, f"--screenshot={shot}", "--window-size=1000,3000", "--hide-scrollbars")
    assert "CONSOLE" not in done.stderr
    pixels = imread(shot)[..., :3]
    assert pixels.shape[:2] == (3000, 1000)
    strips = pixels.reshape(6, 500, 1000, 3)
    assert all(strip.std() > 0.02 for strip in strips), "a part of the page is blank"


@pytest.mark.server
def test_a_browser_sorts_a_table_by_its_heading(context: reports.Context, tmp_path: Path) -> None:
    clicks = (
        "<script>for (const id of ['truth', 'truth', 'splits'])"
        " document.querySelectorAll(`#${id} th`)[2].querySelector('button').click();</script>"
    )
    html = reports.page(context).replace("</body>", f"{clicks}</body>")
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    done = browse(tmp_path, "--dump-dom")
    assert "CONSOLE" not in done.stderr
    body = done.stdout.split('<table id="truth"')[1].split("</table>")[0]
    assert 'aria-sort="descending"' in body
    column = [float(row.split('data-value="')[3].split('"')[0]) for row in body.split("<tr>")[2:]]
    assert column == sorted(column, reverse=True)
    assert len(column) == 15
    body = done.stdout.split('<table id="splits"')[1].split("</table>")[0]
    column = [float(number) for number in re.findall(r'<td>\w+</td><td>\w+</td><td class="number">([\d.]+)', body)]
    assert column == sorted(column)
    assert len(column) == 5
