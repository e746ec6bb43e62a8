"""Periods of runs that recur: what they mean on a date, what they take from the catalogs, and what they leave alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkout import ROOT
from commands import Ended, edit, files, invoke, markers, redone_units, sparse_world, wait_until
from soilscale import catalog, config, storage
from soilscale.cli import execution
from soilscale.config import Config
from soilscale.config.period import LAST, SINCE_RELEASE, first_of, last_complete
from soilscale.engine import lease
from soilscale.engine.output import Workspace
from soilscale.errors import ConfigurationError, DataError
from soilscale.runs import owner
from soilscale.runs.period import resolve
from soilscale.seasons import month_range
from soilscale.stages import context
from soilscale.stages.context import Renewal
from soilscale.stages.frozen_items import write_resolved
from soilscale.stages.releases import Release

PLAIN: dict[str, Any] = {
    "name": "lab",
    "area": {"bbox": [5.0, 47.0, 6.0, 48.0]},
    "grid": {"crs": "EPSG:4326", "coarse": 0.25, "ratio": 10},
    "catalogs": {"own": {"url": "catalog.json"}},
    "sources": {
        "soil_moisture": {"role": "target", "catalog": "own", "collection": "sm", "asset": "sm"},
        "rain": {"catalog": "own", "collection": "rain", "asset": "rain"},
    },
}

days = st.dates(date(1999, 1, 1), date(2035, 12, 31))
words = st.one_of(st.just(SINCE_RELEASE), st.integers(1, 60).map(lambda n: f"last-{n}-months"))


def configured(output: Path, period: Any, **more: Any) -> Config:
    return config.validate(PLAIN | {"output": str(output), "period": period} | more)


def refused(period: Any, **more: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configured(Path("/out"), period, **more)
    return str(caught.value).partition("\n  ")[2]


def no_cluster() -> Any:
    raise AssertionError("nothing is computed")


def silent(*_: object) -> None:
    pass


def go(found: Config, day: str | date, *, afresh: bool = True) -> Config:
    """Resolve a period as a command does, and write down what it was."""
    run = context.Run(found, no_cluster, silent)
    run = owner.settled(run, date.fromisoformat(str(day)), afresh=afresh, destroy=False)
    write_resolved(run)
    return run.config


def meaning(found: Config, day: str | date, *, afresh: bool = True) -> tuple[Config, Renewal]:
    told, renewal = resolve(found, date.fromisoformat(str(day)), afresh=afresh)
    assert renewal is not None
    return told, renewal


# Words


@pytest.mark.parametrize("word", ["last-1-months", "last-3-months", "last-240-months", "since-last-release"])
def test_a_relative_period_is_taken_as_it_is_written(word: str) -> None:
    assert configured(Path("/out"), word).period == word


@pytest.mark.parametrize(
    "word",
    [
        "last-0-months",
        "last-03-months",
        "last-3-month",
        "last--3-months",
        "last-3-months ",
        "Last-3-months",
        "lastly",
        "",
    ],
)
def test_another_word_is_refused_with_what_a_period_may_be(word: str) -> None:
    assert refused(word) == (
        f"period: got {word!r}; expected the first and the last month, such as [1990-01, 1993-12], "
        "or last-3-months, or since-last-release"
    )


def test_the_chart_takes_the_words_that_the_package_takes() -> None:
    schema = json.loads((ROOT / "helm" / "soilscale" / "values.schema.json").read_text())
    pattern = schema["definitions"]["relativePeriod"]["pattern"]
    for word in ("last-1-months", "last-12-months", "last-0-months", "last-12345-months", "since-last-release", "x"):
        ours = LAST.fullmatch(word) is not None or word == SINCE_RELEASE
        assert (re.search(pattern, word) is not None) == ours, word


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (["2003-02", "2003-01"], "training: 2003-02 comes after 2003-01; expected the first and the last month"),
        (["2003-01"], "training: got ['2003-01']; expected the first and the last month, such as [1990-01, 1993-12]"),
        (["2003-1", "2003-02"], "training.0: got '2003-1'; expected a month, YYYY-MM"),
        ("last-3-months", "training: got 'last-3-months'; expected the first and the last month"),
    ],
)
def test_months_to_learn_from_are_two_months(training: Any, message: str) -> None:
    assert message in refused("since-last-release", training=training)


@pytest.mark.parametrize("training", [["1999-12", "2001-01"], ["2000-06", "2002-01"]])
def test_months_to_learn_from_lie_within_a_fixed_period(training: list[str]) -> None:
    told = refused(["2000-01", "2001-12"], training=training)
    assert "expected months within the period [2000-01, 2001-12]" in told


def test_without_months_to_learn_from_all_are_learned_from() -> None:
    found = configured(Path("/out"), ["2000-01", "2001-12"])
    np.testing.assert_array_equal(found.training_months, found.months)
    part = configured(Path("/out"), ["2000-01", "2001-12"], training=["2000-03", "2001-02"])
    assert [str(part.training_months[index]) for index in (0, -1)] == ["2000-03", "2001-02"]
    assert len(part.months) == 24


# Months


@pytest.mark.parametrize(
    ("day", "month"),
    [
        ("2026-11-23", "2026-10"),
        ("2026-10-31", "2026-09"),
        ("2026-11-01", "2026-10"),
        ("2026-01-01", "2025-12"),
        ("2025-12-31", "2025-11"),
        ("2024-02-29", "2024-01"),
        ("2024-03-01", "2024-02"),
    ],
)
def test_a_month_is_complete_when_it_is_over(day: str, month: str) -> None:
    assert str(last_complete(date.fromisoformat(day))) == month


@given(days)
def test_the_last_complete_month_ends_on_the_day_before_the_first_of_the_dates_own(day: date) -> None:
    before = day.replace(day=1) - timedelta(days=1)
    assert str(last_complete(day)) == f"{before:%Y-%m}"


@given(days, st.integers(1, 400))
def test_so_many_months_are_so_many_and_end_with_the_last(day: date, count: int) -> None:
    last = last_complete(day)
    first = first_of(f"last-{count}-months", last)
    assert first is not None
    months = month_range(first, last)
    assert len(months) == count
    assert months[-1] == last
    assert int(str(first)[:4]) * 12 + int(str(first)[5:]) == int(str(last)[:4]) * 12 + int(str(last)[5:]) - count + 1


# What a period means for an output


def test_an_empty_output_is_begun_with_the_months_to_learn_from(tmp_path: Path) -> None:
    for word in ("last-2-months", "since-last-release"):
        told, renewal = meaning(configured(tmp_path, word, training=["2003-01", "2005-12"]), "2026-11-23")
        assert told.span == ("2003-01", "2026-10")
        assert told.training == ("2003-01", "2005-12")
        assert renewal.renewed == told.span


@pytest.mark.parametrize("word", ["last-2-months", "since-last-release"])
def test_an_empty_output_without_months_to_learn_from_is_refused_with_what_to_do(tmp_path: Path, word: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(configured(tmp_path, word), date(2026, 11, 23), afresh=True)
    for told in (f"period: {word}", f"{tmp_path} is empty", "-o 'period=[", "-o 'training=["):
        assert told in str(caught.value)
    assert caught.value.status == 78
    assert not list(tmp_path.iterdir())


def test_an_output_that_a_fixed_period_began_goes_on_and_its_models_learn_from_the_same_months(tmp_path: Path) -> None:
    go(configured(tmp_path, ["2003-01", "2012-12"]), "2013-01-04")
    for day in ("2013-02-03", "2013-03-03", "2013-06-03"):
        found = go(configured(tmp_path, "last-2-months"), day)
    assert found.span == ("2003-01", "2013-05")
    assert found.training == ("2003-01", "2012-12")
    renewal = yaml.safe_load((tmp_path / "run.yaml").read_text())["renewal"]
    assert renewal == {
        "asked": "last-2-months",
        "date": "2013-06-03",
        "renewed": ["2013-03", "2013-05"],
        "revised": False,
    }, "April and May are the last two; March is not held yet"


def test_what_fixed_months_to_learn_from_would_have_saved_is_told_where_a_period_grows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    go(configured(tmp_path, ["2003-01", "2005-12"]), "2013-01-04")
    go(configured(tmp_path, ["2003-01", "2005-12"]), "2013-01-04")
    assert "training" not in caplog.text, "nothing is new"
    go(configured(tmp_path, ["2003-01", "2006-01"], training=["2003-01", "2005-12"]), "2013-01-04")
    assert "training" not in caplog.text, "fixed months save it"
    go(configured(tmp_path, ["2003-01", "2006-02"]), "2013-01-04")
    assert "the maps of all 38 months are made anew" in caplog.text
    assert "-o 'training=[2003-01, 2006-01]' only the maps of 1 would be, and the other 37 stay" in caplog.text


def test_months_that_are_not_over_but_held_are_not_dropped(tmp_path: Path) -> None:
    go(configured(tmp_path, ["2003-01", "2026-12"]), "2026-11-23")
    told, renewal = meaning(configured(tmp_path, "last-2-months"), "2026-11-23")
    assert told.span == ("2003-01", "2026-12")
    assert renewal.renewed == ("2026-09", "2026-12")


def test_months_to_learn_from_that_are_named_count_and_may_begin_earlier(tmp_path: Path) -> None:
    go(configured(tmp_path, ["2003-01", "2012-12"]), "2013-01-04")
    later, _ = meaning(configured(tmp_path, "last-2-months", training=["2005-01", "2012-12"]), "2013-02-03")
    assert (later.span, later.training) == (("2003-01", "2013-01"), ("2005-01", "2012-12"))
    earlier, _ = meaning(configured(tmp_path, "last-2-months", training=["2001-01", "2012-12"]), "2013-02-03")
    assert earlier.span == ("2001-01", "2013-01")


def test_months_to_learn_from_that_are_not_over_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"complete on 2013-01-31, the last of which is 2012-12"):
        resolve(configured(tmp_path, "last-2-months", training=["2003-01", "2013-01"]), date(2013, 1, 31), afresh=True)


def released(output: Path, last: str) -> None:
    record = Release(3, "2013-01-05T00:00:00+00:00", "", "", "0", {"month": 120}, last)
    storage.write_json(Workspace(str(output)).state("releases", "3.json"), asdict(record))


def test_since_the_last_release_begins_after_the_last_month_that_it_holds(tmp_path: Path) -> None:
    go(configured(tmp_path, ["2003-01", "2013-01"]), "2013-02-04")
    released(tmp_path, "2012-11-30T23:59:59Z")
    told, renewal = meaning(configured(tmp_path, "since-last-release"), "2013-02-20")
    assert (told.span, renewal.renewed, renewal.revised) == (("2003-01", "2013-01"), ("2012-12", "2013-01"), True)
    released(tmp_path, "2013-01-31T23:59:59Z")
    assert meaning(configured(tmp_path, "since-last-release"), "2013-02-20")[1].renewed is None


def test_a_run_that_was_stopped_before_its_first_release_goes_on(tmp_path: Path) -> None:
    go(configured(tmp_path, ["2003-01", "2012-12"]), "2013-01-04")
    told, renewal = meaning(configured(tmp_path, "since-last-release"), "2013-02-20")
    assert told.span == renewal.renewed == ("2003-01", "2013-01")


def test_a_run_that_is_tried_again_after_the_end_of_the_month_adds_it_and_keeps_the_others(tmp_path: Path) -> None:
    go(configured(tmp_path, ["2003-01", "2012-12"]), "2013-01-04")
    assert go(configured(tmp_path, "last-2-months"), "2013-02-28").span == ("2003-01", "2013-01")
    told, renewal = meaning(configured(tmp_path, "last-2-months"), "2013-03-01")
    assert told.span == ("2003-01", "2013-02")
    assert renewal.renewed == ("2013-01", "2013-02")


def test_stages_take_the_months_that_were_searched_whatever_the_date_is_meanwhile(tmp_path: Path) -> None:
    go(configured(tmp_path, ["2003-01", "2012-12"]), "2013-01-04")
    searched = meaning(configured(tmp_path, "last-2-months"), "2013-02-28")
    go(configured(tmp_path, "last-2-months"), "2013-02-28")
    assert meaning(configured(tmp_path, "last-2-months"), "2013-03-01", afresh=False) == searched
    other, _ = meaning(configured(tmp_path, "last-3-months"), "2013-03-01", afresh=False)
    assert other.span == ("2003-01", "2013-02"), "another period was not searched for"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.tuples(st.integers(0, 40), st.integers(0, 40)), st.lists(st.tuples(days, words), min_size=1, max_size=5))
def test_no_run_drops_a_month_or_what_is_learned_from(
    tmp_path_factory: pytest.TempPathFactory, begun: tuple[int, int], runs: list[tuple[date, str]]
) -> None:
    output = tmp_path_factory.mktemp("out")
    month, length = begun
    first, last = (np.datetime64("2010-01") + np.timedelta64(one, "M") for one in (month, month + length))
    own = str(first), str(last)
    held = go(configured(output, list(own)), "2020-01-01")
    for day, word in runs:
        told, renewal = meaning(configured(output, word), day)
        go(configured(output, word), day)
        assert told.training == own
        assert told.span[0] == held.span[0]
        assert told.span[1] == max(held.span[1], str(last_complete(day)))
        new = {str(one) for one in told.months} - {str(one) for one in held.months}
        taken = set() if renewal.renewed is None else {str(one) for one in month_range(*renewal.renewed)}
        assert new <= taken <= {str(one) for one in told.months}
        held = told


@pytest.mark.parametrize("content", [b"a: [", b"config: {}", b"config: {period: since-last-release}", b"- 1", b""])
def test_a_record_that_is_none_is_told_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"run\.yaml does not record which months.*run again with a fixed period"):
        resolve(configured(tmp_path, "last-2-months"), date(2013, 1, 31), afresh=True)
    go(configured(tmp_path, ["2003-01", "2012-12"]), "2013-01-04")
    assert meaning(configured(tmp_path, "last-2-months"), "2013-02-04")[0].span == ("2003-01", "2013-01")


# Items


def item(name: str, first: int, days: int, edition: int) -> dict[str, Any]:
    start = datetime(2005, 1, 1, tzinfo=UTC) + timedelta(days=first)
    end = start + timedelta(days=days, seconds=-1)
    told = {"start_datetime": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end_datetime": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    return {"id": name, "properties": told | {"edition": edition}}


def searches(edition: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Items as a search gives them, of few names and days so that those of two searches meet."""
    spans = st.tuples(st.integers(0, 20), st.integers(1, 8))
    found = st.dictionaries(st.sampled_from("abcdefgh"), spans, max_size=8)
    return found.map(lambda items: [item(name, *span, edition) for name, span in items.items()])


