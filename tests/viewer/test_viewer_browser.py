"""The viewer in a real browser: it shows what the files hold, by pointer, keyboard and touch, and says its faults."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from playwright.sync_api import Browser, Page, expect, sync_playwright

import small_product
from browsers import NAMES
from small_product import MONTHS, Product
from soilscale.viewer.server import Server

pytestmark = pytest.mark.server

PATIENCE = 60_000
"""Milliseconds to wait for the browser on a busy machine."""

NAMELESS = """[...document.querySelectorAll('button, select, input, [role]')]
  .filter(each => !each.hidden && !each.labels?.length && !each.ariaLabel && !each.textContent.trim())
  .map(each => each.outerHTML)"""
"""Script that finds what a screen reader could not name."""


@dataclass
class Shown:
    """A page with the viewer, and what the browser said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    """URL -> bytes that came."""

    def wait(self, kind: str, start: str, layer: str = "soil_moisture") -> None:
        """Wait until a map is drawn."""
        self.page.wait_for_selector(f'#map[data-shown="{kind} {start} {layer}"]', timeout=PATIENCE)

    def link(self) -> dict[str, str]:
        """Parts of the link."""
        return dict(part.split("=", 1) for part in self.page.url.partition("#")[2].split("&"))

    def point(self, product: Product, row: int, column: int) -> tuple[float, float]:
        """Pixel of the middle of a cell."""
        x, y, resolution = map(float, self.link()["view"].split(","))
        step, size = product.grid.side / product.grid.ratio, self.page.viewport_size or {}
        right = product.grid.left + (column + 0.5) * step - x
        down = y - (product.grid.top - (row + 0.5) * step)
        return size["width"] / 2 + right / resolution, size["height"] / 2 + down / resolution

    def values(self) -> list[str]:
        """Values at the pointer: that of the map, and the observation's."""
        return self.page.locator("#values .number:not(.rough)").all_inner_texts()

    def series(self) -> list[list[str]]:
        """Table of the series, once all dates are read."""
        self.page.wait_for_selector("#series[data-read]", timeout=PATIENCE)
        rows = self.page.locator("#table tr").all()
        return [row.locator("th, td").all_text_contents() for row in rows]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Product:
    return small_product.make(tmp_path_factory.mktemp("product"))


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/maps/index.html"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def url(product: Product) -> Iterator[str]:
    with running(Server(str(product.folder))) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(
            f"none of {', '.join(NAMES)} is installed, so the viewer cannot be opened: apt-get install chromium"
        )
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@contextmanager
def opened(browser: Browser, url: str, width: int = 1200, height: int = 800, **options: object) -> Iterator[Shown]:
    """Open the viewer in a window of its own, and wait for its first map."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    shown = Shown(page)
    page.on("console", lambda message: shown.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: shown.said.append(str(error)))
    page.on("response", lambda reply: shown.asked.update({reply.url: _bytes(shown, reply.url, reply.headers)}))
    page.goto(url)
    page.wait_for_selector("#map[data-shown], #message:not([hidden])")
    yield shown
    context.close()


def _bytes(shown: Shown, url: str, headers: dict[str, str]) -> int:
    return shown.asked.get(url, 0) + int(headers.get("content-length", 0))


def cells(product: Product) -> list[tuple[int, int]]:
    """Some cells, in the middle, near a border, without a value, and without an observation."""
    rows, columns = product.grid.fine.shape
    return [(rows // 2, columns // 2), (rows - 3, columns - 2), (3, 3), (60, 110)]


@pytest.mark.parametrize(("kind", "start"), [("month", "2004-01"), ("season", "2003-10")])
def test_values_at_the_pointer_are_those_of_the_files(
    browser: Browser, url: str, product: Product, kind: str, start: str
) -> None:
    months = slice(3, 4) if kind == "month" else slice(0, 7)
    with opened(browser, f"{url}#{kind}={start}") as shown:
        shown.wait(kind, start)
        with rasterio.open(product.cog(kind, start, "soil_moisture")) as file:
            expected = file.read(1)
        for row, column in cells(product):
            shown.page.mouse.move(*shown.point(product, row, column))
            fine = expected[row, column]
            coarse = product.coarse[months, row // 25, column // 25].mean()
            texts = [
                "no value" if np.isnan(fine) else f"{fine:.3f}",
                "no observation" if np.isnan(coarse) else f"{coarse:.3f}",
            ]
            assert shown.values() == texts, (row, column)
        assert [value for value in shown.said if not value.startswith("info")] == []
        assert all(address.startswith(url.removesuffix("maps/index.html")) for address in shown.asked)


def test_quality_and_interval_are_layers(browser: Browser, url: str, product: Product) -> None:
    with opened(browser, f"{url}#month=2004-01&layer=quality") as shown:
        shown.wait("month", "2004-01", "quality")
        shown.page.mouse.move(*shown.point(product, 140, 190))
        assert shown.values()[0] == "observed, extrapolated"
        shown.page.mouse.move(*shown.point(product, 60, 110))
        assert shown.values()[0] == "predicted"
        assert shown.page.locator("#legend li span").all_inner_texts() == ["observed", "predicted", "extrapolated"]
        assert shown.page.locator("input[name=compare]").first.is_disabled()
        shown.page.select_option("#layer", "width")
        shown.wait("month", "2004-01", "width")
        shown.page.mouse.move(*shown.point(product, 75, 100))
        assert shown.values()[0] == "0.060"
        assert shown.link()["layer"] == "width"
        assert shown.said == []


def test_a_click_shows_the_series_of_maps_zarr(browser: Browser, url: str, product: Product) -> None:
    with opened(browser, f"{url}#month=2004-01") as shown:
        shown.wait("month", "2004-01")
        shown.page.mouse.click(*shown.point(product, 70, 90))
        head, *rows = shown.series()
        assert head == ["date", "fine", "lower", "upper", "coarse", "station NET/upper"]
        assert [row[0] for row in rows] == MONTHS.astype(str).tolist()
        fine, coarse = product.fine[:, 70, 90], product.coarse[:, 2, 3]
        for column, values in enumerate(
            (fine, fine - np.float32(0.03), fine + np.float32(0.03), coarse, fine + 0.01), 1
        ):
            assert [row[column] for row in rows] == ["" if np.isnan(each) else f"{each:.4f}" for each in values]
        assert shown.page.locator("#chart circle.station").count() == len(MONTHS)
        with shown.page.expect_download() as download:
            shown.page.get_by_text("Save as CSV").click()
        saved = Path(str(download.value.path())).read_text().splitlines()
        assert float(saved[1].split(",")[1]) == pytest.approx(float(fine[0]))
        shown.page.locator("#season").click()
        expect(shown.page.locator("#table tr")).to_have_count(3, timeout=PATIENCE)
        assert shown.said == []


def test_it_is_used_by_keyboard(browser: Browser, url: str, product: Product) -> None:
    with opened(browser, f"{url}#month=2004-01&compare=swipe,0.5", reduced_motion="reduce") as shown:
        page, press = shown.page, shown.page.keyboard.press
        shown.wait("month", "2004-01")
        press("Tab")
        assert page.evaluate("document.activeElement.id") == "map"
        assert page.locator("#cross").is_visible()
        press(".")
        shown.wait("month", "2004-02")
        before = shown.link()["view"]
        press("ArrowRight")
        page.wait_for_url(lambda address: f"view={before}" not in address)
        row, column = (int(part) for part in _centre(shown, product))
        expected = f"1 km {product.fine[4, row, column]:.3f}, 25 km {product.coarse[4, row // 25, column // 25]:.3f}"
        expect(page.locator("#spoken")).to_contain_text(expected, timeout=PATIENCE)
        press("Enter")
        assert shown.series()[5][1] == f"{product.fine[4, row, column]:.4f}"
        press("Escape")
        assert page.locator("#series").is_hidden()
        page.locator("#swipe").focus()
        press("ArrowLeft")
        assert page.locator("#swipe").get_attribute("aria-valuenow") == "48"
        page.locator("#slider").focus()
        press("ArrowRight")
        shown.wait("month", "2004-03")
        assert page.locator("#slider").get_attribute("aria-valuetext") == "March 2004"
        page.locator("#play").focus()
        press("Enter")
        shown.wait("month", "2004-04")
        press("Enter")
        assert page.locator("#play").get_attribute("aria-pressed") == "false"
        assert page.evaluate(NAMELESS) == []
        assert shown.said == []


def _centre(shown: Shown, product: Product) -> tuple[float, float]:
    """Row and column in the middle of the view."""
    x, y, _ = map(float, shown.link()["view"].split(","))
    step = product.grid.side / product.grid.ratio
    return (product.grid.top - y) / step, (x - product.grid.left) / step


def test_a_link_brings_back_what_was_shown(browser: Browser, url: str) -> None:
    link = "season=2004-05&layer=upper&compare=fade,0.25&at=4090500,2929500&view=4101234.5,2922222,412.5"
    with opened(browser, f"{url}#{link}") as shown:
        shown.wait("season", "2004-05", "upper")
        assert len(shown.series()) == 3
        assert shown.page.url.partition("#")[2] == link
        assert shown.page.locator("#date").inner_text() == "Wet 2004"
        assert shown.page.locator("#fade").input_value() == "25"
        assert shown.said == []


def test_a_phone_shows_all_and_is_touched(browser: Browser, url: str, product: Product) -> None:
    with opened(browser, f"{url}#month=2004-01", 360, 740, has_touch=True, is_mobile=True) as shown:
        shown.wait("month", "2004-01")
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert shown.page.locator("#choices").is_hidden()
        shown.page.locator("#fold").tap()
        shown.page.select_option("#layer", "lower")
        shown.wait("month", "2004-01", "lower")
        shown.page.locator("#fold").tap()
        shown.page.touchscreen.tap(*shown.point(product, 75, 100))
        assert len(shown.series()) == 13
        for card in ("#panel", "#time", "#series"):
            place = shown.page.locator(card).bounding_box()
            assert place and place["x"] >= 0 and place["x"] + place["width"] <= 360  # noqa: PT018 - one box
        assert shown.said == []


def test_the_first_view_of_a_large_map_is_light_and_its_values_are_exact(browser: Browser, tmp_path: Path) -> None:
    nested, values = small_product.large(tmp_path)
    size = next(tmp_path.rglob("*.tif")).stat().st_size
    with running(Server(str(tmp_path))) as url, opened(browser, url) as shown:
        shown.wait("month", "2003-10")
        read = sum(count for address, count in shown.asked.items() if address.endswith(".tif"))
        assert read < size / 3
        assert sum(shown.asked.values()) < 3_000_000
        seen = Product(tmp_path, nested, values, values, values, pd.DataFrame())  # type: ignore[arg-type]
        shown.page.mouse.move(*shown.point(seen, 800, 801))
        exact = shown.page.locator("#values .number:not(.rough)").first
        # Under the pointer lie several cells of so large a map.
        near = {f"{value:.3f}" for value in values[797:804, 798:805].ravel()}
        exact.wait_for()
        assert exact.inner_text() in near
        assert shown.page.locator("#values b").first.inner_text() == "1 km"


def test_a_server_without_ranges_will_do(browser: Browser, product: Product) -> None:
    handler = partial(Quiet, directory=str(product.folder))
    with (
        running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as url,
        opened(browser, f"{url}#month=2004-01") as shown,
    ):
        shown.wait("month", "2004-01")
        shown.page.mouse.move(*shown.point(product, 75, 100))
        assert shown.values()[0] == f"{product.fine[3, 75, 100]:.3f}"
        assert shown.said == []


class Quiet(SimpleHTTPRequestHandler):
    """Python's own server of files."""

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class Private(BaseHTTPRequestHandler):
    """A bucket whose page alone is public."""

    def do_GET(self) -> None:
        from soilscale import viewer  # noqa: PLC0415 - by the test that needs it

        page = viewer.page() if self.path.endswith(".html") else b"<Error><Code>AccessDenied</Code></Error>"
        self.send_response(200 if self.path.endswith(".html") else 403)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def test_what_cannot_be_shown_is_said(browser: Browser, url: str, product: Product, tmp_path: Path) -> None:
    def text(address: str) -> str:
        with opened(browser, address) as shown:
            return shown.page.locator("#message-text").inner_text()

    assert "opened as a file" in text((product.folder / "maps" / "index.html").as_uri())
    assert text(f"{url}#release=9") == "Release 9 is not kept here any more."
    with running(Server(str(tmp_path))) as empty:
        assert "There are no maps here: maps/viewer.json is missing" in text(empty)
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Private)) as private:
        assert "access is denied (403): the bucket is private" in text(private)


