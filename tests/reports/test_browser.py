"""The page in a real browser: it renders whole, complains of nothing, asks for nothing, and its tables sort."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import small_report
from browsers import NAMES
from soilscale import reports
from soilscale.reports import figures

pytestmark = pytest.mark.server

DRAWN = ("maps", "time_series", "importance")


@dataclass
class Opened:
    """A page, and what the browser said while it was open."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed, so the page cannot be opened: apt-get install chromium")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def context() -> reports.Context:
    made = small_report.world()
    image = figures.time_series(small_report.tables(made)["time_series"])
    return small_report.context(made, dict.fromkeys(DRAWN, image))


@pytest.fixture(scope="module")
def file(context: reports.Context, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(reports.page(context), encoding="utf-8")
    return path


def listen(page: Page) -> Opened:
    """Keep what a page logs, throws and asks for."""
    opened = Opened(page)
    page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: opened.said.append(str(error)))
    page.on("request", lambda request: opened.asked.append(request.url))
    return opened


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    found = listen(page)
    page.goto(file.as_uri())
    yield found
    assert found.said == [], "the browser complained"
    assert [url for url in found.asked if not url.startswith(("file:", "data:"))] == []
    page.close()


def column(page: Page, table: str, number: int) -> list[str]:
    """Texts of a column, from above."""
    return page.locator(f"#{table} tbody tr td:nth-child({number})").all_inner_texts()


def click(page: Page, table: str, number: int) -> str | None:
    """Click on a heading; how the column is said to be sorted."""
    head = page.locator(f"#{table} th:nth-child({number})")
    head.locator("button").click()
    return head.get_attribute("aria-sort")


def test_every_image_is_drawn(opened: Opened) -> None:
    widths = opened.page.eval_on_selector_all("img", "all => all.map(one => one.complete ? one.naturalWidth : 0)")
    assert widths == [1440] * len(DRAWN)


def test_sections_are_seen_one_below_the_other(opened: Opened) -> None:
    boxes = [one.bounding_box() for one in opened.page.locator("section").all()]
    tops = [box["y"] for box in boxes if box and box["height"] > 50]
    assert len(tops) == len(boxes)
    assert tops == sorted(tops)


def test_style_is_applied_under_the_policy(opened: Opened) -> None:
    body = opened.page.locator("body")
    assert body.evaluate("one => getComputedStyle(one).color") == "rgb(31, 35, 40)"
    assert body.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"


def test_a_column_of_numbers_sorts_by_value_up_and_down(opened: Opened) -> None:
    before = column(opened.page, "splits", 4)
    assert click(opened.page, "splits", 4) == "ascending"
    up = column(opened.page, "splits", 4)
    assert [float(text) for text in up] == sorted(float(text) for text in before)
    assert click(opened.page, "splits", 4) == "descending"
    assert column(opened.page, "splits", 4) == up[::-1]


def test_a_column_of_names_sorts_by_name_and_only_one_column_is_marked(opened: Opened) -> None:
    click(opened.page, "splits", 4)
    click(opened.page, "splits", 1)
    names = column(opened.page, "splits", 1)
    assert names == ["all seasons", "autumn", "spring", "summer", "winter"]
    assert opened.page.locator("#splits th[aria-sort]").count() == 1


def test_missing_numbers_stand_last_either_way(opened: Opened) -> None:
    opened.page.get_by_text("Every pair").first.click()
    for _ in range(2):
        click(opened.page, "station-pairs", 7)
        values = column(opened.page, "station-pairs", 7)
        assert values[-1] == "–"  # noqa: RUF001
        assert values.count("–") == 1  # noqa: RUF001


def test_headings_are_reached_and_used_by_keyboard(opened: Opened) -> None:
    opened.page.locator("#splits th:nth-child(4) button").focus()
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("#splits th:nth-child(4)").get_attribute("aria-sort") == "ascending"


def test_folded_tables_open(opened: Opened) -> None:
    table = opened.page.locator("#accuracy")
    assert not table.is_visible()
    opened.page.get_by_text("Every algorithm, model and split").first.click()
    assert table.is_visible()


def test_a_table_is_saved_from_the_page_alone(opened: Opened, context: reports.Context) -> None:
    with opened.page.expect_download() as download:
        opened.page.get_by_text("Save as truth.csv").click()
    saved = Path(str(download.value.path())).read_text(encoding="utf-8")
    assert saved == context.tables["truth"].to_csv(index=False)


def test_contents_lead_to_their_sections(opened: Opened) -> None:
    opened.page.get_by_role("link", name="Provenance").click()
    assert opened.page.url.endswith("#provenance")
    assert opened.page.locator("#provenance h2").is_visible()


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_a_screen_of_any_width_shows_the_page_without_scrolling_sideways(
    browser: Browser, file: Path, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_it_prints_on_a4(browser: Browser, file: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(file.as_uri())
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert not page.locator("nav").first.is_visible()
    assert page.locator("#splits").is_visible()
    page.close()


def test_nothing_else_may_run_in_the_page(browser: Browser, context: reports.Context, tmp_path: Path) -> None:
    html = reports.page(context).replace("</main>", "<script>document.title = 'taken'</script></main>")
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    page = browser.new_page()
    said = listen(page).said
    page.goto((tmp_path / "index.html").as_uri())
    assert page.title() != "taken"
    assert any("Content Security Policy" in text for text in said)
    page.close()
