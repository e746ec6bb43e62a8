"""The page: complete, self-contained, honest about losing, and in words that a project leader reads."""

from __future__ import annotations

import io
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import small_report
from small_report import SEASONS
from soilscale import reports
from soilscale.reports import figures, layout, shortfalls, summary
from soilscale.reports import sections as sections_reports
from soilscale.reports.insitu import summary as summary_insitu
from soilscale.reports.insitu.screening import PERCENT
from soilscale.reports.layout import MINUS, number
from soilscale.reports.page import MOST_ROWS
from soilscale.reports.summary import headline, splits, verdicts
from soilscale.schema import QUALITY_MEANINGS, Quality


@pytest.fixture(scope="module")
def context() -> reports.Context:
    made = small_report.world()
    image = figures.time_series(small_report.tables(made)["time_series"])
    described = [entry for section in sections_reports.SECTIONS for entry in section.entries]
    names = [entry.name for entry in described if isinstance(entry, sections_reports.Figure)]
    return small_report.context(made, dict.fromkeys(names, image))


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


@pytest.fixture(scope="module")
def html(context: reports.Context) -> str:
    return reports.page(context)


@pytest.fixture(scope="module")
def found(html: str) -> Found:
    return parse(html)


# what stands on the page


def test_page_holds_every_table_and_figure(context: reports.Context, found: Found) -> None:
    made = {"splits", "failed", "without-input", "flags", "masked", "metrics", "items", "versions"}
    assert {name.replace("_", "-") for name in context.tables} | made == set(found.values("table", "id"))
    images = found.values("img", "src")
    assert len(images) == len(context.figures)
    assert all(source.startswith("data:image/webp;base64,UklGR") for source in images)
    assert all(len(alt) > 30 for alt in found.values("img", "alt"))


def test_figures_and_tables_are_numbered_as_they_come(html: str) -> None:
    for kind, tag in (("Figure", "figcaption"), ("Table", "caption")):
        numbers = [int(n) for n in re.findall(rf"<{tag}><b>{kind} (\d+)\.", html)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) > 10


def test_ids_are_unique_and_links_lead_to_them(found: Found) -> None:
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    inside = [href for href in found.values("a", "href") if href.startswith("#")]
    assert {href[1:] for href in inside} <= set(ids)
    assert [href[1:] for href in inside[:3]] == ["summary", "sure", "missing"]
    assert set(found.values("section", "id")) | {"appendix"} == {href[1:] for href in inside}


def test_a_table_that_nobody_described_stands_at_the_end(html: str) -> None:
    further = html.partition('id="further"')[2].partition("</section>")[0]
    assert "Table" in further
    assert "made elsewhere (1 rows)" in further


def test_every_described_figure_and_table_is_named_once() -> None:
    names = [(type(entry), entry.name) for section in sections_reports.SECTIONS for entry in section.entries]
    assert len(names) == len(set(names))
    sections = [section.name for section in sections_reports.SECTIONS]
    assert len(sections) == len(set(sections))


def test_page_asks_for_nothing_outside_itself(html: str, found: Found) -> None:
    assert not re.search(r"https?:|//cdn|@import|url\(", html)
    assert found.values("script", "src") == []
    assert found.values("link", "href") == ["data:,"]
    outward = [href for href in found.values("a", "href") if not href.startswith(("#", "data:text/csv;base64,"))]
    assert outward == []
    assert not [name for _, name, _ in found.attributes if name == "style" or name.startswith("on")]


