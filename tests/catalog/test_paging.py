"""Pages of STAC APIs as servers in the field give them, asked on the loopback interface."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from servers.search_api import search_api
from soilscale import retry
from soilscale.catalog import Query, find, search
from soilscale.errors import ConfigurationError, DataError, ServiceError
from soilscale.sources import Catalog, Source

Json = dict[str, Any]
ITEMS = 120


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "SERVICE", (0.0,))


def item(number: int, **more: Any) -> Json:
    start = np.datetime64("2005-01-01T00:00:00") + np.timedelta64(6 * number, "h")
    times = {"start_datetime": f"{start}Z", "end_datetime": f"{start + np.timedelta64(21599, 's')}Z"}
    return {
        "type": "Feature",
        "id": f"i{number:03}",
        "collection": "rain",
        "bbox": [5.0, 47.0, 6.0, 48.0],
        "geometry": None,
        "properties": {"datetime": None, "platform": "terra", **times},
        "assets": {"value": {"href": f"./{number}.tif"}},
    } | more


def items(count: int = ITEMS) -> list[Json]:
    return [item(number) for number in range(count)]


def query(url: str, **keys: Any) -> Query:
    source = Source(**{"name": "rain", "catalog": "lab", "collection": "rain", "asset": "value"} | keys)
    period = datetime(2005, 1, 1, tzinfo=UTC), datetime(2005, 3, 1, tzinfo=UTC)
    return Query(source, Catalog("lab", url), (5.2, 47.2, 5.8, 47.8), period)


def merged(_: Json, after: int, url: str) -> Json | None:
    more = {"merge": True, "body": {"token": after}} if after < ITEMS else None
    return more and {"rel": "next", "method": "POST", "href": f"{url}/search", **more}


def without_body(_: Json, after: int, url: str) -> Json | None:
    return {"rel": "next", "method": "POST", "href": f"{url}/search?token={after}"} if after < ITEMS else None


def relative(request: Json, after: int, _: str) -> Json | None:
    body = request | {"token": after}
    return {"rel": "next", "method": "POST", "href": "./search", "body": body} if after < ITEMS else None


def overlapping(request: Json, after: int, url: str) -> Json | None:
    """The last items of a page are the first ones of the next."""
    body = request | {"token": after - 7}
    return {"rel": "next", "method": "POST", "href": f"{url}/search", "body": body} if after < ITEMS else None


def for_ever(request: Json, after: int, url: str) -> Json:
    """A next page is always named, and empty beyond the last item."""
    return {"rel": "next", "method": "POST", "href": f"{url}/search", "body": request | {"token": after}}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"method": "GET"},
        {"empty": (50,), "says": 70},
        {"empty": (50, 100), "says": 50},
        {"link": merged},
        {"link": without_body},
        {"link": relative},
        {"link": overlapping},
        {"link": for_ever},
        {"says": -1},
        {"says": -1, "link": for_ever},
        {"largest": 100},
        {"largest": 10, "refusal": 422},
        {"largest": 50, "refusal": 502},
        {"largest": 100, "refusal": 413, "method": "GET"},
    ],
    ids=lambda how: " ".join(f"{key}={getattr(value, '__name__', value)}" for key, value in how.items()) or "as it is",
)
def test_every_page_is_read(how: Json, caplog: pytest.LogCaptureFixture) -> None:
    expected = ITEMS - 50 * (50 in how.get("empty", ())) - 20 * (100 in how.get("empty", ()))
    with search_api(items(), **how) as server:
        found = search(query(server.url))
    assert len(found) == expected
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_fewer_items_than_the_server_says_it_has_are_a_warning_with_both_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with search_api(items(), empty=(50,)) as server:
        _, found = find(query(server.url))
    assert (found.received, found.matched) == (70, 120)
    assert "says that it has 120 items of 'rain' here, but sent 70" in caplog.text


@pytest.mark.parametrize("token", [lambda after: after - 50, lambda after: f"{after - 50:05}"], ids=["same", "other"])
def test_pages_that_go_in_circles_end_the_search(token: Any) -> None:
    """The next link leads to the same page: under the same token, or under a new one each time."""
    count = iter(range(1, 10_000))

    def again(request: Json, _: int, url: str) -> Json:
        body = request | {"token": token(50), "turn": next(count) if token(50) != 0 else 0}
        return {"rel": "next", "method": "POST", "href": f"{url}/search", "body": body}

    with (
        search_api(items(), link=again) as server,
        pytest.raises(DataError, match=r"pages of http.*/search go in circles: the next one after 50 items"),
    ):
        search(query(server.url))
    assert len(server.asked) < 7


def test_a_server_that_refuses_every_size_is_told_of_with_its_first_answer() -> None:
    with (
        search_api(items(), largest=0) as server,
        pytest.raises(ConfigurationError, match=r"HTTP status 400.*less than or equal to 0"),
    ):
        search(query(server.url))
    assert [request["limit"] for request in server.asked] == [250, 100, 50, 10]
    with search_api(items(), largest=0, refusal=502) as server, pytest.raises(ServiceError, match="HTTP status 502"):
        search(query(server.url))


def test_a_server_without_the_query_extension_is_asked_without_a_query(caplog: pytest.LogCaptureFixture) -> None:
    known = [*items(10), item(11, properties=item(11)["properties"] | {"platform": "aqua"})]
    with search_api(known, knows_query=False) as server:
        assert len(search(query(server.url, query={"platform": "aqua"}))) == 1
    assert "refuses a query; all items are read and filtered locally" in caplog.text


def test_a_query_that_nothing_meets_is_counted_with_the_values_there() -> None:
    with search_api(items()) as server:
        found_items, found = find(query(server.url, query={"platform": "Terra"}))
    assert found_items == []
    assert (found.refused, found.values) == (120, {"platform": ["terra"]})


def test_items_are_taken_as_they_come() -> None:
    odd = [
        item(0, bbox=None, geometry={"type": "Point", "coordinates": [5.5, 47.5, 200.0]}),
        item(1, bbox=[5.0, 47.0, -10.0, 6.0, 48.0, 900.0]),
        {key: value for key, value in item(2).items() if key != "type"},
        item(3, links=None, stac_extensions=None),
        item(4, bbox=[365.0, 47.0, 366.0, 48.0]),
    ]
    with search_api(odd) as server:
        found = search(query(server.url))
    assert [each["id"] for each in found] == [f"i{number:03}" for number in range(5)]
    assert {each["type"] for each in found} == {"Feature"}


def without_href(_: Json, after: int, __: str) -> Json | None:
    return {"rel": "next", "method": "POST", "href": None} if after < ITEMS else None


def test_a_next_page_without_its_address_ends_the_search_with_an_error() -> None:
    with search_api(items(), link=without_href) as api, pytest.raises(ServiceError, match="its next link has no href"):
        find(query(api.url))


@pytest.mark.parametrize("page", [{"code": "InternalError"}, {"type": "FeatureCollection", "features": None}])
def test_an_error_that_comes_as_a_page_does_not_count_as_an_empty_one(
    page: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    with search_api(items()) as api:
        usual = api.answer
        monkeypatch.setattr(api, "answer", lambda request: (200, page) if "token" in request else usual(request))
        with pytest.raises(ServiceError, match=r"not a page of items \(no list of features in '\{"):
            find(query(api.url))


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    with search_api(items(), cut=(2,)) as api:
        found, _ = find(query(api.url))
    assert len(found) == ITEMS


def test_a_server_that_refuses_post_is_asked_by_get() -> None:
    with search_api(items(), method="GET", offers="POST") as api:
        found, _ = find(query(api.url))
    assert len(found) == ITEMS