def ended(found: dict[str, Any], day: int) -> bool:
    last = datetime.fromisoformat(found["properties"]["end_datetime"]) + timedelta(seconds=1)
    return last <= datetime(2005, 1, 1, tzinfo=UTC) + timedelta(days=day)


@given(searches(1), searches(2), st.integers(-1, 30))
def test_items_that_ended_stay_and_all_others_are_the_catalogs(
    frozen: list[dict[str, Any]], found: list[dict[str, Any]], day: int
) -> None:
    since = np.datetime64("2005-01-01", "s") + np.timedelta64(day, "D")
    got = catalog.renew(frozen, found, since)
    before, now = ({one["id"]: one for one in items} for items in (frozen, found))
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if new is not None and not ended(new, day):
            wanted = new
        elif old is None:
            wanted = None
        else:
            wanted = old if ended(old, day) else new
        assert next((one for one in got if one["id"] == name), None) == wanted
    assert len({one["id"] for one in got}) == len(got)
    assert [one["properties"]["start_datetime"] for one in got] == sorted(
        one["properties"]["start_datetime"] for one in got
    )
    assert catalog.renew(got, found, since) == got


# The command on a world with a catalog

NEWEST = ("month/collection.json", "season/collection.json", "viewer.json")
"""Collections that lead to the newest maps."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda day: monkeypatch.setattr(execution, "today", lambda: date.fromisoformat(day))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a world of the year 2004 whose models learn from January to July."""
    path = sparse_world(tmp_path_factory.mktemp("world"), cells=5)
    return edit(
        path, period="last-2-months", training=["2004-01", "2004-07"], maps__interval=0.9, models__ablation=False
    )


