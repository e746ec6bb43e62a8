"""Time axes as producers write them: calendars, units of a month, texts, numbers, clocks, gaps, the latest first."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from soilscale.errors import DataError
from soilscale.formats.contents import Contents, Variable
from soilscale.formats.times import Step, steps


@dataclass
class File(Contents):
    """Contents of a file that holds bounds and nothing else."""

    variables: dict[str, Variable] = field(default_factory=dict)

    def variable(self, name: str) -> Variable | None:
        return self.variables.get(name)


def axis(name: str, values: Any, **attributes: Any) -> Variable:
    array = np.asarray(values)
    return Variable(name, (name,), array.shape, array.dtype, attributes, array.shape, lambda part: array[part])


def of(values: Any, units: str = "", calendar: str = "standard", **more: Any) -> list[Step]:
    stated = {"units": units, "calendar": calendar} if units else {}
    return list(steps(File(), axis("time", values, **stated, **more)))


def intervals(found: list[Step]) -> list[str]:
    return [f"{str(step.start)[:10]}/{str(step.end)[:10]}" for step in found]


FEBRUARY = ["2005-01-01/2005-02-01", "2005-02-01/2005-03-01"]


@pytest.mark.parametrize(
    ("values", "units", "calendar"),
    [
        ([0, 1], "months since 2005-01-15", "standard"),
        ([540.5, 541.5], "months since 1960-01-01", "360"),
        ([0, 30], "days since 2005-01-01", "360_day"),
        ([60 * 24, 90 * 24], "hours since 2004-11-01", "360_day"),
        ([366, 397], "days since 2004-01-01", "standard"),
        ([365, 396], "days since 2004-01-01", "noleap"),
        ([366, 397], "days since 2004-01-01", "all_leap"),
        ([0, 31], "days since 2005-01-01 00:00:00 +08:00", "standard"),
        ([0, 31], "days since 2005-01-01T00:00Z", "gregorian"),
        ([20050131, 20050228], "day as %Y%m%d.%f", "standard"),
        ([200501, 200502], "", "standard"),
        ([2005001, 2005032], "", "standard"),
        ([b"2005-01-15", b"2005-02-15T00:00:00Z"], "", "standard"),
        (["2005-01", "2005-02"], "", "standard"),
    ],
)
def test_months_are_those_that_the_file_means(values: list[Any], units: str, calendar: str) -> None:
    assert intervals(of(values, units, calendar)) == FEBRUARY


def test_a_gap_does_not_stretch_a_month() -> None:
    assert intervals(of([14, 45, 410], "days since 2005-01-01")) == [*FEBRUARY, "2006-02-01/2006-03-01"]
    assert intervals(of([30, 58, 423], "days since 2005-01-01")) == [*FEBRUARY, "2006-02-01/2006-03-01"]


def test_years_and_days_with_a_gap_are_no_months() -> None:
    assert intervals(of([0, 365], "days since 2005-01-01"))[0] == "2005-01-01/2006-01-01"
    assert intervals(of([0, 1, 40], "days since 2005-01-01"))[1:] == ["2005-01-02/2005-01-03", "2005-02-10/2005-02-11"]


def test_a_single_step_has_no_length_but_that_of_its_bounds() -> None:
    assert intervals(of([14], "days since 2005-01-01")) == ["2005-01-15/2005-01-15"]
    edges = axis("edges", [[0, 31]])
    time = axis("time", [14], units="days since 2005-01-01", bounds="edges")
    assert intervals(list(steps(File({"edges": edges}), time))) == ["2005-01-01/2005-02-01"]


def test_the_latest_may_come_first() -> None:
    found = of([31, 0], "days since 2005-01-01")
    assert intervals(found) == FEBRUARY
    assert [step.number for step in found] == [1, 0]


def test_a_leap_day_that_a_calendar_lacks_is_passed_over() -> None:
    assert intervals(of([58, 59, 60], "days since 2004-01-01", "365_day")) == [
        "2004-02-28/2004-02-29",
        "2004-03-01/2004-03-02",
        "2004-03-02/2004-03-03",
    ]


@pytest.mark.parametrize(
    ("values", "units", "calendar"),
    [
        ([0, 1], "fortnights since 2005-01-01", "standard"),
        ([0, 1], "", "standard"),
        ([0, 1], "Julian day", "standard"),
        ([0, 31], "days since 2005-01-01", "julian"),
        ([0, 31], "days since 2005-13-01", "360_day"),
        ([20051301, 20051401], "", "standard"),
        ([b"soon", b"later"], "", "standard"),
        ([0, 9.96921e36], "days since 2005-01-01", "standard"),
    ],
)
def test_what_is_not_understood_is_named(values: list[Any], units: str, calendar: str) -> None:
    with pytest.raises(DataError, match=r"time axis time has units .* which are not understood; expected such as"):
        of(values, units, calendar)


@pytest.mark.parametrize("values", [[0, 0], [0, float("nan")]])
def test_a_date_that_comes_twice_or_not_at_all_is_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="holds a date twice, or none for a step"):
        of(values, "days since 2005-01-01")
