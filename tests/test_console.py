"""What an operator sees: pace, JSON lines, metrics."""

from __future__ import annotations

import json
import logging
import sys
import time
import urllib.request

import pytest

from commands import free_port_of_nobody
from soilscale import console
from soilscale.cli import execution
from soilscale.console import JsonFormatter, Pace
from soilscale.engine import events, metrics
from soilscale.engine.units import Receipt
from soilscale.errors import ConfigurationError
from soilscale.storage import Written


def line(message: str, **fields: object) -> dict[str, object]:
    record = logging.LogRecord("soilscale.stages", logging.ERROR, __file__, 1, message, (), None)
    record.__dict__.update(fields)
    found: dict[str, object] = json.loads(JsonFormatter().format(record))
    return found


def test_pace_tells_rate_and_time_left_of_what_this_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    pace = Pace()
    assert pace.tell("cube", 100, 800) == "cube: 100 of 800"
    clock[0] += 10
    assert pace.tell("cube", 120, 800) == "cube: 120 of 800, 2/s, 6 min left"
    assert pace.tell("items", 5, None) == "items: 5 of ?"
    clock[0] += 10
    assert pace.tell("cube", 800, 800) == "cube: 800 of 800, 35/s"


@pytest.mark.parametrize(("seconds", "told"), [(3, "3 s"), (119, "119 s"), (180, "3 min"), (7300, "2 h"), (2e5, "2 d")])
def test_a_span_is_told_in_the_greatest_unit_that_fits_twice(seconds: float, told: str) -> None:
    assert console.span(seconds) == told


@pytest.mark.parametrize(
    ("unit", "place"),
    [
        ("lst/2005-07_r000c001", {"source": "lst", "month": "2005-07", "tile": "r000c001"}),
        ("sand/static_r010c001", {"source": "sand", "month": "static", "tile": "r010c001"}),
        ("2005-07_r000c001", {"month": "2005-07", "tile": "r000c001"}),
        ("month-2005-07_r000c001", {"month": "2005-07", "tile": "r000c001"}),
        ("season-2004-12", {"month": "2004-12"}),
        ("warm-random_forest-seasonal-random", {}),
    ],
)
def test_a_line_of_json_names_the_place_of_its_unit(unit: str, place: dict[str, str]) -> None:
    told = line("broken", stage="cube", unit=unit)
    assert {name: told[name] for name in ("source", "month", "tile") if name in told} == place
    assert (told["stage"], told["unit"], told["message"]) == ("cube", unit, "broken")


def test_a_line_of_json_holds_the_traceback_of_an_error() -> None:
    try:
        int("bad")
    except ValueError:
        told = line("failed", exc_info=sys.exc_info())
    assert str(told["traceback"]).endswith("ValueError: invalid literal for int() with base 10: 'bad'")
    assert (told["level"], told["logger"]) == ("error", "soilscale.stages")
    assert str(told["time"]).endswith("+00:00")


def test_every_line_names_its_run_once_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.root.addHandler(handler)
    try:
        logging.getLogger("soilscale").error("before")
        console.mark(12)
        logging.getLogger("soilscale.stages").error("after")
    finally:
        logging.root.removeHandler(handler)
    before, after = map(json.loads, capsys.readouterr().err.splitlines())
    assert "run" not in before
    assert (after["message"], after["run"]) == ("after", 12)


def test_metrics_are_served_until_the_run_ends() -> None:
    port = free_port_of_nobody()
    metrics.planned("served", 2, 5)
    wrote = {"maps.zarr/c/0": Written(700, ""), "state/map/a.json": Written(300, "")}
    metrics.tried(Receipt("served", "a", "done", "", 0.2, wrote=wrote))
    metrics.tried(Receipt("served", "b", "unreachable", "away", 0.2))
    end = execution.serve_metrics("127.0.0.1", port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            told = answer.read().decode()
        with pytest.raises(ConfigurationError, match="choose a port that is free"):
            execution.serve_metrics("127.0.0.1", port)
    finally:
        end()
    assert 'soilscale_units_planned{stage="served"} 5.0' in told
    assert 'soilscale_units_complete{stage="served"} 3.0' in told
    assert 'soilscale_units_total{outcome="failed",stage="served"} 0.0' in told, "an increase from 1 would be none"
    assert 'soilscale_units_total{outcome="done",stage="served"} 1.0' in told
    assert 'soilscale_retries_total{stage="served"} 1.0' in told
    assert 'soilscale_objects_written_total{stage="served"} 2.0' in told
    assert 'soilscale_bytes_written_total{stage="served"} 1000.0' in told
    assert 'soilscale_unit_seconds_count{stage="served"} 2.0' in told


def test_each_unit_is_an_event_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receipt = Receipt("cube", "rain-r000c000-2012-03", "done", "", 1.25)
    with caplog.at_level(logging.INFO):
        events.tried(receipt)
        assert not caplog.records
        monkeypatch.setenv(events.VARIABLE, "true")
        events.tried(receipt)
    (record,) = caplog.records
    told = json.loads(JsonFormatter().format(record))
    assert told["message"] == "cube rain-r000c000-2012-03: done after 1.25 s"
    assert (told["stage"], told["unit"], told["outcome"], told["seconds"]) == ("cube", receipt.name, "done", 1.25)