def item_of(config: Path, month: str) -> Path:
    """One of two items of a month's vegetation, whose ids name its first day by its number in the year."""
    day = date.fromisoformat(f"{month}-01").timetuple().tm_yday
    (path,) = (config.parent / "catalog").rglob(f"MOD13A3.A2004{day:03d}.h26v05*.json")
    return path


def file_of(config: Path, month: str) -> Path:
    """COG of the same item."""
    return item_of(config, month).parent / "1_km_monthly_NDVI.tif"


@pytest.fixture
def revise(world: Path) -> Iterator[Callable[[str], None]]:
    """Revise an item of a month and its COG as a provider does; all are put back after the test."""
    kept: dict[Path, bytes] = {}

    def work(month: str) -> None:
        item, cog = item_of(world, month), file_of(world, month)
        kept.setdefault(item, item.read_bytes())
        kept.setdefault(cog, cog.read_bytes())
        with rasterio.open(cog) as file:
            values, profile = file.read(1), file.profile
        with rasterio.open(cog, "w", **profile) as file:
            file.write(values[:, ::-1], 1)
        content = json.loads(item.read_text())
        content["properties"]["updated"] = "2031-01-01T00:00:00Z"
        item.write_text(json.dumps(content))

    yield work
    for path, before in kept.items():
        path.write_bytes(before)