def test_the_menu_leads_to_another_release_and_back_and_keeps_place_and_date(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}#month=2004-01&layer=quality") as shown:
        shown.wait("month", "2004-01", "quality")
        menu = shown.page.locator("#release")
        assert menu.locator("option").all_inner_texts() == ["2, 2026-11-30 (newest)", "1, 2026-11-29"]
        view = shown.link()["view"]
        with shown.page.expect_navigation():
            menu.select_option("1")
        shown.wait("month", "2004-01", "quality")
        assert "Release 1, 2026-11-29" in shown.page.locator("#about").inner_text()
        assert (shown.link()["release"], shown.link()["view"], menu.input_value()) == ("1", view, "1")
        with shown.page.expect_navigation():
            menu.select_option("")
        shown.wait("month", "2004-01", "quality")
        assert "Release 2" in shown.page.locator("#about").inner_text()
        assert "release" not in shown.link()
        assert not shown.said


def test_a_release_that_goes_while_it_is_viewed_is_said(browser: Browser, product: Product, tmp_path: Path) -> None:
    shutil.copytree(product.folder, tmp_path, dirs_exist_ok=True)
    with running(Server(str(tmp_path))) as url, opened(browser, f"{url}#release=1&month=2004-01") as shown:
        shown.wait("month", "2004-01")
        shutil.rmtree(tmp_path / "maps" / "month")
        shown.page.locator("#next").click()
        message = shown.page.locator("#message-text")
        message.wait_for()
        assert re.search(
            r"maps/month/valley-month-2004-02/.*soil_moisture.tif cannot be read: it is not there", message.inner_text()
        )
        assert "replaced or withdrawn" in message.inner_text()
        assert shown.link()["release"] == "1"
        shown.page.get_by_text("Load the newest release").click()
        shown.page.wait_for_url(lambda address: "release" not in address)


def test_without_the_stores_the_maps_and_their_series_are_shown(
    browser: Browser, product: Product, tmp_path: Path
) -> None:
    shutil.copytree(product.folder / "maps", tmp_path / "maps")
    with running(Server(str(tmp_path))) as url, opened(browser, f"{url}#month=2004-01") as shown:
        shown.wait("month", "2004-01")
        assert shown.page.locator("#compare-title").inner_text() == "The observation (cube.zarr) is not published here"
        shown.page.mouse.click(*shown.point(product, 75, 100))
        assert [row[1] for row in shown.series()[1:]] == [f"{value:.4f}" for value in product.fine[:, 75, 100]]