def test_policy_allows_its_own_style_and_script_alone(html: str, found: Found) -> None:
    (policy,) = (value for value in found.values("meta", "content") if "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy


def test_tables_travel_with_the_page(context: reports.Context, found: Found) -> None:
    hrefs = [href for href in found.values("a", "href") if href.startswith("data:text/csv")]
    saved = dict(zip(found.values("a", "download"), hrefs, strict=True))
    assert set(saved) == {f"{name}.csv" for name in context.tables}
    again = pd.read_csv(io.BytesIO(b64decode(saved["truth.csv"].partition(",")[2])))
    pd.testing.assert_frame_equal(again, context.tables["truth"].reset_index(drop=True))


def test_a_table_too_long_for_the_page_is_named(context: reports.Context) -> None:
    pairs = pd.concat([context.tables["station_pairs"]] * 60, ignore_index=True)
    assert len(pairs) > MOST_ROWS
    told = parse(reports.page(replace(context, tables={**context.tables, "station_pairs": pairs})))
    assert "station-pairs" not in told.values("table", "id")
    assert "2,160 rows, in station_pairs.csv beside this page" in told.text


def test_every_row_of_a_table_is_on_the_page(context: reports.Context, html: str) -> None:
    body = html.split('<table id="accuracy"')[1].split("</table>", maxsplit=1)[0]
    accuracy = context.tables["accuracy"]
    wanted = accuracy.groupby(["season", "algorithm", "model", "split"]).ngroups
    assert body.count("<tr>") == wanted + 1
    value = accuracy.query("season == 'all' and metric == 'rmse'")["value"].iloc[0]
    assert f'data-value="{float(value)!r}">{value:.4f}</td>' in body


def test_language_headings_and_captions_are_there_for_those_who_do_not_see(html: str, found: Found) -> None:
    assert found.values("html", "lang") == ["en"]
    assert html.count("<h1>") == 1
    assert html.count("<caption>") == html.count("<table")
    assert html.count('scope="col"') == html.count("<th ")


def test_page_says_what_was_missing_and_made_of_what(found: Found) -> None:
    text = found.text
    assert "1 unit of work failed. Months without input: soil moisture (2)." in text
    assert "2.7 % of the area's fine cells and months have no value" in text
    assert (
        "Of the cells and months with a value, 17 % have no coarse observation and are only predicted by the model."
        in text
    )
    assert "Missing or masked before gaps were filled: LST 25 %." in text
    assert "rain.tif is not a TIFF; fetch it again & rerun" in text
    assert "2001-07, 2001-08" in text
    assert "1,234" in text
    assert "3f9a1c77" in text
    assert "soilscale0.1.0" in text.replace(" ", "")
    assert "Made 2026-01-02 03:04 UTC" in text


def test_page_names_the_run_that_made_it_and_leads_to_its_log(context: reports.Context, html: str) -> None:
    assert "run 12" not in html
    without = reports.page(replace(context, made_by=reports.Link("", "run 12", "")))
    assert "Written by soilscale, run 12." in parse(without).text
    linked = reports.page(replace(context, made_by=reports.Link('https://logs.org/?a="b"&run=12', "run 12", "")))
    assert 'soilscale, <a href="https://logs.org/?a=&#34;b&#34;&amp;run=12">run 12</a>.' in linked


def test_what_a_person_wrote_is_escaped(context: reports.Context) -> None:
    told = reports.page(replace(context, failed=[("unit", "<script>alert(1)</script>")]))
    assert "<script>alert" not in told
    assert "moselle &lt;valley&gt;" in told
    assert "moselle <valley>" in parse(told).text


def test_page_of_the_least_there_can_be() -> None:
    least = reports.Context(
        name="small",
        area="a box",
        period=("2001-01", "2001-01"),
        months=1,
        coarse_cells=1,
        fine_cells=16,
        cell_sides=("24 km", "6 km"),
        algorithm={"winter": "svm", "summer": "knn"},
        tables={"baselines": reports.baselines({})},
        config_hash="0",
        conserved=False,
    )
    told = parse(reports.page(least))
    assert told.values("table", "id") == ["metrics"]
    assert "There were no data to compare the maps" in told.text
    assert "Every unit of work is complete" in told.text
    assert "SVM in winter; KNN in summer" in told.text
    assert "shifted" not in told.text
    assert set(told.values("section", "id")) == {"summary", "missing", "open", "gaps", "reading", "provenance"}
    assert summary.algorithm_words({"a": "svm", "b": "knn", "c": "svm"}) == "SVM in a and c; KNN in b"


def test_the_same_page_twice(context: reports.Context, html: str) -> None:
    assert reports.page(context) == html


# the summary


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
    text = parse(reports.page(replace(context, tables={**context.tables, "baselines": table}))).text
    assert "No, against the known truth." in text
    assert "the maps lose to bilinear, which needs no model" in text


def test_a_verdict_tells_of_the_paper_s_algorithm() -> None:
    (verdict,) = verdicts(skill("truth", nearest=0.02, bilinear=0.01, svm=0.005, random_forest=0.0075), "svm")
    assert verdict.sentence.endswith(" The paper's algorithm, a random forest, has 0.0075.")
    (own,) = verdicts(skill("truth", nearest=0.02, bilinear=0.01, random_forest=0.0075), "random_forest")
    assert "a random forest, has" not in own.sentence


def test_a_map_that_loses_to_both_is_said_to_lose_to_both() -> None:
    (verdict,) = verdicts(skill("truth", nearest=0.02, bilinear=0.01, svm=0.03), "svm")
    assert verdict.sentence.endswith("the maps lose to nearest and bilinear, which need no model.")


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
    rows = splits(context.tables["accuracy"], "svm").set_index("season")
    assert list(rows.index) == [*SEASONS.names, "all"]
    pooled = rows.loc["all"]
    assert pooled["rmse_random"] == pytest.approx(0.004, rel=0.1)
    assert pooled["rmse_blocked"] == pytest.approx(0.006, rel=0.1)
    assert pooled["ratio"] == pytest.approx(pooled["rmse_blocked"] / pooled["rmse_random"])
    assert pooled["n_blocked"] == 12 * 36 - 1
    assert headline(rows.reset_index(), "rmse_random") == f"{pooled['rmse_random']:.4f}"


def test_seasons_with_their_own_algorithm_have_a_range_for_a_headline(context: reports.Context) -> None:
    rows = splits(context.tables["accuracy"], {"spring": "svm", "summer": "knn"})
    assert list(zip(rows["season"], rows["algorithm"], strict=True)) == [("spring", "svm"), ("summer", "knn")]
    low, high = headline(rows, "rmse_blocked").split(" to ")
    assert float(low) < float(high)
    assert headline(rows.iloc[:0], "rmse_blocked") == ""


def test_a_season_mapped_by_the_comprehensive_model_is_judged_by_it(context: reports.Context) -> None:
    table = context.tables["accuracy"]
    few = table[~((table["season"] == "winter") & (table["model"] == "seasonal"))]
    rows = splits(few, "svm").set_index("season")
    wanted = few.query("season == 'winter' and algorithm == 'svm' and split == 'blocked' and metric == 'rmse'")
    assert rows.loc["winter", "rmse_blocked"] == wanted["value"].iloc[0]


def blocked(**values: tuple[float, float]) -> pd.DataFrame:
    rows = [
        {"season": season, "algorithm": "svm", "rmse_random": 0.01, "rmse_blocked": rmse, "r2_blocked": r2}
        for season, (rmse, r2) in values.items()
    ]
    return pd.DataFrame(rows)


def test_models_that_explain_nothing_are_said_to_explain_nothing() -> None:
    rows = blocked(spring=(0.02, -0.1), summer=(0.01, 0.5), winter=(0.03, 0.0), all=(0.02, 0.1))
    told = summary.accuracy_words(rows, "24 km")
    assert "smallest in summer (RMSE 0.0100 m³ m⁻³, R² 0.500) and largest in winter (RMSE 0.0300" in told
    assert "In spring and winter R² is not above 0" in told
    assert "do not trust the detail" in told
    fine = summary.accuracy_words(blocked(spring=(0.02, 0.4)), "24 km")
    assert fine == "The models' error at 24 km on held-out blocks is smallest in spring (RMSE 0.0200 m³ m⁻³, R² 0.400)."
    assert summary.accuracy_words(blocked(spring=(np.nan, np.nan)), "24 km") == ""


def test_a_region_where_no_model_has_skill_says_so_first(context: reports.Context) -> None:
    none = blocked(spring=(0.02, -0.02), summer=(0.01, 0.05), all=(0.02, 0.3))
    said = summary.skill_words(none, "24 km")
    assert f"In this region no model has skill: at 24 km, on held-out blocks, R² is {MINUS}0.020 to 0.050" in said
    assert "not trust the detail" not in summary.accuracy_words(none, "24 km")
    assert summary.skill_words(blocked(spring=(0.02, -0.02), summer=(0.01, 0.4)), "24 km") == ""
    assert summary.skill_words(blocked(spring=(0.02, np.nan)), "24 km") == ""
    accuracy = context.tables["accuracy"].copy()
    accuracy.loc[(accuracy["metric"] == "r2") & (accuracy["split"] == "blocked"), "value"] = 0.01
    shown = reports.page(replace(context, tables={**context.tables, "accuracy": accuracy}))
    first = shown.index("<h2>Summary</h2>")
    assert shown.index("In this region no model has skill") < shown.index("<p>", first)


def test_seasonal_models_are_better_only_where_the_interval_says_so() -> None:
    told = summary.season_words(small_report.comparison(), "svm")
    assert "better in spring; worse in summer; not distinguishable from it in autumn and winter" in told
    assert summary.season_words(None, "svm") == ""
    assert summary.season_words(small_report.comparison(), "other") == ""


def test_most_important_features_are_named_without_their_groups() -> None:
    told = summary.factor_words(small_report.importance())
    assert "of the random forest by %IncMSE are, in spring: NDVI, clay, sand" in told
    assert "texture" not in told
    assert summary.factor_words(None) == ""


def test_a_reader_meets_classes_by_their_names_and_files_keep_the_codes(context: reports.Context) -> None:
    importance = small_report.importance().replace({"sand": "cover_130"})
    selection = pd.DataFrame({"season": ["spring"], "step": [1], "features": ["cover_130 ndvi"]})
    tables = {"importance": importance, "selection": selection, "ablation": small_report.ablation()}
    shown = reports.named(tables, {"cover_130": "grassland (land cover)"})
    assert set(shown["importance"]["feature"]) == {"grassland (land cover)", "clay", "texture", "ndvi"}
    assert list(shown["selection"]["features"]) == ["grassland (land cover), ndvi"]
    assert shown["ablation"] is tables["ablation"]
    tables |= {"accuracy": context.tables["accuracy"]}
    page = reports.page(replace(context, tables=tables, labels={"cover_130": "grassland (land cover)"}))
    assert "clay, grassland (land cover)." in page.replace("&#39;", "'") or "clay, grassland (land cover);" in page
    assert "<td>grassland (land cover)</td>" in re.sub(r"<td[^>]*>", "<td>", page)
    assert ">cover 130<" not in page


def test_what_sensors_were_related_by_is_told() -> None:
    (told,) = summary.sensor_words(small_report.sensors())
    assert told == (
        "new was matched to old by the months that both saw: in 30 of 36 cells by the cell's own relation "
        "for the whole year."
    )
    assert summary.sensor_words(None) == []


def test_seasons_without_a_model_are_named() -> None:
    rows = [("july", "comprehensive"), ("rest", "comprehensive"), ("rest", "seasonal"), ("all", "seasonal")]
    table = pd.DataFrame(rows, columns=["season", "model"])
    assert "of its own, july is mapped by the model of all seasons" in summary.fallback_words(table)
    assert summary.fallback_words(table[table["season"] != "july"]) == ""


def test_stations_that_cannot_be_compared_are_told() -> None:
    reasons = ["outside the grid", "outside the grid", "flagged"]
    left = pd.DataFrame({"network": ["N", "", "N"], "station": ["a", "b", "a"], "reason": reasons})
    told = summary_insitu.stations_words({"stations": pd.DataFrame(), "stations_left_out": left})
    assert told == (
        "None of the stations could be compared with the maps: outside the grid (N/a and b); flagged (N/a)."
    )
    assert summary_insitu.stations_words({"stations": left, "stations_left_out": left}) == ""
    assert summary_insitu.stations_words({}) == ""


def test_a_doubted_unit_is_told_with_the_remedy() -> None:
    left = pd.DataFrame({"station": ["a", "b", "c"], "reason": [PERCENT, PERCENT, "flagged"]})
    assert summary_insitu.percent_words(left) == (
        "Left out for values above 1 m3 m-3, as if they were in %: a and b; write their unit into the column unit: "
        "vol% if they are per cent by volume, else %."
    )
    assert summary_insitu.percent_words(left[2:]) == ""


def test_stations_of_another_quantity_are_told() -> None:
    pairs = pd.DataFrame({"station": ["a", "a", "b"], "unit": ["m3 m-3", "m3 m-3", "%"]})
    assert summary_insitu.unit_words(pairs).startswith(
        "1 of 2 stations do not measure volumetric soil moisture (their unit: %)"
    )
    assert "station by station" in summary_insitu.unit_words(pairs[pairs["station"] == "b"])
    assert summary_insitu.unit_words(pairs[pairs["station"] == "a"]) == ""
    assert summary_insitu.unit_words(None) == ""


def test_a_metric_of_other_pairs_has_their_number_beside_it() -> None:
    rows = [("all", "rmse", 0.05, 60), ("all", "r_anomaly", 0.3, 48), ("all", "r_normalised", 0.8, 70)]
    laid_out = layout.table(pd.DataFrame(rows, columns=["season", "metric", "value", "n"]), ["season"])
    assert [name for name, _, _ in laid_out.headings] == ["season", "RMSE", "anomaly R", "n", "R, 0 to 1", "n", "n"]
    assert [cell.text for cell in laid_out.rows[0]] == ["all seasons", "0.0500", "0.300", "48", "0.800", "70", "60"]


def test_what_was_chosen_by_the_blocked_error_is_told() -> None:
    assert summary.choice_words(["selection", "tuning"]).startswith(
        "The predictors and parameters were chosen by the error"
    )
    assert summary.choice_words(["accuracy"]) == ""


def test_flags_are_told_as_shares() -> None:
    flags = {Quality.OBSERVED: 60, Quality.PREDICTED: 40, Quality.CLAMPED: 5}
    told = shortfalls.quality_words(flags, 100)
    assert told == (
        "Of the cells and months with a value, 40 % have no coarse observation and are only predicted by the model "
        "and 5 % were clamped to the physical range."
    )
    assert shortfalls.quality_words({}, 0) == ""
    assert (
        shortfalls.empty_words(5, 95)
        == "5 % of the area's fine cells and months have no value, because a predictor is missing."
    )
    assert shortfalls.empty_words(0, 95) == ""
    told = shortfalls.masked_words({"ndvi": 0.0312, "sand": 0.0, "lst": 0.25})
    assert told == "Missing or masked before gaps were filled: LST 25 % and NDVI 3.1 %."
    assert shortfalls.masked_words({"sand": 0.0}) == ""


def test_every_bit_of_the_quality_layer_has_words() -> None:
    assert set(QUALITY_MEANINGS) == set(Quality)


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
    laid_out = layout.table(frame, ["season"])
    assert [heading for heading, _, _ in laid_out.headings] == ["season", "RMSE", "R", "n"]
    assert [[cell.text for cell in row] for row in laid_out.rows] == [
        ["b", "0.1000", "0.900", "5"],
        ["a", "0.2000", "–", "7"],  # noqa: RUF001
    ]
    assert laid_out.headings[1][1].startswith("Root mean square error")


def test_names_months_and_missing_entries_are_written_for_readers() -> None:
    frame = pd.DataFrame(
        {"season": ["all"], "feature": ["land_cover_3"], "time": pd.Timestamp("2001-02"), "why": [None]}
    )
    (row,) = layout.table(frame).rows
    assert [cell.text for cell in row] == ["all seasons", "land cover 3", "2001-02", ""]
    assert row[1].value == "land_cover_3"