def frozen(output: Path) -> dict[str, bool]:
    """Month of each frozen item of vegetation of one tile -> whether it is the revised one."""
    found = json.loads((output / "items" / "ndvi.json").read_text())["features"]
    assert found == sorted(found, key=lambda item: (item["properties"]["start_datetime"], item["id"]))
    one = [item["properties"] for item in found if ".h26v05." in item["id"]]
    return {properties["start_datetime"][:7]: "updated" in properties for properties in one}


def searched(world: Path, output: Path, *options: object) -> dict[str, bool]:
    done = invoke("search", world, "--output", output, *options)
    assert done.status == 0, done.err
    return frozen(output)


def test_of_a_revised_item_that_ends_before_the_months_the_frozen_one_stays(
    world: Path, tmp_path: Path, clock: Callable[[str], None], revise: Callable[[str], None]
) -> None:
    clock("2004-10-12")
    first = searched(world, tmp_path)
    assert first == {f"2004-{month:02d}": False for month in range(1, 10)}
    for month in ("2004-03", "2004-07", "2004-08"):
        revise(month)
    assert searched(world, tmp_path) == first | {"2004-08": True}
    assert searched(world, tmp_path, "-o", "period=last-3-months") == first | {"2004-07": True, "2004-08": True}
    everything = first | dict.fromkeys(("2004-03", "2004-07", "2004-08"), True)
    assert searched(world, tmp_path, "-o", "period=since-last-release") == everything


