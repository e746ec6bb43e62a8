"""Statements of configuration, profile, item and file, brought together; values worked out by hand."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calls import Call
from soilscale.cube.decoding import Decoding, is_fill, resolve
from soilscale.cube.quantities import conversion, cube_unit
from soilscale.cube.statements import Contradiction, Statement
from soilscale.engine.output import Workspace
from soilscale.engine.tally import Tally
from soilscale.engine.units import Unit, perform
from soilscale.errors import ConfigurationError
from soilscale.sources import Source
from soilscale.units import Linear, UnitError
from worlds import box, reading, scene, write

FEBRUARY = np.datetime64("2005-02-01", "s"), np.datetime64("2005-03-01", "s")


def source(**keys: Any) -> Source:
    return Source(**({"name": "p", "catalog": "lab", "collection": "c", "asset": "a"} | keys))


def days(count: float) -> tuple[np.datetime64, np.datetime64]:
    return FEBRUARY[0], FEBRUARY[0] + np.timedelta64(int(count * 86400), "s")


def resolved(
    cube: str | None = None, item: Any = None, file: Any = None, **keys: Any
) -> tuple[Decoding, tuple[Contradiction, ...]]:
    stated = {who: Statement(**s) for who, s in (("item", item), ("file", file)) if s is not None}
    return resolve(source(**keys), cube, "i1", stated, FEBRUARY)


def value(decoding: Decoding, stored: float) -> float:
    return float(decoding.physical(np.array([stored]))[0])


# --- fill codes ---------------------------------------------------------------------------------------------------


def test_what_anyone_calls_missing_is_missing() -> None:
    found, problems = resolved(item={"nodata": (0.0,)}, file={"nodata": (-9999.0, 7.0)}, nodata=(250.0,))
    assert found.fills == (-9999.0, 0.0, 7.0, 250.0)
    assert not problems


def test_an_empty_list_reads_codes_as_data_and_says_so() -> None:
    found, problems = resolved(file={"nodata": (0.0,)}, nodata=())
    assert found.fills == ()
    assert "the file states nodata [0.0]; these codes are read as data" in str(problems[0])


@pytest.mark.parametrize(
    ("stored", "fill", "kind"),
    [
        (-9999.9, -9999.900390625, "float64"),
        (-9999.900390625, -9999.9, "float64"),
        (-3.4028234663852886e38, -3.4e38, "float32"),
        (-3.4028234663852886e38, -3.4028235e38, "float64"),
        (1e20, 1.00000002004e20, "float64"),
        (1.7976931348623157e308, 1.7976931348623157e308, "float64"),
        (255, 255.0, "uint8"),
        (2147483647, 2147483647.0, "int32"),
    ],
)
def test_a_fill_code_is_met_however_it_was_rounded(stored: float, fill: float, kind: str) -> None:
    assert is_fill(np.array([stored, 1], kind), (fill,)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("stated", "said", "key"),
    [
        (Statement(scale=0.0), "scale 0", "scale"),
        (Statement(scale=float("nan")), "scale nan", "scale"),
        (Statement(offset=float("inf")), "offset inf", "offset"),
        (Statement(unclear=(("nodata", "nodata '10,00'"),)), "nodata '10,00'", "nodata"),
    ],
)
@pytest.mark.parametrize("who", ["item", "file"])
def test_what_cannot_be_used_is_refused_unless_the_configuration_states_it(
    stated: Statement, said: str, key: str, who: str
) -> None:
    _, problems = resolve(source(), "1", "i", {who: stated}, FEBRUARY)
    assert [problem.grave for problem in problems] == [True]
    assert f"item i: the {who} states {said}; it cannot be used; write {key} under sources." in str(problems[0])
    values: dict[str, Any] = {"nodata": (1.0,), "scale": 2.0, "offset": 2.0}
    configured, problems = resolve(source(**{key: values[key]}), "1", "i", {who: stated}, FEBRUARY)
    assert not any(problem.grave for problem in problems)
    assert np.isfinite(configured.physical(np.array([3.0]))).all()


def test_no_value_is_as_large_as_fill_codes_are() -> None:
    stored = np.array([1, 3.4e38, -1.7e308, 9.969209968386869e36, 1e29])
    assert is_fill(stored, ()).tolist() == [False, True, True, True, False]


def test_a_code_outside_a_type_masks_nothing_of_it() -> None:
    assert not is_fill(np.arange(256, dtype="uint8"), (-9999.0, 1e20, 256.0, -1.0)).any()
    assert not is_fill(np.array([16777216, 16777217]), (16777218.0,)).any()


# --- scale and offset ---------------------------------------------------------------------------------------------


def test_the_default_of_a_generator_gives_way_to_the_files_scale() -> None:
    found, (problem,) = resolved(item={"scale": 1.0, "offset": 0.0}, file={"scale": 0.1})
    assert value(found, 100) == pytest.approx(10)
    assert not problem.grave
    assert "item i1: the item states scale 1, offset 0; the file states scale 0.1; the file's is used" in str(problem)


def test_the_default_may_be_of_the_scale_alone() -> None:
    found, (problem,) = resolved(item={"scale": 1.0}, file={"scale": 0.1, "offset": 5.0})
    assert (value(found, 100), problem.grave) == (15, False)


def test_two_scales_that_lead_elsewhere_are_refused() -> None:
    _, (problem,) = resolved(item={"scale": 0.01}, file={"scale": 0.1})
    assert problem.grave
    assert "the item states scale 0.01; the file states scale 0.1" in str(problem)
    assert "write scale and offset under sources.p" in str(problem)


@pytest.mark.parametrize(
    ("item", "file"),
    [
        ({"scale": 0.02, "offset": -273.15, "unit": "degC"}, {"scale": 0.02, "unit": "K"}),
        ({"scale": 0.1}, {"scale": 0.10000000149}),
        ({"scale": 0.02}, {"offset": -3.0}),
        ({"scale": 0.1, "unit": "cm"}, {"scale": 1.0, "unit": "mm"}),
        ({"unit": "Kelvin"}, {"unit": "K"}),
    ],
)
def test_statements_that_lead_to_the_same_values_do_not_contradict(item: Any, file: Any) -> None:
    unit = "K" if "unit" in item and item["unit"] != "cm" else "mm"
    assert resolved(unit, item, file)[1] == ()


def test_what_the_configuration_states_decides_and_is_named() -> None:
    found, (problem,) = resolved(item={"scale": 0.5}, file={"scale": 0.1}, scale=0.1, offset=0.0)
    assert value(found, 100) == pytest.approx(10)
    assert not problem.grave
    assert "the configuration states scale 0.1, offset 0; the item states scale 0.5; the conf" in str(problem)


def test_a_profile_is_named_as_such() -> None:
    keys = {"scale": 0.02, "offset": 0.0, "unit": "K", "profile": "MOD11A2"}
    found, (problem,) = resolved("K", {"scale": 0.01, "unit": "K"}, **keys)
    assert value(found, 15000) == pytest.approx(300)
    assert "the profile MOD11A2 states scale 0.02, offset 0, unit 'K'; the item states scale 0.01" in str(problem)
    assert resolved("K", {"scale": 0.02, "offset": -273.15, "unit": "degC"}, **keys)[1] == ()


# --- units --------------------------------------------------------------------------------------------------------


def test_a_unit_of_item_or_file_is_converted() -> None:
    assert value(resolved("m", file={"unit": "ft"})[0], 1000) == pytest.approx(304.8)
    assert value(resolved("K", item={"unit": "degC", "scale": 0.1})[0], 200) == pytest.approx(293.15)
    assert value(resolved("m3 m-3", item={"unit": "%"})[0], 25) == pytest.approx(0.25)
    assert value(resolved("K")[0], 290) == 290


@pytest.mark.parametrize("stated", ["mm", "DN", "furlong per"])
def test_a_unit_that_does_not_lead_to_the_cubes_is_refused(stated: str) -> None:
    _, (problem,) = resolved("K", file={"unit": stated}, unit="K")
    assert problem.grave
    assert f"the file states unit {stated!r}; the configuration states unit 'K'" in str(problem)
    assert "write scale, offset and unit under sources.p" in str(problem)


def test_a_scale_with_its_unit_says_all() -> None:
    found, (problem,) = resolved("m", file={"unit": "ft"}, scale=1.0, offset=0.0, unit="m")
    assert value(found, 5) == 5
    assert "the configuration states scale 1, offset 0, unit 'm'; the file states unit 'ft'" in str(problem)


def test_a_scale_without_its_unit_does_not_say_in_which_it_is() -> None:
    _, (problem,) = resolved("m", file={"unit": "ft"}, scale=0.1)
    assert problem.grave
    assert "write unit in addition to scale under sources.p" in str(problem)
    by_hand, problems = resolved("mm month-1", file={"unit": "mm/h"}, scale=24.0, aggregate="rate")
    assert (value(by_hand, 0.5), problems) == (12, ())


def test_a_scale_does_not_decide_between_two_units() -> None:
    _, (problem,) = resolved("m", {"unit": "m"}, {"unit": "ft"}, scale=0.1)
    assert problem.grave
    assert resolved("mm", {"unit": "kg m-2"}, {"unit": "mm"}, scale=0.1)[1] == ()


def test_between_two_units_that_of_the_configuration_decides() -> None:
    _, (problem,) = resolved("m", {"unit": "m"}, {"unit": "ft"})
    assert problem.grave
    assert "the item states unit 'm'; the file states unit 'ft'" in str(problem)
    found, (problem,) = resolved("m", {"unit": "m"}, {"unit": "ft"}, unit="m")
    assert (value(found, 5), problem.grave) == (5, False)


@pytest.mark.parametrize(
    ("stated", "unit", "aggregate", "length", "factor"),
    [
        ("mm/hr", "mm month-1", "rate", 28, 24),
        ("kg m-2 s-1", "mm month-1", "rate", 28, 86400),
        ("mm/day", "mm month-1", "rate", 28, 1),
        ("mm month-1", "mm month-1", "rate", 28, 1 / 28),
        ("mm", "mm month-1", "rate", 28, 1 / 28),
        ("mm", "mm month-1", "sum", 8, 1),
        ("m", "mm month-1", "sum", 8, 1000),
        ("kg m-2", "mm", "sum", 8, 1),
        ("mm/h", "mm month-1", "sum", 0.125, 3),
        ("mm day-1", "mm month-1", "sum", 1, 1),
        ("mm month-1", "mm month-1", "sum", 28, 1),
        ("kg/m^2/8day", "mm month-1", "sum", 8, 1),
        ("kg/m^2/8day", "mm month-1", "sum", 5, 1),
        ("W m-2", "MJ m-2", "rate", 8, 0.0864),
        ("mm/h", "mm month-1", "mean", 28, 672),
        ("mm", "mm month-1", "mean", 28, 1),
        ("cm month-1", "mm", "mean", 28, 10),
    ],
)
def test_a_month_is_made_from_totals_rates_or_means(
    stated: str, unit: str, aggregate: Any, length: float, factor: float
) -> None:
    found = conversion(stated, unit, aggregate, days(length))
    assert found.factor == pytest.approx(factor, rel=1e-9)
    assert found.offset == 0


@pytest.mark.parametrize(
    ("stated", "unit", "aggregate", "length"),
    [
        ("K", "mm", "sum", 8),
        ("mm month-1", "mm", "sum", 8),
        ("mm", "mm day-1", "mean", 8),
        ("mm", "mm month-1", "mean", 8),
    ],
)
def test_totals_and_rates_are_not_taken_for_each_other(stated: str, unit: str, aggregate: Any, length: float) -> None:
    with pytest.raises(UnitError):
        conversion(stated, unit, aggregate, days(length))


@pytest.mark.parametrize(
    ("keys", "stated", "unit"),
    [
        ({}, ["Kelvin"], "K"),
        ({}, ["mm/hr", "mm/day"], "mm h-1"),
        ({}, ["NDVI"], "NDVI"),
        ({}, [], "1"),
        ({"unit": "kg/m2"}, ["m"], "kg m-2"),
        ({"derive": ("slope",)}, ["ft"], "m"),
        ({"role": "target"}, ["%"], "m3 m-3"),
        ({"role": "target", "unit": "cm3/cm3"}, [], "m3 m-3"),
        ({"role": "part"}, ["vol%"], "m3 m-3"),
        ({"role": "part"}, ["K"], "K"),
        ({"aggregate": "rate"}, ["kg m-2 s-1"], "mm month-1"),
        ({"aggregate": "sum"}, ["m"], "mm month-1"),
        ({"aggregate": "sum"}, ["J m-2"], "J m-2"),
        ({"kind": "categorical"}, ["class"], "1"),
    ],
)
def test_the_unit_in_the_cube_is_configured_or_needed_or_stated(keys: Any, stated: list[str], unit: str) -> None:
    assert cube_unit(source(**keys), stated) == unit


@pytest.mark.parametrize(
    ("keys", "stated", "message"),
    [
        ({"role": "target", "unit": "%"}, [], r"sources.p.unit: got '%', but soil moisture is mapped in m3 m-3"),
        ({"derive": ("slope",), "unit": "ft"}, [], r"got 'ft', but slope need metres"),
        ({"aggregate": "sum", "unit": "mm/day"}, [], r"got 'mm/day', but aggregate: sum makes totals of months"),
        ({"aggregate": "rate"}, ["W m-2"], r"items state 'W m-2', and aggregate: rate makes totals"),
        ({"aggregate": "rate"}, ["quux"], "'quux', which is an unknown unit, and aggregate: rate"),
    ],
)
def test_a_unit_that_the_source_cannot_be_used_in_is_refused(keys: Any, stated: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        cube_unit(source(**keys), stated)


def test_a_decoding_says_nothing_changes_where_nothing_is_stated() -> None:
    assert resolved() == (Decoding(1.0, 0.0, Linear(), (), None), ())


# --- what the user is told ----------------------------------------------------------------------------------------


def test_a_contradiction_is_logged_once_for_a_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It travels from the worker in the receipt of the unit."""
    made = reading()
    grid = box("EPSG:4326", 5.0, 48.0, 0.01, (2, 3))
    for name in "ab":
        path = write(tmp_path / f"{name}.tif", np.full((2, 3), 100, "int16"), grid, scale=0.1)
        one = scene(path, decoding={"scale": 1.0, "offset": 0.0})
        assert made.decoding(one).scale == 0.1
    unit = Unit("cube", "a", "0123456789abcdef", Call(lambda _: None, noted=made.warnings))
    (receipt,) = perform(Workspace(str(tmp_path / "run")), [unit])
    assert [text.partition("; ")[0] for text in receipt.notes.values()] == [
        "source field, item a: the item states scale 1, offset 0"
    ]
    tally = Tally(lambda _: None, 0)  # what counts receipts, whatever cluster they come from
    with caplog.at_level(logging.WARNING):
        for name in "ab":
            tally._settle(replace(receipt, name=name))  # noqa: SLF001 - likewise
    assert len(caplog.records) == 1