def test_months_that_no_schedule_made_are_added_with_the_next(
    world: Path, tmp_path: Path, clock: Callable[[str], None], revise: Callable[[str], None]
) -> None:
    clock("2004-08-12")
    searched(world, tmp_path)
    revise("2004-08")
    revise("2004-07")
    clock("2004-12-12")
    found = searched(world, tmp_path, "-o", "period=last-1-months")
    assert found == {f"2004-{month:02d}": month == 8 for month in range(1, 12)}


def test_an_item_that_the_catalog_has_no_more_stays_unless_it_reaches_into_the_months(
    world: Path, tmp_path: Path, clock: Callable[[str], None]
) -> None:
    clock("2004-10-12")
    before = searched(world, tmp_path)
    late, early = item_of(world, "2004-09"), item_of(world, "2004-05")
    kept = {path: path.read_text() for path in (late, early)}
    collection = late.parents[1] / "collection.json"
    text = collection.read_text()
    links = json.loads(text)
    links["links"] = [link for link in links["links"] if not any(path.name in link["href"] for path in kept)]
    assert len(links["links"]) == len(json.loads(text)["links"]) - 2
    collection.write_text(json.dumps(links))
    try:
        found = searched(world, tmp_path)
    finally:
        collection.write_text(text)
    assert found == {month: value for month, value in before.items() if month != "2004-09"}


def test_another_source_or_first_month_takes_every_item(
    world: Path, tmp_path: Path, clock: Callable[[str], None], revise: Callable[[str], None]
) -> None:
    clock("2004-10-12")
    searched(world, tmp_path, "-o", "training=[2004-02, 2004-07]")
    revise("2004-03")
    assert searched(world, tmp_path)["2004-03"]


def test_check_plan_and_status_tell_the_months(world: Path, tmp_path: Path, clock: Callable[[str], None]) -> None:
    clock("2004-10-12")
    told = "period last-2-months on 2004-10-12: to update: 2004-01 to 2004-09; maps of 2004-01 to 2004-09, "
    for command in ("check", "plan", "status"):
        assert told + "models of 2004-01 to 2004-07" in invoke(command, world, "--output", tmp_path).out
    assert not (tmp_path / "run.yaml").exists()
    searched(world, tmp_path)
    clock("2004-11-02")
    assert told in invoke("status", world, "--output", tmp_path).out
    new = "period last-2-months on 2004-11-02: to update: 2004-09 to 2004-10; maps of 2004-01 to 2004-10"
    for command in ("check", "plan"):
        assert new in invoke(command, world, "--output", tmp_path).out


def test_without_anything_to_go_on_from_the_command_ends_with_the_status_of_a_wrong_configuration(
    world: Path, tmp_path: Path, clock: Callable[[str], None]
) -> None:
    clock("2004-10-12")
    for command in ("run", "search", "map", "check", "plan", "status"):
        done = invoke(command, world, "--output", tmp_path / "run", "-o", "training=null")
        assert done.status == 78, command
        assert "is empty; first run" in done.err
        assert "Traceback" not in done.err


PROGRAM = """
import sys
from datetime import date
from soilscale import cli
from soilscale.cli import execution
execution.today = lambda: date(2004, 4, 12)
sys.argv = ["soilscale", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.slow
def test_of_two_scheduled_runs_at_once_one_alone_goes_on(world: Path, cluster: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = [sys.executable, "-c", PROGRAM, "run", world, "--output", output, "--scheduler", cluster]
    command += ["-o", "training=[2004-01, 2004-03]", "-o", "maps.interval=null"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        wait_until(lambda: lease.holder(Workspace(str(output))) is not None, "the lease of the first run")
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        _, told = first.communicate(timeout=300)
    assert second.returncode == 75, second.stderr
    assert f"by another run: process {first.pid} on" in second.stderr
    assert first.returncode == 0, told
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_a_stage_after_midnight_makes_the_months_that_were_searched(
    world: Path, cluster: str, tmp_path: Path, clock: Callable[[str], None]
) -> None:
    clock("2004-02-29")
    options = ("-o", "training=[2004-01, 2004-01]")
    searched(world, tmp_path, *options)
    clock("2004-03-01")
    done = invoke("cube", world, "--output", tmp_path, "--scheduler", cluster, *options)
    assert done.status == 0, done.err
    told = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert told["config"]["period"] == ["2004-01", "2004-01"]
    assert told["renewal"]["date"] == "2004-02-29"
    assert not {name for name in markers(tmp_path / "state") if "2004-02" in name}


@pytest.mark.slow
def test_schedules_bring_an_output_up_to_date_month_by_month(
    world: Path, cluster: str, tmp_path: Path, clock: Callable[[str], None], revise: Callable[[str], None]
) -> None:
    state, maps = tmp_path / "state", tmp_path / "maps"

    def run(day: str, *options: str) -> dict[str, set[str]]:
        clock(day)
        before = markers(state)
        done: Ended = invoke("run", world, "--output", tmp_path, "--scheduler", cluster, *options)
        assert done.status == 0, done.err
        return redone_units(before, state)

    def cogs(release: int) -> dict[str, Path]:
        """Month -> its map in a release."""
        root = pystac.Catalog.from_file(str(maps / "releases" / str(release) / "catalog.json"))
        items = [item for item in root.get_items(recursive=True) if "-month-" in item.id]
        return {item.id[-7:]: Path(str(item.assets["soil_moisture"].get_absolute_href())) for item in items}

    def months_of(release: int) -> list[str]:
        assert all(path.is_file() for path in cogs(release).values())
        return sorted(cogs(release))

    run("2004-10-12")
    nine = [f"2004-{month:02d}" for month in range(1, 10)]
    assert months_of(1) == nine
    models, first = files(tmp_path / "models"), files(maps, without=("catalog.json", *NEWEST))
    page = (tmp_path / "report" / "index.html").read_text()
    assert "2004-01 to 2004-09; models trained on 2004-01 to 2004-07" in page

    assert run("2004-10-19") == {}

    revise("2004-09")
    revise("2004-03")
    done = run("2004-10-26")
    assert done["cube"] == {"ndvi/2004-09_r000c000"}
    assert done["publish"] == {"month-2004-09", "season-2004-04"}, "August's gaps do not hang on September"
    stages = {"cube", "levels", "gaps", "coarse", "predict", "residual", "conserve", "season", "publish", "within"}
    assert set(done) == stages | {"summarise", "picture"}
    assert months_of(2) == nine
    with rasterio.open(cogs(1)["2004-09"]) as before, rasterio.open(cogs(2)["2004-09"]) as after:
        assert np.nanmax(np.abs(before.read(1) - after.read(1))) > 1e-3
    assert {month for month in nine if cogs(1)[month] != cogs(2)[month]} == {"2004-09"}

    done = run("2004-11-05")
    new = {f"{name}/2004-10_r000c000" for name in ("soil_moisture", "precipitation", "ndvi")}
    assert done["cube"] == new | {"precipitation/2004-09_r000c000"}, "September's rain is a lag of October's"
    assert done["residual"] == {"month-2004-10"}, "where September's rain is written too changes none of its values"
    assert "train" not in done
    assert months_of(3) == [*nine, "2004-10"]
    assert files(tmp_path / "models") == models
    assert files(maps).items() >= first.items(), "what was released stays as it was"

    done = run("2004-11-05", "-o", "period=since-last-release")
    assert done["cube"] == {"ndvi/2004-03_r000c000"}
    assert "train" in done, "March is learned from"
    assert [months_of(release) for release in (1, 2, 3, 4)] == [nine, nine, [*nine, "2004-10"], [*nine, "2004-10"]]
